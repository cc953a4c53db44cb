"""Ledgers: one room each, what they share, and `targets`, which opens them."""

"""Holds the product's version at run time; a test compares it with pyproject.toml."""

VERSION = "1.0.0"
VERIFIER = f"vaultmesh-scheduler/{VERSION}"
"""Who wrote a receipt."""

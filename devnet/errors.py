"""Gives what goes wrong with local parts its one clear line."""


class PartError(Exception):
    """A local part can't be had, started or reached; the message says how to mend it."""

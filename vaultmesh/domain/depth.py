"""Says how deep an anchor must be, and when it is final: one rule for requests, rounds, receipts and checks."""

from collections.abc import Iterable


def required_depth(asked: Iterable[int], rule: int = 0) -> int:
    """Return how many blocks must lie on top: as many as anyone asks for, and never fewer than the ledger's rule."""
    return max([rule, *asked])


def is_final(depth: int, required: int, *, settled: bool) -> bool:
    """Return whether an anchor is final: deep enough, and past what its ledger can undo (`settled`)."""
    return settled and depth >= required

"""Puts modules that wait longest first, so that no process is left with one of them at the end."""

from collections.abc import Iterable

import pytest

LONGEST_FIRST = ("fault", "slow", "server", "btc", "evm")
"""Marks, from what takes minutes to what takes seconds; what is not quick comes next, and what is, last."""


def put_long_modules_first(items: list[pytest.Item]) -> None:
    """Sort modules by the slowest mark in them; a module's tests stay together, in their order."""
    ranks: dict[str, int] = {}
    for item in items:
        module = item.nodeid.partition("::")[0]
        ranks[module] = min(rank_of(item), ranks.get(module, len(LONGEST_FIRST) + 1))
    items.sort(key=lambda item: ranks[item.nodeid.partition("::")[0]])


def rank_of(item: pytest.Item) -> int:
    """Return a test's place; 0 comes first."""
    marks: Iterable[str] = {mark.name for mark in item.iter_markers()}
    places = [place for place, name in enumerate(LONGEST_FIRST) if name in marks]
    return min(places, default=len(LONGEST_FIRST) + ("quick" in marks))

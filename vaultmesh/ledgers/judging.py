"""Sorts rounds by the rules that each was signed under.

A round is judged by what its reservation says. Configuration is for new rounds: whoever changes it does not change what
became of those that are on their way, nor of those that are in the ledger.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from vaultmesh.domain.aggregator.ledger_messages import WatchedRound

RulesT = TypeVar("RulesT", bound=Hashable)


def by_rules(
    rounds: Sequence[WatchedRound], rules_of: Callable[[WatchedRound], RulesT]
) -> dict[RulesT, list[int]]:
    """Return the positions of the rounds by their rules; one group unless the configuration changed meanwhile."""
    groups: dict[RulesT, list[int]] = {}
    for position, watched in enumerate(rounds):
        groups.setdefault(rules_of(watched), []).append(position)
    return groups

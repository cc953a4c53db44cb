"""The place where several providers' sights of a round become one view; a lying minority decides nothing (E12).

1. Inclusion needs `quorum` providers that show the same transaction in the same block.
2. Height, depth and finality are what `quorum` of those reach.
3. A quorum that misses the round has the same bytes sent again, whatever the others show: that does no harm.
   What else is not agreed upon leaves it pending.
4. Nothing here finds a round displaced or lost: that wants evidence (`vaultmesh.ledgers.evm.inquiry`).
"""

from collections import Counter
from collections.abc import Hashable, Sequence

from vaultmesh.domain.aggregator.ledger_messages import RoundState, RoundView, WatchedRound
from vaultmesh.ledgers.evm.horizon import Rules
from vaultmesh.ledgers.evm.observe import Sight
from vaultmesh.ledgers.evm.providers import supported_by
from vaultmesh.ledgers.evm.settings import EvmFinality


def agreed_view(watched: WatchedRound, sights: Sequence[Sight], rules: Rules) -> RoundView:
    """Return what at least `rules.quorum` of the sights support; there MUST be that many."""
    included = _largest([one for one in sights if one.state is RoundState.INCLUDED])
    if len(included) >= rules.quorum:
        return _included(watched, included, rules)
    return _unmined(watched, sights, rules)


def is_suspected(sights: Sequence[Sight], view: RoundView, rules: Rules) -> bool:
    """Whether somebody shows something against a round, and fewer than the quorum that it can still be mined."""
    free = sum(one.state in (RoundState.PENDING, RoundState.MISSING) for one in sights)
    settled = view.state is RoundState.INCLUDED or free >= rules.quorum
    return not settled and any(one.state is RoundState.DISPLACED for one in sights)


def _included(watched: WatchedRound, sights: Sequence[Sight], rules: Rules) -> RoundView:
    seen = sights[0]
    height = supported_by([one.height for one in sights], rules.quorum)
    depth = max(height - seen.block.number, 0) if seen.block is not None else 0
    settled = _support(sights, settled=True) >= rules.quorum
    irrevocable = settled or rules.finality is EvmFinality.DEPTH
    required = max(watched.depths, default=rules.confirmations)
    return RoundView(
        round_id=watched.round_id,
        state=RoundState.INCLUDED,
        tx_ref=seen.tx_ref,
        block=seen.block,
        depth=depth,
        irrevocable=irrevocable,
        final=irrevocable and depth >= required,
        height=height,
        message=next((one.message for one in sights if one.message), ""),
    )


def _unmined(watched: WatchedRound, sights: Sequence[Sight], rules: Rules) -> RoundView:
    height = supported_by([one.height for one in sights], rules.quorum)
    states = Counter(one.state for one in sights)
    message = ""
    missing = states[RoundState.MISSING] >= rules.quorum
    if not states.keys() <= {RoundState.PENDING, RoundState.MISSING}:
        shown = ", ".join(f"{count} {state.value}" for state, count in sorted(states.items()))
        message = f"the providers do not agree: {shown}"
    state = RoundState.MISSING if missing else _waiting(watched, height, rules)
    known = next((one.tx_ref for one in sights if one.state is RoundState.PENDING), "")
    return RoundView(
        round_id=watched.round_id, state=state, tx_ref=known, height=height, message=message
    )


def _waiting(watched: WatchedRound, height: int, rules: Rules) -> RoundState:
    since = watched.first_seen_block
    overdue = since is not None and height - since >= rules.bump_after_blocks
    return RoundState.STUCK if overdue else RoundState.PENDING


def _largest(sights: Sequence[Sight]) -> list[Sight]:
    """Return the largest group that shows the same transaction in the same block."""
    groups: dict[Hashable, list[Sight]] = {}
    for one in sights:
        groups.setdefault((one.tx_ref, one.block, one.foreign), []).append(one)
    return max(groups.values(), key=len, default=[])


def _support(sights: Sequence[Sight], *, settled: bool) -> int:
    return sum(one.settled is settled for one in sights)

"""Turns several providers' views of a round into one; a lying minority decides nothing (E12).

1. Inclusion needs `quorum` providers that show the same transaction in the same block.
2. Height, depth and finality are what `quorum` of those reach.
3. A quorum that misses the round has the same bytes sent again, whatever the others show: that does no harm.
   What else is not agreed upon leaves it pending.
4. Nothing here finds a round displaced or lost: that wants evidence (`vaultmesh.ledgers.evm.inquiry`).
"""

from collections import Counter
from collections.abc import Hashable, Sequence

from vaultmesh.domain.aggregator.ledger_messages import RoundState, RoundView, WatchedRound
from vaultmesh.domain.depth import is_final, required_depth
from vaultmesh.ledgers.evm.observe import ProviderView
from vaultmesh.ledgers.evm.providers import supported_by
from vaultmesh.ledgers.evm.settings import EvmFinality
from vaultmesh.ledgers.evm.tip import Rules


def agreed_view(
    watched: WatchedRound, provider_views: Sequence[ProviderView], rules: Rules
) -> RoundView:
    """Return what at least `rules.quorum` of the views support; there MUST be that many."""
    included = _largest([one for one in provider_views if one.state is RoundState.INCLUDED])
    if len(included) >= rules.quorum:
        return _included(watched, included, rules)
    return _unmined(watched, provider_views, rules)


def is_suspected(provider_views: Sequence[ProviderView], view: RoundView, rules: Rules) -> bool:
    """Whether somebody shows something against a round, and fewer than the quorum that it can still be mined."""
    free = sum(one.state in (RoundState.PENDING, RoundState.MISSING) for one in provider_views)
    settled = view.state is RoundState.INCLUDED or free >= rules.quorum
    return not settled and any(one.state is RoundState.DISPLACED for one in provider_views)


def _included(
    watched: WatchedRound, provider_views: Sequence[ProviderView], rules: Rules
) -> RoundView:
    seen = provider_views[0]
    height = supported_by([one.height for one in provider_views], rules.quorum)
    depth = max(height - seen.block.number, 0) if seen.block is not None else 0
    settled = _support(provider_views, settled=True) >= rules.quorum
    irrevocable = settled or rules.finality is EvmFinality.DEPTH
    required = required_depth(watched.depths, rules.confirmations)
    return RoundView(
        round_id=watched.round_id,
        state=RoundState.INCLUDED,
        tx_ref=seen.tx_ref,
        block=seen.block,
        depth=depth,
        irrevocable=irrevocable,
        final=is_final(depth, required, settled=irrevocable),
        height=height,
        message=next((one.message for one in provider_views if one.message), ""),
    )


def _unmined(
    watched: WatchedRound, provider_views: Sequence[ProviderView], rules: Rules
) -> RoundView:
    height = supported_by([one.height for one in provider_views], rules.quorum)
    states = Counter(one.state for one in provider_views)
    message = ""
    missing = states[RoundState.MISSING] >= rules.quorum
    if not states.keys() <= {RoundState.PENDING, RoundState.MISSING}:
        shown = ", ".join(f"{count} {state.value}" for state, count in sorted(states.items()))
        message = f"the providers do not agree: {shown}"
    state = RoundState.MISSING if missing else _waiting(watched, height, rules)
    known = next((one.tx_ref for one in provider_views if one.state is RoundState.PENDING), "")
    return RoundView(
        round_id=watched.round_id, state=state, tx_ref=known, height=height, message=message
    )


def _waiting(watched: WatchedRound, height: int, rules: Rules) -> RoundState:
    since = watched.first_seen_block
    overdue = since is not None and height - since >= rules.bump_after_blocks
    return RoundState.STUCK if overdue else RoundState.PENDING


def _largest(provider_views: Sequence[ProviderView]) -> list[ProviderView]:
    """Return the largest group that shows the same transaction in the same block."""
    groups: dict[Hashable, list[ProviderView]] = {}
    for one in provider_views:
        groups.setdefault((one.tx_ref, one.block, one.foreign), []).append(one)
    return max(groups.values(), key=len, default=[])


def _support(provider_views: Sequence[ProviderView], *, settled: bool) -> int:
    return sum(one.settled is settled for one in provider_views)

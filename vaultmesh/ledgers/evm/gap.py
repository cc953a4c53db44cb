"""Sees and closes gaps: free nonces below a round of ours, which no bytes of ours use (E4).

The round beyond it can't be mined before the gap is closed, and keeps its nonce and bytes; a higher bid changes nothing.
"""

from collections.abc import Sequence

from pydantic import JsonValue

from vaultmesh.domain.aggregator.ledger_messages import (
    Reservation,
    RoundState,
    RoundView,
    Terms,
    WatchedRound,
)
from vaultmesh.ledgers.evm.fees import Bid, Caps, Market, next_bid, opening_bid
from vaultmesh.ledgers.evm.observe import ProviderView
from vaultmesh.ledgers.evm.providers import Providers
from vaultmesh.ledgers.evm.reads import Rules, count_at, quantity
from vaultmesh.ledgers.evm.reserve import check_ledger, read_market, require_funds

_ENDED = (RoundState.INCLUDED, RoundState.LOST)
_TX_TYPE = 2
_GAS_MARGIN_NUMERATOR, _GAS_MARGIN_DENOMINATOR = 6, 5


def mark_gap(
    rounds: Sequence[WatchedRound],
    views: Sequence[RoundView],
    provider_views: Sequence[Sequence[ProviderView]],
) -> list[RoundView]:
    """Say of the lowest un-included round how many nonces below it are free; `provider_views` are by round."""
    marked = list(views)
    waiting = [place for place, view in enumerate(views) if view.state not in _ENDED]
    numbered = [place for place in waiting if rounds[place].reservation.sequence is not None]
    if not numbered:
        return marked
    lowest = min(numbered, key=lambda place: rounds[place].reservation.sequence or 0)
    counts = [view.count for view in provider_views[lowest] if view.count is not None]
    if views[lowest].state is not RoundState.DISPLACED and counts:
        marked[lowest] = _marked(rounds, views[lowest], rounds[lowest], max(counts))
    return marked


def _marked(
    rounds: Sequence[WatchedRound], view: RoundView, watched: WatchedRound, count: int
) -> RoundView:
    nonce = watched.reservation.sequence or 0
    ours = {other.reservation.sequence for other in rounds}
    gap = nonce - count - sum(own is not None and count <= own < nonce for own in ours)
    if gap <= 0:
        return view
    words = (
        f"nonce {nonce} of {watched.reservation.account} lies beyond a gap: the chain counts {count}, and {gap} nonces below "
        "are free. Nothing is bumped, and the round is never sealed again; rounds that are owed next close the gap, or "
        "after gapFill transactions to ourselves (at once with `starter.py resolve --fill`)"
    )
    state = RoundState.PENDING if view.state is RoundState.STUCK else view.state
    return view.model_copy(
        update={"state": state, "gap": gap, "message": words, "undecided": words}
    )


async def free_below(providers: Providers, reservation: Reservation) -> list[int]:
    """Return the nonces below a reservation that every provider which answers counts as free, ascending."""
    account, nonce = reservation.account, reservation.sequence or 0
    counts = await providers.every(lambda provider: count_at(provider, account, "latest"))
    return list(range(max(counts), nonce))


def _bid(before: Terms | None, market: Market, caps: Caps) -> Bid | None:
    if before is None:
        return opening_bid(market, caps)
    return next_bid(Bid.from_terms(before), market, caps)


async def decide_filler(
    providers: Providers,
    rules: Rules,
    caps: tuple[int | None, int | None],
    beyond: Reservation,
    *,
    nonce: int,
    before: Terms | None,
) -> tuple[Reservation, Terms] | None:
    """Decide a transaction of value 0 to ourselves; with `before`, a higher bid than that one, None at the cap.

    Raises:
        AuthFailure: the account can't pay it.
    """
    genesis = await check_ledger(providers, rules, beyond)
    account = beyond.account
    call: JsonValue = {"from": account, "to": account, "value": "0x0"}
    estimate = await providers.first(lambda provider: quantity(provider, "eth_estimateGas", call))
    gas = -(-estimate * _GAS_MARGIN_NUMERATOR // _GAS_MARGIN_DENOMINATOR)
    market, height = await read_market(providers)
    bid = _bid(before, market, Caps.of(*caps, market))
    if bid is None:
        return None
    await require_funds(providers, account, gas, bid)
    fields: Terms = {
        "type": _TX_TYPE,
        "chainId": rules.chain_id,
        "genesis": genesis,
        "nonce": nonce,
        "to": account,
        "value": 0,
        "gas": gas,
        "data": "0x",
        "blockNumber": height,
    }
    return Reservation(account=account, sequence=nonce, fields=fields), bid.terms

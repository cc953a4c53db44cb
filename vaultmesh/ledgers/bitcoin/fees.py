"""Decides the fee of a Bitcoin transaction: rates in satoshis for 1,000 vB, fees in satoshis (B4, B6).

1. The first bid follows the node's estimate; without one, what it relays at all. It lies between floor and cap.
2. Each later bid pays more in all, by at least 1 sat/vB on top of the one before, and follows the market
   if that is more. All bids are for the same size, so a higher fee is a higher rate, too.
3. No bid exceeds the cap, nor what the input holds less a change worth spending.
"""

import logging
from dataclasses import dataclass

from pydantic import JsonValue

from vaultmesh.domain.aggregator.ledger_messages import Terms
from vaultmesh.domain.failures import AuthFailure, ValidationFailure
from vaultmesh.ledgers.bitcoin.rpc import Node, NodeError, Reply
from vaultmesh.ledgers.bitcoin.settings import SATS_PER_KVB

_log = logging.getLogger(__name__)
FEE = "feeSats"
INCREMENT_PER_KVB = 1_000
"""1 sat/vB: what peers of all versions want on top for relaying a replacement."""


@dataclass(frozen=True, slots=True)
class Bids:
    """What the configuration says about bids."""

    floor_per_kvb: int
    cap_per_kvb: int
    conf_target: int
    """Blocks within which the first bid should suffice."""


@dataclass(frozen=True, slots=True)
class Market:
    """What the node says about fees now."""

    wanted_per_kvb: int
    """What should be confirmed in time."""
    relayed_per_kvb: int
    """What the node takes into its pool at all."""
    increment_per_kvb: int = INCREMENT_PER_KVB
    """What a replacement pays on top."""


async def read_market(node: Node, bids: Bids) -> Market:
    """Ask the node; a missing estimate is normal."""
    pool = Reply.of(await node.call("getmempoolinfo"))
    relayed = max(pool.sats("mempoolminfee"), pool.sats("minrelaytxfee"))
    wanted = await _estimate(node, bids.conf_target)
    increment = pool.sats("incrementalrelayfee") if pool.has("incrementalrelayfee") else 0
    return Market(max(wanted, relayed), relayed, max(increment, INCREMENT_PER_KVB))


async def _estimate(node: Node, conf_target: int) -> int:
    """Return the node's estimate; 0 if it has none, or makes none at all (`blocksonly`)."""
    try:
        estimate = Reply.of(await node.call("estimatesmartfee", conf_target))
    except NodeError as error:
        _log.debug("no fee estimate", extra={"err": str(error)})
        return 0
    return estimate.sats("feerate") if estimate.has("feerate") else 0


def opening_rate(market: Market, bids: Bids) -> int:
    """Return the rate of the first bid.

    Raises:
        AuthFailure: nodes relay nothing at our cap.
    """
    if market.relayed_per_kvb > bids.cap_per_kvb:
        message = (
            f"the node relays nothing below {shown_rate(market.relayed_per_kvb)} sat/vB, and feeCapSatVb is "
            f"{shown_rate(bids.cap_per_kvb)}: raise it, or wait"
        )
        raise AuthFailure(message)
    return min(max(market.wanted_per_kvb, bids.floor_per_kvb), bids.cap_per_kvb)


def next_fee(
    before_sats: int, vsize: int, market: Market, bids: Bids, most_sats: int
) -> int | None:
    """Return the fee of a higher bid on the same input; nothing when it would exceed a limit.

    `most_sats` is what the input can pay.
    """
    least = before_sats + fee_at(market.increment_per_kvb, vsize)
    most = min(bids.cap_per_kvb * vsize // SATS_PER_KVB, most_sats)
    if least > most:
        return None
    return min(max(least, fee_at(market.wanted_per_kvb, vsize)), most)


def fee_at(rate_per_kvb: int, vsize: int) -> int:
    """Return the fee of so many virtual bytes at a rate, rounded up."""
    return -(-rate_per_kvb * vsize // SATS_PER_KVB)


def fee_of(terms: Terms) -> int:
    """Return the fee that was decided; raises `ValidationFailure` when the record has none."""
    fee: JsonValue = terms.get(FEE)
    if not isinstance(fee, int) or isinstance(fee, bool) or fee <= 0:
        message = f"the recorded terms have no {FEE}"
        raise ValidationFailure(message)
    return fee


def shown_rate(per_kvb: float) -> str:
    """Return a rate in sat/vB, for people."""
    return f"{per_kvb / SATS_PER_KVB:.3f}".rstrip("0").rstrip(".")

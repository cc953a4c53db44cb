"""Reads what metrics show of a Bitcoin wallet: its balance, the current bid, and how many anchors that pays for."""

from vaultmesh.domain.tally import TargetFigures
from vaultmesh.ledgers.bitcoin.fees import Bids, fee_at, read_market
from vaultmesh.ledgers.bitcoin.reserve import ROUGH_VSIZE
from vaultmesh.ledgers.bitcoin.rpc import Node, Reply
from vaultmesh.ledgers.bitcoin.settings import SATS_PER_KVB


async def trusted_sats(node: Node) -> int:
    """Return what the wallet can spend for certain."""
    balances = Reply.of(await node.wallet("getbalances"))
    return Reply.of(balances.values("mine")).sats("trusted")


async def read_figures(node: Node, bids: Bids) -> TargetFigures:
    """Return balance, bid and runway of a wallet.

    Raises:
        AnchorError: the node does not answer, or has no such wallet.
    """
    sats, market = await trusted_sats(node), await read_market(node, bids)
    rate = max(market.wanted_per_kvb, bids.floor_per_kvb)
    is_cap_reached = rate > bids.cap_per_kvb
    anchors = sats // max(fee_at(min(rate, bids.cap_per_kvb), ROUGH_VSIZE), 1)
    bid = min(rate, bids.cap_per_kvb) / SATS_PER_KVB
    return TargetFigures(sats, bid, anchors, is_cap_reached=is_cap_reached)

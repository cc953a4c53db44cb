"""Keeps a round's output from everybody else who uses the wallet (B13), and sees its children (B4).

Locks live in the node's memory only: our record is what makes them again, and nothing stays locked that has no round.
"""

import logging
from collections.abc import Sequence

from pydantic import JsonValue

from vaultmesh.domain.aggregator.ledger_messages import RoundState, RoundView, WatchedRound
from vaultmesh.ledgers.bitcoin.core.transaction import Outpoint
from vaultmesh.ledgers.bitcoin.plan import Plan
from vaultmesh.ledgers.bitcoin.rpc import Node, NodeError, Reply

_log = logging.getLogger(__name__)


def lock_output(node: Node, outpoint: Outpoint) -> None:
    """Lock an output; blocks. One that is locked or spent already stays so."""
    try:
        node.ask_wallet("lockunspent", False, [{"txid": outpoint.txid, "vout": outpoint.position}])
    except NodeError as error:
        _log.debug("output not locked", extra={"output": str(outpoint), "err": str(error)})


async def lock_outputs(
    node: Node, rounds: Sequence[WatchedRound], views: Sequence[RoundView]
) -> None:
    """Lock the outputs of rounds whose bytes are nowhere: a node that was restarted knows no lock."""
    for watched, view in zip(rounds, views, strict=True):
        if view.state is RoundState.MISSING:
            await node.apart(lock_output, node, Plan.of(watched.reservation).outpoint)


async def has_descendants(node: Node, outpoint: Outpoint) -> bool:
    """Say whether the transaction in the pool that spends an output has children there."""
    asked: list[JsonValue] = [{"txid": outpoint.txid, "vout": outpoint.position}]
    for spending in Reply.each(await node.call("gettxspendingprevout", asked)):
        if spending.has("spendingtxid"):
            entry = await node.found("getmempoolentry", spending.text("spendingtxid"))
            return entry is not None and entry.number("descendantcount") > 1
    return False

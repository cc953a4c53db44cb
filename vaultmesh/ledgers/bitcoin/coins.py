"""Finds out what the node's chain says of the output that a round spends (B10, B13).

An output is unspent while the node shows it so. If the node does not show it, the output was spent, or its own transaction
is in no block now, or the node is behind or on another branch. The blocks tell who spent it (`search`).
"""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from enum import StrEnum

from pydantic import JsonValue

from vaultmesh.domain.aggregator.ledger_messages import RoundState, RoundView, WatchedRound
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.ledgers.bitcoin.core.transaction import Outpoint, Transaction, read_hex
from vaultmesh.ledgers.bitcoin.plan import Plan
from vaultmesh.ledgers.bitcoin.rpc import WALLET_MISSING, WALLET_UNSPECIFIED, Node, NodeError, Reply
from vaultmesh.ledgers.bitcoin.search import Needed

MOST_ANCESTORS = 25
"""Unconfirmed transactions that an output may hang on, as nodes count them."""
MOST_NEEDED = 500
"""Outputs that are searched for at most."""


class CoinState(StrEnum):
    """What the node shows of an output."""

    UNSPENT = "unspent"
    """It exists, and no block spends it."""
    UNCONFIRMED = "unconfirmed"
    """Its transaction is in no block now, and may come back."""
    NOT_SHOWN = "not_shown"
    """Neither: why, nothing but a block can tell."""


async def is_unspent(node: Node, plan: Plan) -> bool:
    """Say whether the node shows the output as unspent by any block."""
    return await node.call("gettxout", plan.txid, plan.vout, False) is not None


async def is_spent_in_pool(node: Node, plan: Plan) -> bool:
    """Say whether a transaction in the pool spends an output that no block spends."""
    return await node.call("gettxout", plan.txid, plan.vout, True) is None


async def coin_state(node: Node, plan: Plan) -> CoinState:
    """Say what the node shows of the output of a round."""
    if await is_unspent(node, plan):
        return CoinState.UNSPENT
    return CoinState.UNCONFIRMED if await is_unconfirmed(node, plan.txid) else CoinState.NOT_SHOWN


async def is_unconfirmed(node: Node, txid: str) -> bool:
    """Say whether a transaction is shown, and in no block: in the pool, or known to the wallet as not mined yet."""
    if await node.found("getmempoolentry", txid) is not None:
        return True
    known = await known_to_wallet(node, txid)
    return known is not None and known.number("confirmations") == 0


async def known_to_wallet(node: Node, txid: str) -> Reply | None:
    """Return what the wallet says of a transaction; nothing if it knows none, or if there is no such wallet now."""
    try:
        return await node.found_in_wallet("gettransaction", txid)
    except NodeError as error:
        if error.code in (WALLET_MISSING, WALLET_UNSPECIFIED):
            return None
        raise


async def needed_by(node: Node, plan: Plan, candidates: Iterable[str], commitment: bytes) -> Needed:
    """Return the outputs that a round needs: its own, and those that unconfirmed transactions before it spend.

    Another transaction that spends one of those takes the round's output away as well: its own one can't come back.
    """
    spenders = {plan.outpoint: frozenset(candidates)}
    asked = deque([plan.txid])
    for _ in range(MOST_ANCESTORS):
        if not asked:
            break
        txid = asked.popleft()
        known = await known_to_wallet(node, txid)
        if known is None or known.number("confirmations") > 0:
            continue
        for outpoint in _spent_by(known, txid)[: MOST_NEEDED - len(spenders)]:
            spenders[outpoint] = frozenset({txid})
            asked.append(outpoint.txid)
    return Needed(spenders, plan.outpoint, commitment)


def _spent_by(known: Reply, txid: str) -> list[Outpoint]:
    transaction = transaction_in(known, txid)
    return [] if transaction is None else [tx_input.outpoint for tx_input in transaction.inputs]


def transaction_in(known: Reply, txid: str) -> Transaction | None:
    """Return the transaction that the wallet shows, if its bytes are really that one's."""
    try:
        transaction = Transaction.parse(read_hex(known.text("hex")))
    except InvalidValue:
        return None
    return transaction if transaction.txid == txid else None


_log = logging.getLogger(__name__)


async def lock_output(node: Node, outpoint: Outpoint) -> None:
    """Lock an output; one that is locked or spent already stays so."""
    try:
        locked: list[JsonValue] = [{"txid": outpoint.txid, "vout": outpoint.position}]
        await node.wallet("lockunspent", False, locked)
    except NodeError as error:
        _log.debug("output not locked", extra={"output": str(outpoint), "err": str(error)})


async def lock_outputs(
    node: Node, rounds: Sequence[WatchedRound], views: Sequence[RoundView]
) -> None:
    """Lock the outputs of rounds whose bytes are nowhere: a node that was restarted knows no lock."""
    for watched, view in zip(rounds, views, strict=True):
        if view.state is RoundState.MISSING:
            await lock_output(node, Plan.of(watched.reservation).outpoint)


async def has_descendants(node: Node, outpoint: Outpoint) -> bool:
    """Say whether the transaction in the pool that spends an output has children there."""
    asked: list[JsonValue] = [{"txid": outpoint.txid, "vout": outpoint.position}]
    for spending in Reply.each(await node.call("gettxspendingprevout", asked)):
        if spending.has("spendingtxid"):
            entry = await node.found("getmempoolentry", spending.text("spendingtxid"))
            return entry is not None and entry.number("descendantcount") > 1
    return False

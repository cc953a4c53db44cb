"""The place where it is found out what became of the output that a round spends (B10, B13).

A node without index of transactions tells unspent outputs; who spent one of the wallet's is known to the wallet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from activities.anchors.btc_ledger import block_hash_at
from activities.anchors.btc_plan import Plan
from activities.anchors.btc_rpc import Node, NodeError, Reply
from vaultmesh.domain.bitcoin import Outpoint, Transaction
from vaultmesh.domain.errors import InvalidValue

MOST_SPENDERS_READ = 500
"""Transactions of the wallet that are read to find the one that spent an output."""


class CoinState(StrEnum):
    """What the confirmed chain says of an output."""

    FREE = "free"
    """It exists, unspent by any block."""
    SPENT = "spent"
    """Its transaction is in a block, and so is one that spent it."""
    UNCONFIRMED = "unconfirmed"
    """Its transaction is in no block now, and may come back."""
    GONE = "gone"
    """Its transaction can't come back as long as a block holds another one in its place."""
    UNKNOWN = "unknown"
    """The wallet does not know its transaction."""


@dataclass(frozen=True, slots=True)
class Spender:
    """A transaction in a block that took an output, or the output's own transaction's place."""

    txid: str
    """Empty if it is none that the wallet knows."""
    depth: int
    """Blocks from its own on; the wallet counts them on whatever it displaced, as a negative number."""


async def coin_state(node: Node, plan: Plan) -> CoinState:
    """Say what became of the output of a round."""
    unspent = await node.call("gettxout", plan.txid, plan.vout, False)
    if unspent is not None:
        return CoinState.FREE
    parent = await node.found_in_wallet("gettransaction", plan.txid)
    if parent is None:
        return CoinState.UNKNOWN
    depth = parent.number("confirmations")
    if depth > 0:
        return CoinState.SPENT
    return CoinState.GONE if depth < 0 else CoinState.UNCONFIRMED


async def is_spent_in_pool(node: Node, plan: Plan) -> bool:
    """Say whether a transaction in the pool spends the output."""
    return await node.call("gettxout", plan.txid, plan.vout, True) is None


async def spender_of(node: Node, plan: Plan, candidates: Sequence[str]) -> Spender | None:
    """Return the transaction in a block that spent a round's output, or took the place of the output's own one.

    Args:
        node: the node.
        plan: what the round spends.
        candidates: ids of the round's own transactions.
    """
    for txid in (plan.txid, *candidates):
        known = await node.found_in_wallet("gettransaction", txid)
        if known is not None and known.number("confirmations") < 0:
            return Spender(await _rival(node, known), -known.number("confirmations"))
    return await _in_history(node, plan, candidates)


async def _rival(node: Node, known: Reply) -> str:
    """Return which transaction in a block took another's place; empty if it is none of the wallet's."""
    for txid in known.texts("walletconflicts"):
        rival = await node.found_in_wallet("gettransaction", txid)
        if rival is not None and rival.number("confirmations") > 0:
            return txid
    return ""


async def _in_history(node: Node, plan: Plan, candidates: Sequence[str]) -> Spender | None:
    """Read what the wallet did since the reservation; needed when it never saw our own transactions."""
    try:
        since = await block_hash_at(node, plan.height)
    except NodeError:  # the chain is shorter now: nothing lies above
        return None
    listed = Reply.of(await node.wallet("listsinceblock", since))
    entries = Reply.each(listed.values("transactions"))
    confirmed = [one.text("txid") for one in entries if one.number("confirmations") > 0]
    others = [one for one in dict.fromkeys(confirmed) if one not in candidates]
    for txid in others[:MOST_SPENDERS_READ]:
        known = await node.found_in_wallet("gettransaction", txid)
        if known is not None and plan.outpoint in _spent_by(known):
            return Spender(txid, known.number("confirmations"))
    return None


def _spent_by(known: Reply) -> list[Outpoint]:
    try:
        transaction = Transaction.parse_hex(known.text("hex"))
    except InvalidValue:
        return []
    return [one.outpoint for one in transaction.inputs]

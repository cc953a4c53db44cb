"""Finds out for an operator what became of a round's output, and reads a transaction that is to be adopted."""

from collections.abc import Sequence

from vaultmesh.domain.aggregator.ledger_messages import SignedCandidate
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import ValidationFailure
from vaultmesh.ledgers.bitcoin.core.transaction import Transaction, read_hex
from vaultmesh.ledgers.bitcoin.fees import FEE
from vaultmesh.ledgers.bitcoin.node import Ledger, is_canonical
from vaultmesh.ledgers.bitcoin.plan import Plan
from vaultmesh.ledgers.bitcoin.rpc import Node
from vaultmesh.ledgers.driver import Fate


async def fate_of(
    node: Node, ledger: Ledger, plan: Plan, tx_refs: Sequence[str], final_depth: int
) -> Fate:
    """Say what the node shows of an output and of the candidates that spend it."""
    shown = [one for one in tx_refs if await _is_shown(node, one)]
    unused = await _why_unused(node, ledger, plan) or await _why_undoable(
        node, plan, tx_refs, final_depth
    )
    told = unused or f"{plan.outpoint} was spent, or ceased to exist, as {node.label} shows"
    return Fate(
        shown=f"{node.label} shows {', '.join(shown)}" if shown else "",
        unused=unused,
        lines=(told,),
    )


async def _why_unused(node: Node, ledger: Ledger, plan: Plan) -> str:
    """Return why the output may still be spent; empty once a block took it, or what it hangs on.

    An output that is not unspent while its own transaction is in a block was spent in a block; one whose transaction
    conflicts with a block is gone. So is one that was unspent in a block which is still in the chain. A node that shows
    neither that block nor its transaction says nothing.
    """
    if await node.call("gettxout", plan.txid, plan.vout, False) is not None:
        return f"{plan.outpoint} is unspent at {node.label}"
    was_unspent = bool(plan.block_hash) and not ledger.is_syncing
    if was_unspent and await is_canonical(node, ledger, plan.height, plan.block_hash):
        return ""
    parent = await node.found_in_wallet("gettransaction", plan.txid)
    if parent is None:
        return f"the wallet at {node.label} does not know the transaction of {plan.outpoint}"
    if parent.number("confirmations") == 0:
        return f"the transaction of {plan.outpoint} is in no block of {node.label}"
    return ""


async def _why_undoable(node: Node, plan: Plan, tx_refs: Sequence[str], final_depth: int) -> str:
    """Return why the spend can still be undone, where the wallet knows how deep it lies."""
    known = [await node.found_in_wallet("gettransaction", one) for one in (plan.txid, *tx_refs)]
    depths = [-one.number("confirmations") for one in known if one is not None]
    deepest = max(depths, default=0)
    if 0 < deepest < final_depth:
        return f"the spend of {plan.outpoint} is {deepest} of {final_depth} blocks deep at {node.label}"
    return ""


async def _is_shown(node: Node, txid: str) -> bool:
    """Say whether a transaction is in the pool, or in a block of the chain."""
    if await node.found("getmempoolentry", txid) is not None:
        return True
    known = await node.found_in_wallet("gettransaction", txid)
    return known is not None and known.number("confirmations") > 0


async def adoptable(node: Node, plan: Plan, txid: str) -> SignedCandidate:
    """Return a transaction that spends the output and carries the commitment; its number is the caller's to choose.

    Raises:
        ValidationFailure: the node does not show it, or it is not what the round signed.
    """
    known = await node.found_in_wallet("gettransaction", txid)
    if known is None or not await _is_shown(node, txid):
        message = f"{node.label} does not show {txid}: only a transaction that is in the ledger can be adopted"
        raise ValidationFailure(message)
    raw = known.text("hex")
    try:
        transaction = Transaction.parse_hex(raw)
    except InvalidValue as error:
        message = f"{txid} can't be read as a transaction: {error}"
        raise ValidationFailure(message) from None
    spends = [one.outpoint for one in transaction.inputs] == [plan.outpoint]
    commits = transaction.commitments == [read_hex(plan.commitment)]
    if transaction.txid != txid or not spends or not commits:
        what = "spend the round's output" if not spends else "carry its commitment"
        message = f"{txid} does not {what}: it can't be adopted"
        raise ValidationFailure(message)
    fee = plan.amount_sats - sum(one.sats for one in transaction.outputs)
    return SignedCandidate(n=0, tx_ref=txid, raw=raw, terms={FEE: fee})

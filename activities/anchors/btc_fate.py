"""Finds out for an operator what became of a round's output, and reads a transaction that is to be adopted."""

from collections.abc import Sequence

from activities.anchors.btc_coins import CoinState, coin_state, spender_of
from activities.anchors.btc_fees import FEE
from activities.anchors.btc_plan import Plan
from activities.anchors.btc_rpc import Node
from activities.anchors.contract import Fate
from vaultmesh.domain.bitcoin import Transaction, read_hex
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import ValidationFailure
from vaultmesh.domain.ledger import SignedCandidate


async def fate_of(node: Node, plan: Plan, tx_refs: Sequence[str]) -> Fate:
    """Say what the node shows of an output and of the candidates that spend it."""
    shown = [one for one in tx_refs if await _is_shown(node, one)]
    state = await coin_state(node, plan)
    spender = await spender_of(node, plan, tx_refs)
    by = spender.txid if spender is not None else ""
    is_used = state in (CoinState.SPENT, CoinState.GONE) and bool(by)
    why = "is unspent" if state is CoinState.FREE else "has no spender that the node shows"
    return Fate(
        shown=f"{node.label} shows {', '.join(shown)}" if shown else "",
        unused="" if is_used else f"{plan.outpoint} {why} at {node.label}",
        lines=(
            f"{plan.outpoint} is {state.value} at {node.label}, spent by {by or 'none that is known'}",
        ),
    )


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

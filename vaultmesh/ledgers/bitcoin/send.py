"""Sends signed bytes to the node, and turns its answer into a verdict (B7, X4).

1. Accepted is what the node took, holds already, or has in a block.
2. Missing inputs prove nothing alone: the output and its transaction are looked at, and the next look at the ledger
   tells what became of them. While the node is syncing, they mean that it does not know the output yet.
3. A refusal is judged by its text. One that is not in the table is looked up by id, and raised if that finds nothing.
"""

from vaultmesh.domain.aggregator.ledger_messages import Broadcasted, SignedCandidate, Verdict
from vaultmesh.domain.failures import (
    AnchorError,
    AuthFailure,
    FailureKind,
    NetworkFailure,
    ValidationFailure,
)
from vaultmesh.ledgers.bitcoin.coins import CoinState, coin_state
from vaultmesh.ledgers.bitcoin.core.transaction import COIN_SATS
from vaultmesh.ledgers.bitcoin.plan import Plan
from vaultmesh.ledgers.bitcoin.rpc import IN_CHAIN, MISSING_INPUTS, REFUSED, Node, NodeError
from vaultmesh.ledgers.bitcoin.settings import SATS_PER_KVB
from vaultmesh.ledgers.failures import failure_of

_KNOWN = ("already-in-mempool", "already-known", "same-nonwitness-data-in-mempool")
_MISSING = ("missingorspent", "missing-inputs", "missing inputs")
_TOO_LOW = (
    "insufficient fee",
    "min relay fee not met",
    "mempool min fee not met",
    "mempool full",
    "replacement-failed",
    "does not improve feerate diagram",
)
_NO_DATA = ("scriptpubkey", "datacarrier")
_NO_DATA_MEND = "let the node relay data outputs (datacarrier=1, datacarriersize of 40 or more); "
_NEVER = (
    "dust",
    "scriptpubkey",
    "datacarrier",
    "multi-op-return",
    "non-mandatory-script-verify",
    "mandatory-script-verify",
    "bad-txns",
    "tx-size",
    "version",
    "scriptsig",
)
_GUARD_NUMERATOR, _GUARD_DENOMINATOR = 11, 10
"""The node may find 10 % more than we recorded: signatures differ by a byte or two, amounts never."""
_TOO_HIGH = ("maximum configured", "max-fee-exceeded", "maxfeerate")


async def send(
    node: Node, plan: Plan, fee_sats: int, candidate: SignedCandidate, *, is_syncing: bool
) -> Broadcasted:
    """Send the bytes to a node that may be syncing; repeatable, keyed by the bytes themselves.

    Raises:
        ValidationFailure: no node will ever take these bytes.
        AuthFailure: the fee is above what was recorded.
        NetworkFailure: the node could not be reached.
        AnchorError: an answer we don't know, and the node does not know the transaction.
    """
    guard = fee_sats * SATS_PER_KVB * _GUARD_NUMERATOR // (plan.vsize * _GUARD_DENOMINATOR) + 1
    try:
        txid = await node.call("sendrawtransaction", candidate.raw, f"{guard / COIN_SATS:.8f}")
    except NodeError as error:
        return await _refused(node, plan, candidate, error, is_syncing=is_syncing)
    except AnchorError:
        if await _is_known(node, candidate.tx_ref):
            return Broadcasted(verdict=Verdict.ACCEPTED, message="found by its id")
        raise
    if txid != candidate.tx_ref:
        message = f"{node.label} took {candidate.tx_ref}, but named another id"
        raise ValidationFailure(message)
    return Broadcasted(verdict=Verdict.ACCEPTED)


async def _refused(
    node: Node, plan: Plan, candidate: SignedCandidate, error: NodeError, *, is_syncing: bool
) -> Broadcasted:
    text = error.text.lower()
    if error.code == IN_CHAIN or any(phrase in text for phrase in _KNOWN):
        return Broadcasted(verdict=Verdict.ACCEPTED, message="known already")
    if await _is_known(node, candidate.tx_ref):
        return Broadcasted(verdict=Verdict.ACCEPTED, message="found by its id")
    if any(phrase in text for phrase in _MISSING):
        return await _without_input(node, plan, error, is_syncing=is_syncing)
    if error.code not in (MISSING_INPUTS, REFUSED):
        raise error
    if any(phrase in text for phrase in _TOO_LOW):
        return Broadcasted(verdict=Verdict.FEE_TOO_LOW, message=str(error))
    if any(phrase in text for phrase in _TOO_HIGH):
        message = f"{error}: more than the recorded fee; nothing was sent"
        raise AuthFailure(message) from error
    never = any(phrase in text for phrase in _NEVER)
    kind = FailureKind.VALIDATION if never else FailureKind.UNKNOWN
    mend = _NO_DATA_MEND if any(phrase in text for phrase in _NO_DATA) else ""
    message = f"broadcast of {candidate.tx_ref} was not accepted: {error}; {mend}the same bytes are sent again"
    raise failure_of(kind, message) from error


async def _without_input(
    node: Node, plan: Plan, error: NodeError, *, is_syncing: bool
) -> Broadcasted:
    """Find out why the node does not see the spent output (B10)."""
    match await coin_state(node, plan):
        case CoinState.UNSPENT:
            raise error
        case CoinState.UNCONFIRMED:
            message = (
                f"the transaction of output {plan.outpoint} is in no block and not in the pool"
            )
            return Broadcasted(verdict=Verdict.GAP, message=message)
        case CoinState.NOT_SHOWN if is_syncing:
            message = f"{node.label} is still syncing, and does not have output {plan.outpoint} yet"
            raise NetworkFailure(message) from error
        case CoinState.NOT_SHOWN:
            return Broadcasted(verdict=Verdict.CONSUMED, message=str(error))


async def _is_known(node: Node, txid: str) -> bool:
    """Say whether the transaction is in the pool or in a block, as far as node and wallet can tell."""
    try:
        if await node.found("getmempoolentry", txid) is not None:
            return True
        ours = await node.found_in_wallet("gettransaction", txid)
    except AnchorError:
        return False
    return ours is not None and ours.number("confirmations") > 0

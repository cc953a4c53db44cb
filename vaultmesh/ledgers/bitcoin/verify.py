"""Checks a Bitcoin receipt's claim against the live chain; each way to be wrong has its own line.

The receipt proves by itself that the transaction is in the block; the node shows that the block is in the chain. So
no index of transactions is needed, and a pruned node will do.
"""

from datetime import UTC

from vaultmesh.domain.checks import Check, holds, holds_if, wrong
from vaultmesh.domain.depth import required_depth
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import ValidationFailure
from vaultmesh.domain.instants import write_time
from vaultmesh.ledgers.bitcoin.core.proof import BitcoinEvidence, Proven, prove
from vaultmesh.ledgers.bitcoin.core.transaction import Transaction
from vaultmesh.ledgers.bitcoin.node import Block, Ledger, Rules, block_of, read_ledger
from vaultmesh.ledgers.bitcoin.rpc import Node
from vaultmesh.ledgers.driver import DEPTH_CHECK, Claim


async def verify_claim(node: Node, rules: Rules, claim: Claim) -> list[Check]:
    """Check a claim, a line per check."""
    try:
        ledger = await read_ledger(node, rules.network)
    except ValidationFailure as error:
        return [wrong("network", str(error))]
    try:
        evidence = BitcoinEvidence.read(claim.evidence)
    except InvalidValue as error:
        return [
            holds("network", f"btc:{rules.network}"),
            wrong("evidence", str(error)),
        ]
    block = await block_of(node, evidence.block_hash)
    return [
        _network_check(rules, ledger, evidence),
        *_transaction_checks(claim, evidence),
        *_block_checks(claim, evidence, block, ledger),
        _depth_check(rules, claim, block),
    ]


def _network_check(rules: Rules, ledger: Ledger, evidence: BitcoinEvidence) -> Check:
    same = (evidence.network, evidence.genesis) == (rules.network.value, ledger.genesis)
    detail = f"btc:{rules.network}" if same else f"the evidence is of {evidence.network}"
    return holds_if("network", detail, condition=same)


def _transaction_checks(claim: Claim, evidence: BitcoinEvidence) -> list[Check]:
    try:
        transaction = Transaction.parse_hex(evidence.raw_transaction)
    except InvalidValue as error:
        return [wrong(name, str(error)) for name in ("transaction", "root")]
    roots = ", ".join(root.hex() for root in transaction.commitments)
    return [
        holds_if(
            "transaction",
            f"hashes to {transaction.txid}",
            condition=transaction.txid == claim.tx_ref,
        ),
        holds_if(
            "root",
            f"commits to {roots or '-'}",
            condition=transaction.commitments == [claim.commitment],
        ),
    ]


def _block_checks(
    claim: Claim, evidence: BitcoinEvidence, block: Block | None, ledger: Ledger
) -> list[Check]:
    try:
        proven: Proven | None = prove(evidence)
        detail = f"leads to block {evidence.block_hash}"
    except InvalidValue as error:
        proven, detail = None, str(error)
    canonical = block is not None and block.depth > 0
    height = None if proven is None else proven.height
    right_height = block is not None and block.ref.number == height == claim.block_number
    place = "an unknown block" if block is None else f"block {block.ref.number}"
    time = proven.header.time if proven is not None else None
    return [
        holds_if("merkle branch", detail, condition=proven is not None),
        holds_if("block", f"in {place}, claimed {claim.block_number}", condition=right_height),
        holds_if(
            "canonical",
            f"{place} {evidence.block_hash} is {'' if canonical else 'not '}in the chain"
            + _why_not(claim, block, ledger),
            condition=canonical,
        ),
        holds_if(
            "timestamp",
            f"block time {write_time(time) if time else 'unknown'} ± 2 h, "
            f"claimed {write_time(claim.anchor_ts)}",
            condition=time is not None and time == claim.anchor_ts.astimezone(UTC),
        ),
    ]


def _why_not(claim: Claim, block: Block | None, ledger: Ledger) -> str:
    """Say what a node that does not show the block in its chain knows about it."""
    if block is not None:
        return "" if block.depth else ": reorganised away"
    if ledger.is_syncing or ledger.height < claim.block_number:
        return (
            f" that the node has so far, at block {ledger.height}: ask again when it has caught up"
        )
    return ": the node never saw it"


def _depth_check(rules: Rules, claim: Claim, block: Block | None) -> Check:
    depth = block.depth if block is not None else 0
    required = required_depth([claim.required_depth], rules.confirmations)
    return holds_if(DEPTH_CHECK, f"{depth} of {required}", condition=depth >= required)

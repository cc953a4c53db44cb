"""Verifies an anchor on Bitcoin offline: from a trusted header down to the published root (B11)."""

from datetime import UTC

from vaultmesh.domain.checks import (
    TRUSTED,
    Check,
    SchemeFindings,
    Trust,
    holds,
    holds_if,
    stays_open,
    wrong,
)
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.instants import write_time
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.ledgers.bitcoin.core.blocks import Network
from vaultmesh.ledgers.bitcoin.core.proof import BitcoinEvidence, Proven, prove

_TRUSTED_HEADER = f"{TRUSTED}header"


def find(receipt: AnchorReceipt, commitment: MerkleRoot, trust: Trust) -> SchemeFindings:
    """Check everything that the receipt carries of its block, and whether one of its headers is trusted."""
    try:
        evidence = BitcoinEvidence.read(receipt.scheme_evidence)
        proven = prove(evidence)
    except InvalidValue as error:
        return SchemeFindings((wrong("block proof", str(error)),), "", "")
    checks = (
        _network_check(receipt, evidence, proven),
        *_claim_checks(receipt, commitment, proven),
        _work_check(receipt, proven),
        _trust_check(proven, trust),
    )
    when = f"{write_time(receipt.anchor_ts)} ± 2 h (the clock of the block's miner)"
    block = evidence.block_hash
    place = f"block {receipt.block_number}, {block}, transaction {receipt.tx_ref}"
    return SchemeFindings(checks, when, f"trust in a header from block {block} on", place=place)


def _network_check(receipt: AnchorReceipt, evidence: BitcoinEvidence, proven: Proven) -> Check:
    """Compare the names, and refuse headers that are too easy for the network: a private chain's are no other's."""
    reference = receipt.network.reference
    known = reference in set(Network) and evidence.genesis in Network(reference).geneses.values()
    same = known and evidence.network == reference
    detail = f"{receipt.network}, evidence of {evidence.network} from genesis {evidence.genesis}"
    if same and proven.easiest_target > Network(reference).easiest_target:
        return wrong(
            "network", f"{detail}; its headers claim less work than a block of {reference} takes"
        )
    return holds_if("network", detail, condition=same)


def _claim_checks(receipt: AnchorReceipt, commitment: MerkleRoot, proven: Proven) -> list[Check]:
    txid, header = proven.transaction.txid, proven.header
    roots = ", ".join(root.hex() for root in proven.transaction.commitments) or "nothing"
    time = receipt.anchor_ts.astimezone(UTC)
    return [
        holds_if("transaction", f"hashes to {txid}", condition=txid == receipt.tx_ref),
        holds_if(
            "root",
            f"commits to {roots}",
            condition=proven.transaction.commitments == [commitment.digest],
        ),
        holds("merkle branch", f"leads to block {header.hash}"),
        holds_if(
            "block number",
            f"the block says {proven.height}, the receipt {receipt.block_number}",
            condition=proven.height == receipt.block_number,
        ),
        holds_if(
            "timestamp",
            f"block time {write_time(header.time)}, claimed {write_time(time)}",
            condition=header.time == time,
        ),
    ]


def _work_check(receipt: AnchorReceipt, proven: Proven) -> Check:
    required = receipt.finality.required_depth
    detail = f"{proven.depth} of {required} headers follow each other, with the work they claim"
    if proven.depth >= required:
        return holds("depth", detail)
    return stays_open("depth", f"{detail}: not final yet")


def _trust_check(proven: Proven, trust: Trust) -> Check:
    trusted = next((header for header in proven.hashes if header in trust.headers), None)
    if trusted is not None:
        return holds(_TRUSTED_HEADER, trusted)
    detail = (
        f"whether {proven.hashes[-1]} is a block of everybody's chain: state it, or another one from "
        f"{proven.hashes[0]} on, with --trust-header"
    )
    return stays_open(_TRUSTED_HEADER, detail)

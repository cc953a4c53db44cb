"""Verifies an anchor on an EVM chain offline: from a trusted block hash down to the logged root."""

import re
from collections.abc import Mapping
from datetime import UTC

from pydantic import JsonValue

from vaultmesh.domain.checks import (
    TRUSTED,
    Check,
    SchemeFindings,
    Trust,
    holds,
    stays_open,
    wrong,
)
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.instants import write_time
from vaultmesh.domain.receipts.receipt import PROOF_MISSING, AnchorReceipt
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.ledgers.evm.core.proof import (
    HEADER,
    RECEIPT_PROOF,
    TRANSACTION_PROOF,
    TX_INDEX,
    BlockProof,
    Claim,
    proof_steps,
    read_bytes,
)
from vaultmesh.ledgers.evm.core.trie import HASH_BYTES

_ADDRESS_BYTES = 20
_CHAIN_ID = re.compile(r"0|[1-9][0-9]*")
"""Written in one way, so that no chain has two names."""
_TRUSTED_BLOCK = f"{TRUSTED}block"
_LONGEST_REASON = 300
_PROOF_KEYS = (HEADER, TX_INDEX, RECEIPT_PROOF, TRANSACTION_PROOF)


def find(receipt: AnchorReceipt, commitment: MerkleRoot, trust: Trust) -> SchemeFindings:
    """Check everything that the receipt carries of its block, and whether the block is trusted."""
    try:
        claim = _claim(receipt, commitment)
    except InvalidValue as error:
        return SchemeFindings((wrong("evidence", str(error)),), "", "")
    block_hash = "0x" + claim.block_hash.hex()
    checks = (*_block_checks(receipt, claim), _trust_check(block_hash, trust))
    when = f"{write_time(receipt.anchor_ts)} (the clock of the block's proposer or sequencer)"
    place = f"block {claim.block_number}, {block_hash}, transaction {receipt.tx_ref}"
    return SchemeFindings(checks, when, f"trust in block {block_hash}", place=place)


def _claim(receipt: AnchorReceipt, commitment: MerkleRoot) -> Claim:
    evidence = receipt.scheme_evidence
    reference = receipt.network.reference
    if not _CHAIN_ID.fullmatch(reference):
        message = f"{receipt.network} is not an EVM chain: its reference is no chain id"
        raise InvalidValue(message)
    return Claim(
        chain_id=int(reference),
        block_hash=read_bytes(evidence, "blockHash", HASH_BYTES),
        block_number=receipt.block_number,
        block_time=receipt.anchor_ts.astimezone(UTC),
        tx_hash=bytes.fromhex(receipt.tx_ref[2:]),
        raw_transaction=read_bytes(evidence, "rawTransaction"),
        contract=read_bytes(evidence, "contract", _ADDRESS_BYTES),
        batch_id=read_bytes(evidence, "batchId", HASH_BYTES),
        commitment=commitment.digest,
    )


def _block_checks(receipt: AnchorReceipt, claim: Claim) -> list[Check]:
    evidence = receipt.scheme_evidence
    if not any(key in evidence for key in _PROOF_KEYS):
        return [stays_open("block header", f"the receipt carries no block proof: {_why(evidence)}")]
    try:
        proof = BlockProof.read(evidence)
    except InvalidValue as error:
        return [wrong("block proof", str(error))]
    checks: list[Check] = []
    for name, step in proof_steps(claim, proof):
        try:
            checks.append(holds(name, step()))
        except InvalidValue as error:
            return [*checks, wrong(name, str(error))]
    return checks


def _why(evidence: Mapping[str, JsonValue]) -> str:
    """Return what the receipt itself says of it, made safe to show."""
    reason = evidence.get(PROOF_MISSING)
    if not isinstance(reason, str):
        return "not final yet, or the node could not show it"
    return "".join(filter(str.isprintable, reason))[:_LONGEST_REASON]


def _trust_check(block_hash: str, trust: Trust) -> Check:
    if block_hash in trust.blocks:
        return holds(_TRUSTED_BLOCK, block_hash)
    detail = f"whether {block_hash} is a final block of the chain: state it with --trust-block"
    return stays_open(_TRUSTED_BLOCK, detail)

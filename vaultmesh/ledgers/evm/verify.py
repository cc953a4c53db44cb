"""Checks a receipt's claim against the live chain; each way to be wrong has its own line."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC

from pydantic import JsonValue

from vaultmesh.domain.checks import Check, holds, holds_if, wrong
from vaultmesh.domain.depth import required_depth
from vaultmesh.domain.failures import ValidationFailure
from vaultmesh.domain.instants import write_time
from vaultmesh.ledgers.driver import DEPTH_CHECK, FINALITY_CHECK, Claim
from vaultmesh.ledgers.evm.anchor_contract import anchored_logs
from vaultmesh.ledgers.evm.evidence import hash_of
from vaultmesh.ledgers.evm.providers import Provider, Providers
from vaultmesh.ledgers.evm.reads import (
    Block,
    ChainTip,
    Rules,
    TxReceipt,
    block_at,
    read_tip,
    tx_receipt,
)

SUCCESS = 1
"""`status` of a receipt; where a node leaves it out, an event says the same: a reverted call logs nothing."""


@dataclass(frozen=True, slots=True)
class _Chain:
    tip: ChainTip
    receipt: TxReceipt | None
    at_height: Block | None
    """The canonical block at the claimed height."""


async def verify_claim(providers: Providers, rules: Rules, claim: Claim) -> list[Check]:
    """Check a claim; with a quorum, a line passes only if that many providers let it pass."""
    try:
        chains = await providers.every(lambda provider: _read(provider, rules, claim))
    except ValidationFailure as error:
        return [wrong("chain id", str(error))]
    columns = [_checks(rules, claim, chain) for chain in chains]
    return [_agreed(lines, providers.quorum) for lines in zip(*columns, strict=True)]


async def _read(provider: Provider, rules: Rules, claim: Claim) -> _Chain:
    tip, receipt, block = await asyncio.gather(
        read_tip(provider, rules),
        tx_receipt(provider, claim.tx_ref),
        block_at(provider, hex(claim.block_number)),
    )
    return _Chain(tip, receipt, block)


def _agreed(lines: tuple[Check, ...], quorum: int) -> Check:
    passed = [line for line in lines if line.passed]
    failed = [line for line in lines if not line.passed]
    return passed[0] if len(passed) >= quorum else failed[0]


def _checks(rules: Rules, claim: Claim, chain: _Chain) -> list[Check]:
    return [
        holds("chain id", f"eip155:{rules.chain_id}"),
        *_transaction_checks(rules, claim, chain.receipt),
        *_block_checks(claim, chain),
        _raw_check(claim),
        *_finality_checks(rules, claim, chain),
    ]


def _transaction_checks(rules: Rules, claim: Claim, receipt: TxReceipt | None) -> list[Check]:
    names = ("transaction", "status", "contract", "root", "batch id")
    if receipt is None:
        detail = f"{claim.tx_ref} is in no block"
        return [wrong(name, detail) for name in names]
    contract = _text(claim.evidence, "contract").lower()
    batch_id = _text(claim.evidence, "batchId").lower()
    logged = anchored_logs(receipt.logs, rules.contract)
    roots = {"0x" + root.hex() for root, _ in logged}
    pairs = {(root, "0x" + label.hex()) for root, label in logged}
    right_place = receipt.to in (None, contract) and contract == rules.contract
    succeeded = receipt.status == SUCCESS or (receipt.status is None and bool(logged))
    return [
        holds("transaction", claim.tx_ref),
        holds_if("status", "succeeded" if succeeded else "reverted", condition=succeeded),
        holds_if(
            "contract",
            f"sent to {receipt.to}, claimed {contract}, expected {rules.contract}",
            condition=right_place,
        ),
        holds_if(
            "root",
            f"logged {', '.join(sorted(roots)) or 'nothing'}",
            condition="0x" + claim.commitment.hex() in roots,
        ),
        holds_if(
            "batch id",
            f"claimed {batch_id or 'none'}",
            condition=(claim.commitment, batch_id) in pairs,
        ),
    ]


def _block_checks(claim: Claim, chain: _Chain) -> list[Check]:
    claimed_hash = _text(claim.evidence, "blockHash").lower()
    receipt, block = chain.receipt, chain.at_height
    in_block = (
        receipt is not None
        and receipt.block_number == claim.block_number
        and receipt.block_hash == claimed_hash
    )
    place = f"{receipt.block_number} {receipt.block_hash}" if receipt is not None else "none"
    canonical_hash = block.hash if block is not None else "none"
    time = block.ref.time if block is not None else None
    return [
        holds_if(
            "block",
            f"in block {place}, claimed {claim.block_number} {claimed_hash}",
            condition=in_block,
        ),
        holds_if(
            "canonical",
            f"block {claim.block_number} of the chain is {canonical_hash}"
            + ("" if canonical_hash == claimed_hash else ": reorganised away"),
            condition=canonical_hash == claimed_hash,
        ),
        holds_if(
            "timestamp",
            f"block time {write_time(time) if time else 'unknown'}, claimed {write_time(claim.anchor_ts)}",
            condition=time is not None and time == claim.anchor_ts.astimezone(UTC),
        ),
    ]


def _raw_check(claim: Claim) -> Check:
    tx_hash = hash_of(_text(claim.evidence, "rawTransaction"))
    return holds_if(
        "raw transaction", f"hashes to {tx_hash or 'nothing'}", condition=tx_hash == claim.tx_ref
    )


def _finality_checks(rules: Rules, claim: Claim, chain: _Chain) -> list[Check]:
    claimed_hash = _text(claim.evidence, "blockHash").lower()
    stands = (
        chain.receipt is not None
        and chain.at_height is not None
        and chain.at_height.hash == claimed_hash == chain.receipt.block_hash
    )
    depth = chain.tip.depth_of(claim.block_number) if stands else 0
    required = required_depth([claim.required_depth], rules.confirmations)
    settled = rules.tag is None or chain.tip.settles(claim.block_number)
    what = f"{rules.tag} block is {chain.tip.settled_number}"
    if rules.tag is None:
        what = "by depth alone"
    elif chain.tip.unsettled:
        what = chain.tip.unsettled
    return [
        holds_if(DEPTH_CHECK, f"{depth} of {required}", condition=stands and depth >= required),
        holds_if(FINALITY_CHECK, what, condition=stands and settled),
    ]


def _text(evidence: Mapping[str, JsonValue], key: str) -> str:
    value = evidence.get(key)
    return value if isinstance(value, str) else ""

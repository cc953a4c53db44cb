"""Collects what an included round's receipts carry of an EVM chain.

A block's hash fixes its receipts: what was seen included once is completed from what is stored, also when a node has
forgotten the transaction meanwhile, as long as that block is canonical.
"""

import asyncio
from dataclasses import dataclass

from eth_utils.crypto import keccak
from pydantic import JsonValue

from vaultmesh.domain.aggregator.ledger_messages import BlockRef, RoundView
from vaultmesh.domain.failures import NetworkFailure, ValidationFailure
from vaultmesh.domain.receipts.receipt import PROOF_MISSING
from vaultmesh.ledgers.driver import Evidence
from vaultmesh.ledgers.evm.anchor_contract import anchored_logs
from vaultmesh.ledgers.evm.block_encoding import keccak_hex
from vaultmesh.ledgers.evm.block_proof import portable_proof
from vaultmesh.ledgers.evm.core.proof import Claim
from vaultmesh.ledgers.evm.node_errors import NodeError
from vaultmesh.ledgers.evm.outcome import OwnCall, contradicts
from vaultmesh.ledgers.evm.providers import Provider, Providers, supported_by
from vaultmesh.ledgers.evm.reads import (
    Block,
    ChainTip,
    Rules,
    TxReceipt,
    block_at,
    raw_transaction,
    read_tip,
    receipt_in_block,
    tx_receipt,
)


@dataclass(frozen=True, slots=True)
class _EvidenceReport:
    receipt: TxReceipt | None
    """None: the node has forgotten it; the block stands."""
    block: Block
    tip: ChainTip


async def collect(
    providers: Providers,
    rules: Rules,
    view: RoundView,
    raw: str,
    wanted: OwnCall | None,
) -> Evidence:
    """Collect what `quorum` providers show now; `wanted` is what the round is to have logged, where that is known.

    Raises:
        NetworkFailure: the block is not canonical any more, or too few providers show it.
        ValidationFailure: the transaction is not what the round wants.
    """
    if view.block is None:
        message = f"round {view.round_id} is in no block"
        raise NetworkFailure(message)
    seen_in = view.block
    agreeing = await _agreeing(providers, rules, view, seen_in)
    chosen = next((report for report in agreeing if report.receipt is not None), agreeing[0])
    call = _logged(chosen.receipt, rules, wanted)
    raw = raw or await _raw_from_chain(providers, view.tx_ref)
    if raw:
        require_bytes_of(raw, view.tx_ref)
    scheme: dict[str, JsonValue] = {
        "contract": call.contract,
        "batchId": "0x" + call.batch_id.hex(),
        "blockHash": chosen.block.hash,
        "rawTransaction": raw,
        "finality": _finality(rules, [report.tip for report in agreeing]),
        "quorum": rules.quorum,
    }
    if view.final and raw:
        claim = _claim(rules, chosen, raw, call)
        scheme |= await portable_proof(providers, claim)
    elif view.final:
        scheme[PROOF_MISSING] = "the signed bytes are lost, and no node shows them"
    return Evidence(scheme, view.tx_ref, view.tx_ref, seen_in.number, chosen.block.ref.time)


async def _agreeing(
    providers: Providers, rules: Rules, view: RoundView, seen_in: BlockRef
) -> list[_EvidenceReport]:
    """Return what the providers show that agree on the block; raises `NetworkFailure` if they are fewer than the quorum."""
    answers = await providers.every(lambda provider: _report(provider, rules, view, seen_in))
    agreeing = [answer for answer in answers if isinstance(answer, _EvidenceReport)]
    if len(agreeing) < providers.quorum:
        reasons = dict.fromkeys(answer for answer in answers if isinstance(answer, str))
        message = f"block {seen_in.number} with {view.tx_ref}: {'; '.join(reasons)}; looking again"
        raise NetworkFailure(message)
    return agreeing


def _claim(rules: Rules, report: _EvidenceReport, raw: str, call: OwnCall) -> Claim:
    """Return what the portable proof (E15) is to prove."""
    block = report.block
    return Claim(
        chain_id=rules.chain_id,
        block_hash=bytes.fromhex(block.hash[2:]),
        block_number=block.number,
        block_time=block.ref.time,
        tx_hash=keccak(bytes.fromhex(raw.removeprefix("0x"))),
        raw_transaction=bytes.fromhex(raw.removeprefix("0x")),
        contract=bytes.fromhex(call.contract.removeprefix("0x")),
        commitment=call.commitment,
        batch_id=call.batch_id,
    )


def require_bytes_of(raw: str, tx_ref: str) -> None:
    """Raise `ValidationFailure` unless the signed bytes are those of the transaction."""
    if hash_of(raw) != tx_ref:
        message = f"the stored bytes are not those of {tx_ref}"
        raise ValidationFailure(message)


def hash_of(raw: str) -> str:
    """Return the transaction hash of signed bytes; empty when they are no hex."""
    try:
        return keccak_hex(bytes.fromhex(raw.removeprefix("0x")))
    except ValueError:
        return ""


async def _report(
    provider: Provider, rules: Rules, view: RoundView, seen_in: BlockRef
) -> _EvidenceReport | str:
    """Return what a provider shows of the block, or why it does not speak for it."""
    tx_ref = view.tx_ref
    tip, receipt, block = await asyncio.gather(
        read_tip(provider, rules),
        tx_receipt(provider, tx_ref),
        block_at(provider, hex(seen_in.number)),
    )
    if block is None:
        return f"{provider.label} does not show that block; a node that keeps its history must be in rpcUrls"
    if block.ref != seen_in:  # also another time of the same block: no provider decides anchorTs
        return f"not canonical any more at {provider.label}"
    if view.final and rules.tag is not None and not tip.settles(block.number):
        # a node that lags would have the receipt contradict itself
        return f"not final at {provider.label}" + (f": {tip.unsettled}" if tip.unsettled else "")
    if receipt is None:  # not an index of transactions that old, perhaps
        receipt = await receipt_in_block(provider, tx_ref, seen_in.number)
    if receipt is not None and receipt.block_hash != seen_in.hash:
        return f"{provider.label} shows the transaction in another block, which is not canonical"
    return _EvidenceReport(receipt, block, tip)


def _logged(receipt: TxReceipt | None, rules: Rules, wanted: OwnCall | None) -> OwnCall:
    """Return what the transaction has logged; of a forgotten receipt, what it was seen to log."""
    if receipt is None:
        if wanted is None:
            message = "no provider shows the transaction's receipt any more; looking again"
            raise NetworkFailure(message)
        return wanted
    contract = wanted.contract if wanted is not None else rules.contract
    logged = [OwnCall(contract, *pair) for pair in anchored_logs(receipt.logs, contract)]
    own = next((call for call in logged if wanted in (None, call)), None)
    if own is None or contradicts(receipt, own):
        message = f"{receipt.tx_hash} does not anchor this round at {contract}"
        raise ValidationFailure(message)
    return own


def _finality(rules: Rules, tips: list[ChainTip]) -> dict[str, JsonValue]:
    tag_block: JsonValue = None
    settled = [tip.settled_number for tip in tips if tip.settled_number is not None]
    if rules.tag is not None and len(settled) >= rules.quorum:
        tag_block = supported_by(settled, rules.quorum)
    return {"rule": rules.finality.value, "tag": rules.tag, "tagBlock": tag_block}


async def _raw_from_chain(providers: Providers, tx_ref: str) -> str:
    """Read the bytes back when the storage has lost them; not every node offers that."""
    try:
        return await providers.first(lambda provider: raw_transaction(provider, tx_ref))
    except (NodeError, NetworkFailure):
        return ""

"""The place where an included round's receipts get what they carry of an EVM chain.

A block's hash fixes its receipts: what was seen included once is completed from what is stored, also when a node has
forgotten the transaction meanwhile, as long as that block is canonical.
"""

import asyncio
from dataclasses import dataclass

from eth_utils.crypto import keccak
from pydantic import JsonValue

from activities.anchors.contract import Evidence
from activities.anchors.evm_contract import anchored_logs
from activities.anchors.evm_errors import NodeError
from activities.anchors.evm_horizon import Horizon, Rules, read_horizon
from activities.anchors.evm_outcome import OwnCall, contradicts
from activities.anchors.evm_portable import portable_proof
from activities.anchors.evm_reads import (
    Block,
    TxReceipt,
    block_at,
    raw_transaction,
    receipt_in_block,
    tx_receipt,
)
from activities.anchors.evm_rpc import Provider, Providers, supported_by
from vaultmesh.domain.evm_proof import Claim
from vaultmesh.domain.failures import NetworkFailure, ValidationFailure
from vaultmesh.domain.ledger import BlockRef, RoundView


@dataclass(frozen=True, slots=True)
class _Exhibit:
    receipt: TxReceipt | None
    """None: the node has forgotten it; the block stands."""
    block: Block
    horizon: Horizon


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
    shown = await providers.every(lambda one: _exhibit(one, rules, view, seen_in))
    agreeing = [one for one in shown if one is not None]
    if len(agreeing) < providers.quorum:
        message = (
            f"block {seen_in.number} with {view.tx_ref} is not canonical any more{', or not final,' if view.final else ''} at "
            f"{len(shown) - len(agreeing)} of {len(shown)} providers; looking again"
        )
        raise NetworkFailure(message)
    exhibit = next((one for one in agreeing if one.receipt is not None), agreeing[0])
    call = _logged(exhibit.receipt, rules, wanted)
    raw = raw or await _raw_from_chain(providers, view.tx_ref)
    if raw:
        require_bytes_of(raw, view.tx_ref)
    scheme: dict[str, JsonValue] = {
        "contract": call.contract,
        "batchId": "0x" + call.batch_id.hex(),
        "blockHash": exhibit.block.hash,
        "rawTransaction": raw,
        "finality": _finality(rules, [one.horizon for one in agreeing]),
        "quorum": rules.quorum,
    }
    if view.final and raw:
        claim = _claim(rules, exhibit, raw, call)
        scheme |= await portable_proof(providers, claim)
    return Evidence(scheme, view.tx_ref, view.tx_ref, seen_in.number, exhibit.block.ref.time)


def _claim(rules: Rules, exhibit: _Exhibit, raw: str, call: OwnCall) -> Claim:
    """Return what the portable proof (E15) is to prove."""
    block = exhibit.block
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
        return "0x" + keccak(bytes.fromhex(raw.removeprefix("0x"))).hex()
    except ValueError:
        return ""


async def _exhibit(
    provider: Provider, rules: Rules, view: RoundView, seen_in: BlockRef
) -> _Exhibit | None:
    tx_ref = view.tx_ref
    horizon, receipt, block = await asyncio.gather(
        read_horizon(provider, rules),
        tx_receipt(provider, tx_ref),
        block_at(provider, hex(seen_in.number)),
    )
    if block is None or block.ref != seen_in:
        return None  # also another time of the same block: no provider alone decides anchorTs
    if view.final and rules.tag is not None and not horizon.settles(block.number):
        return None  # a node that lags would have the receipt contradict itself
    if receipt is None:  # not an index of transactions that old, perhaps
        receipt = await receipt_in_block(provider, tx_ref, seen_in.number)
    if receipt is not None and receipt.block_hash != seen_in.hash:
        return None
    return _Exhibit(receipt, block, horizon)


def _logged(receipt: TxReceipt | None, rules: Rules, wanted: OwnCall | None) -> OwnCall:
    """Return what the transaction has logged; of a forgotten receipt, what it was seen to log."""
    if receipt is None:
        if wanted is None:
            message = "no provider shows the transaction's receipt any more; looking again"
            raise NetworkFailure(message)
        return wanted
    contract = wanted.contract if wanted is not None else rules.contract
    logged = [OwnCall(contract, *pair) for pair in anchored_logs(receipt.logs, contract)]
    found = next((one for one in logged if wanted in (None, one)), None)
    if found is None or contradicts(receipt, found):
        message = f"{receipt.tx_hash} does not anchor this round at {contract}"
        raise ValidationFailure(message)
    return found


def _finality(rules: Rules, horizons: list[Horizon]) -> dict[str, JsonValue]:
    tag_block: JsonValue = None
    settled = [one.settled_number for one in horizons if one.settled_number is not None]
    if rules.tag is not None and len(settled) >= rules.quorum:
        tag_block = supported_by(settled, rules.quorum)
    return {"rule": rules.finality.value, "tag": rules.tag, "tagBlock": tag_block}


async def _raw_from_chain(providers: Providers, tx_ref: str) -> str:
    """Read the bytes back when the storage has lost them; not every node offers that."""
    try:
        return await providers.first(lambda provider: raw_transaction(provider, tx_ref))
    except (NodeError, NetworkFailure):
        return ""

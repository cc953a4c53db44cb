"""The place where an included round's receipts get what they carry of a Bitcoin block (B8).

Branch and header are read when the transaction is in a block, and kept in the receipt: what was stored then is completed
at finality by headers alone, which every node keeps. So it takes neither the wallet nor a block that was pruned since.
What is written is checked first, as whoever reads the receipt will check it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from pydantic import JsonValue

from activities.anchors.btc_ledger import Rules, block_hash_at, block_of, header_of, read_ledger
from activities.anchors.btc_rpc import Node, NodeError, Reply
from activities.anchors.contract import Evidence
from vaultmesh.domain.bitcoin import Transaction
from vaultmesh.domain.bitcoin_blocks import MOST_HEADERS, merkle_branch
from vaultmesh.domain.bitcoin_networks import Network
from vaultmesh.domain.bitcoin_proof import BitcoinEvidence, prove
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure, ValidationFailure
from vaultmesh.domain.ledger import BlockRef, RoundView

_WITH_IDS = 1
"""Verbosity: the block with the ids of its transactions."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the round wants of its transaction."""

    commitment: bytes | None
    """None where the caller does not know it."""
    required_depth: int
    """Headers that the receipt carries once it is final, the block's own included."""
    stored: Mapping[str, JsonValue] = field(default_factory=dict)
    """Evidence that a receipt of the round carries already; empty without one."""


@dataclass(frozen=True, slots=True)
class _Place:
    """How a block holds a transaction."""

    header: str
    merkle_branch: list[str]
    position: int
    coinbase: str
    coinbase_branch: list[str]

    @classmethod
    def of(cls, stored: BitcoinEvidence) -> Self:
        """Take it from what a receipt carries."""
        branches = stored.merkle_branch, stored.coinbase_branch
        return cls(stored.header, branches[0], stored.position, stored.coinbase, branches[1])


async def collect(node: Node, rules: Rules, view: RoundView, raw: str, wanted: Wanted) -> Evidence:
    """Collect what the node shows now.

    Raises:
        NetworkFailure: the block is not in the chain any more, or its data is pruned.
        ValidationFailure: the transaction is not what the round wants.
    """
    if view.block is None:
        message = f"round {view.round_id} is in no block"
        raise NetworkFailure(message)
    ledger = await read_ledger(node, rules.network)
    block = await block_of(node, view.block.hash)
    if block is None or block.depth == 0:
        known = "shown" if block is None else "in the chain any more"
        message = f"block {view.block.number} with {view.tx_ref} is not {known}; looking again"
        raise NetworkFailure(message)
    stored = _stored(wanted, block.ref.hash, view.tx_ref)
    raw = raw or (stored.raw_transaction if stored else await _raw_from_wallet(node, view.tx_ref))
    require_transaction(raw, view.tx_ref, wanted.commitment)
    place = _Place.of(stored) if stored else await _place(node, view.tx_ref, block.ref)
    evidence = BitcoinEvidence(
        network=rules.network.value,
        genesis=ledger.genesis,
        raw_transaction=raw,
        block_hash=block.ref.hash,
        header=place.header,
        merkle_branch=place.merkle_branch,
        position=place.position,
        coinbase=place.coinbase,
        coinbase_branch=place.coinbase_branch,
        headers=await _headers_on_top(node, block.ref.number, wanted) if view.final else [],
    )
    try:
        prove(evidence)
    except InvalidValue as error:
        message = (
            f"{node.label} shows data of block {block.ref.hash} that does not fit together: {error}"
        )
        raise NetworkFailure(message) from error
    return Evidence(evidence.document(), view.tx_ref, view.tx_ref, block.ref.number, block.ref.time)


def proven_transaction(network: Network, commitment: bytes, stored: Mapping[str, JsonValue]) -> str:
    """Return the id of the transaction that stored evidence proves to commit to a root in its block; empty if it does not."""
    try:
        evidence = BitcoinEvidence.read(stored)
        transaction = prove(evidence).transaction
    except InvalidValue:
        return ""
    fits = evidence.network == network and transaction.commitments == [commitment]
    return transaction.txid if fits else ""


def _stored(wanted: Wanted, block_hash: str, txid: str) -> BitcoinEvidence | None:
    """Return what a receipt carries, if it proves the same transaction in the same block."""
    try:
        stored = BitcoinEvidence.read(wanted.stored).model_copy(update={"headers": []})
        proven = prove(stored)
    except InvalidValue:
        return None
    is_same = (stored.block_hash, proven.transaction.txid) == (block_hash, txid)
    return stored if is_same else None


async def _place(node: Node, txid: str, block: BlockRef) -> _Place:
    """Read from the node how the block holds the transaction."""
    txids = await _transactions_of(node, block.hash)
    if txid not in txids:
        message = f"{txid} is not in block {block.number}; looking again"
        raise NetworkFailure(message)
    position = txids.index(txid)
    return _Place(
        header=(await header_of(node, block.hash)).raw.hex(),
        merkle_branch=merkle_branch(txids, position),
        position=position,
        coinbase=await _coinbase_of(node, block.hash, txids[0]),
        coinbase_branch=merkle_branch(txids, 0),
    )


def require_transaction(raw: str, txid: str, commitment: bytes | None) -> None:
    """Raise `ValidationFailure` unless the bytes are that transaction, and commit to what they should."""
    try:
        transaction = Transaction.parse_hex(raw)
    except InvalidValue as error:
        message = f"the stored bytes of {txid} are malformed: {error}"
        raise ValidationFailure(message) from error
    if transaction.txid != txid:
        message = f"the stored bytes are not those of {txid}"
        raise ValidationFailure(message)
    if commitment is not None and transaction.commitments != [commitment]:
        message = f"{txid} does not commit to {commitment.hex()}"
        raise ValidationFailure(message)


async def _transactions_of(node: Node, block_hash: str) -> list[str]:
    try:
        block = Reply.of(await node.call("getblock", block_hash, _WITH_IDS))
    except NodeError as error:
        message = (
            f"{node.label} does not have block {block_hash} any more, which the receipt's proof is made of: "
            f"use a node that keeps it ({error})"
        )
        raise NetworkFailure(message) from error
    return block.texts("tx")


async def _coinbase_of(node: Node, block_hash: str, txid: str) -> str:
    """Return a block's first transaction without its witness, which says nothing that we need."""
    raw = await node.call("getrawtransaction", txid, 0, block_hash)
    try:
        return Transaction.parse_hex(str(raw)).serialised(witness=False).hex()
    except InvalidValue as error:
        message = f"{node.label} answered no first transaction of block {block_hash}: {error}"
        raise NetworkFailure(message) from error


async def _headers_on_top(node: Node, number: int, wanted: Wanted) -> list[str]:
    """Return the headers after a block, up to the depth that made it final."""
    last = number + min(wanted.required_depth, MOST_HEADERS) - 1
    try:
        hashes = [await block_hash_at(node, one) for one in range(number + 1, last + 1)]
    except NodeError as error:
        message = f"the chain is shorter than it was: block {last} is missing; looking again"
        raise NetworkFailure(message) from error
    return [(await header_of(node, one)).raw.hex() for one in hashes]


async def _raw_from_wallet(node: Node, txid: str) -> str:
    known = await node.found_in_wallet("gettransaction", txid)
    if known is None:
        message = f"neither the storage nor the wallet has the bytes of {txid}"
        raise NetworkFailure(message)
    return known.text("hex")

"""The place where an anchor on an EVM chain is proven from its block's header, without a node (E15).

1. A block hash is the Keccak-256 of the header's RLP; the header names the roots of two tries.
2. One trie holds the signed transaction, the other at the same index what became of it, with the logs.
3. The signed transaction binds chain id and contract, the logs bind commitment and batch id (E7).
4. Whether the block is the chain's is not proven here: who asks states which block hashes are trusted.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from eth_utils.crypto import keccak
from pydantic import JsonValue

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.merkle_patricia import HASH_BYTES, Item, decode, index_key, proven_value
from vaultmesh.domain.receipt import LATEST_SECOND, write_time

TOPIC = bytes.fromhex("422475c780472c369a714f8b6a226f0d5545429886a44c599148ec3b2e408fe2")
"""First topic of `BatchAnchored(bytes32 indexed root, bytes32 indexed batchId, string memo)`."""
HEADER, TX_INDEX, RECEIPT_PROOF, TRANSACTION_PROOF = (
    "header",
    "transactionIndex",
    "receiptProof",
    "transactionProof",
)
"""Keys of the proof in a receipt's evidence."""
DEEPEST = 64
"""Most nodes of one proof: as many as a key of 32 bytes has nibbles."""

_HEX = re.compile(r"0x(?:[0-9a-f]{2})*")
_TRANSACTIONS_ROOT, _RECEIPTS_ROOT, _NUMBER, _TIME = 4, 5, 8, 11
"""Places in a header."""
_FEWEST_HEADER_ITEMS = 15
_CALLED_CONTRACT = {1: 4, 2: 5, 3: 5, 4: 5}
"""Place of `to` by transaction type; `chainId` is the first item of each."""
_FIRST_UNTYPED = 0xC0
"""Bytes from here on begin an RLP list: a legacy form without type (EIP-2718)."""
_STATUS, _LOGS, _RECEIPT_ITEMS = 0, 3, 4
_SUCCESS = b"\x01"
_LOG_ITEMS = 3


@dataclass(frozen=True, slots=True)
class Claim:
    """What an anchor receipt says of its transaction; hashes and addresses as bytes."""

    chain_id: int
    block_hash: bytes
    block_number: int
    block_time: datetime
    tx_hash: bytes
    raw_transaction: bytes
    contract: bytes
    batch_id: bytes
    """The 32 bytes in the event."""
    commitment: bytes


@dataclass(frozen=True, slots=True)
class BlockProof:
    """What a final receipt carries of its block."""

    header: bytes
    """RLP."""
    tx_index: int
    receipt_nodes: Sequence[bytes]
    """From the root of the receipts' trie down, each in RLP."""
    transaction_nodes: Sequence[bytes]

    @classmethod
    def read(cls, evidence: Mapping[str, JsonValue]) -> Self:
        """Read the proof in a receipt's evidence.

        Raises:
            InvalidValue: it is missing or malformed.
        """
        index = evidence.get(TX_INDEX)
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            message = f"{TX_INDEX} is not a count"
            raise InvalidValue(message)
        return cls(
            header=read_bytes(evidence, HEADER),
            tx_index=index,
            receipt_nodes=_read_nodes(evidence, RECEIPT_PROOF),
            transaction_nodes=_read_nodes(evidence, TRANSACTION_PROOF),
        )

    def document(self) -> dict[str, JsonValue]:
        """Return what a receipt's evidence carries."""
        return {
            HEADER: "0x" + self.header.hex(),
            TX_INDEX: self.tx_index,
            RECEIPT_PROOF: ["0x" + node.hex() for node in self.receipt_nodes],
            TRANSACTION_PROOF: ["0x" + node.hex() for node in self.transaction_nodes],
        }


def verify_receipt_proof(claim: Claim, proof: BlockProof) -> None:
    """Check everything that the block's hash fixes about an anchor.

    Raises:
        InvalidValue: names what is wrong.
    """
    for _, step in proof_steps(claim, proof):
        step()


def proof_steps(claim: Claim, proof: BlockProof) -> list[tuple[str, Callable[[], str]]]:
    """Return the checks by name, in the order in which they MUST be made.

    Each returns what it found, or raises `InvalidValue`; after a failure the later ones mean nothing.
    """
    walk = _Walk(claim, proof)
    return [
        ("block header", walk.header),
        ("block time", walk.time),
        ("transaction", walk.transaction),
        ("contract", walk.contract),
        ("transaction receipt", walk.receipt),
        ("root", walk.root),
    ]


def read_bytes(evidence: Mapping[str, JsonValue], key: str, length: int | None = None) -> bytes:
    """Read `0x` and lower-case hex.

    Raises:
        InvalidValue: another form or length, or nothing.
    """
    return _bytes(evidence.get(key), key, length)


class _Walk:
    """One walk from a header to a log."""

    def __init__(self, claim: Claim, proof: BlockProof) -> None:
        self._claim = claim
        self._proof = proof
        self._header: Sequence[Item] = ()
        self._tx: Sequence[Item] = ()
        self._tx_type = 0
        self._logs: Sequence[Item] = ()

    def header(self) -> str:
        """Bind header, hash and number."""
        digest = keccak(self._proof.header)
        if digest != self._claim.block_hash:
            message = (
                f"the header hashes to 0x{digest.hex()}, not to 0x{self._claim.block_hash.hex()}"
            )
            raise InvalidValue(message)
        self._header = _list(decode(self._proof.header, "the header"), "the header")
        if len(self._header) < _FEWEST_HEADER_ITEMS:
            message = f"the header has {len(self._header)} items only"
            raise InvalidValue(message)
        number = _number(self._header[_NUMBER], "the header's number")
        if number != self._claim.block_number:
            message = f"the header is of block {number}, not of {self._claim.block_number}"
            raise InvalidValue(message)
        return f"block {number} hashes to 0x{digest.hex()}"

    def time(self) -> str:
        """Bind the block's time."""
        seconds = _number(self._header[_TIME], "the header's time")
        if seconds > LATEST_SECOND:
            message = f"the header's time {seconds} is not in seconds"
            raise InvalidValue(message)
        found = datetime.fromtimestamp(seconds, UTC)
        if found != self._claim.block_time:
            claimed = write_time(self._claim.block_time)
            message = f"the header says {write_time(found)}, not {claimed}"
            raise InvalidValue(message)
        return write_time(found)

    def transaction(self) -> str:
        """Bind the signed bytes to the block."""
        raw = self._claim.raw_transaction
        digest = keccak(raw)
        if digest != self._claim.tx_hash:
            message = f"the raw transaction hashes to 0x{digest.hex()}, not to 0x{self._claim.tx_hash.hex()}"
            raise InvalidValue(message)
        nodes = self._proof.transaction_nodes
        if self._value(_TRANSACTIONS_ROOT, nodes, "the transaction proof") != raw:
            message = f"the block's transaction {self._proof.tx_index} is another one"
            raise InvalidValue(message)
        self._tx_type = _type_of(raw)
        if self._tx_type not in _CALLED_CONTRACT:
            message = f"a transaction of type {self._tx_type} does not name its chain as ours do"
            raise InvalidValue(message)
        self._tx = _list(decode(raw[1:], "the transaction"), "the transaction")
        return f"0x{digest.hex()} is transaction {self._proof.tx_index} of the block"

    def contract(self) -> str:
        """Bind chain and called contract."""
        place = _CALLED_CONTRACT[self._tx_type]
        if len(self._tx) <= place:
            message = f"the transaction has {len(self._tx)} items only"
            raise InvalidValue(message)
        chain_id = _number(self._tx[0], "the transaction's chain id")
        if chain_id != self._claim.chain_id:
            message = (
                f"the transaction is for eip155:{chain_id}, not for eip155:{self._claim.chain_id}"
            )
            raise InvalidValue(message)
        if self._tx[place] != self._claim.contract:
            message = f"the transaction does not call 0x{self._claim.contract.hex()}"
            raise InvalidValue(message)
        return f"0x{self._claim.contract.hex()} on eip155:{chain_id}"

    def receipt(self) -> str:
        """Find what became of the transaction."""
        nodes = self._proof.receipt_nodes
        data = self._value(_RECEIPTS_ROOT, nodes, "the receipt proof")
        found = _type_of(data)
        if found != self._tx_type:
            message = f"the receipt is of type {found}, the transaction of {self._tx_type}"
            raise InvalidValue(message)
        what = "the transaction receipt"
        items = _list(decode(data[1:], what), what)
        if len(items) < _RECEIPT_ITEMS or items[_STATUS] != _SUCCESS:
            message = "the transaction reverted"
            raise InvalidValue(message)
        self._logs = _list(items[_LOGS], "the logs")
        return f"succeeded, with {len(self._logs)} logs"

    def root(self) -> str:
        """Find the anchor event of the contract itself."""
        topics = [TOPIC, self._claim.commitment, self._claim.batch_id]
        for log in self._logs:
            items = _list(log, "a log")
            own = len(items) == _LOG_ITEMS and items[0] == self._claim.contract
            if own and list(_list(items[1], "a log's topics")) == topics:
                return f"0x{self._claim.commitment.hex()} is logged"
        message = (
            f"no log of 0x{self._claim.contract.hex()} anchors 0x{self._claim.commitment.hex()} "
            f"with batch id 0x{self._claim.batch_id.hex()}"
        )
        raise InvalidValue(message)

    def _value(self, place: int, nodes: Sequence[bytes], what: str) -> bytes:
        root = self._header[place]
        if not isinstance(root, bytes) or len(root) != HASH_BYTES:
            message = "the header names no root of a trie"
            raise InvalidValue(message)
        return proven_value(root, index_key(self._proof.tx_index), nodes, what)


def _type_of(data: bytes) -> int:
    """Return the type of a transaction or receipt (EIP-2718); 0 for the form without one."""
    return data[0] if data and data[0] < _FIRST_UNTYPED else 0


def _list(item: Item, what: str) -> Sequence[Item]:
    if isinstance(item, bytes):
        message = f"{what} is not a list"
        raise InvalidValue(message)
    return item


def _number(item: Item, what: str) -> int:
    if not isinstance(item, bytes) or len(item) > HASH_BYTES or item[:1] == b"\0":
        message = f"{what} is no number"
        raise InvalidValue(message)
    return int.from_bytes(item, "big")


def _read_nodes(evidence: Mapping[str, JsonValue], key: str) -> tuple[bytes, ...]:
    value = evidence.get(key)
    if not isinstance(value, list) or len(value) > DEEPEST:
        message = f"{key} is not a list of at most {DEEPEST} nodes"
        raise InvalidValue(message)
    return tuple(_bytes(node, key, None) for node in value)


def _bytes(value: JsonValue, key: str, length: int | None) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        message = f"{key} is not 0x and lower-case hex"
        raise InvalidValue(message)
    data = bytes.fromhex(value[2:])
    if length is not None and len(data) != length:
        message = f"{key} has {len(data)} bytes, not {length}"
        raise InvalidValue(message)
    return data

"""Judges Bitcoin blocks by their bytes alone: headers, work, Merkle branches (B11).

1. A header counts only with the work that it claims; a chain of headers, only if each names the one before it.
2. A branch has at most as many levels as a block can need.
3. No 64 bytes may pass both for a transaction and for a pair of hashes: a transaction of that size is refused, and so
   is a branch with a pair that reads as one. Else a made-up transaction could be "found" in a real block.
4. A branch that pairs a hash with itself on the left is refused: blocks double the last one on the right only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.ledgers.bitcoin.core.transaction import (
    HASH_BYTES,
    Outpoint,
    Reader,
    Transaction,
    double_sha256,
    parse_hash,
    shown_hash,
)

HEADER_BYTES = 80
NODE_BYTES = 2 * HASH_BYTES
MOST_LEVELS = 15
"""A block of a million bytes without witness holds less than 2^15 transactions of 60 bytes."""
MOST_TRANSACTIONS = 1 << MOST_LEVELS
MOST_HEADERS = 4_096
"""Headers read in one go: a month of blocks."""
_NO_OUTPOINT = Outpoint("00" * HASH_BYTES, 0xFFFFFFFF)
_OP_1, _SMALL_NUMBERS, _MOST_HEIGHT_BYTES = 0x51, 16, 4
_MANTISSA, _SIGN = 0x007FFFFF, 0x00800000
_HASH_BITS = 256


@dataclass(frozen=True, slots=True)
class Header:
    """One block's header."""

    raw: bytes
    previous: str
    merkle_root: bytes
    time: datetime
    bits: int

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a header.

        Raises:
            InvalidValue: it has not 80 bytes.
        """
        if len(raw) != HEADER_BYTES:
            message = f"a header has {HEADER_BYTES} bytes, not {len(raw)}"
            raise InvalidValue(message)
        reader = Reader(raw)
        reader.take(4)
        previous, merkle_root = shown_hash(reader.take(HASH_BYTES)), reader.take(HASH_BYTES)
        time = datetime.fromtimestamp(reader.number(4), UTC)
        return cls(raw, previous, merkle_root, time, reader.number(4))

    @property
    def hash(self) -> str:
        """The block's hash."""
        return shown_hash(double_sha256(self.raw))

    @property
    def target(self) -> int:
        """What the hash must not exceed; 0 when the claim makes no sense."""
        exponent, mantissa = self.bits >> 24, self.bits & _MANTISSA
        shift = 8 * (exponent - 3)
        target = mantissa << shift if shift >= 0 else mantissa >> -shift
        return 0 if self.bits & _SIGN or target >= 1 << _HASH_BITS else target

    @property
    def has_work(self) -> bool:
        """Whether the hash shows the work that the header claims."""
        return int.from_bytes(double_sha256(self.raw), "little") <= self.target

    @property
    def work(self) -> int:
        """Hashes that finding it takes on average."""
        return (1 << _HASH_BITS) // (self.target + 1) if self.target else 0


@dataclass(frozen=True, slots=True)
class Block:
    """One block with all its transactions."""

    header: Header
    transactions: tuple[Transaction, ...]

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a whole block; what it holds is what its header commits to.

        Raises:
            InvalidValue: the bytes are not exactly one block, the header lacks its work, or the transactions do not
                give its Merkle root, or one of them could be a pair of hashes.
        """
        reader = Reader(raw)
        header = Header.parse(reader.take(HEADER_BYTES))
        count = reader.count()
        if not 0 < count <= MOST_TRANSACTIONS:
            message = f"a block can't hold {count} transactions"
            raise InvalidValue(message)
        transactions = tuple(Transaction.read(reader) for _ in range(count))
        if reader.left:
            message = "is not exactly one block"
            raise InvalidValue(message)
        if any(len(tx.serialised(witness=False)) == NODE_BYTES for tx in transactions):
            message = "a transaction of 64 bytes could be a pair of hashes"
            raise InvalidValue(message)
        if merkle_root([tx.txid for tx in transactions]) != header.merkle_root:
            message = f"the transactions are not those of block {header.hash}"
            raise InvalidValue(message)
        if not header.has_work:
            message = f"block {header.hash} lacks the work that it claims"
            raise InvalidValue(message)
        return cls(header, transactions)


def require_chain(headers: Sequence[Header]) -> int:
    """Return the work of headers that follow each other.

    Raises:
        InvalidValue: one does not follow the one before it, or lacks its work.
    """
    if len(headers) > MOST_HEADERS:
        message = f"are more than {MOST_HEADERS} headers"
        raise InvalidValue(message)
    for number, header in enumerate(headers):
        if number and header.previous != headers[number - 1].hash:
            message = f"header {number} does not follow the one before it"
            raise InvalidValue(message)
        if not header.has_work:
            message = f"header {number} lacks the work that it claims"
            raise InvalidValue(message)
    return sum(header.work for header in headers)


def merkle_root(txids: Sequence[str]) -> bytes:
    """Return the Merkle root of a block's transactions, in their order.

    Raises:
        InvalidValue: there is none.
    """
    if not txids:
        message = "a block holds at least one transaction"
        raise InvalidValue(message)
    level = [parse_hash(txid) for txid in txids]
    while len(level) > 1:
        level = _next_level(level)
    return level[0]


def merkle_branch(txids: Sequence[str], position: int) -> list[str]:
    """Return the hashes that lead from a transaction to the root, from below, written as nodes write hashes.

    Raises:
        InvalidValue: there is no such position.
    """
    if not 0 <= position < len(txids):
        message = f"there is no transaction {position} among {len(txids)}"
        raise InvalidValue(message)
    level, branch = [parse_hash(txid) for txid in txids], []
    while len(level) > 1:
        branch.append(shown_hash(level[min(position ^ 1, len(level) - 1)]))
        level, position = _next_level(level), position >> 1
    return branch


def branch_root(transaction: Transaction, position: int, branch: Sequence[str]) -> bytes:
    """Return the Merkle root that a branch leads to.

    Raises:
        InvalidValue: transaction or branch are of a form that could deceive.
    """
    if len(branch) > MOST_LEVELS or not 0 <= position < 1 << len(branch):
        message = f"position {position} does not fit a branch of {len(branch)} levels"
        raise InvalidValue(message)
    if len(transaction.serialised(witness=False)) == NODE_BYTES:
        message = "a transaction of 64 bytes could be a pair of hashes"
        raise InvalidValue(message)
    here = parse_hash(transaction.txid)
    for level, text in enumerate(branch):
        sibling = parse_hash(text)
        is_right = bool(position >> level & 1)
        if is_right and sibling == here:
            message = "a hash is paired with itself on the left"
            raise InvalidValue(message)
        pair = sibling + here if is_right else here + sibling
        if _reads_as_transaction(pair):
            message = "a pair of hashes reads as a transaction"
            raise InvalidValue(message)
        here = double_sha256(pair)
    return here


def height_in(coinbase: Transaction) -> int:
    """Return the block's number, which the script of its first transaction begins with (BIP 34).

    Raises:
        InvalidValue: it is no first transaction, or says no number.
    """
    (first, *others) = coinbase.inputs
    if others or first.outpoint != _NO_OUTPOINT or not first.script:
        message = "is not the first transaction of a block"
        raise InvalidValue(message)
    width = first.script[0]
    if _OP_1 <= width < _OP_1 + _SMALL_NUMBERS:
        return width - _OP_1 + 1
    digits = first.script[1 : 1 + width]
    if not 0 < width <= _MOST_HEIGHT_BYTES or len(digits) != width:
        message = "the first transaction does not say its block's number"
        raise InvalidValue(message)
    return int.from_bytes(digits, "little")


def _next_level(level: list[bytes]) -> list[bytes]:
    """Hash each pair; the last of an odd number goes with itself."""
    if len(level) % 2:
        level = [*level, level[-1]]
    return [
        double_sha256(left + right) for left, right in zip(level[::2], level[1::2], strict=True)
    ]


def _reads_as_transaction(pair: bytes) -> bool:
    try:
        Transaction.parse(pair)
    except InvalidValue:
        return False
    return True


class Network(StrEnum):
    """The reference of a target, and the value of `network`."""

    MAINNET = "mainnet"
    """The one whose coins are worth something."""
    TESTNET = "testnet"
    """Test network 3 or 4; the first reservation decides which."""
    SIGNET = "signet"
    """A test network whose blocks are signed."""
    REGTEST = "regtest"
    """A private one, with blocks at will."""

    @property
    def geneses(self) -> Mapping[str, str]:
        """Genesis block by the node's own name of the chain (B14)."""
        return _GENESES[self]

    @property
    def easiest_target(self) -> int:
        """The largest target that a header may claim: `powLimit` of the network's rules, and of mainnet what no block since 2018 came near.

        Otherwise a block of a test network could be passed off as one of mainnet: no anchor is older.
        """
        return _EASIEST_TARGETS[self]


_EASIEST_TARGETS: Mapping[Network, int] = {
    Network.MAINNET: 0xFFFF << 168,
    Network.TESTNET: 0xFFFF << 208,
    Network.SIGNET: 0x0377AE << 216,
    Network.REGTEST: 0x7FFFFF << 232,
}
"""What the compact forms 1800ffff, 1d00ffff, 1e0377ae and 207fffff stand for."""
_GENESES: Mapping[Network, Mapping[str, str]] = {
    Network.MAINNET: {"main": "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"},
    Network.TESTNET: {
        "test": "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943",
        "testnet4": "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043",
    },
    Network.SIGNET: {"signet": "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6"},
    Network.REGTEST: {
        "regtest": "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
    },
}

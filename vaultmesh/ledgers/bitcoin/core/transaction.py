"""Reads and writes Bitcoin transactions: bytes, ids, sizes, and the script that commits to a root.

1. Hashes that people see (transaction ids, block hashes) are texts in the usual reversed order; inside, bytes as hashed.
2. A transaction is read whole or refused: no byte may be left over, and no count may exceed what the bytes can hold.
3. A commitment is found by reading a script's structure, never by looking for bytes inside it.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Self

from typing_extensions import override

from vaultmesh.domain.errors import InvalidValue

COIN_SATS = 100_000_000
"""Satoshis in a bitcoin."""
MOST_SATS = 21_000_000 * COIN_SATS
REPLACEABLE = 0xFFFFFFFD
"""Sequence that signals replaceability and leaves lock time and relative lock time alone (BIP 125)."""
TX_VERSION = 2
HASH_BYTES = 32
TAG = b"RV"
"""What precedes the commitment, so that it is found again."""
_OP_RETURN = 0x6A
_COMMITMENT_START = bytes([_OP_RETURN, len(TAG) + HASH_BYTES]) + TAG
_WITNESS_MARK = b"\x00\x01"
_WITNESS_SCALE = 4
"""Bytes outside the witness count four times (BIP 141)."""
_LARGEST_TX = 4_000_000
"""Weight of a block: no transaction has more bytes."""
_DUST_SATS_PER_BYTE = 3
_WITNESS_SPEND_BYTES, _PLAIN_SPEND_BYTES = 67, 148
_SMALLEST_PROGRAM, _LARGEST_PROGRAM = 4, 42
_ONE_BYTE, _TWO_BYTES, _FOUR_BYTES = 0xFD, 0xFE, 0xFF
_PREFIXES = {_ONE_BYTE: 2, _TWO_BYTES: 4, _FOUR_BYTES: 8}


def double_sha256(data: bytes) -> bytes:
    """Return the hash that Bitcoin uses nearly everywhere."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def shown_hash(digest: bytes) -> str:
    """Return a hash as people and nodes write it."""
    return digest[::-1].hex()


def parse_hash(text: str) -> bytes:
    """Return the bytes of a hash that is written in the usual way.

    Raises:
        InvalidValue: it is not 64 lower-case hex digits.
    """
    digest = read_hex(text)
    if len(digest) != HASH_BYTES:
        message = f"a hash has 64 hex digits, not {len(text)}"
        raise InvalidValue(message)
    return digest[::-1]


def read_hex(text: str) -> bytes:
    """Return the bytes that lower-case hex digits stand for.

    Raises:
        InvalidValue: it is something else.
    """
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if data.hex() != text:
        message = "is not lower-case hex"
        raise InvalidValue(message)
    return data


def compact_size(number: int) -> bytes:
    """Write a count in Bitcoin's variable length."""
    if number < _ONE_BYTE:
        return number.to_bytes(1, "little")
    for prefix, width in _PREFIXES.items():
        if number < 1 << (8 * width):
            return bytes([prefix]) + number.to_bytes(width, "little")
    message = f"{number} is too large for a count"
    raise InvalidValue(message)


class Reader:
    """Reads a byte string from its start; every step raises `InvalidValue` when the bytes do not suffice."""

    def __init__(self, data: bytes) -> None:
        """Start at the first byte."""
        self._data = data
        self._position = 0

    @property
    def left(self) -> int:
        """How many bytes are not read yet."""
        return len(self._data) - self._position

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        if count > self.left:
            message = f"the bytes end {count - self.left} too early"
            raise InvalidValue(message)
        start, self._position = self._position, self._position + count
        return self._data[start : self._position]

    def number(self, width: int) -> int:
        """Return a little-endian number."""
        return int.from_bytes(self.take(width), "little")

    def count(self) -> int:
        """Return a count; one that is not written in the shortest way is refused."""
        first = self.number(1)
        number = first if first < _ONE_BYTE else self.number(_PREFIXES[first])
        if first >= _ONE_BYTE and compact_size(number)[0] != first:
            message = "a count is not written in the shortest way"
            raise InvalidValue(message)
        return number

    def text(self) -> bytes:
        """Return bytes that follow their count."""
        return self.take(self.count())

    def skip(self, mark: bytes) -> bool:
        """Pass over a mark if it comes next, and say whether it did."""
        is_next = self._data.startswith(mark, self._position)
        self._position += len(mark) if is_next else 0
        return is_next


@dataclass(frozen=True, slots=True)
class Outpoint:
    """One output of one transaction."""

    txid: str
    position: int

    @override
    def __str__(self) -> str:
        """Return `txid:position`."""
        return f"{self.txid}:{self.position}"


@dataclass(frozen=True, slots=True)
class TxInput:
    """What a transaction spends."""

    outpoint: Outpoint
    script: bytes = b""
    sequence: int = REPLACEABLE
    witness: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class TxOutput:
    """What a transaction pays."""

    sats: int
    script: bytes


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction, signed or not."""

    inputs: tuple[TxInput, ...]
    outputs: tuple[TxOutput, ...]
    version: int = TX_VERSION
    lock_time: int = 0

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a transaction.

        Raises:
            InvalidValue: the bytes are not exactly one transaction.
        """
        if len(data) > _LARGEST_TX:
            message = "is larger than a transaction can be"
            raise InvalidValue(message)
        reader = Reader(data)
        read = cls.read(reader)
        if reader.left:
            message = "is not exactly one transaction"
            raise InvalidValue(message)
        return read

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the transaction that comes next; raises as `parse`."""
        version = reader.number(4)
        has_witness = reader.skip(_WITNESS_MARK)
        inputs = [_read_input(reader) for _ in _counted(reader)]
        outputs = [TxOutput(reader.number(8), reader.text()) for _ in _counted(reader)]
        if has_witness:
            inputs = [replace(tx_input, witness=_read_witness(reader)) for tx_input in inputs]
        lock_time = reader.number(4)
        sums_up = sum(output.sats for output in outputs) <= MOST_SATS
        if not inputs or not outputs or not sums_up:
            message = "is not exactly one transaction"
            raise InvalidValue(message)
        if has_witness and not any(tx_input.witness for tx_input in inputs):
            message = "announces a witness and has none"
            raise InvalidValue(message)
        return cls(tuple(inputs), tuple(outputs), version, lock_time)

    @classmethod
    def parse_hex(cls, text: str) -> Self:
        """Read a transaction in hex; raises as `parse`."""
        return cls.parse(read_hex(text))

    def serialised(self, *, witness: bool = True) -> bytes:
        """Return the bytes; without the witness, those that the id covers."""
        witness = witness and any(tx_input.witness for tx_input in self.inputs)
        pieces = [self.version.to_bytes(4, "little"), _WITNESS_MARK if witness else b""]
        pieces.append(compact_size(len(self.inputs)))
        for tx_input in self.inputs:
            pieces.append(parse_hash(tx_input.outpoint.txid))
            pieces.append(tx_input.outpoint.position.to_bytes(4, "little"))
            pieces.append(compact_size(len(tx_input.script)) + tx_input.script)
            pieces.append(tx_input.sequence.to_bytes(4, "little"))
        pieces.append(compact_size(len(self.outputs)))
        for output in self.outputs:
            pieces.append(output.sats.to_bytes(8, "little"))
            pieces.append(compact_size(len(output.script)) + output.script)
        if witness:
            for tx_input in self.inputs:
                pieces.append(compact_size(len(tx_input.witness)))
                pieces += [compact_size(len(item)) + item for item in tx_input.witness]
        pieces.append(self.lock_time.to_bytes(4, "little"))
        return b"".join(pieces)

    @property
    def txid(self) -> str:
        """Its id: the hash without the witness."""
        return shown_hash(double_sha256(self.serialised(witness=False)))

    @property
    def vsize(self) -> int:
        """Virtual bytes, which fees are paid for: a quarter of the weight, rounded up."""
        bare, whole = len(self.serialised(witness=False)), len(self.serialised())
        return -(-((_WITNESS_SCALE - 1) * bare + whole) // _WITNESS_SCALE)

    @property
    def commitments(self) -> list[bytes]:
        """What its outputs commit to, in order; usually one or none."""
        published = (committed_by(output.script) for output in self.outputs if output.sats == 0)
        return [commitment for commitment in published if commitment is not None]


def commitment_script(commitment: bytes) -> bytes:
    """Return the script that publishes 32 bytes: OP_RETURN and one push of tag and commitment (B1)."""
    if len(commitment) != HASH_BYTES:
        message = f"a commitment has {HASH_BYTES} bytes, not {len(commitment)}"
        raise InvalidValue(message)
    return _COMMITMENT_START + commitment


def committed_by(script: bytes) -> bytes | None:
    """Return what a script publishes, if it is exactly of our form."""
    if len(script) != len(_COMMITMENT_START) + HASH_BYTES:
        return None
    return script[len(_COMMITMENT_START) :] if script.startswith(_COMMITMENT_START) else None


def dust_sats(script: bytes) -> int:
    """Return the least value of an output that nodes relay: what spending it would cost at 3 sat/vB."""
    size = 8 + len(compact_size(len(script))) + len(script)
    spend = _WITNESS_SPEND_BYTES if _is_witness_program(script) else _PLAIN_SPEND_BYTES
    return _DUST_SATS_PER_BYTE * (size + spend)


def _is_witness_program(script: bytes) -> bool:
    sized = _SMALLEST_PROGRAM <= len(script) <= _LARGEST_PROGRAM
    return sized and script[1] == len(script) - 2 and (script[0] == 0 or 0x51 <= script[0] <= 0x60)  # noqa: PLR2004 - OP_1 to OP_16


def _counted(reader: Reader) -> range:
    """Return as many numbers as a count says, which the bytes must be able to hold."""
    count = reader.count()
    if count > reader.left:
        message = "a count exceeds the bytes"
        raise InvalidValue(message)
    return range(count)


def _read_input(reader: Reader) -> TxInput:
    outpoint = Outpoint(shown_hash(reader.take(HASH_BYTES)), reader.number(4))
    return TxInput(outpoint, reader.text(), reader.number(4))


def _read_witness(reader: Reader) -> tuple[bytes, ...]:
    return tuple(reader.text() for _ in _counted(reader))

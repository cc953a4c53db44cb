"""Turns a node's JSON of a block into the bytes that the block's hash covers.

Each result is checked by whoever uses it: against the block's hash, a transaction's hash or a trie's root. What a
chain adds of its own then shows as a disagreement, and never as a wrong proof.

Forms of chains: OP stack 0x7e (its specification, "deposits"), Celo 0x7b (CIP-64; its receipts CIP-66), Arbitrum 0x64
to 0x6a (Nitro's go-ethereum, `core/types/arb_types.go`).
"""

from collections.abc import Mapping, Sequence

import rlp
from eth_utils.crypto import keccak
from pydantic import JsonValue

from vaultmesh.domain.errors import InvalidValue

Object = Mapping[str, JsonValue]
"""A JSON object of a node's answer."""

_HEX = 16
_HEADER_NUMBERS = frozenset(
    {
        "difficulty",
        "number",
        "gasLimit",
        "gasUsed",
        "timestamp",
        "baseFeePerGas",
        "blobGasUsed",
        "excessBlobGas",
        "slotNumber",
    }
)
_HEADER = (
    *("parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot"),
    *("logsBloom", "difficulty", "number", "gasLimit", "gasUsed", "timestamp", "extraData"),
    *("mixHash", "nonce"),
)
"""What every header has, in its order."""
_LATER_HEADER = (
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
    "blockAccessListHash",
    "slotNumber",
)
"""What forks have added at the end, in their order; each chain has those that it has."""
_FEES = ("nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas", "to", "value", "input")
_SIGNATURE = ("yParity", "r", "s")
_TRANSACTIONS: Mapping[int, tuple[str, ...]] = {
    0: ("nonce", "gasPrice", "gas", "to", "value", "input", "v", "r", "s"),
    1: ("chainId", "nonce", "gasPrice", "gas", "to", "value", "input", "accessList", *_SIGNATURE),
    2: ("chainId", *_FEES, "accessList", *_SIGNATURE),
    3: ("chainId", *_FEES, "accessList", "maxFeePerBlobGas", "blobVersionedHashes", *_SIGNATURE),
    4: ("chainId", *_FEES, "accessList", "authorizationList", *_SIGNATURE),
    0x64: ("chainId", "requestId", "from", "to", "value"),
    0x65: ("chainId", "from", "nonce", "maxFeePerGas", "gas", "to", "value", "input"),
    0x66: ("chainId", "requestId", "from", "maxFeePerGas", "gas", "to", "value", "input"),
    0x68: (
        *("chainId", "nonce", "from", "maxFeePerGas", "gas", "to", "value", "input", "ticketId"),
        *("refundTo", "maxRefund", "submissionFeeRefund"),
    ),
    0x69: (
        *("chainId", "requestId", "from", "l1BaseFee", "depositValue", "maxFeePerGas", "gas"),
        *("retryTo", "retryValue", "beneficiary", "maxSubmissionFee", "refundTo", "retryData"),
    ),
    0x6A: ("chainId", "input"),
    0x7B: ("chainId", *_FEES, "accessList", "feeCurrency", *_SIGNATURE),
    0x7E: ("sourceHash", "from", "to", "mint", "value", "gas", "isSystemTx", "input"),
}
"""Fields by transaction type."""
_BYTES = frozenset(
    {
        *("to", "from", "input", "sourceHash", "requestId", "ticketId", "refundTo", "retryTo"),
        *("retryData", "beneficiary", "feeCurrency"),
    }
)
_OPTIONAL = frozenset({"to", "mint", "retryTo", "feeCurrency"})
"""Empty where a transaction has none."""
_DEPOSIT, _CELO = 0x7E, 0x7B
_HIGHEST_TYPE = 0x7F
"""EIP-2718: a higher first byte is not a type."""


def keccak_hex(encoded: bytes) -> str:
    """Return the hash of a header or a transaction as nodes write it."""
    return "0x" + keccak(encoded).hex()


def encode_header(block: Object) -> bytes:
    """Return a header's RLP.

    Raises:
        InvalidValue: a field is missing or malformed.
    """
    names = [*_HEADER, *(name for name in _LATER_HEADER if block.get(name) is not None)]
    items = [
        _number(block, name) if name in _HEADER_NUMBERS else _data(block, name) for name in names
    ]
    return _rlp(items)


def encode_transaction(transaction: Object) -> bytes:
    """Return a transaction's bytes, as they are in the block (EIP-2718).

    Raises:
        InvalidValue: a type that is not known, or a field that is missing or malformed.
    """
    kind = _type_of(transaction)
    fields = _TRANSACTIONS.get(kind)
    if fields is None:
        message = f"transactions of type {kind:#x} are not known"
        raise InvalidValue(message)
    return _typed(kind, [_field(transaction, name) for name in fields])


def encode_receipt(receipt: Object) -> bytes:
    """Return a transaction receipt's bytes, as the block's trie holds them.

    Raises:
        InvalidValue: a field is missing or malformed.
    """
    items: list[object] = [
        _number(receipt, "status"),
        _number(receipt, "cumulativeGasUsed"),
        _data(receipt, "logsBloom"),
        [_log(log) for log in _objects(receipt, "logs")],
    ]
    kind = _type_of(receipt)
    if kind == _DEPOSIT and receipt.get("depositReceiptVersion") is not None:
        items += [_number(receipt, "depositNonce"), _number(receipt, "depositReceiptVersion")]
    if kind == _CELO and receipt.get("baseFee") is not None:
        items.append(_number(receipt, "baseFee"))
    return _typed(kind, items)


def _field(transaction: Object, name: str) -> object:
    match name:
        case "accessList":
            item: object = [_access(entry) for entry in _objects(transaction, name)]
        case "blobVersionedHashes":
            item = [_hex(digest, name) for digest in _values(transaction, name)]
        case "authorizationList":
            item = [_authorization(entry) for entry in _objects(transaction, name)]
        case "isSystemTx":
            item = int(transaction.get(name) is True)
        case _ if name in _OPTIONAL and transaction.get(name) is None:
            item = b""
        case "yParity" if transaction.get(name) is None:
            item = _number(transaction, "v")
        case _ if name in _BYTES:
            item = _data(transaction, name)
        case _:
            item = _number(transaction, name)
    return item


def _access(entry: Object) -> list[object]:
    return [
        _data(entry, "address"),
        [_hex(key, "storageKeys") for key in _values(entry, "storageKeys")],
    ]


def _authorization(entry: Object) -> list[object]:
    signature = [_number(entry, part) for part in _SIGNATURE]
    return [
        _number(entry, "chainId"),
        _data(entry, "address"),
        _number(entry, "nonce"),
        *signature,
    ]


def _log(log: Object) -> list[object]:
    topics = [_hex(topic, "topics") for topic in _values(log, "topics")]
    return [_data(log, "address"), topics, _data(log, "data")]


def _type_of(item: Object) -> int:
    kind = 0 if item.get("type") is None else _number(item, "type")
    if kind > _HIGHEST_TYPE:
        message = f"type {kind:#x} is not one of a transaction"
        raise InvalidValue(message)
    return kind


def _typed(kind: int, items: Sequence[object]) -> bytes:
    return (bytes([kind]) if kind else b"") + _rlp(items)


def _rlp(items: Sequence[object]) -> bytes:
    encoded: bytes = rlp.encode(items)
    return encoded


def _number(item: Object, name: str) -> int:
    value = item.get(name)
    try:
        if isinstance(value, str) and value.startswith("0x"):
            return int(value[2:] or "0", _HEX)  # some nodes write `0x` for 0; hashes decide
    except ValueError:
        pass
    message = f"{name} is not a quantity"
    raise InvalidValue(message)


def _data(item: Object, name: str) -> bytes:
    return _hex(item.get(name), name)


def _hex(value: JsonValue, name: str) -> bytes:
    try:
        if isinstance(value, str) and value.startswith("0x"):
            return bytes.fromhex(value[2:])
    except ValueError:
        pass
    message = f"{name} is not hex"
    raise InvalidValue(message)


def _values(item: Object, name: str) -> Sequence[JsonValue]:
    value = item.get(name)
    if isinstance(value, list):
        return value
    message = f"{name} is not a list"
    raise InvalidValue(message)


def _objects(item: Object, name: str) -> list[Object]:
    values = _values(item, name)
    objects: list[Object] = [value for value in values if isinstance(value, dict)]
    if len(objects) != len(values):
        message = f"{name} is not a list of objects"
        raise InvalidValue(message)
    return objects

"""Encodes the anchor contract's call and event, and finds them again."""

from collections.abc import Sequence

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from vaultmesh.ledgers.evm.core import proof
from vaultmesh.ledgers.evm.reads import Log

SELECTOR = bytes.fromhex("131b5b07")
"""Of `anchor(bytes32,bytes32,string,bool)`."""
TOPIC = "0x" + proof.TOPIC.hex()
_INDEXED = 3
_WORD_DIGITS = 64
_FLOOR_BASE, _FLOOR_PER_TOKEN, _TOKENS_OF_A_NONZERO_BYTE = 21_000, 10, 4
"""EIP-7623: the least gas that calldata costs."""


def batch_id_of(label: str) -> bytes:
    """Return the 32 bytes that stand for a batch id or round id in the event."""
    return keccak(text=label)


def anchor_call(commitment: bytes, batch_id: bytes, *, persist: bool) -> bytes:
    """Return the calldata of an anchor without memo."""
    arguments = encode(
        ["bytes32", "bytes32", "string", "bool"], [commitment, batch_id, "", persist]
    )
    return SELECTOR + arguments


def anchored_by(calldata: str) -> bytes:
    """Return what a transaction's calldata, in hex, would anchor; empty where it is no anchor call."""
    prefix = "0x" + SELECTOR.hex()
    commitment = calldata.removeprefix(prefix)[:_WORD_DIGITS]
    is_anchor = calldata.startswith(prefix) and len(commitment) == _WORD_DIGITS
    return bytes.fromhex(commitment) if is_anchor else b""


def calldata_floor(data: bytes) -> int:
    """Return the least gas a transaction with this calldata uses, whatever its execution costs (EIP-7623)."""
    zeros = data.count(0)
    tokens = zeros + _TOKENS_OF_A_NONZERO_BYTE * (len(data) - zeros)
    return _FLOOR_BASE + _FLOOR_PER_TOKEN * tokens


def anchored_logs(logs: Sequence[Log], contract: str) -> list[tuple[bytes, bytes]]:
    """Return commitment and batch id of every anchor event that `contract` itself has logged."""
    return [
        (bytes.fromhex(log.topics[1][2:]), bytes.fromhex(log.topics[2][2:]))
        for log in logs
        if log.address == contract.lower()
        and len(log.topics) == _INDEXED
        and log.topics[0] == TOPIC
    ]

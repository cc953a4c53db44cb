"""Finds out who signed a transaction: what recovers to our key can't be invented by any node.

Bytes are what a block holds (EIP-2718); of a blob transaction without its blobs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import rlp
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError as MalformedSignature

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.ledgers.evm.core.trie import Item, decode

_FIRST_UNTYPED = 0xC0
_LEGACY_ITEMS, _SIGNATURE_ITEMS = 9, 3
_LEGACY_NONCE, _TYPED_NONCE = 0, 1
_FIRST_EIP155 = 35
"""Lowest `v` of a legacy transaction that names its chain: 35 + 2 · chain id."""
_SIGNED_TYPES = frozenset({1, 2, 3, 4, 0x7B})
"""0x7b is Celo's (CIP-64); it lies in this form too."""
_DELEGATING, _AUTHORISATIONS = 4, 9
"""EIP-7702: the type, and the place of the list of authorisations."""
_AUTHORISATION_ITEMS = 6
_AUTHORISATION_MAGIC = b"\x05"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed something, and what nonce that uses on which chain."""

    account: str
    """Lower case."""
    chain_id: int | None
    """None: the form names no chain; 0 in an authorisation stands for every chain."""
    nonce: int


def signer_of(raw: bytes) -> Signer:
    """Return who signed a transaction.

    Raises:
        InvalidValue: it is of no known form, or its signature recovers to nobody.
    """
    if not raw or raw[0] >= _FIRST_UNTYPED:
        return _legacy(_items(raw))
    if raw[0] not in _SIGNED_TYPES:
        message = f"transactions of type {raw[0]:#x} are not signed"
        raise InvalidValue(message)
    items = _items(raw[1:])
    unsigned, (parity, r, s) = items[:-_SIGNATURE_ITEMS], items[-_SIGNATURE_ITEMS:]
    account = _recovered(raw[:1] + _rlp(unsigned), _number(parity), r, s)
    return Signer(account, _number(unsigned[0]), _number(unsigned[_TYPED_NONCE]))


def authorities_of(raw: bytes) -> list[Signer]:
    """Return whose nonces a transaction's EIP-7702 authorisations may use; those that recover to nobody are left out.

    Raises:
        InvalidValue: it is of no known form.
    """
    if not raw or raw[0] != _DELEGATING:
        return []
    items = _items(raw[1:])
    if len(items) <= _AUTHORISATIONS or isinstance(items[_AUTHORISATIONS], bytes):
        message = "the transaction has no list of authorisations"
        raise InvalidValue(message)
    authorities = (_authority(item) for item in items[_AUTHORISATIONS])
    return [authority for authority in authorities if authority is not None]


def _authority(item: Item | int) -> Signer | None:
    if isinstance(item, (bytes, int)) or len(item) != _AUTHORISATION_ITEMS:
        return None
    chain_id, address, nonce, parity, r, s = item
    try:
        signed = _AUTHORISATION_MAGIC + _rlp([chain_id, address, nonce])
        return Signer(_recovered(signed, _number(parity), r, s), _number(chain_id), _number(nonce))
    except InvalidValue:
        return None


def _legacy(items: Sequence[Item]) -> Signer:
    if len(items) != _LEGACY_ITEMS:
        message = f"a legacy transaction has {_LEGACY_ITEMS} items, not {len(items)}"
        raise InvalidValue(message)
    unsigned, (v, r, s) = list(items[:-_SIGNATURE_ITEMS]), items[-_SIGNATURE_ITEMS:]
    mark = _number(v)
    nonce = _number(items[_LEGACY_NONCE])
    if mark < _FIRST_EIP155:
        return Signer(_recovered(_rlp(unsigned), (mark + 1) % 2, r, s), None, nonce)
    chain_id, parity = divmod(mark - _FIRST_EIP155, 2)
    signed = _rlp([*unsigned, _bytes_of(chain_id), b"", b""])
    return Signer(_recovered(signed, parity, r, s), chain_id, nonce)


def _recovered(signed: bytes, parity: int, r: Item, s: Item) -> str:
    try:
        signature = Signature(vrs=(parity, _number(r), _number(s)))
        key = signature.recover_public_key_from_msg_hash(keccak(signed))
    except (BadSignature, MalformedSignature, ValueError) as error:
        message = "the signature recovers to nobody"
        raise InvalidValue(message) from error
    return str(key.to_address())


def _items(data: bytes) -> Sequence[Item]:
    item = decode(data, "the transaction")
    if isinstance(item, bytes) or len(item) <= _SIGNATURE_ITEMS + _TYPED_NONCE:
        message = "the transaction is not a list of its fields"
        raise InvalidValue(message)
    return item


def _number(item: Item) -> int:
    if not isinstance(item, bytes):
        message = "a number of the transaction is a list"
        raise InvalidValue(message)
    return int.from_bytes(item, "big")


def _bytes_of(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _rlp(items: Sequence[Item]) -> bytes:
    encoded: bytes = rlp.encode(items)
    return encoded

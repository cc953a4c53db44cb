"""Makes the private keys of a local network: afresh for each, and readable by their owner only."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from eth_keys.datatypes import PrivateKey
from eth_utils.exceptions import ValidationError

from devnet.errors import PartError

_KEY_BYTES = 32
_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
"""Of secp256k1: a key is between 1 and this, exclusive."""


@dataclass(frozen=True, slots=True)
class ChainKey:
    """An account of a chain: where its key lies, and its address. The key itself stays in the file."""

    file: Path
    address: str


def create_chain_key(file: Path) -> ChainKey:
    """Make a key and write it (0600) into its folder (0700).

    Raises:
        PartError: the file exists; a key is never overwritten.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.parent.chmod(0o700)
    number = 1 + secrets.randbelow(_ORDER - 1)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        message = f"{file} exists already; a key is never overwritten"
        raise PartError(message) from error
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        opened.write("0x" + number.to_bytes(_KEY_BYTES).hex() + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    return load_chain_key(file)


def load_chain_key(file: Path) -> ChainKey:
    """Return the account of an existing key.

    Raises:
        PartError: the key is missing, or is none; the message does not show it.
    """
    try:
        text = file.read_text(encoding="ascii").strip()
        key = PrivateKey(bytes.fromhex(text.removeprefix("0x")))
        address = key.public_key.to_checksum_address()
    except FileNotFoundError as error:
        message = f"the key {file} is missing; put it back, or begin with a new folder"
        raise PartError(message) from error
    except (ValueError, ValidationError):
        message = f"{file} holds no private key of a chain"
        raise PartError(message) from None  # what it says may show the key
    return ChainKey(file, str(address))

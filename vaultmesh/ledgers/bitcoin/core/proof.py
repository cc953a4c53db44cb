"""Defines what a Bitcoin receipt proves by itself, and checks it without a node.

The proof leads from the signed bytes through the transaction's id and its branch to a block's header and the headers
on top of it. What it can't show is that this chain is everybody's: that takes a node, or a header that one trusts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_camel

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.ledgers.bitcoin.core.blocks import (
    MOST_HEADERS,
    MOST_LEVELS,
    Header,
    branch_root,
    height_in,
    require_chain,
)
from vaultmesh.ledgers.bitcoin.core.transaction import Transaction, read_hex


class BitcoinEvidence(BaseModel):
    """The `btc` part of a receipt's evidence; hashes as nodes write them, bytes in hex."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="ignore",
        hide_input_in_errors=True,
        alias_generator=to_camel,
        validate_by_name=True,
    )

    network: str
    """Such as `regtest`; the genesis hash says it beyond doubt."""
    genesis: str
    raw_transaction: str
    """The signed bytes, with witness."""
    block_hash: str
    header: str
    """80 bytes of the block that holds the transaction."""
    merkle_branch: list[str] = Field(max_length=MOST_LEVELS)
    """From below; each the sibling at its level."""
    position: int = Field(ge=0)
    """Of the transaction in its block; its bits say on which side each sibling is."""
    coinbase: str
    """The block's first transaction, without witness: it says the block's number (BIP 34)."""
    coinbase_branch: list[str] = Field(max_length=MOST_LEVELS)
    """Of the first transaction; has as many levels as every branch of the block."""
    headers: list[str] = Field(default_factory=list, max_length=MOST_HEADERS)
    """Headers on top of the block, oldest first, up to the depth that made it final; none before that."""

    @classmethod
    def read(cls, evidence: Mapping[str, Any]) -> Self:
        """Read it from a receipt; its keys are those that we write, not the names that our code has for them.

        Raises:
            InvalidValue: something is missing or malformed; names the keys, not the values.
        """
        try:
            return cls.model_validate(dict(evidence), by_alias=True, by_name=False)
        except ValidationError as error:
            keys = sorted({".".join(map(str, detail["loc"])) for detail in error.errors()})
            message = f"the evidence lacks or misstates {', '.join(keys)}"
            raise InvalidValue(message) from None

    def document(self) -> dict[str, JsonValue]:
        """Return it as it stands in a receipt."""
        return self.model_dump(mode="json", by_alias=True)


@dataclass(frozen=True, slots=True)
class Proven:
    """What a Bitcoin receipt shows by itself."""

    transaction: Transaction
    header: Header
    """Of the block that holds the transaction; has the work that it claims."""
    height: int
    """The block's number, as its first transaction says."""
    hashes: tuple[str, ...]
    """Of the block and of those on top, oldest first."""
    depth: int
    """Headers from the block on, its own included."""
    work: int
    """Hashes that finding all of them takes on average."""
    easiest_target: int
    """Of the header that was the easiest to find."""


def prove(evidence: BitcoinEvidence) -> Proven:
    """Check branch, header and the headers on top against each other.

    Raises:
        InvalidValue: they do not fit together; says which.
    """
    transaction = Transaction.parse_hex(evidence.raw_transaction)
    header = Header.parse(read_hex(evidence.header))
    if header.hash != evidence.block_hash:
        message = f"the header is that of block {header.hash}, not {evidence.block_hash}"
        raise InvalidValue(message)
    root = branch_root(transaction, evidence.position, evidence.merkle_branch)
    if root != header.merkle_root:
        message = f"the branch does not lead from {transaction.txid} to block {header.hash}"
        raise InvalidValue(message)
    coinbase = Transaction.parse_hex(evidence.coinbase)
    if branch_root(coinbase, 0, evidence.coinbase_branch) != header.merkle_root:
        message = f"the branch does not lead from the first transaction to block {header.hash}"
        raise InvalidValue(message)
    if len(evidence.coinbase_branch) != len(evidence.merkle_branch):
        message = "the two branches are of different depths"
        raise InvalidValue(message)
    chain = [header, *(Header.parse(read_hex(raw)) for raw in evidence.headers)]
    work = require_chain(chain)
    hashes = tuple(link.hash for link in chain)
    easiest = max(link.target for link in chain)
    return Proven(transaction, header, height_in(coinbase), hashes, len(chain), work, easiest)

"""Makes a Merkle root one value, whatever text it came in.

1. `sha256:<64 hex>` in batches and event receipts, `0x<64 hex>` in anchor receipts and
   manifests; nothing else knows both.
2. Both are read with hex of any case and written in lower case.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, GetCoreSchemaHandler, PlainSerializer
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

from vaultmesh.domain.errors import InvalidValue

ROOT_BYTES = 32
"""Length of a SHA-256 digest."""

_BATCH_FORM = re.compile(r"sha256:([0-9a-f]{64})", re.IGNORECASE | re.ASCII)
_RECEIPT_FORM = re.compile(r"0x([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True, order=True)
class MerkleRoot:
    """32 bytes: the root of a tree, or one of its leaves."""

    digest: bytes

    def __post_init__(self) -> None:
        """Refuse any other length."""
        if len(self.digest) != ROOT_BYTES:
            message = f"a Merkle root has {ROOT_BYTES} bytes, not {len(self.digest)}"
            raise InvalidValue(message)

    @classmethod
    def parse_batch_form(cls, text: object) -> Self:
        """Read `sha256:<64 hex>`.

        Raises:
            InvalidValue: anything else.
        """
        match = _BATCH_FORM.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            message = f"{_shown(text)} is not a hash; write sha256: and 64 hex digits"
            raise InvalidValue(message)
        return cls(bytes.fromhex(match[1]))

    @classmethod
    def parse_receipt_form(cls, text: object) -> Self:
        """Read `0x<64 hex>`.

        Raises:
            InvalidValue: anything else.
        """
        match = _RECEIPT_FORM.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            message = f"{_shown(text)} is not a root; write 0x and 64 hex digits"
            raise InvalidValue(message)
        return cls(bytes.fromhex(match[1]))

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read either form.

        Raises:
            InvalidValue: neither of them.
        """
        if isinstance(text, str) and text[:2] == "0x":
            return cls.parse_receipt_form(text)
        return cls.parse_batch_form(text)

    @property
    def batch_form(self) -> str:
        """`sha256:<hex>`, as batches and event receipts write it."""
        return f"sha256:{self.digest.hex()}"

    @property
    def receipt_form(self) -> str:
        """`0x<hex>`, as anchor receipts and manifests write it."""
        return f"0x{self.digest.hex()}"

    @override
    def __str__(self) -> str:
        """Return the form of batches."""
        return self.batch_form

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Let pydantic read either form and write the receipts'; `BatchRoot` is for the other."""
        del source, handler

        def validate(value: Any) -> MerkleRoot:  # noqa: ANN401 - whatever the document holds
            return value if isinstance(value, MerkleRoot) else MerkleRoot.parse(value)

        return core_schema.no_info_plain_validator_function(
            validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda root: root.receipt_form, return_schema=core_schema.str_schema()
            ),
        )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 90 else f"{text[:87]}..."  # noqa: PLR2004 - a root with its quotes and room to spare


def _batch_form(value: object) -> MerkleRoot:
    return value if isinstance(value, MerkleRoot) else MerkleRoot.parse_batch_form(value)


def _receipt_form(value: object) -> MerkleRoot:
    if isinstance(value, MerkleRoot):
        return value
    root = MerkleRoot.parse_receipt_form(value)
    if root.receipt_form != value:
        message = f"{_shown(value)} is not in lower case"
        raise InvalidValue(message)
    return root


BatchRoot = Annotated[
    MerkleRoot,
    BeforeValidator(_batch_form),
    PlainSerializer(lambda root: root.batch_form, return_type=str),
]
"""A root in a model of VaultMesh's own files: `sha256:<hex>` only."""
ReceiptRoot = Annotated[MerkleRoot, BeforeValidator(_receipt_form)]
"""A root in a model of our own files: `0x<lower-case hex>` only."""

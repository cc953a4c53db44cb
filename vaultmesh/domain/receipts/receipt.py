"""Defines an anchor receipt: receipt.v1, closed, in our own exact form.

1. A receipt is written at inclusion, never before: height, time and hash are those of its block.
2. Status and finality go together as in `ALLOWED`; nothing else is read or written.
3. What a scheme's receipts look like is data, a row in `vaultmesh.domain.schemes`.
"""

import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, PlainSerializer, model_validator

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.instants import is_tellable, read_time, write_time
from vaultmesh.domain.paths import ANCHOR_RECEIPTS_FOLDER, path_form
from vaultmesh.domain.roots import MerkleRoot, ReceiptRoot
from vaultmesh.domain.rounds.leaf import Aggregation, Document, read_document
from vaultmesh.domain.schemes import SCHEMES, Scheme
from vaultmesh.domain.target import Target


class Status(StrEnum):
    """What became of the anchor."""

    VERIFIED = "verified"
    """It is in the ledger."""
    REORGED = "reorged"
    """Its block left the chain, and it is in no other yet."""
    FAILED = "failed"
    """An operator ended it; its batch is owed again."""


class Finality(StrEnum):
    """Whether the anchor can still vanish."""

    OBSERVED = "observed"
    FINALIZED = "finalized"
    REORGED = "reorged"


ALLOWED = frozenset(
    {
        (Status.VERIFIED, Finality.OBSERVED),
        (Status.VERIFIED, Finality.FINALIZED),
        (Status.REORGED, Finality.REORGED),
        (Status.FAILED, Finality.OBSERVED),
    }
)
"""Every pair of status and finality that a receipt may have."""

PROOF_MISSING = "proofMissing"
"""Key in a scheme's evidence: why a final receipt carries nothing that proves it without the ledger."""
_METADATA_KEYS = ("namespace", "batchId", "cadence", "slot", "round", "revision")

UtcTime = Annotated[
    datetime, BeforeValidator(read_time), PlainSerializer(write_time, return_type=str)
]


class ReceiptFinality(Document):
    """Depths, counted as VaultMesh's verifiers do, and whether the anchor can still vanish."""

    observed_depth: int = Field(ge=0)
    required_depth: int = Field(ge=0)
    state: Finality = Field(strict=False)


class ReceiptMetadata(Document):
    """Whose receipt it is; open to more."""

    model_config = ConfigDict(extra="allow")

    namespace: str = Field(min_length=1)
    batch_id: str = Field(min_length=1)
    cadence: str
    slot: str
    round: str = Field(min_length=1)
    revision: int = Field(ge=0)
    """Rises with each change of state, over all rounds of the target."""


class AnchorReceipt(Document):
    """Our record of one batch's anchor on one target, for one namespace."""

    version: Literal["1"] = "1"
    root: ReceiptRoot
    chain: str
    network: Target
    tx_scheme: str
    tx_ref: str
    tx_hash: str | None = None
    block_number: int = Field(ge=0)
    anchor_ts: UtcTime
    observed_at: UtcTime
    status: Status = Field(strict=False)
    finality: ReceiptFinality
    verifier: str = Field(min_length=1)
    evidence: dict[str, JsonValue]
    """`aggregation` (null for a direct commitment) and the scheme's own part."""
    metadata: ReceiptMetadata

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.status, self.finality.state) not in ALLOWED:
            message = f"status {self.status} does not go with finality {self.finality.state}"
            raise InvalidValue(message)
        if not (is_tellable(self.anchor_ts) and is_tellable(self.observed_at)):
            message = "anchorTs and observedAt are times since 1970"
            raise InvalidValue(message)
        depths = self.finality
        if depths.state is Finality.FINALIZED and depths.observed_depth < depths.required_depth:
            message = "finalized, but observedDepth is below requiredDepth"
            raise InvalidValue(message)
        self._require_form()
        self._require_evidence()
        return self

    def _require_form(self) -> None:
        form = self._form
        if (self.chain, self.tx_scheme) != (form.chain, form.tx_scheme):
            message = f"{self.network} goes with chain {form.chain} and txScheme {form.tx_scheme}"
            raise InvalidValue(message)
        if not form.tx_ref.fullmatch(self.tx_ref):
            message = f"txRef {self.tx_ref!r} is not of the form {form.tx_ref.pattern}"
            raise InvalidValue(message)
        expected = self.tx_ref if form.has_blocks else None
        if self.tx_hash != expected:
            message = "txHash equals txRef, and is absent where there are no transactions"
            raise InvalidValue(message)
        if not form.has_blocks and self._counts() != (0, 0, 0, Finality.FINALIZED):
            message = "without blocks, height and depths are 0 and the finality is finalized"
            raise InvalidValue(message)

    @property
    def _form(self) -> Scheme:
        form = SCHEMES.get(self.network.scheme)
        if form is None:
            message = f"network {self.network} is of no known scheme; there are {sorted(SCHEMES)}"
            raise InvalidValue(message)
        return form

    def _counts(self) -> tuple[int, int, int, Finality]:
        finality = self.finality
        return self.block_number, finality.observed_depth, finality.required_depth, finality.state

    def _require_evidence(self) -> None:
        key = self._form.evidence
        if set(self.evidence) != {"aggregation", key}:
            message = f"evidence has exactly the keys aggregation and {key}"
            raise InvalidValue(message)
        if not isinstance(self.evidence[key], dict):
            message = f"evidence.{key} is not an object"
            raise InvalidValue(message)
        if self.evidence["aggregation"] is not None:
            self._read_aggregation()

    def _read_aggregation(self) -> Aggregation:
        return read_document(Aggregation, json.dumps(self.evidence["aggregation"]))

    @property
    def aggregation(self) -> Aggregation | None:
        """The way from the batch root to the commitment; None for a direct commitment."""
        return None if self.evidence["aggregation"] is None else self._read_aggregation()

    @property
    def is_direct(self) -> bool:
        """Whether the batch root itself was committed."""
        return self.evidence["aggregation"] is None

    @property
    def is_final(self) -> bool:
        """Whether it is in the ledger for good."""
        return self.status is Status.VERIFIED and self.finality.state is Finality.FINALIZED

    @property
    def scheme_evidence(self) -> dict[str, JsonValue]:
        """The scheme's own part of the evidence."""
        part = self.evidence[self._form.evidence]
        return part if isinstance(part, dict) else {}

    @property
    def lacks_proof(self) -> bool:
        """Whether it could not be given what proves it without the ledger."""
        return PROOF_MISSING in self.scheme_evidence

    @property
    def path(self) -> str:
        """Where the receipt lies, below the root."""
        return receipt_path(self.metadata.namespace, self.metadata.batch_id, self.network)

    def proven_commitment(self) -> MerkleRoot:
        """Return what must be in the ledger, following the inclusion proof if there is one.

        Raises:
            InvalidValue: the proof fails, or is for another root or batch.
        """
        aggregation = self.aggregation
        if aggregation is None:
            return self.root
        leaf = aggregation.leaf
        if (leaf.root, leaf.batch_id) != (self.root, self.metadata.batch_id):
            message = "the inclusion proof is for another root or batch than the receipt"
            raise InvalidValue(message)
        if leaf.namespace not in ("", self.metadata.namespace):
            message = f"the inclusion proof is for namespace {leaf.namespace!r}"
            raise InvalidValue(message)
        return aggregation.proven_root()


def receipt_path(namespace: str, batch_id: str, target: Target) -> str:
    """Return where a receipt lies, below the root."""
    folder = f"{ANCHOR_RECEIPTS_FOLDER}/{path_form(namespace)}/{path_form(batch_id)}"
    return f"{folder}/{target.path}.json"


def parse_receipt(text: str | bytes) -> AnchorReceipt:
    """Read an anchor receipt.

    Raises:
        InvalidValue: says at which key it is not what we write.
    """
    return read_document(AnchorReceipt, text)


def receipt_document(receipt: AnchorReceipt) -> str:
    """Return the file's text: the same receipt gives the same bytes."""
    document = receipt.model_dump(mode="json", by_alias=True)
    if receipt.tx_hash is None:
        del document["txHash"]
    aggregation = receipt.aggregation
    document["evidence"] = {
        "aggregation": aggregation.model_dump(mode="json", by_alias=True) if aggregation else None,
        SCHEMES[receipt.network.scheme].evidence: _sorted(receipt.scheme_evidence),
    }
    metadata = document["metadata"]
    keys = (*_METADATA_KEYS, *sorted(set(metadata) - set(_METADATA_KEYS)))
    document["metadata"] = {key: _sorted(metadata[key]) for key in keys}
    return json.dumps(document, indent=2, ensure_ascii=False)


def _sorted(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value

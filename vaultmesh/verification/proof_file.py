"""Defines a proof file: one event, and every ledger that holds it, in one self-contained file.

1. It holds the event receipt and the batch's anchor receipts as they are; nothing else is needed to verify it.
2. It claims no more than they do: who reads it checks every link (`vaultmesh.verification.offline`).
"""

import json
from collections.abc import Iterable
from typing import Literal

from pydantic import Field
from pydantic_core import from_json

from vaultmesh.domain.batches.event_receipt import EventReceipt, event_receipt_document
from vaultmesh.domain.receipts.receipt import AnchorReceipt, Status, receipt_document
from vaultmesh.domain.rounds.leaf import Document, read_document

FORMAT = "vaultmesh-proof"


class ProofFile(Document):
    """An event with everything that proves it."""

    format: Literal["vaultmesh-proof"] = "vaultmesh-proof"
    version: Literal["1"] = "1"
    event_id: str = Field(min_length=1)
    event: EventReceipt
    anchors: tuple[AnchorReceipt, ...] = Field(min_length=1, strict=False)
    """One a ledger entry."""


def gathered(receipts: Iterable[AnchorReceipt]) -> tuple[AnchorReceipt, ...]:
    """Return the receipts a proof carries: verified ones, one of each ledger entry, by target.

    Several namespaces may share a batch and so a ledger entry.
    """
    chosen: dict[tuple[str, str], AnchorReceipt] = {}
    for receipt in sorted(
        receipts, key=lambda receipt: (str(receipt.network), not receipt.is_final, receipt.path)
    ):
        if receipt.status is Status.VERIFIED:
            chosen.setdefault((str(receipt.network), receipt.tx_ref), receipt)
    return tuple(chosen.values())


def is_proof_file(content: str | bytes) -> bool:
    """Tell proof files from receipts."""
    try:
        document = from_json(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("format") == FORMAT


def parse_proof(text: str | bytes) -> ProofFile:
    """Read a proof file.

    Raises:
        InvalidValue: says at which key it is not what we write.
    """
    return read_document(ProofFile, text)


def proof_document(proof: ProofFile) -> str:
    """Return the file's text: the same proof gives the same bytes."""
    document = {
        "format": proof.format,
        "version": proof.version,
        "eventId": proof.event_id,
        "event": from_json(event_receipt_document(proof.event)),
        "anchors": [from_json(receipt_document(receipt)) for receipt in proof.anchors],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)

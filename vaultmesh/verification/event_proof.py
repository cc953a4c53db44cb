"""Gathers from the files below the root what proves an event, for `proof` and the admin page."""

from collections.abc import Iterator
from pathlib import Path

from vaultmesh.domain.batches.event_receipt import (
    INTEGRITY_PREFIX,
    EventReceipt,
    parse_event_receipt,
)
from vaultmesh.domain.checks import Found, Standing, Trust
from vaultmesh.domain.errors import DomainError, InvalidValue
from vaultmesh.domain.paths import EVENT_RECEIPTS_FOLDER
from vaultmesh.domain.receipts.receipt import AnchorReceipt, parse_receipt
from vaultmesh.process.settings import Settings
from vaultmesh.storage.event_receipts import event_file_names
from vaultmesh.verification.live import Verifier
from vaultmesh.verification.offline import verify_event_offline
from vaultmesh.verification.proof_file import ProofFile, gathered


class NotProven(DomainError):
    """There is no proof of an event, as things are."""


def event_path(settings: Settings, event_id: str) -> Path:
    """Return an event's receipt.

    Raises:
        NotProven: there is none.
    """
    folder = settings.root / EVENT_RECEIPTS_FOLDER
    for name in event_file_names(event_id):
        if (folder / name).is_file():
            return folder / name
    message = f"event {event_id!r} has no receipt in {folder}"
    raise NotProven(message)


def anchors_of(settings: Settings, event: EventReceipt) -> tuple[str, list[AnchorReceipt]]:
    """Return the batch that an event receipt names, and its readable anchor receipts; empty where there are none.

    Ids of batches and events may hold hyphens: the first split that has receipts of the event's root counts.
    """
    verifier = Verifier(settings)
    text = event.integrity.removeprefix(INTEGRITY_PREFIX)
    pieces = text.split("-") if text != event.integrity else []
    for count in range(1, len(pieces)):
        batch_id = "-".join(pieces[:count])
        receipts = [
            receipt
            for path in verifier.receipts_of(batch_id)
            for receipt in _readable(path)
            if receipt.root == event.batch_root
        ]
        if receipts:
            return batch_id, receipts
    return "", []


def proof_of(settings: Settings, event_id: str) -> ProofFile:
    """Return the proof of an event: its receipt, and every ledger entry that holds its batch. Blocks.

    Raises:
        NotProven: there is nothing that proves it, or it would not verify.
    """
    path = event_path(settings, event_id)
    try:
        event = parse_event_receipt(path.read_bytes())
    except (OSError, InvalidValue) as error:
        message = f"{path} is not an event receipt: {error}"
        raise NotProven(message) from error
    anchors = gathered(anchors_of(settings, event)[1])
    if not anchors:
        message = f"no ledger holds event {event_id!r} yet: its batch has no verified anchor"
        raise NotProven(message)
    verdict = verify_event_offline(event, anchors, Trust(), event_id=event_id)
    if verdict.standing is Standing.REFUTED:
        failed = [
            f"{check.name}: {check.detail}"
            for check in verdict.checks
            if check.found is Found.WRONG
        ]
        message = f"event {event_id!r} would not verify: {'; '.join(failed)}"
        raise NotProven(message)
    return ProofFile(event_id=event_id, event=event, anchors=anchors)


def _readable(path: Path) -> Iterator[AnchorReceipt]:
    try:
        yield parse_receipt(path.read_bytes())
    except (OSError, DomainError):
        return

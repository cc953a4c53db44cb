"""Reads events that wait for a batch: `out/provisional`.

1. The namespace of an event is what its file names, else the first two colon-parts of its subject,
   told by its file or by its envelope in `out/events`; without either it is anybody's.
2. Whatever is not plainly a pending event of the namespace is left alone, with the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic_core import from_json

from vaultmesh.domain.batches.batch import Refused
from vaultmesh.domain.errors import InvalidValue, printable
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.paths import EVENTS_FOLDER, PENDING_FOLDER
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.storage.event_receipts import EventReceipts, batch_of, event_file_names
from vaultmesh.storage.files import Store

SUFFIX = ".json"
PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Event:
    """One leaf to be."""

    id: str
    leaf: MerkleRoot
    source: str
    """The file it comes from."""
    is_pending: bool = False
    """Whether its file goes once it is sealed."""
    received_at: int = 0
    """Unix seconds."""


def read_pending(store: Store, namespace: str) -> tuple[list[Event], list[Refused]]:
    """Return a namespace's pending events in order of arrival, and what was left alone."""
    events: list[Event] = []
    left: list[Refused] = []
    for name in sorted(store.names(PENDING_FOLDER)):
        if not name.endswith(SUFFIX):
            continue
        path = f"{PENDING_FOLDER}/{name}"
        try:
            content = store.read(path)
        except NetworkFailure as failure:
            left.append(Refused(path, str(failure)))
            continue
        if content is None:
            continue
        try:
            events.append(_event(store, namespace, path, content))
        except ValueError as error:
            left.append(Refused(path, str(error)))
    events.sort(key=lambda event: (event.received_at, event.id))
    return _distinct(store, events, left), left


def _event(store: Store, namespace: str, path: str, content: bytes) -> Event:
    if printable(path) != path:
        message = "its name is not UTF-8, which no note or batch can hold; rename it"
        raise InvalidValue(message)
    try:
        entry = from_json(content)
    except ValueError as error:
        message = f"not JSON: {error}"
        raise InvalidValue(message) from error
    if not isinstance(entry, dict):
        message = "not a JSON object"
        raise InvalidValue(message)
    status = entry.get("status", PENDING)
    if status != PENDING:
        message = f"its status is {status!r}"
        raise InvalidValue(message)
    event_id = entry.get("eventId") or path.rpartition("/")[2].removesuffix(SUFFIX)
    if not isinstance(event_id, str):
        message = "its eventId is not a text"
        raise InvalidValue(message)
    leaf = MerkleRoot.parse_batch_form(entry.get("eventHash"))
    owner = _namespace(entry) or _namespace(_envelope(store, event_id))
    if owner not in ("", namespace):
        message = f"it belongs to namespace {owner}"
        raise InvalidValue(message)
    received_at = entry.get("receivedAt")
    arrival = received_at if isinstance(received_at, int) else 0
    return Event(event_id, leaf, path, is_pending=True, received_at=arrival)


def _namespace(entry: Mapping[str, object]) -> str:
    named, subject = entry.get("namespace"), entry.get("subject")
    if isinstance(named, str) and named:
        return named
    return ":".join(subject.split(":")[:2]) if isinstance(subject, str) else ""


def _envelope(store: Store, event_id: str) -> dict[str, object]:
    for name in event_file_names(event_id):
        content = store.read(f"{EVENTS_FOLDER}/{name}")
        try:
            envelope = from_json(content) if content is not None else None
        except ValueError:
            continue
        if isinstance(envelope, dict):
            return envelope
    return {}


def _distinct(store: Store, events: list[Event], left: list[Refused]) -> list[Event]:
    """Drop events that are sealed already, and all but the first of equal ones."""
    receipts = EventReceipts(store)
    taken: list[Event] = []
    leaves: set[MerkleRoot] = set()
    ids: set[str] = set()
    for event in events:
        try:
            sealed = receipts.find(event.id)
        except InvalidValue as error:
            left.append(Refused(event.source, f"its event receipt can't be read: {error}"))
            continue
        if sealed is not None:
            batch_id = batch_of(sealed[1], event.id)
            left.append(Refused(event.source, f"it is sealed in batch {batch_id}; delete it"))
        elif event.leaf in leaves or event.id in ids:
            left.append(Refused(event.source, "it equals another one of this batch"))
        else:
            taken.append(event)
            leaves.add(event.leaf)
            ids.add(event.id)
    return taken

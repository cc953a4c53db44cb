"""Makes a batch from files or from pending events.

1. A note of what is about to be sealed is made durable first, then the batch file is created
   exclusively, then the event receipts, then pending files are deleted, then the receipts
   follow an anchor that was quicker, then the note is deleted.
2. The batch file is what counts: with it everything after is done again at the next seal, without
   it nothing has happened.
3. A batch id is the time in Unix seconds, or the next free second.
4. One seal at a time below a root: two that saw the same file would each make a batch of it.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pydantic_core import from_json

from vaultmesh.domain.batches import tree
from vaultmesh.domain.batches.batch import Batch, Refused, batch_document, parse_batch
from vaultmesh.domain.batches.event_receipt import (
    VERIFIER,
    EventReceipt,
    event_receipt_document,
    integrity,
    placeholder,
)
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.paths import BATCHES_FOLDER, EVENT_RECEIPTS_FOLDER, SEALING_FOLDER, path_form
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.storage.event_receipts import EventReceipts, batch_of
from vaultmesh.storage.files import Store
from vaultmesh.storage.pending_events import Event, read_pending
from vaultmesh.storage.receipts import ReceiptStore

LOCK = f"{SEALING_FOLDER}/.lock"
BLOCK_BYTES = 1 << 20
"""Read of a file at once: large enough to be as fast as any, small enough to say soon how far it is."""
EVENT_HASH_DIGITS = 16
"""Hex digits of its hash in a sealed file's event id."""
_EVENT_END = len("-") + EVENT_HASH_DIGITS + len(".json")
"""Characters of a sealed file's receipt that follow the file's name."""
MOST_SECONDS_TRIED = 100_000
"""Batch ids tried before giving up: more than a day of seconds in a row."""
NOTE_KEPT_SECONDS = 3_600
"""Age at which a note without a batch belongs to nobody who still works on it."""


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """What a seal made, or finished."""

    batch: Batch
    path: str
    left: Sequence[Refused] = ()
    """Pending files that were left alone, and why."""


@dataclass(frozen=True, slots=True)
class NothingPending:
    """There was nothing to seal."""

    left: Sequence[Refused] = ()


def seal_files(
    store: Store,
    namespace: str,
    files: Sequence[Path],
    *,
    now: int,
    folder: str = BATCHES_FOLDER,
    hashed: Callable[[int], None] = lambda _: None,
) -> SealedBatch:
    """Seal files, in the order given, into one batch; leaf = SHA-256 of the file, `now` in Unix s.

    `hashed` is told of each number of bytes that was read, so that somebody who waits sees how far it is.

    Asked again after a crash with the same files it finishes that batch and returns it.

    Raises:
        InvalidValue: no file, an unreadable one, two equal ones, or one that is sealed already.
        NetworkFailure: the storage failed; ask again.
    """
    if not files:
        message = "nothing to seal; name at least one file"
        raise InvalidValue(message)
    events = [_event_of(file, hashed) for file in files]
    _require_distinct(events)
    with store.alone(LOCK):
        for finished in finish_seals(store, now=now):
            batch = finished.batch
            if (batch.namespace, batch.events) == (namespace, tuple(event.id for event in events)):
                return finished
        receipts = EventReceipts(store)
        for event in events:
            sealed = receipts.find(event.id)
            if sealed is not None:
                batch_id = batch_of(sealed[1], event.id)
                message = f"{event.source} is sealed in batch {batch_id} already"
                raise InvalidValue(message)
        return _seal(store, namespace, events, now, folder)


def seal_new_files(
    store: Store, namespace: str, files: Sequence[Path], *, now: int, folder: str = BATCHES_FOLDER
) -> SealedBatch | None:
    """Seal those of some files that are not sealed yet, as `seal_files` does; None if all of them were.

    A seal of theirs that was cut off is finished, and returned if nothing else is new. Raises as `seal_files` does.
    """
    events = [_event_of(file, lambda _: None) for file in files]
    _require_distinct(events)
    with store.alone(LOCK):
        finished = finish_seals(store, now=now)
        receipts = EventReceipts(store)
        fresh = [event for event in events if receipts.find(event.id) is None]
        if fresh:
            return _seal(store, namespace, fresh, now, folder)
    ids = {event.id for event in events}
    return next((seal for seal in finished if not ids.isdisjoint(seal.batch.events)), None)


def sealed_names(store: Store, files: Sequence[Path]) -> set[Path]:
    """Return those of some files whose names stand in an event's id, whatever their content is now; none is read.

    Raises:
        NetworkFailure: the storage failed.
    """
    names = store.names(EVENT_RECEIPTS_FOLDER) if files else ()
    known = {name[:-_EVENT_END] for name in names}
    return {file for file in files if path_form(file.name) in known}


def find_seal(store: Store, file: Path) -> tuple[str, str] | None:
    """Return by which event, and in which batch, a file is sealed as it is now; None if it is not.

    Raises:
        InvalidValue: it can't be read, or its receipt is malformed.
        NetworkFailure: the storage failed.
    """
    event = _event_of(file, lambda _: None)
    receipt = EventReceipts(store).find(event.id)
    if receipt is None or receipt[1].event_hash != event.leaf:
        return None
    return event.id, batch_of(receipt[1], event.id)


def seal_pending(
    store: Store, namespace: str, *, now: int, folder: str = BATCHES_FOLDER
) -> SealedBatch | NothingPending:
    """Seal the pending events of a namespace, in order of arrival; `now` in Unix seconds.

    Events of another namespace are left alone; those that name none are taken.

    Raises:
        NetworkFailure: the storage failed; ask again.
    """
    with store.alone(LOCK):
        finish_seals(store, now=now)
        events, left = read_pending(store, namespace)
        if not events:
            return NothingPending(left)
        sealed = _seal(store, namespace, events, now, folder)
    return SealedBatch(sealed.batch, sealed.path, left)


def finish_seals(store: Store, *, now: int) -> list[SealedBatch]:
    """Finish what earlier seals left undone beside their batch file; returns those batches.

    Raises:
        NetworkFailure: the storage failed; ask again.
    """
    finished: list[SealedBatch] = []
    for name in sorted(store.names(SEALING_FOLDER)):
        note = f"{SEALING_FOLDER}/{name}"
        content = store.read(note)
        if content is None:
            continue
        path, batch, pending = _read_note(note, content)
        stored = store.read(path)
        if stored is not None and _is_same(stored, batch):
            _finish(store, batch, pending)
            finished.append(SealedBatch(batch, path))
        elif stored is None and now - (batch.created_at or 0) < NOTE_KEPT_SECONDS:
            continue
        store.delete(note)
    return finished


def _event_of(file: Path, hashed: Callable[[int], None]) -> Event:
    digest = sha256()
    try:
        with file.open("rb") as content:
            while block := content.read(BLOCK_BYTES):
                digest.update(block)
                hashed(len(block))
    except OSError as error:
        message = f"could not read {file}: {error.strerror or error}; name files that can be read"
        raise InvalidValue(message) from error
    shortened = digest.hexdigest()[:EVENT_HASH_DIGITS]
    return Event(f"{path_form(file.name)}-{shortened}", MerkleRoot(digest.digest()), str(file))


def _require_distinct(events: Sequence[Event]) -> None:
    seen: dict[MerkleRoot, str] = {}
    for event in events:
        if event.leaf in seen:
            message = f"{event.source} and {seen[event.leaf]} have the same content; name one only"
            raise InvalidValue(message)
        seen[event.leaf] = event.source


def _seal(
    store: Store, namespace: str, events: Sequence[Event], now: int, folder: str
) -> SealedBatch:
    leaves = tuple(event.leaf for event in events)
    root = MerkleRoot(tree.root([leaf.digest for leaf in leaves]))
    pending = [event.source for event in events if event.is_pending]
    for second in range(now, now + MOST_SECONDS_TRIED):
        batch = Batch(
            id=str(second),
            root=root,
            leaves=leaves,
            created_at=second,
            namespace=namespace,
            events=tuple(event.id for event in events),
        )
        path, note = f"{folder}/{second}.json", f"{SEALING_FOLDER}/{second}.json"
        if store.exists(path) or not store.create(note, _note(path, batch, pending)):
            continue
        if not store.create(path, batch_document(batch).encode()):
            store.delete(note)
            continue
        _finish(store, batch, pending)
        store.delete(note)
        return SealedBatch(batch, path)
    message = f"no free batch id after {now} in {folder}; wait a second and ask again"
    raise InvalidValue(message)


def _finish(store: Store, batch: Batch, pending: Sequence[str]) -> None:
    """Write the event receipts that are missing, then delete the pending files.

    The batch may be anchored by now, and nobody else derives receipts that came after its anchor.
    The event id of a sealed file is in path form already.
    """
    paths = tree.paths([leaf.digest for leaf in batch.leaves])
    for event_id, leaf, siblings in zip(batch.events, batch.leaves, paths, strict=True):
        receipt = EventReceipt(
            event_hash=leaf,
            batch_root=batch.root,
            path=tuple(MerkleRoot(sibling) for sibling in siblings),
            anchor=placeholder(batch.id, batch.created_at or 0),
            verifier=VERIFIER,
            integrity=integrity(batch.id, event_id),
        )
        name = path_form(event_id) if pending else event_id
        path = f"{EVENT_RECEIPTS_FOLDER}/{name}.json"
        store.create(path, event_receipt_document(receipt).encode())
    for source in pending:
        store.delete(source)
    ReceiptStore(store).derive_event_receipts(batch.id, batch.root)


def _note(path: str, batch: Batch, pending: Sequence[str]) -> bytes:
    note = {"batch": path, "content": batch_document(batch), "pending": list(pending)}
    return json.dumps(note, indent=2).encode()


def _read_note(path: str, content: bytes) -> tuple[str, Batch, list[str]]:
    try:
        note = from_json(content)
        batch_path = str(note["batch"])
        batch = parse_batch(str(note["content"]), name=Path(batch_path).stem)
        return batch_path, batch, [str(pending) for pending in note["pending"]]
    except (ValueError, TypeError, KeyError) as error:
        message = f"{path} is no note of a seal ({error}); look at it, then delete it"
        raise InvalidValue(message) from error


def _is_same(stored: bytes, batch: Batch) -> bool:
    try:
        return parse_batch(stored, name=batch.id) == batch
    except InvalidValue:
        return False

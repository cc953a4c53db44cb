"""Finds event receipts by their batch, and gives them the anchor that was derived.

1. A batch that names its events says which files to look at; else an index over all of them does.
2. The anchor is written as a whole, and derived again until files and result agree: so several
   writers need no lock.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from pydantic_core import from_json

from vaultmesh.domain.batches.batch import Batch, Refused, parse_batch
from vaultmesh.domain.batches.event_receipt import (
    INTEGRITY_PREFIX,
    EventReceipt,
    LegacyAnchor,
    derive_anchor,
    event_receipt_document,
    parse_event_receipt,
)
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.paths import BATCHES_FOLDER, EVENT_RECEIPTS_FOLDER, path_form
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.storage.files import NoFile, Store, version_of
from vaultmesh.storage.folder_index import FolderIndex, Look

MOST_DERIVATIONS = 20
"""Passes over a batch's event receipts: each further one means that another writer came between."""
SUFFIX = ".json"
READING_SECONDS = 5.0
"""How long a thread waits for another one that reads the folder: a first look at 100,000 receipts takes longer."""
LONGEST_NAME = 200
"""Bytes of an event id that can be a file's name as it is."""

_INDEXED: Look[None] = Look(None)
_UNREADABLE: Look[None] = Look(None, is_settled=False)
"""Both are shared: there may be very many receipts."""


class EventReceipts:
    """Event receipts of one store; one per process, used by any thread."""

    def __init__(self, store: Store) -> None:
        """Read nothing before it is asked for."""
        self._store = store
        self._index = FolderIndex(store, EVENT_RECEIPTS_FOLDER, self._look, SUFFIX)
        self._by_root: dict[bytes, list[str]] = {}

    def find(self, event_id: str) -> tuple[str, EventReceipt] | None:
        """Return path and content of an event's receipt; None if there is none.

        Raises:
            InvalidValue: it is malformed.
        """
        for path in event_receipt_paths(event_id):
            receipt = _parsed(self._store.read(path))
            if receipt is not None and receipt.integrity.endswith(f"-{event_id}"):
                return path, receipt
        return None

    def derive(
        self, batch_id: str, root: MerkleRoot, receipts: Callable[[], Iterable[AnchorReceipt]]
    ) -> list[Refused]:
        """Give a batch's event receipts the anchor its anchor receipts make; returns broken ones.

        A batch without a direct, final anchor keeps what it has.

        Raises:
            NetworkFailure: the storage failed, or something else lies in a receipt's place; the others have the anchor.
        """
        batch = Batch(id=batch_id, root=root)
        for _ in range(MOST_DERIVATIONS):
            anchor = derive_anchor(receipt for receipt in receipts() if receipt.root == root)
            if anchor is None:
                return []
            changed, refused, blocked = self._give(batch, anchor)
            if not changed and blocked:
                raise blocked[0]
            if not changed:
                return refused
        message = f"another writer keeps changing the event receipts of batch {batch_id}; stop it"
        raise NetworkFailure(message)

    def _give(self, batch: Batch, anchor: LegacyAnchor) -> tuple[bool, list[Refused], list[NoFile]]:
        changed = False
        refused: list[Refused] = []
        blocked: list[NoFile] = []
        for path in self._paths(batch):
            try:
                # by this call or by another writer: what it says is derived once more
                changed = self._gave(path, batch, anchor) or changed
            except NoFile as failure:
                blocked.append(failure)
            except InvalidValue as error:
                refused.append(Refused(path, str(error)))
        return changed, refused, blocked

    def _gave(self, path: str, batch: Batch, anchor: LegacyAnchor) -> bool:
        """Give one event receipt the anchor; returns whether it did not have it."""
        content = self._store.read(path)
        receipt = _parsed(content)
        if receipt is None or receipt.event_id_in(batch) is None or receipt.anchor == anchor:
            return False
        derived = receipt.model_copy(update={"anchor": anchor})
        self._store.replace(path, event_receipt_document(derived).encode(), version_of(content))
        return True

    def _paths(self, batch: Batch) -> list[str]:
        events = self._named_events(batch)
        if events:
            return [path for event_id in events for path in event_receipt_paths(event_id)]
        with self._reading():
            self._index.refresh()
            names = dict.fromkeys(self._by_root.get(batch.root.digest, ()))
        return [f"{EVENT_RECEIPTS_FOLDER}/{name}" for name in names]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Hold the index; a storage that hangs takes the thread that reads it, and no other."""
        if not self._index.lock.acquire(timeout=READING_SECONDS):
            message = f"another thread has been reading {EVENT_RECEIPTS_FOLDER} for long; it is tried again - see whether the storage hangs"
            raise NetworkFailure(message)
        try:
            yield
        finally:
            self._index.lock.release()

    def _named_events(self, batch: Batch) -> tuple[str, ...]:
        content = self._store.read(f"{BATCHES_FOLDER}/{batch.id}{SUFFIX}")
        try:
            stored = parse_batch(content, name=batch.id) if content is not None else batch
        except InvalidValue:
            return ()
        return stored.events if stored.root == batch.root else ()

    def _look(self, name: str) -> Look[None] | None:
        """Index a receipt; what it is a receipt of never changes."""
        try:
            content = self._store.read(f"{EVENT_RECEIPTS_FOLDER}/{name}")
        except NoFile:
            return _UNREADABLE
        if content is None:
            return None
        try:
            root = MerkleRoot.parse_batch_form(from_json(content)["batchRoot"])
        except (ValueError, TypeError, KeyError):
            return _UNREADABLE
        self._by_root.setdefault(root.digest, []).append(name)
        return _INDEXED


def _parsed(content: bytes | None) -> EventReceipt | None:
    return None if content is None else parse_event_receipt(content)


def event_file_names(event_id: str) -> list[str]:
    """Return how an event's files may be named: VaultMesh's parts keep the id as it is."""
    names = [path_form(event_id)]
    is_name = not event_id.startswith(".") and not set(event_id) & {"/", "\0"}
    if is_name and len(os.fsencode(event_id)) <= LONGEST_NAME:
        names.insert(0, event_id)
    return [f"{name}{SUFFIX}" for name in dict.fromkeys(names)]


def event_receipt_paths(event_id: str) -> list[str]:
    """Return where an event's receipt may lie."""
    return [f"{EVENT_RECEIPTS_FOLDER}/{name}" for name in event_file_names(event_id)]


def batch_of(receipt: EventReceipt, event_id: str) -> str:
    """Return the batch that an event receipt names."""
    return receipt.integrity.removeprefix(INTEGRITY_PREFIX).removesuffix(f"-{event_id}")

"""Finds batch files: each folder is indexed once per process, then refreshed.

1. Refused files are looked at again each time; of the others a few in turn after a short rest, so that
   a changed one is noticed also when its name is not new.
2. A file that can't be used is reported beside the others and never stops them, also where the storage fails.
"""

import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from typing_extensions import override

from vaultmesh.domain.batches.batch import Batch, Refused, named_namespace, parse_batch
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.paths import BATCHES_FOLDER
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.storage.files import Store
from vaultmesh.storage.folder_index import LOOKED_AT_AGAIN, FolderIndex, Look

LOOK_AGAIN_SECONDS = 0.25
"""Rest between two such looks at a folder: a thousand namespaces ask in the same second."""
SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class BatchRef:
    """A sealed batch, as far as anchoring it needs."""

    batch_id: str
    root: MerkleRoot
    leaf_namespace: str
    """The namespace that its file names; empty if it names none."""
    created_at: int
    """Unix seconds: what the file says, else when it was last changed."""
    folder: str

    @property
    def path(self) -> str:
        """Where the file lies, below the root."""
        return f"{self.folder}/{self.batch_id}{SUFFIX}"

    @property
    def age_order(self) -> tuple[int, str]:
        """What batches are sorted by: oldest first."""
        return self.created_at, self.batch_id


@dataclass(frozen=True, slots=True)
class OwnedBatches:
    """What belongs to a namespace, and what would if it could be used."""

    batches: Sequence[BatchRef]
    """Oldest first."""
    refused: Sequence[Refused]


@dataclass(frozen=True, slots=True)
class _RefusedBatch(Refused):
    namespace: str = ""
    """The namespace that the file names; empty if it names none, or can't be read."""


_Value = BatchRef | _RefusedBatch
_AGE_ORDER = attrgetter("age_order")


class _Folder(FolderIndex[_Value]):
    """One folder's batches, by namespace and age."""

    def __init__(self, store: Store, path: str) -> None:
        super().__init__(store, path, self._parse, SUFFIX)
        self._by_namespace: dict[str, list[BatchRef]] = {}
        """Usable batches by the namespace that their files name."""
        self._views: dict[str, tuple[BatchRef, ...]] = {}
        """What was answered last, by namespace; emptied when a batch comes or goes."""

    @override
    def refresh(self) -> None:
        super().refresh()
        if self.has_rested(LOOK_AGAIN_SECONDS):
            self.look_at(self.in_turn(LOOKED_AT_AGAIN))

    def view(self, namespace: str) -> tuple[BatchRef, ...]:
        """Return what belongs to a namespace, oldest first; those without batches of their own share one answer."""
        if namespace not in self._views:
            shared = self.view("") if namespace else ()
            own = self._by_namespace.get(namespace, [])
            both = sorted([*shared, *own], key=_AGE_ORDER) if shared and own else own or shared
            self._views[namespace] = tuple(both)
        return self._views[namespace]

    @override
    def _changed(self, gone: Sequence[_Value], came: Sequence[_Value]) -> None:
        for ref in gone:
            if isinstance(ref, BatchRef):
                refs = self._by_namespace[ref.leaf_namespace]
                del refs[_place(refs, ref)]
        are_many = len(came) > LOOKED_AT_AGAIN
        for ref in came:
            if isinstance(ref, BatchRef):
                refs = self._by_namespace.setdefault(ref.leaf_namespace, [])
                refs.insert(len(refs) if are_many else _place(refs, ref), ref)
        if are_many:
            for refs in self._by_namespace.values():
                refs.sort(key=_AGE_ORDER)
        if gone or came:
            self._views.clear()

    def _parse(self, name: str) -> Look[_Value] | None:
        path, batch_id = f"{self.path}/{name}", name.removesuffix(SUFFIX)
        try:
            stamp = self._store.stamp(path)
            content = self._store.read(path) if stamp is not None else None
        except NetworkFailure as failure:
            return Look(_RefusedBatch(path, str(failure)), is_settled=False)
        if stamp is None or content is None:
            return None
        try:
            batch = parse_batch(content, name=batch_id)
        except InvalidValue as error:
            refused = _RefusedBatch(path, str(error), named_namespace(content))
            return Look(refused, is_settled=False, stamp=hash(stamp))
        created_at = batch.created_at
        if created_at is None:
            created_at = stamp.modified_ns // 1_000_000_000
        ref = BatchRef(batch_id, batch.root, sys.intern(batch.namespace), created_at, self.path)
        return Look(ref, stamp=hash(stamp))


def _place(refs: list[BatchRef], ref: BatchRef) -> int:
    return bisect_left(refs, ref.age_order, key=_AGE_ORDER)


class BatchIndex:
    """Every batch file of one store; one per process, used by any thread."""

    def __init__(self, store: Store) -> None:
        """Index nothing before it is asked for."""
        self._store = store
        self._folders: dict[str, _Folder] = {}

    def owned(self, namespace: str, folder: str = BATCHES_FOLDER) -> OwnedBatches:
        """Return a namespace's batches, oldest first: those that name it or none.

        Raises:
            NetworkFailure: the folder can't be listed.
        """
        index = self._folder(folder or BATCHES_FOLDER)
        with index.lock:
            index.refresh()
            values = [look.value for look in index.unsettled.values()]
            refused = [value for value in values if isinstance(value, _RefusedBatch)]
            own = [batch for batch in refused if batch.namespace in ("", namespace)]
            return OwnedBatches(index.view(namespace), own)

    def every(self, folders: Iterable[str] = ()) -> Iterator[BatchRef]:
        """Yield every usable batch of these folders, of the default one, and of those that were asked for before.

        Raises:
            NetworkFailure: a folder can't be listed.
        """
        for folder in dict.fromkeys(
            (BATCHES_FOLDER, *(named or BATCHES_FOLDER for named in folders), *self._folders)
        ):
            index = self._folder(folder)
            with index.lock:
                index.refresh()
                values = [look.value for look in index.known.values()]
            yield from (value for value in values if isinstance(value, BatchRef))

    def read(self, ref: BatchRef) -> Batch:
        """Return the whole batch.

        Raises:
            InvalidValue: it is gone, can't be used, or has another root or namespace than `ref`.
        """
        content = self._store.read(ref.path)
        if content is None:
            message = f"{ref.path}: the file is gone; restore it"
            raise InvalidValue(message)
        try:
            batch = parse_batch(content, name=ref.batch_id)
        except InvalidValue as error:
            message = f"{ref.path}: {error}"
            raise InvalidValue(message) from error
        if (batch.root, batch.namespace) != (ref.root, ref.leaf_namespace):
            message = f"{ref.path}: root or namespace changed since it was read; restore the file"
            raise InvalidValue(message)
        return batch

    def _folder(self, path: str) -> _Folder:
        return self._folders.get(path) or self._folders.setdefault(path, _Folder(self._store, path))

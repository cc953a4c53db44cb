"""Finds batch files: each folder is indexed once per process, then refreshed.

1. A folder is listed again only when its names changed, and only new files are parsed.
2. Refused files are looked at again each time; of the others a few in turn after a short rest, so that
   a changed one is noticed also when its name is not new; `reload` notices at once.
3. A file that can't be used is reported beside the others and never stops them, also where the storage fails.
4. A listed file that was gone or could not be read is looked at again at the next listing.
"""

import sys
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress, count
from operator import attrgetter, ne

from vaultmesh.domain.batches.batch import Batch, Refused, named_namespace, parse_batch
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.paths import BATCHES_FOLDER
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.storage.files import FileStamp, Store

LOOKED_AT_AGAIN = 64
"""Known files that are looked at again at once: 0.2 ms of system calls."""
LOOK_AGAIN_SECONDS = 0.25
"""Rest between two such looks at a folder: a thousand namespaces ask in the same second."""
LISTED_AGAIN_SECONDS = 60.0
"""After which a folder is listed again in any case: not every file system keeps good time."""
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
class _Known:
    """What is remembered of a file."""

    stamp: int
    """Hash of the file's stamp: a hundred thousand of them are kept."""
    ref: BatchRef | None
    refused: Refused | None = None
    namespace: str = ""


_UNREAD = hash(FileStamp(-1, 0))
_AGE_ORDER = attrgetter("age_order")


@dataclass(slots=True)
class _Folder:
    """One folder's index."""

    path: str
    version: str | None = None
    list_again_at: float = 0.0
    look_again_at: float = 0.0
    listed: Sequence[str] = ()
    """Names as they were listed last, in that order; each was looked at, or is among `unseen`."""
    unseen: set[str] = field(default_factory=set)
    """Names that a look found gone or unreadable: the next listing would take them for known."""
    known: dict[str, _Known] = field(default_factory=dict)
    refused: dict[str, _Known] = field(default_factory=dict)
    by_namespace: dict[str, list[BatchRef]] = field(default_factory=dict)
    """Usable batches by the namespace that their files name."""
    views: dict[str, tuple[BatchRef, ...]] = field(default_factory=dict)
    """What was answered last, by namespace; emptied when a batch comes or goes."""
    turn: list[str] = field(default_factory=list)
    """Names whose turn to be looked at again is still to come."""

    def take(self, name: str, found: _Known | None) -> None:
        """Take what a look at a file found; None: it is gone."""
        self._drop(name)
        ref = self._remember(name, found)
        if ref is not None:
            insort(self.by_namespace.setdefault(ref.leaf_namespace, []), ref, key=_AGE_ORDER)
            self.views.clear()

    def _remember(self, name: str, found: _Known | None) -> BatchRef | None:
        if found is None or found.stamp == _UNREAD:
            self.unseen.add(name)
        else:
            self.unseen.discard(name)
        if found is None:
            return None
        self.known[name] = found
        if found.ref is None:
            self.refused[name] = found
        return found.ref

    def _drop(self, name: str) -> None:
        known = self.known.pop(name, None)
        self.refused.pop(name, None)
        if known is not None and known.ref is not None:
            refs = self.by_namespace[known.namespace]
            del refs[bisect_left(refs, known.ref.age_order, key=_AGE_ORDER)]
            self.views.clear()

    def take_many(self, looks: dict[str, _Known | None]) -> None:
        """Take what looks at many files found, at once."""
        for name in looks:
            self._drop(name)
        for name, found in looks.items():
            ref = self._remember(name, found)
            if ref is not None:
                self.by_namespace.setdefault(ref.leaf_namespace, []).append(ref)
        for refs in self.by_namespace.values():
            refs.sort(key=_AGE_ORDER)
        self.views.clear()

    def view(self, namespace: str) -> tuple[BatchRef, ...]:
        if namespace not in self.views:
            shared, own = self.by_namespace.get("", []), self.by_namespace.get(namespace, [])
            if own and shared and namespace:
                self.views[namespace] = tuple(sorted([*shared, *own], key=_AGE_ORDER))
            elif own and namespace:
                self.views[namespace] = tuple(own)
            else:
                if "" not in self.views:
                    self.views[""] = tuple(shared)
                self.views[namespace] = self.views[""]
        return self.views[namespace]


def changes(before: Sequence[str], now: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names that came and those that went between two listings of a folder.

    File systems list in a stable order as a rule: what is alike from both ends is passed over, in a fourth of the
    time that looking up each name in a set takes. In any other order the answer is the same.
    """
    shorter = min(len(before), len(now))
    start = next(compress(count(), map(ne, before, now)), shorter)
    ends = map(ne, reversed(before), reversed(now))
    end = min(next(compress(count(), ends), shorter), shorter - start)
    first, second = before[start : len(before) - end], now[start : len(now) - end]
    old, new = set(first), set(second)
    return [one for one in second if one not in old], [one for one in first if one not in new]


class BatchIndex:
    """Every batch file of one store; one per process, used by any thread."""

    def __init__(self, store: Store) -> None:
        """Index nothing before it is asked for."""
        self._store = store
        self._folders: dict[str, _Folder] = {}
        self._lock = threading.Lock()

    def owned(self, namespace: str, folder: str = BATCHES_FOLDER) -> OwnedBatches:
        """Return a namespace's batches, oldest first: those that name it or none.

        Raises:
            NetworkFailure: the folder can't be listed.
        """
        with self._lock:
            index = self._refreshed(folder or BATCHES_FOLDER)
            refused = [
                known.refused
                for known in index.refused.values()
                if known.refused and known.namespace in ("", namespace)
            ]
            return OwnedBatches(index.view(namespace), refused)

    def reload(self, ref: BatchRef) -> BatchRef | Refused:
        """Look at a batch's file again; returns what it says now."""
        name = ref.batch_id + SUFFIX
        with self._lock:
            index = self._folders.setdefault(ref.folder, _Folder(ref.folder))
            self._look_again(index, name)
            known = index.known.get(name)
        if known is None:
            return Refused(ref.path, "the file is gone; restore it")
        return known.ref or known.refused or ref

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

    def _refreshed(self, path: str) -> _Folder:
        index = self._folders.setdefault(path, _Folder(path))
        version, now = self._store.version(path), time.monotonic()
        if version is None or version != index.version or now >= index.list_again_at:
            self._list(index)
            index.version, index.list_again_at = version, now + LISTED_AGAIN_SECONDS
        self._look_at_refused(index)
        if now >= index.look_again_at:
            self._look_at_some(index)
            index.look_again_at = now + LOOK_AGAIN_SECONDS
        return index

    def _list(self, index: _Folder) -> None:
        names = self._store.names(index.path)
        fresh, gone = changes(index.listed, names)
        for name in gone:
            index.take(name, None)
        if index.unseen:
            fresh.extend(index.unseen.intersection(names))
        files = [name for name in fresh if name.endswith(SUFFIX)]
        if len(files) > LOOKED_AT_AGAIN:
            index.take_many({name: self._parse(index.path, name) for name in files})
        else:
            for name in files:
                self._look_again(index, name)
        # Last: a listing that was broken off must not claim what it did not look at.
        index.listed = names
        if index.unseen:
            index.unseen.intersection_update(names)

    def _look_at_some(self, index: _Folder) -> None:
        """Look at the next few known files."""
        if not index.turn:
            index.turn = list(index.known)
        for _ in range(min(LOOKED_AT_AGAIN, len(index.turn))):
            self._look_again(index, index.turn.pop())

    def _look_at_refused(self, index: _Folder) -> None:
        """Look whether a refused file was mended."""
        for name in list(index.refused)[:LOOKED_AT_AGAIN]:
            self._look_again(index, name)

    def _look_again(self, index: _Folder, name: str) -> None:
        known = index.known.get(name)
        if known is None or not self._is_unchanged(f"{index.path}/{name}", known):
            index.take(name, self._parse(index.path, name))

    def _is_unchanged(self, path: str, known: _Known) -> bool:
        try:
            stamp = self._store.stamp(path)
        except NetworkFailure:
            return False  # parsing it tells why
        return stamp is not None and known.stamp == hash(stamp)

    def _parse(self, folder: str, name: str) -> _Known | None:
        path, batch_id = f"{folder}/{name}", name.removesuffix(SUFFIX)
        try:
            stamp = self._store.stamp(path)
            content = self._store.read(path) if stamp is not None else None
        except NetworkFailure as failure:
            return _Known(_UNREAD, None, Refused(path, str(failure)))
        if stamp is None or content is None:
            return None
        try:
            batch = parse_batch(content, name=batch_id)
        except InvalidValue as error:
            named = named_namespace(content)
            return _Known(hash(stamp), None, Refused(path, str(error)), named)
        created_at = batch.created_at
        if created_at is None:
            created_at = stamp.modified_ns // 1_000_000_000
        namespace = sys.intern(batch.namespace)
        ref = BatchRef(batch_id, batch.root, namespace, created_at, sys.intern(folder))
        return _Known(hash(stamp), ref, None, namespace)

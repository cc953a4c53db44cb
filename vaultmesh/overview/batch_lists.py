"""Lists a namespace's newest batches, a page at a time, in well under a second however many there are.

1. Newest first by id: the sealer makes ids of seconds, so that no file is read to order them. Other ids come after
   them, from Z to A.
2. A page ends after so many batches, so many files, or so much time; `older` says where the next one begins.
3. A file that can't be used is listed with its problem, and hides no other.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from vaultmesh.domain.batches.batch import named_namespace, parse_outline
from vaultmesh.domain.errors import InvalidValue, printable
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.instants import of_seconds
from vaultmesh.domain.paths import BATCHES_FOLDER
from vaultmesh.domain.receipts.levels import Levels, Owed, Seen, levels_of
from vaultmesh.domain.target import Target
from vaultmesh.storage.batch_files import BatchFiles
from vaultmesh.storage.batches import SUFFIX

PAGE = 50
"""Batches that are listed at once."""
MOST_LOOKED_AT = 1_000
"""Files that one page opens: most may be another namespace's."""
READ_FOR_SECONDS = 0.6
"""A page that takes longer ends, and the next one goes on."""
_NOTHING_KNOWN = Levels((), ())


@dataclass(frozen=True, slots=True)
class ListedBatch:
    """One batch of a list."""

    batch_id: str
    can_be_shown: bool
    """Whether its id is one that an address can hold."""
    problem: str = ""
    """Why its file can't be used; empty if it can."""
    sealed_at: datetime | None = None
    leaves: int = 0
    levels: Levels = _NOTHING_KNOWN
    """What ledgers prove of it, and what is awaited, as its receipts say."""


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Some of a namespace's batches, newest first."""

    batches: Sequence[ListedBatch]
    older: str = ""
    """Id after which the next page begins; empty if there is none."""
    files: int = 0
    """Batch files in the folder, whosever they are."""


@dataclass(slots=True)
class _Names:
    """What a folder held when it was listed."""

    version: str | None
    keys: list[tuple[int, int, str, str]]
    """Of all batch files, oldest first."""


class BatchLists:
    """Lists of batches of one process; used by any thread."""

    def __init__(self, files: BatchFiles) -> None:
        """Read nothing before it is asked for."""
        self._files = files
        self._lock = threading.Lock()
        self._names: dict[str, _Names] = {}

    def page(
        self, namespace: str, folder: str, targets: Sequence[Target], before: str = ""
    ) -> BatchPage:
        """Return the newest batches of a namespace that are older than `before`. Blocks.

        Args:
            namespace: whose batches, those that name none among them.
            folder: where its batches lie; empty for the default one.
            targets: where it anchors.
            before: id of the last batch of the page before; empty for the first page.

        Raises:
            NetworkFailure: the folder can't be listed.
        """
        folder = folder or BATCHES_FOLDER
        keys = self._keys(folder)
        start = bisect_left(keys, _key(before)) if before else len(keys)
        ends = time.monotonic() + READ_FOR_SECONDS
        listed: list[ListedBatch] = []
        last = ""
        for name in _backwards(keys, start):
            batch = self._listed(namespace, folder, name, targets)
            last = name
            if batch is not None:
                listed.append(batch)
            if len(listed) == PAGE or time.monotonic() > ends:
                break
        is_end = not last or last == keys[0][-1]
        return BatchPage(listed, "" if is_end else last, len(keys))

    def _keys(self, folder: str) -> list[tuple[int, int, str, str]]:
        """Return the keys of a folder's batch files, oldest first; it is listed again when it changed."""
        store = self._files.store
        version = store.version(folder)
        with self._lock:
            known = self._names.get(folder)
        if known is None or version is None or known.version != version:
            names = (name for name in store.names(folder) if name.endswith(SUFFIX))
            known = _Names(version, sorted(_key(name.removesuffix(SUFFIX)) for name in names))
            with self._lock:
                self._names[folder] = known
        return known.keys

    def _listed(
        self, namespace: str, folder: str, batch_id: str, targets: Sequence[Target]
    ) -> ListedBatch | None:
        """Return a batch as it is listed; None if it is gone, or another namespace's."""
        printed, can_be_shown = printable(batch_id), is_text(batch_id)
        try:
            content = self._files.store.read(f"{folder}/{batch_id}{SUFFIX}")
        except NetworkFailure as failure:
            return ListedBatch(printed, can_be_shown, str(failure))
        if content is None:
            return None
        try:
            outline = parse_outline(content, name=batch_id)
            sealed_at = None if outline.created_at is None else of_seconds(outline.created_at)
        except InvalidValue as error:
            is_ours = named_namespace(content) in ("", namespace)
            return ListedBatch(printed, can_be_shown, str(error)) if is_ours else None
        if outline.namespace not in ("", namespace):
            return None
        receipts = self._files.receipts.of_batch(batch_id, namespace=namespace)
        seen = [Seen(receipt, verified=True) for receipt in receipts]
        levels = levels_of(seen, [Owed(namespace, targets, sealed_at)])
        return ListedBatch(printed, can_be_shown, "", sealed_at, outline.leaves, levels)


def is_text(name: str) -> bool:
    """Tell whether a name can be written as UTF-8: that of a file need not."""
    return printable(name) == name


def _key(batch_id: str) -> tuple[int, int, str, str]:
    """Return what batches are ordered by: numbers by their value, after all other ids."""
    if batch_id.isascii() and batch_id.isdigit():
        digits = batch_id.lstrip("0")
        return 1, len(digits), digits, batch_id
    return 0, 0, "", batch_id


def _backwards(keys: Sequence[tuple[int, int, str, str]], start: int) -> Iterator[str]:
    for position in range(start - 1, max(-1, start - 1 - MOST_LOOKED_AT), -1):
        yield keys[position][-1]

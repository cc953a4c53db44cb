"""Keeps what a folder's entries say, so that each is read when it is new or changed.

1. A folder is listed again only when its version changed, or after a long rest.
2. What came or went is looked at next, whatever broke the last look off; a file whose stamp is as it was is not read.
3. Unsettled entries, such as refused files, are looked at again each time; of the others some in turn.
4. An entry that can't be used stands beside the others and never stops them.
5. Users derive what they need from the values: batches by age, event receipts by root, ends of rounds, leaves.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, count, islice
from operator import ne
from typing import Generic, TypeVar

from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.storage.files import Store

LOOKED_AT_AGAIN = 64
"""Files that are looked at again at once: 0.2 ms of system calls."""
LISTED_AGAIN_SECONDS = 60.0
"""After which a folder is listed again in any case: not every file system keeps good time."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Look(Generic[Value]):
    """What a look at an entry saw."""

    value: Value
    is_settled: bool = True
    stamp: int | None = None
    """Hash of the file's stamp: a hundred thousand of them are kept. None: another look reads the entry again."""


class FolderIndex(Generic[Value]):
    """The entries of one folder; whoever uses it holds `lock`."""

    def __init__(
        self, store: Store, path: str, look: Callable[[str], Look[Value] | None], suffix: str = ""
    ) -> None:
        """Look at nothing before it is asked for; `look` reads an entry by its name and returns None if it is gone."""
        self.path = path
        self.lock = threading.RLock()
        self.known: dict[str, Look[Value]] = {}
        self.unsettled: dict[str, Look[Value]] = {}
        """Those of the known entries that are looked at again each time."""
        self._store = store
        self._look, self._suffix = look, suffix
        self._unseen: dict[str, None] = {}
        """Names to look at next."""
        self._listed: Sequence[str] = ()
        self._version: str | None = None
        self._list_again_at = self._rests_until = 0.0
        self._turn: list[str] = []

    def refresh(self) -> None:
        """Look at what came and went, and whether some of the unsettled entries were mended; raises as `learn` does."""
        self.learn()
        self.look(LOOKED_AT_AGAIN)

    def learn(self, *, afresh: bool = False) -> list[str]:
        """List the folder if it may have changed, or in any case; returns the names that came.

        Raises:
            NetworkFailure: it can't be listed.
        """
        version, now = self._store.version(self.path), time.monotonic()
        is_same = version is not None and version == self._version and not afresh
        if is_same and now < self._list_again_at:
            return []
        names = self._store.names(self.path)
        came, gone = changes(self._listed, names)
        unread = (name for name, look in self.unsettled.items() if look.stamp is None)
        self.note(name for name in (*came, *gone, *unread) if name.endswith(self._suffix))
        self._listed, self._version = names, version
        self._list_again_at = now + LISTED_AGAIN_SECONDS
        return came

    def note(self, names: Iterable[str]) -> None:
        """Have entries looked at next, listed or not."""
        self._unseen.update(dict.fromkeys(names))

    def look(self, most: int | None = None) -> None:
        """Look at what is new, and at unsettled entries: all of them, or so many."""
        self.look_at({**self._unseen, **dict.fromkeys(islice(self.unsettled, most))})

    def look_at(self, names: Iterable[str]) -> None:
        """Look at entries; those before one that fails are taken."""
        looks: dict[str, Look[Value] | None] = {}
        try:
            for name in names:
                looks[name] = self._unchanged(name) or self._look(name)
        finally:
            self._take(looks)

    def in_turn(self, most: int) -> Iterator[str]:
        """Yield the known entries whose turn it is to be looked at again; one that fails costs no other its turn."""
        self._turn = self._turn or list(self.known)
        for _ in range(min(most, len(self._turn))):
            yield self._turn.pop()

    def has_rested(self, seconds: float) -> bool:
        """Say whether the rest is over; if so, the next one begins."""
        if time.monotonic() < self._rests_until:
            return False
        self._rests_until = time.monotonic() + seconds
        return True

    def _unchanged(self, name: str) -> Look[Value] | None:
        known = self.known.get(name)
        if known is None or known.stamp is None:
            return None
        try:
            stamp = self._store.stamp(f"{self.path}/{name}")
        except NetworkFailure:
            return None  # reading it tells why
        return known if stamp is not None and known.stamp == hash(stamp) else None

    def _take(self, looks: dict[str, Look[Value] | None]) -> None:
        gone: list[Value] = []
        came: list[Value] = []
        # Made anew: a dictionary that is emptied one by one keeps its size.
        self._unseen = {name: None for name in self._unseen if name not in looks}
        for name, look in looks.items():
            before = self.known.get(name)
            if look is before:
                continue
            self.unsettled.pop(name, None)
            if before is not None:
                gone.append(self.known.pop(name).value)
            if look is not None:
                self.known[name] = look
                came.append(look.value)
                if not look.is_settled:
                    self.unsettled[name] = look
        missing = {name for name, look in looks.items() if look is None}
        if missing:  # A name that is gone is new when it is back.
            self._listed = [name for name in self._listed if name not in missing]
        self._changed(gone, came)

    def _changed(self, gone: Sequence[Value], came: Sequence[Value]) -> None:
        """Learn which values went and which came: a subclass may derive something from them."""


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
    return [name for name in second if name not in old], [name for name in first if name not in new]

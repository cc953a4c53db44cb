"""Counts from files what each cadence owes, and says which batches can't be anchored.

A storage that can't be read is a problem that is told, and the count is unknown; it stops nothing.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError
from vaultmesh.domain.status import NamespaceMemo
from vaultmesh.domain.target import Target
from vaultmesh.process.failing import one_line

Owed = Callable[[str, Target, str], "Uncovered"]
"""Tells what of a namespace's batches in a folder has no anchor on a target; blocks."""
MOST_PROBLEMS = 5
"""Refused batches that are shown of a cadence."""
KEPT_SECONDS = 5.0
"""A count that is not older is shown again."""
WAITED_SECONDS = 2.0
"""Health does not wait longer for a storage: it shows what was counted last."""


REST_FACTOR = 20
"""A count takes one twentieth of the time where it can: a rest of so many times its length follows it."""
LONGEST_YIELD_SECONDS = 0.005
"""A count lets others go on after each namespace, for as long as that one took, and not longer than this: the event loop waits
for a thread that computes at each of its calls to the system, and the first count and the first page come together."""
LONGEST_REST_SECONDS = 40.0
"""However long a count takes: what is owed shows within a minute."""
SCRAPE_WAITED_SECONDS = 0.1
"""Metrics wait less long than health: they are asked for again soon."""
TASK = "counting what is owed"


class Batch(Protocol):
    """A batch, as far as counting it needs."""

    @property
    def created_at(self) -> int:
        """Unix seconds."""


class Uncovered(Protocol):
    """What a storage knows of a namespace's batches that no receipt of a target covers."""

    @property
    def owed(self) -> Sequence[Batch]:
        """The batches, oldest first."""

    @property
    def refused(self) -> Sequence[object]:
        """Why others can't be anchored."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What files say of one cadence."""

    unanchored: int | None
    """Batches that are owed; None if the storage can't be read."""
    problems: tuple[str, ...] = ()
    """One line each."""
    oldest: int | None = None
    """When the oldest owed batch was sealed, in Unix seconds; None if nothing is owed, or nobody can say."""


def count(owed: Owed, namespace: str, target: str, folder: str) -> Counted:
    """Count what a namespace owes on a target; an empty folder means the default one. Blocks."""
    try:
        uncovered = owed(namespace, Target.parse(target), folder)
    except (AnchorError, InvalidValue, OSError) as error:
        return Counted(None, (one_line(f"batches can't be counted: {error}"),))
    refused = (" ".join(str(refusal).split()) for refusal in uncovered.refused[:MOST_PROBLEMS])
    oldest = uncovered.owed[0].created_at if uncovered.owed else None
    return Counted(len(uncovered.owed), tuple(refused), oldest)


@dataclass(frozen=True, slots=True)
class NamespaceCounts:
    """What files say of one namespace."""

    unanchored: Mapping[str, int | None] = field(default_factory=dict)
    """By cadence."""
    problems: tuple[str, ...] = ()
    oldest: Mapping[str, int] = field(default_factory=dict)
    """When the oldest owed batch of a cadence was sealed, in Unix seconds."""


def count_all(owed: Owed, memo: NamespaceMemo) -> NamespaceCounts:
    """Count what each cadence of a namespace owes. Blocks."""
    by_label = {
        label: count(owed, memo.namespace, cadence.target, memo.batches)
        for label, cadence in memo.cadences.items()
    }
    problems = dict.fromkeys(line for counted in by_label.values() for line in counted.problems)
    return NamespaceCounts(
        {label: counted.unanchored for label, counted in by_label.items()},
        tuple(problems)[:MOST_PROBLEMS],
        {
            label: counted.oldest
            for label, counted in by_label.items()
            if counted.oldest is not None
        },
    )


class Counts:
    """Counts for one process, in a thread and at most every five seconds."""

    def __init__(self, owed: Owed) -> None:
        """Count nothing before it is asked for."""
        self._owed = owed
        self._counting: asyncio.Task[dict[str, NamespaceCounts]] | None = None
        self._last: Mapping[str, NamespaceCounts] = {}
        self.due = 0.0
        """Instant of the monotonic clock from which on a new count is made."""
        self._took = 0.0
        """Seconds that the last count took."""

    async def current(
        self, memos: Mapping[str, NamespaceMemo], within: float | None = None
    ) -> Mapping[str, NamespaceCounts]:
        """Return what each namespace owes; what could not be counted within some seconds is as it was last."""
        is_old = time.monotonic() >= self.due or self._last.keys() != memos.keys()
        if self._counting is None and is_old:
            self._counting = asyncio.create_task(asyncio.to_thread(self._count, dict(memos)))
        counting = self._counting
        if counting is not None:
            await asyncio.wait([counting], timeout=WAITED_SECONDS if within is None else within)
            if counting.done() and counting is self._counting:
                rest = max(KEPT_SECONDS, min(REST_FACTOR * self._took, LONGEST_REST_SECONDS))
                self._counting, self.due = None, time.monotonic() + rest
                self._last = counting.result()
        return self._last

    async def run(self, memos: Callable[[], Mapping[str, NamespaceMemo]]) -> None:
        """Count again and again until cancelled: whoever asks is told at once what was counted last."""
        while True:
            await self.current(memos())
            due = self.due if self._counting is None else time.monotonic() + KEPT_SECONDS
            await asyncio.sleep(max(due - time.monotonic(), KEPT_SECONDS))

    def _count(self, memos: Mapping[str, NamespaceMemo]) -> dict[str, NamespaceCounts]:
        started = time.monotonic()
        counts = dict[str, NamespaceCounts]()
        for name, memo in memos.items():
            began = time.monotonic()
            counts[name] = count_all(self._owed, memo)
            time.sleep(min(time.monotonic() - began, LONGEST_YIELD_SECONDS))
        self._took = time.monotonic() - started
        return counts

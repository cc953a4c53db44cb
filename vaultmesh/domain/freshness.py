"""Decides when a cadence is stale, overdue or otherwise not as it should be; every reader goes by these rules.

1. A cadence is stale if no request of it ended well for three of its periods, and for ten minutes at least. An anchor
   ends well, and so does a slot at which nothing was owed.
2. The time starts when a cadence begins, is resumed, or gets another rhythm. A paused cadence is never stale.
3. Telling of an idle slot costs an event, so that not each is told: the bound allows for those that were not.
4. A namespace is no better than its worst cadence, and paused only if all of them are.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum

from vaultmesh.domain.instants import write_seconds

STALE_PERIODS = 3
SHORTEST_STALE = timedelta(minutes=10)
"""A ledger may take some minutes to include an anchor, however fast the cadence is."""
TOLD_EVERY_PERIODS = 1.5
"""Of slots at which nothing was owed, about each second is told."""
SHORTEST_TOLD = timedelta(minutes=5)
"""And none sooner than this after the one before."""
OVERDUE_AFTER = timedelta(seconds=30)
"""A due slot that was not taken up for so long is overdue: a worker takes it up within a second, a busy one within some."""


class Status(StrEnum):
    """How a cadence or a namespace fares: the values of the search attribute, and those of `/health`."""

    OK = "ok"
    BACKING_OFF = "backing_off"
    """Requests fail."""
    STALE = "stale"
    """Nothing ended well for too long."""
    PAUSED = "paused"


def stale_at(fresh_at: datetime, period: timedelta) -> datetime:
    """Return from when on a cadence is stale for which all was well at an instant, as far as that was told."""
    return fresh_at + anchored_within(period) + _told_every(period)


def anchored_within(period: timedelta) -> timedelta:
    """Return how long after its sealing a batch should have an anchor at the latest, by its cadence's period."""
    return max(STALE_PERIODS * period, SHORTEST_STALE)


def is_worth_telling(fresh_at: datetime, period: timedelta, now: datetime) -> bool:
    """Whether what was told last is so old that an idle slot is told too."""
    return now - fresh_at >= _told_every(period)


def _told_every(period: timedelta) -> timedelta:
    return max(TOLD_EVERY_PERIODS * period, SHORTEST_TOLD)


def cadence_status(
    *, backs_off: bool, paused: bool, stale_from: datetime | None, now: datetime
) -> Status:
    """Return how a cadence fares; `stale_from` is None if nobody can say when it is stale."""
    if backs_off:
        return Status.BACKING_OFF
    if paused:
        return Status.PAUSED
    return Status.STALE if stale_from is not None and now > stale_from else Status.OK


def overall(statuses: Collection[Status]) -> Status:
    """Return how a namespace with such cadences fares."""
    if Status.BACKING_OFF in statuses:
        return Status.BACKING_OFF
    if statuses and all(status is Status.PAUSED for status in statuses):
        return Status.PAUSED
    return Status.STALE if Status.STALE in statuses else Status.OK


def overdue(due: datetime | None, now: datetime) -> timedelta | None:
    """Return for how long something waits that was due; None if it is not overdue."""
    if due is None or now - due <= OVERDUE_AFTER:
        return None
    return now - due


def waits_for_worker(since: datetime, now: datetime) -> str:
    """Say that a workflow task waits which no worker has taken."""
    return f"due {in_words(now - since)} ago, at {write_seconds(since)}: no worker takes its tasks"


def in_words(age: timedelta) -> str:
    """Return a length of time in its largest whole unit, such as `4 min`."""
    seconds = max(0, int(age.total_seconds()))
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"

"""Decides which slots are left to another scheduler that works on the same database, as during a cut-over (ADR 54).

1. Another scheduler is known by the rows that it begins: scheduled runs whose ids are not ours.
2. While one works on a job, it gets `BEGINS_WITHIN` to begin each slot. What it begins is its own, and skipped here; what it
   leaves is run here. So whichever of the two is stopped, and whenever, each slot is run once.
3. It works on a job if it began one of the last two slots, until a later slot was run here alone. Of a job that nobody ran in
   that time nothing is known: there it works if by the same rule it works on any job, and began that run within `SILENT_AFTER`.
4. Runs that were imported, runs of other replicas and runs that somebody asked for say nothing.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from vaultmesh.domain.jobs.cron import Cron

BEGINS_WITHIN = timedelta(seconds=30)
"""How long another scheduler may take to begin a slot: node-cron looks each second, and its host's clock may be off."""
SILENT_AFTER = timedelta(days=1)
"""A scheduler that began no run at all for so long takes no job up that it did not run before."""
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class SlotSpan:
    """When a run must have begun to say something about a slot."""

    watched_from: datetime
    """One since then tells that its scheduler works on the job: it is of the last two slots before, or of this one."""
    begun_from: datetime
    """One since then is of this slot, or a later one; a clock that is ahead begins it early."""


def slot_span(cron: Cron, slot: datetime) -> SlotSpan:
    """Return when runs must have begun that say something about a slot."""
    last = cron.last_until(slot - _SECOND)
    if last is None:
        return SlotSpan(slot - BEGINS_WITHIN, slot - BEGINS_WITHIN)
    early = min(BEGINS_WITHIN, (slot - last) / 2)
    last_but_one = cron.last_until(last - _SECOND)
    return SlotSpan((last_but_one or last) - early, slot - early)


@dataclass(frozen=True, slots=True)
class LastBegun:
    """When scheduled runs began last, of those since a slot's `watched_from`; None where there is none."""

    by_other: datetime | None = None
    """Of the job, by another scheduler."""
    by_us: datetime | None = None
    """Of the job, by any of our workers."""
    of_any_job: datetime | None = None
    """The newest within `SILENT_AFTER` by which another scheduler works on any job; looked for only if nobody began one of this."""

    @property
    def sign_of_other(self) -> datetime | None:
        """When another scheduler began the run by which it is known to work on the job; None if none does."""
        if self.by_other is None:
            return self.of_any_job if self.by_us is None else None
        if self.by_us is not None and self.by_other < self.by_us - BEGINS_WITHIN:
            return None
        return self.by_other

    def has_begun(self, span: SlotSpan) -> bool:
        """Whether another scheduler has begun the slot."""
        return self.by_other is not None and self.by_other >= span.begun_from


def left_to_other(began: datetime) -> str:
    """Return why a slot is not run here, or later than it is due."""
    return (
        f"left to another scheduler, which began a run {began:%Y-%m-%dT%H:%M:%SZ}: a slot is run here only if that one has "
        f"not begun it {BEGINS_WITHIN.total_seconds():g} s after it is due - stop that one to move over"
    )

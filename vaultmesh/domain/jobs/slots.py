"""Decides which slots of a job run, are missed or are skipped.

1. A slot is a due instant of the job's cron expression. Each ends in exactly one outcome (S4); of a disabled job there are none.
2. Of the slots that passed, the newest runs if it is not older than the job's catch-up window; the others are missed.
3. Slots that pass while a run is under way, or while the job is paused, are skipped: nothing is caught up in a heap.
4. Enabling a job, or another expression, starts anew from that instant; a slot that was due before is not lost (S1).
5. Nothing here reads a clock: `now` is always an argument. A clock that goes back repeats no slot: `after` never does.
6. A workflow that was reset or put back deals with slots again; the store knows which were dealt with, and none counts twice.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from vaultmesh.domain.jobs.cron import Cron, read_cron
from vaultmesh.domain.jobs.messages import SlotCounts, Unchecked
from vaultmesh.domain.messages import Wire


class SlotOutcome(StrEnum):
    """The one outcome of each slot."""

    RUN = "run"
    """The job was called."""
    MISSED = "missed"
    """It was older than the catch-up window when somebody looked, or no worker took it."""
    SKIPPED = "skipped"
    """A run was under way, or the job was paused."""


class JobState(StrEnum):
    """What a job does at an instant, as far as its slots go."""

    WAITING = "waiting"
    """It sleeps until its next slot."""
    RUNNING = "running"
    """A run is under way."""
    PAUSED = "paused"
    """It is armed, and an operator lets no slot run."""
    DISABLED = "disabled"
    """It has no slots."""


class Passed(Wire):
    """What becomes of the slots that passed."""

    after: datetime
    """Everything up to here is dealt with; carried on to the next look."""
    slot: datetime | None = None
    """The slot that is to run now."""
    missed: int = 0
    skipped: int = 0

    def with_missed_slot(self) -> "Passed":
        """Return it where no worker took the slot in time: it is missed, and nothing was called."""
        if self.slot is None:
            return self
        return self.model_copy(update={"slot": None, "missed": self.missed + 1})


def next_due(cron: Cron, after: datetime) -> datetime | None:
    """Return until when the job sleeps; None if there is no slot any more."""
    return cron.next_after(after)


def take_due(cron: Cron, after: datetime, now: datetime, catch_up: timedelta) -> Passed:
    """Deal with every slot after `after` and up to now: the newest may run, the others are missed."""
    count = cron.count(after, now)
    newest = cron.last_until(now) if count else None
    if newest is None:
        return Passed(after=after)
    if now - newest > catch_up:
        return Passed(after=newest, missed=count)
    return Passed(after=newest, slot=newest, missed=count - 1)


def skip_passed(cron: Cron, after: datetime, until: datetime) -> Passed:
    """Skip every slot after `after` and up to `until`: a run ended then, or the job is paused."""
    count = cron.count(after, until)
    newest = cron.last_until(until) if count else None
    return Passed(after=after if newest is None else newest, skipped=count)


def start_anew(
    cron: Cron, after: datetime, now: datetime, catch_up: timedelta, state: JobState
) -> Passed:
    """Deal with what passed so far, and begin at `now`: the job was enabled, or gets another expression.

    Args:
        cron: the expression that held so far.
        after: up to where its slots are dealt with.
        now: from when on the new state or expression holds.
        catch_up: the window that held so far.
        state: what the job did so far.
    """
    passed = _until_now(cron, after, now, catch_up, state)
    return passed.model_copy(update={"after": max(now, passed.after)})


def _until_now(
    cron: Cron, after: datetime, now: datetime, catch_up: timedelta, state: JobState
) -> Passed:
    match state:
        case JobState.WAITING:
            return take_due(cron, after, now, catch_up)
        case JobState.RUNNING | JobState.PAUSED:
            return skip_passed(cron, after, now)
        case JobState.DISABLED:
            return Passed(after=after)


def agreed(known: SlotCounts, reported: SlotCounts) -> SlotCounts:
    """Return what the totals of a job's slots are, by what the store knows and what the job's workflow reports.

    Slots up to the newest one that the store knows of are counted there already. The workflow may count some of them
    again: it was reset, or put back with its database. The same report twice changes nothing.
    """
    served, unchecked = known.served, reported.unchecked
    return SlotCounts(
        missed=_total(known.missed, reported.missed, unchecked, served, is_missed=True),
        skipped=_total(known.skipped, reported.skipped, unchecked, served, is_missed=False),
        served=later(served, reported.served),
    )


def _total(
    known: int,
    reported: int,
    unchecked: Unchecked | None,
    served: datetime | None,
    *,
    is_missed: bool,
) -> int:
    """Return one total: what was known before, and the slots of the workflow's that came after `served`."""
    if unchecked is None:
        return max(known, reported)
    cron = read_cron(unchecked.cron)
    counted = new = 0
    for stretch in unchecked.stretches:
        if stretch.is_missed is is_missed:
            counted += cron.count(stretch.since, stretch.until)
            new += cron.count(max(stretch.since, served or stretch.since), stretch.until)
    return max(known, reported - counted) + new


def later(first: datetime | None, second: datetime | None) -> datetime | None:
    """Return the later of two instants, either of which may be missing."""
    return max((instant for instant in (first, second) if instant is not None), default=None)

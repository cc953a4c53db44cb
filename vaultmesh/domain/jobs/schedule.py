"""Decides what a job's workflow does next: wait, run, or end. Pure: every instant is an argument.

1. A job does one thing at a time: a slot or a trigger starts no run while one is under way.
2. What was asked for runs first, then the slot that was due. Slots that pass during a run, or while paused, are skipped.
3. The highest revision that was heard counts. Counts only rise.
"""

from datetime import datetime, timedelta

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.jobs.cron import Cron, read_cron
from vaultmesh.domain.jobs.messages import (
    LONGEST_RECENT_TRIGGERS,
    MOST_UNCHECKED,
    MOST_UNWRITTEN,
    CloseOrder,
    DecisionOrder,
    JobCarried,
    JobInput,
    JobPause,
    JobSpec,
    LastRun,
    Rejected,
    RunEnd,
    RunOrder,
    SlotCounts,
    Stretch,
    TriggerOrder,
    Unchecked,
    Written,
)
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy, run_id
from vaultmesh.domain.jobs.slots import (
    JobState,
    Passed,
    later,
    next_due,
    skip_passed,
    start_anew,
    take_due,
)

ALREADY_RUNNING = "Job is already running"
"""What clients of the API know for it."""
MOST_AHEAD = timedelta(minutes=1)
"""Clocks of hosts differ by less; a job whose slots are dealt with up to a later instant begins now."""
_INSTANT = timedelta(microseconds=1)


class JobSchedule:
    """The state of one job's workflow."""

    def __init__(self, start: JobInput, now: datetime) -> None:
        """Go on from what was carried; a job that begins now has no slot before."""
        self.spec = start.spec
        self._cron: Cron = read_cron(start.spec.cron)
        carried = start.carried
        self._after = carried.after or now
        if self._after - now > MOST_AHEAD:
            self._after = now
        self._counts = carried.counts
        self._counts_written = carried.counts_written
        self._owed_slot = carried.owed_slot
        self._waiting = carried.waiting
        self._recent = list(carried.recent_triggers)
        self._last_run = carried.last_run
        self._failures = carried.failures
        self._unwritten = list(carried.unwritten)
        self._forgotten = carried.forgotten_ends
        self._decisions = list(carried.decisions)
        self._last_rejected = carried.last_rejected
        self._stopping = carried.stopping
        self._running: RunOrder | None = None
        self._running_since: datetime | None = None

    # --- what is so ------------------------------------------------------------------------------------------------

    @property
    def state(self) -> JobState:
        """What the job does as far as its slots go."""
        if self._running is not None:
            return JobState.RUNNING
        if not self.spec.enabled:
            return JobState.DISABLED
        return JobState.PAUSED if self.spec.paused is not None else JobState.WAITING

    @property
    def running(self) -> RunOrder | None:
        """The run under way."""
        return self._running

    @property
    def running_since(self) -> datetime | None:
        """When it began."""
        return self._running_since

    @property
    def waiting(self) -> TriggerOrder | None:
        """What was asked for and has not begun."""
        return self._waiting

    @property
    def last_run(self) -> LastRun | None:
        """The newest run that ended."""
        return self._last_run

    @property
    def failures(self) -> int:
        """Runs in a row that failed."""
        return self._failures

    @property
    def last_rejected(self) -> Rejected | None:
        """The newest message that meant nothing."""
        return self._last_rejected

    @property
    def forgotten_ends(self) -> int:
        """Ends of runs that the store will not hear of."""
        return self._forgotten

    @property
    def stopping(self) -> bool:
        """Whether the job is to end once nothing is under way."""
        return self._stopping

    @property
    def counts(self) -> SlotCounts:
        """Totals of slots so far."""
        return self._counts

    def next_due(self) -> datetime | None:
        """Return the next slot that would run; None while there is none."""
        if not self.spec.enabled or self.spec.paused is not None or self._stopping:
            return None
        return self._owed_slot or next_due(self._cron, self._after)

    # --- turns -----------------------------------------------------------------------------------------------------

    def take(self, now: datetime) -> RunOrder | None:
        """Return the run that begins now, if any; slots that passed are counted."""
        if self._running is not None:
            return None
        order = self._triggered() if self._waiting is not None else self._due(now)
        if order is not None:
            self._running, self._running_since = order, now
        return order

    def _triggered(self) -> RunOrder | None:
        asked, self._waiting = self._waiting, None
        if asked is None:
            return None
        return RunOrder(
            spec=self.spec,
            run_id=asked.run_id,
            triggered_by=TriggeredBy.MANUAL,
            user=asked.user,
            counts=self._counts,
        )

    def _due(self, now: datetime) -> RunOrder | None:
        if self._stopping or self.state is not JobState.WAITING:
            return None
        passed = take_due(self._cron, self._after, now, self.spec.catch_up)
        slot = passed.slot
        if slot is None and self._owed_slot is not None:
            slot = self._owed_slot
        elif self._owed_slot is not None:  # of the expression before
            missed = self._counts.missed + 1
            self._counts = self._counts.model_copy(update={"missed": missed})
        self._owed_slot = None
        self._passed(passed)
        if slot is None:
            return None
        return RunOrder(
            spec=self.spec,
            run_id=str(run_id(self.spec.name, slot)),
            slot=slot,
            counts=self._counts,
        )

    def ended(self, end: RunEnd, now: datetime) -> None:
        """Take the end of the run under way; what could not be written is kept for later."""
        order = self._running
        if order is None:
            return
        self._skip(now)
        self._running, self._running_since = None, None
        if end.is_written or end.counts is not None:
            self._stored(order.counts, end.counts)
        if end.is_dropped:
            if end.is_skipped and order.slot is not None:
                self._count_one(order.slot, is_missed=False)
            return
        self._last_run = LastRun(
            run_id=end.run_id, status=end.status, outcome=end.outcome, error=end.error, at=now
        )
        self._failures = self._failures + 1 if end.status is RunStatus.FAILED else 0
        if not end.is_written:
            self._keep(end)

    def not_taken(self, now: datetime) -> None:
        """No worker took the slot in time: nothing was called, and it is missed."""
        order = self._running
        if order is None or order.slot is None:
            return
        self._skip(now)
        self._running, self._running_since = None, None
        self._count_one(order.slot, is_missed=True)

    def _skip(self, now: datetime) -> None:
        """Skip the slots that passed during the run under way."""
        if self.spec.enabled:
            self._passed(skip_passed(self._cron, self._after, now))

    def count_paused(self, now: datetime) -> None:
        """Count the slots that passed while the job is paused."""
        if self.state is JobState.PAUSED:
            self._passed(skip_passed(self._cron, self._after, now))

    def _passed(self, passed: Passed) -> None:
        since = self._after
        self._after = max(self._after, passed.after)
        if not (passed.missed or passed.skipped or passed.slot is not None):
            return
        served = later(self._counts.served, passed.after)
        self._counts = self._counts.model_copy(update={"served": served})
        until = passed.after if passed.slot is None else passed.slot - _INSTANT
        stretch = Stretch(since=since, until=until, is_missed=passed.missed > 0)
        if passed.missed or passed.skipped:
            self._count(passed.missed, passed.skipped, stretch)

    def _count_one(self, slot: datetime, *, is_missed: bool) -> None:
        """Count a slot that was to be run as missed, or as skipped."""
        stretch = Stretch(since=slot - _INSTANT, until=slot, is_missed=is_missed)
        self._count(int(is_missed), int(not is_missed), stretch)

    def _count(self, missed: int, skipped: int, stretch: Stretch) -> None:
        """Count slots, to be compared with what the store knows of them."""
        cron, counts = self.spec.cron, self._counts
        before = counts.unchecked.stretches if counts.unchecked is not None else []
        unchecked = Unchecked(cron=cron, stretches=[*before, stretch][-MOST_UNCHECKED:])
        self._counts = SlotCounts(
            missed=counts.missed + missed,
            skipped=counts.skipped + skipped,
            served=counts.served,
            unchecked=unchecked,
            answers=counts.answers,
        )

    # --- what others order -----------------------------------------------------------------------------------------

    def configure(self, spec: JobSpec, now: datetime) -> bool:
        """Take a revision; False for one that is not newer than what is known."""
        if spec.revision <= self.spec.revision:
            return False
        changes_times = (spec.enabled, spec.cron) != (self.spec.enabled, self.spec.cron)
        resumes = self.spec.paused is not None and spec.paused is None
        if changes_times:
            passed = start_anew(self._cron, self._after, now, self.spec.catch_up, self.state)
            self._owed_slot = passed.slot if spec.enabled else None
            self._passed(passed)
        elif resumes:
            self.count_paused(now)
        if spec.cron != self.spec.cron:
            self._counts = self._counts.model_copy(update={"unchecked": None})
        self.spec, self._cron = spec, read_cron(spec.cron)
        self._stopping = False
        return True

    def pause(self, pause: JobPause) -> None:
        """Let no slot run from now on; the reason of the newest pause counts."""
        if self.state is JobState.WAITING:
            self._owed_slot = None
            self._passed(skip_passed(self._cron, self._after, pause.at))
        self.spec = self.spec.model_copy(update={"paused": pause})

    def resume(self, now: datetime) -> bool:
        """Let slots run again; False if the job is not paused."""
        if self.spec.paused is None:
            return False
        self.count_paused(now)
        self.spec = self.spec.model_copy(update={"paused": None})
        return True

    def check_trigger(self, run: str | None) -> None:
        """Refuse a trigger that can't start a run now.

        Raises:
            InvalidValue: a run is under way, or the job is ending.
        """
        if run is not None and run in self._recent:
            return
        if self._stopping:
            message = f"the job {self.spec.name!r} was deleted"
            raise InvalidValue(message)
        if self._running is not None or self._waiting is not None:
            raise InvalidValue(ALREADY_RUNNING)

    def trigger(self, order: TriggerOrder) -> None:
        """Have the job run as soon as nothing is under way; the same order twice runs once.

        Raises:
            InvalidValue: as `check_trigger` does.
        """
        self.check_trigger(order.run_id)
        if order.run_id in self._recent:
            return
        self._recent = [*self._recent, order.run_id][-LONGEST_RECENT_TRIGGERS:]
        self._waiting = order

    def stop(self, revision: int | None) -> bool:
        """End once nothing is under way; False if a newer revision was heard since."""
        if revision is not None:
            if revision < self.spec.revision:
                return False
            self.spec = self.spec.model_copy(update={"revision": revision})
        self._stopping, self._waiting, self._owed_slot = True, None, None
        return True

    def reject(self, message: str, reason: str, at: datetime) -> None:
        """Remember a message that meant nothing."""
        self._last_rejected = Rejected(message=message[:100], reason=reason, at=at)

    # --- what the store does not know yet --------------------------------------------------------------------------

    def _keep(self, end: RunEnd) -> None:
        self._unwritten.append(end)
        surplus = len(self._unwritten) - MOST_UNWRITTEN
        if surplus > 0:
            self._forgotten += surplus
            del self._unwritten[:surplus]

    @property
    def has_unwritten_counts(self) -> bool:
        """Whether slots were counted that the store does not know of."""
        return self._counts != self._counts_written

    def unwritten(self, *, also_counts: bool) -> CloseOrder | None:
        """Return what is to be written, if anything; counts alone are written now and then only."""
        if not self._unwritten and not (also_counts and self.has_unwritten_counts):
            return None
        return CloseOrder(
            job=self.spec.name,
            job_type=self.spec.job_type,
            ends=list(self._unwritten),
            counts=self._counts,
        )

    def wrote(self, order: CloseOrder, written: Written) -> None:
        """Take that an order is written; the row of a run that had ended otherwise is right."""
        done = {end.run_id for end in order.ends}
        self._unwritten = [end for end in self._unwritten if end.run_id not in done]
        self._stored(order.counts, written.counts)
        last = self._last_run
        for kept in written.kept:
            if last is not None and kept.run_id == last.run_id and kept.status is not last.status:
                change = {"status": kept.status, "outcome": None, "error": kept.error}
                self._last_run = last.model_copy(update=change)
                self._failures = 0 if kept.status is RunStatus.COMPLETED else self._failures + 1

    def _stored(self, sent: SlotCounts, stored: SlotCounts | None) -> None:
        """Take that totals are in the store, and what they came to there; what was counted meanwhile is added.

        A run and an end that waited for the store may both carry the same slots. The first answer counts them; the other
        one tells nothing of what was counted since, and the next report is compared anyway.
        """
        counts = self._counts
        if sent.answers != counts.answers:
            return
        answers = {"unchecked": None, "answers": counts.answers + 1}
        stored = (sent if stored is None else stored).model_copy(update=answers)
        self._counts = SlotCounts(
            missed=stored.missed + counts.missed - sent.missed,
            skipped=stored.skipped + counts.skipped - sent.skipped,
            served=later(stored.served, counts.served),
            unchecked=_counted_since(counts.unchecked, sent.unchecked),
            answers=stored.answers,
        )
        self._counts_written = stored

    def decided(self, pause: JobPause | None, at: datetime) -> None:
        """Keep what a signal changed until the row says it; only the newest counts."""
        self._decisions = [DecisionOrder(job=self.spec.name, paused=pause, at=at)]

    @property
    def unrecorded(self) -> DecisionOrder | None:
        """What a signal changed, and the row does not say yet."""
        return self._decisions[0] if self._decisions else None

    def recorded(self, order: DecisionOrder, revision: int | None) -> None:
        """Take that a decision is in the row, under a revision."""
        self._decisions = [decision for decision in self._decisions if decision != order]
        if revision is not None and revision > self.spec.revision:
            self.spec = self.spec.model_copy(update={"revision": revision})

    # --- the next run of the workflow ------------------------------------------------------------------------------

    def carried(self) -> JobInput:
        """Return what the next run of the workflow begins with; never while a run is under way."""
        return JobInput(
            spec=self.spec,
            carried=JobCarried(
                after=self._after,
                counts=self._counts,
                counts_written=self._counts_written,
                owed_slot=self._owed_slot,
                waiting=self._waiting,
                recent_triggers=self._recent,
                last_run=self._last_run,
                failures=self._failures,
                unwritten=self._unwritten,
                forgotten_ends=self._forgotten,
                decisions=self._decisions,
                last_rejected=self._last_rejected,
                stopping=self._stopping,
            ),
        )


def _counted_since(unchecked: Unchecked | None, sent: Unchecked | None) -> Unchecked | None:
    """Return what was counted after totals were sent to the store."""
    if unchecked is None or sent is None:
        return unchecked
    left = [stretch for stretch in unchecked.stretches if stretch not in sent.stretches]
    return unchecked.model_copy(update={"stretches": left}) if left else None

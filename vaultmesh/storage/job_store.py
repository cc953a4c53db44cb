"""Keeps HTTP cron jobs and their runs in SQL: PostgreSQL, or a file of SQLite below VMSH_ROOT.

    store = await JobStore.open(environment.get("JOBS_DATABASE_URL"), root)
    change = await store.register(definition, by=Actor(name="service report-service"), at=now)
    ...                                   # tell change.now to the job's workflow, then
    await store.mark_told(change.now.name, change.now.revision)

1. Each change of a job is one transaction: its row, the next revision, a line of audit.
2. A run is inserted once, closed once and counted once, whatever is repeated.
3. Calls run in four threads of the store's own and end within `CALL_SECONDS`: a store that hangs delays nobody else.
4. Every failure of the database is a `StoreError`; what a rule refuses is a `JobRefused`.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import JsonValue
from sqlalchemy import select

from vaultmesh.domain.jobs import decisions as rules
from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.jobs.decisions import Action, Job
from vaultmesh.domain.jobs.figures import JobFigures
from vaultmesh.domain.jobs.importing import SourceJob
from vaultmesh.domain.jobs.job import JobDefinition
from vaultmesh.domain.jobs.messages import SlotCounts
from vaultmesh.domain.jobs.other_scheduler import LastBegun, SlotSpan
from vaultmesh.domain.jobs.records import (
    Actor,
    AuditLine,
    Change,
    Closing,
    Decision,
    Decisions,
    HistoryPage,
    JobRevision,
    Miscount,
    Opened,
    Pause,
    RunEnd,
    RunRecord,
    RunStart,
    RunStats,
    StoredJob,
)
from vaultmesh.domain.jobs.refusals import StoreError, StoreErrorKind
from vaultmesh.domain.jobs.tasks import TaskSchedule, is_task
from vaultmesh.storage.job_tables import DECISIONS
from vaultmesh.storage.jobs.audit import Audit
from vaultmesh.storage.jobs.core import Ready, StoreCore, choose
from vaultmesh.storage.jobs.database import THREADS
from vaultmesh.storage.jobs.intake import TakenRuns
from vaultmesh.storage.jobs.jobs import Rule
from vaultmesh.storage.jobs.takeover import make_indexes

CALL_SECONDS = 10.0
"""After this, whoever asked is told that the store is down; what was asked may still be done."""
_MOST_REMEMBERED = 10_000
"""Next slots that are kept."""

_Result = TypeVar("_Result")
_Work = Callable[[Ready], _Result]


class JobStore:
    """Jobs, what was decided about them, and their runs; used by one event loop.

    Every method may raise `StoreError`; `may_pass` tells whether to try again later.
    """

    def __init__(self, core: StoreCore) -> None:
        """Use a database; `open` makes it ready."""
        self._core = core
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="jobs")
        self._next_runs: dict[str, tuple[datetime, datetime | None]] = {}

    @classmethod
    async def open(cls, url: str | None, root: Path, *, supabase: bool = False) -> Self:
        """Open the store, and make or complete its tables.

        A database that is away is no error here: it is made ready by the first call that reaches it.

        Args:
            url: JOBS_DATABASE_URL: of PostgreSQL, `sqlite` or nothing for the file.
            root: VMSH_ROOT, below which the file lies.
            supabase: whether SUPABASE_URL is set: then the file has to be asked for by `sqlite`.

        Raises:
            StoreError: of kind SETTING, SCHEMA or DENIED if somebody has to act; the message says how.
        """
        store = cls(StoreCore(choose(url, root, supabase=supabase)))
        try:
            await store.ping()
        except StoreError as error:
            if not error.may_pass:
                await store.close()
                raise
        return store

    @property
    def place(self) -> str:
        """Where it lies, without user or password; for people."""
        return self._core.place.label

    @property
    def is_a_file(self) -> bool:
        """Whether it is a file below VMSH_ROOT, which no worker with another root uses."""
        return not self._core.place.is_postgres

    @property
    def notices(self) -> tuple[str, ...]:
        """What people should know of it at the start: a line each."""
        traits = self._core.traits
        return ("it does not answer yet",) if traits is None else traits.notices

    @property
    def made_by_us(self) -> bool:
        """Whether we made the tables; where others did, history is kept for ever unless JOBS_KEEP_DAYS says otherwise."""
        return self._core.traits is not None and self._core.traits.made_by_us

    @property
    def counted_by_trigger(self) -> bool:
        """Whether a trigger of the database counts runs; then the counters are left to it."""
        return self._core.traits is not None and self._core.traits.counted_by_trigger

    async def close(self) -> None:
        """Give the connections back; calls under way end by themselves, those that wait are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._core.close()

    async def ping(self) -> None:
        """Ask the database for nothing; raises `StoreError` if it does not answer."""
        await self._call(_ping)

    async def check_writable(self) -> None:
        """Raise `StoreError` if the database answers and takes no writes."""
        await self._call(lambda ready: ready.database.check_writable())

    async def make_indexes(self) -> tuple[str, ...]:
        """Make the indexes that a database of others lacks; returns a line for each that was made, or why it was not.

        Call it once, beside the work: it takes as long as the table is long, one index at a time.
        """
        return await self._call(lambda ready: make_indexes(ready.database), seconds=None)

    # --- jobs ------------------------------------------------------------------------------------------------------

    async def list(self) -> tuple[StoredJob, ...]:
        """Return all jobs by name; deleted ones are left out."""
        return await self._call(lambda ready: ready.jobs.all())

    async def count(self) -> int:
        """Return how many jobs there are; deleted ones are left out."""
        return await self._call(lambda ready: ready.jobs.count())

    async def get(self, name: str) -> StoredJob | None:
        """Return a job; None if there is none, or it was deleted."""
        return await self._call(lambda ready: ready.jobs.get(name))

    async def decisions(self, name: str) -> Decisions | None:
        """Return what was decided about a job, a deleted one too, or about a maintenance task; None if nothing was."""
        return await self._call(lambda ready: ready.jobs.decisions(name))

    async def deleted(self) -> tuple[str, ...]:
        """Return the names that an administrator deleted and nobody has allowed since."""
        return await self._call(lambda ready: ready.jobs.deleted())

    async def next_run(self, job: StoredJob, now: datetime) -> datetime | None:
        """Return a job's next slot; None while it is disabled, or if there is none. Computed once per expression and slot."""
        if job.definition is None or not job.definition.enabled:
            return None
        expression = job.definition.cron_expression
        since, slot = self._next_runs.get(expression, (now, now))
        if since <= now and (slot is None or now < slot):
            return slot
        slot = read_cron(expression).next_after(now)
        if len(self._next_runs) >= _MOST_REMEMBERED:
            self._next_runs.clear()
        self._next_runs[expression] = (now, slot)
        return slot

    # --- changes of jobs -------------------------------------------------------------------------------------------

    async def register(self, definition: JobDefinition, by: Actor, at: datetime) -> Change:
        """Enter what a service registers; what administrators decided stays, and the client's is kept beside.

        Raises:
            DeletedJob: an administrator deleted it.
            ForeignName: another service has the name.
        """

        def rule(job: Job) -> Job:
            return rules.registered(job, definition, at)

        return await self._change(definition.name, Action.REGISTER, rule, by, at)

    async def enable(self, name: str, by: Actor, at: datetime) -> Change:
        """Decide that a job is enabled; raises `UnknownJob`."""
        rule = partial(rules.with_enabled, enabled=True, decision=_decision(by, at))
        return await self._change(name, Action.ENABLE, rule, by, at)

    async def disable(self, name: str, by: Actor, at: datetime) -> Change:
        """Decide that a job is disabled; raises `UnknownJob`."""
        rule = partial(rules.with_enabled, enabled=False, decision=_decision(by, at))
        return await self._change(name, Action.DISABLE, rule, by, at)

    async def set_cron(self, name: str, expression: str, by: Actor, at: datetime) -> Change:
        """Decide a job's cron expression.

        Raises:
            UnknownJob: there is none.
            InvalidValue: the expression can't be read.
        """
        read_cron(expression)
        rule = partial(rules.with_cron, expression=expression, decision=_decision(by, at))
        return await self._change(name, Action.CRON, rule, by, at)

    async def delete(self, name: str, by: Actor, at: datetime) -> Change:
        """Delete a job until it is allowed again; its history stays. Raises `UnknownJob`."""
        rule = partial(rules.deleted, decision=_decision(by, at))
        return await self._change(name, Action.DELETE, rule, by, at)

    async def reset(self, name: str, by: Actor, at: datetime) -> Change:
        """Give a job the expression and state again that its service registered last; raises `UnknownJob`."""
        rule = partial(rules.reset, decision=_decision(by, at))
        return await self._change(name, Action.RESET, rule, by, at)

    async def allow(self, name: str, by: Actor, at: datetime) -> Change:
        """Let a deleted job be registered again, or another service take the name of a job over, once.

        Raises:
            UnknownJob: there is no such job, and nobody deleted it.
        """
        rule = partial(rules.allowed, decision=_decision(by, at))
        return await self._change(name, Action.ALLOW, rule, by, at)

    async def pause(self, name: str, reason: str, by: Actor, at: datetime) -> Change:
        """Let no slot of a job, or of a maintenance task, run until `resume`; raises `UnknownJob`."""
        rule = _known(name, partial(rules.paused, pause=Pause(by=by.name, at=at, reason=reason)))
        return await self._change(name, Action.PAUSE, rule, by, at)

    async def resume(self, name: str, by: Actor, at: datetime) -> Change:
        """End a pause; raises `UnknownJob`."""
        return await self._change(name, Action.RESUME, _known(name, rules.resumed), by, at)

    async def pause_all(self, reason: str, by: Actor, at: datetime) -> tuple[Change, ...]:
        """Pause every job that is not paused, in one transaction each."""
        running = [job.name for job in await self.list() if job.decisions.paused is None]
        return tuple([await self.pause(name, reason, by, at) for name in running])

    async def resume_all(self, by: Actor, at: datetime) -> tuple[Change, ...]:
        """End the pause of every job, in one transaction each."""
        paused = [job.name for job in await self.list() if job.decisions.paused is not None]
        return tuple([await self.resume(name, by, at) for name in paused])

    async def resume_paused(self, since: datetime, by: Actor, at: datetime) -> tuple[Change, ...]:
        """End the pauses that began at one instant, as those of `pause_all` do; pauses from before it stay."""
        rule = partial(rules.resumed, since=since)
        jobs = [job for job in await self.list() if job.decisions.paused is not None]
        names = [
            job.name for job in jobs if job.decisions.paused and job.decisions.paused.at == since
        ]
        changes = [await self._change(name, Action.RESUME, rule, by, at) for name in names]
        return tuple(change for change in changes if change.changed)

    # --- maintenance tasks -----------------------------------------------------------------------------------------

    async def tasks(self) -> tuple[JobRevision, ...]:
        """Return every maintenance task that a file ever named; `task` is null of those that none names any more."""
        return tuple(revision for revision in await self.revisions() if is_task(revision.name))

    async def offer_task(self, name: str, task: TaskSchedule, by: Actor, at: datetime) -> Change:
        """Enter what maintenance.yaml says of a task, by its name among the jobs; the same again changes nothing."""

        def rule(job: Job) -> Job:
            return rules.offered(job, task, at)

        detail = task.model_dump(mode="json")
        return await self._change(name, Action.OFFER, rule, by, at, detail=detail)

    async def withdraw_task(self, name: str, by: Actor, at: datetime) -> Change:
        """Enter that no file names a task any more; its history and its pause stay."""
        return await self._change(name, Action.WITHDRAW, rules.withdrawn, by, at)

    # --- what workflows have to know -------------------------------------------------------------------------------

    async def revisions(self) -> tuple[JobRevision, ...]:
        """Return every job and maintenance task as its workflow must know it, also those of which nothing is left to run."""
        return await self._call(lambda ready: ready.jobs.revisions())

    async def untold(self) -> tuple[JobRevision, ...]:
        """Return the jobs whose newest revision no workflow has heard."""
        return await self._call(lambda ready: ready.jobs.revisions(untold=True))

    async def mark_told(self, name: str, revision: int) -> None:
        """Note that a job's workflow has heard a revision; an older one changes nothing."""
        await self._call(lambda ready: ready.jobs.mark_told(name, revision))

    async def overtake(self, name: str, heard: int) -> bool:
        """Give a job a revision above the one that its workflow has heard; tells whether it was not above before.

        A workflow heeds the highest revision: after an older copy of the store was put back it would heed none of its.
        """
        return await self._call(lambda ready: ready.jobs.overtake(name, heard))

    async def take_sql_edits(self, at: datetime) -> tuple[Change, ...]:
        """Take over what somebody changed, inserted or deleted in `job_schedules` by SQL: each is a revision of its own.

        Two processes that do so at once take each edit once.
        """
        return await self._call(lambda ready: ready.jobs.take_sql_edits(at))

    # --- runs ------------------------------------------------------------------------------------------------------

    async def open_run(
        self, start: RunStart, slots: SlotCounts | None = None, span: SlotSpan | None = None
    ) -> Opened:
        """Insert the row of a run, unless there is one, and return the job as it stands; the key is the run's id.

        `slots` is what the job's slots have come to with this run's. Written with the row, it keeps a workflow that begins
        anew meanwhile from taking the run's slot for one that nobody dealt with. With the `span` of a slot, nothing is done
        where another scheduler works on the job.
        """
        return await self._call(lambda ready: ready.runs.open(start, slots, span))

    async def close_run(self, end: RunEnd) -> Closing:
        """Write how a run ended, with the counters, in one transaction; the key is the run's id.

        It counts only if the row ran or was not there. A true end replaces `fate unknown` once, with the counters.
        """
        return await self._call(lambda ready: ready.runs.close(end))

    async def pass_slots(self, name: str, slots: SlotCounts) -> SlotCounts:
        """Write what a job's slots have come to; returns that with what was known before. Totals only rise."""
        return await self._call(lambda ready: ready.runs.pass_slots(name, slots))

    async def running(self, started_before: datetime) -> tuple[RunRecord, ...]:
        """Return the runs of all jobs whose rows are open and began before an instant, oldest first, at most 1,000."""
        return await self._call(lambda ready: ready.history.running(started_before))

    async def run(self, name: str, run: uuid.UUID) -> RunRecord | None:
        """Return a run of a job; None if the job has none of this id."""
        return await self._call(lambda ready: ready.history.run(name, run))

    async def history(self, name: str, limit: int, offset: int) -> HistoryPage:
        """Return some runs of a job, newest first, and how many there are; empty for a job that nobody knows."""
        return await self._call(lambda ready: ready.history.page(name, limit, offset))

    async def stats(self, name: str, days: int, now: datetime) -> RunStats:
        """Return sums over the runs of a job that began in the last days; zeros for a job that nobody knows."""
        return await self._call(lambda ready: ready.history.stats(name, days, now))

    async def last_successes(self) -> Mapping[str, datetime]:
        """Return when the last completed run of each job began; jobs without one are left out."""
        return await self._call(lambda ready: ready.history.last_successes())

    async def foreign_runs(self, since: datetime) -> tuple[RunRecord, ...]:
        """Return scheduled runs that began since an instant and that we did not make: another scheduler works. At most 100."""
        return await self._call(lambda ready: ready.history.foreign_runs(since))

    async def last_begun(self, name: str, span: SlotSpan, now: datetime) -> LastBegun:
        """Return what tells whether another scheduler works on a job, and has begun a slot of it."""
        return await self._call(lambda ready: ready.history.last_begun(name, span, now))

    async def left_to_other(self, now: datetime) -> Mapping[str, datetime]:
        """Return the enabled jobs that another scheduler works on, with the start of the run by which that is known."""
        return await self._call(lambda ready: ready.history.left_to_other(now))

    # --- what other stores have -------------------------------------------------------------------------------------

    async def take_job(
        self, source: SourceJob, by: Actor, at: datetime, detail: JsonValue = None
    ) -> Change:
        """Take a job of another store, with its counters, once its runs were taken; the key is its name.

        Raises:
            NotTaken: its row can't be run, or another job of this name is here.
            DeletedJob: somebody deleted it here.
        """
        return await self._call(lambda ready: ready.jobs.take(source, by, at, detail))

    async def take_runs(self, runs: Sequence[Mapping[str, Any]], line: AuditLine) -> TakenRuns:
        """Take runs of another store, as `read_run` returns them, in one transaction with a line of audit; the key is their ids."""
        return await self._call(
            lambda ready: ready.intake.take_runs([dict(run) for run in runs], line), None
        )

    # --- metrics ---------------------------------------------------------------------------------------------------

    async def figures(self) -> Sequence[JobFigures]:
        """Return what metrics say of every job, by name; runs are read of the jobs that ran since this was asked last."""
        return await self._call(lambda ready: ready.figures.all())

    # --- upkeep ----------------------------------------------------------------------------------------------------

    async def prune(self, before: datetime) -> int:
        """Delete closed runs that began before an instant, at most 5,000; returns how many. Counters stay."""
        return await self._call(lambda ready: ready.history.prune(before))

    async def check(self) -> tuple[Miscount, ...]:
        """Return the counters that differ from the rows; none is how it should be."""
        return await self._call(lambda ready: ready.history.check())

    # --- audit -----------------------------------------------------------------------------------------------------

    async def note(self, line: AuditLine, key: str | None = None) -> bool:
        """Enter a line of audit of something that changes no job, once if it has a key; tells whether it is new."""
        return await self.of_audit(lambda audit: audit.note(line, key))

    async def audit(
        self, name: str | None = None, limit: int = 100, offset: int = 0
    ) -> tuple[AuditLine, ...]:
        """Return lines of audit, newest first; of one job, namespace or target, or of all."""
        entries = await self.of_audit(lambda audit: audit.entries(name, limit, offset))
        return tuple(entry.as_line() for entry in entries)

    async def of_audit(self, work: Callable[[Audit], _Result]) -> _Result:
        """Do blocking work on the audit; see `vaultmesh.storage.audit_checks` for what takes longer."""
        return await self._call(lambda ready: work(ready.audit))

    async def prune_audit(self, before: datetime) -> int:
        """Delete lines of audit from before an instant, at most 5,000; returns how many."""
        return await self.of_audit(lambda audit: audit.prune(before))

    # --- calling ---------------------------------------------------------------------------------------------------

    async def _change(
        self,
        name: str,
        action: Action,
        rule: Rule,
        by: Actor,
        at: datetime,
        *,
        detail: JsonValue = None,
    ) -> Change:
        return await self._call(
            lambda ready: ready.jobs.change(name, action, rule, by, at, detail=detail)
        )

    async def _call(self, work: _Work[_Result], seconds: float | None = CALL_SECONDS) -> _Result:
        """Do blocking work in the store's own threads, and wait for it no longer than its caller can."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, lambda: work(self._core.ready()))
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            why = f"no answer within {CALL_SECONDS:g} s"
            raise self._core.database.failure(why, StoreErrorKind.DOWN) from None


def _ping(ready: Ready) -> None:
    with ready.database.read() as connection:
        connection.execute(select(DECISIONS.c.revision).limit(1))


def _decision(by: Actor, at: datetime) -> Decision:
    return Decision(by=by.name, at=at)


def _known(name: str, rule: Rule) -> Rule:
    """Return a rule for jobs that exist; maintenance tasks have no row."""

    def checked(job: Job) -> Job:
        if not is_task(name):
            job.existing()
        return rule(job)

    return checked

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

import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Self

from vaultmesh.domain.jobs.job import JobDefinition
from vaultmesh.domain.jobs.records import (
    Actor,
    AuditLine,
    Change,
    Closing,
    HistoryPage,
    JobRevision,
    Miscount,
    Opened,
    RunEnd,
    RunRecord,
    RunStart,
    RunStats,
    SlotCounts,
    StoredJob,
)

THREADS = 4
"""Of the store alone."""
CALL_SECONDS = 10.0
"""After this, whoever asked is told that the store is down; what was asked may still be done."""
EMPTY_STORE = "sqlite"
"""Value of JOBS_DATABASE_URL that asks for the file, also where SUPABASE_URL is set."""


class JobStore:
    """Jobs, what was decided about them, and their runs; used by one event loop.

    Every method may raise `StoreError`; `may_pass` tells whether to try again later.
    """

    place: str
    """Where it lies, without user or password; for people."""
    notices: tuple[str, ...]
    """What was found at the start that people should know: a line each."""
    made_by_us: bool
    """Whether we made the tables; where others did, history is kept for ever unless JOBS_KEEP_DAYS says otherwise."""
    counted_by_trigger: bool
    """Whether a trigger of the database counts runs; then we leave the counters to it."""

    @classmethod
    async def open(cls, url: str | None, root: Path, *, supabase: bool = False) -> Self:
        """Open the store, and make or complete its tables.

        Args:
            url: JOBS_DATABASE_URL: of PostgreSQL, `sqlite` or nothing for the file.
            root: VMSH_ROOT, below which the file lies.
            supabase: whether SUPABASE_URL is set: then the file has to be asked for by `sqlite`.

        Raises:
            StoreError: of kind SETTING, SCHEMA or DENIED if somebody has to act; the message says how.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Give the connections back; calls under way end first."""
        raise NotImplementedError

    async def ping(self) -> None:
        """Ask the database for nothing; raises `StoreError` if it does not answer."""
        raise NotImplementedError

    # --- jobs ------------------------------------------------------------------------------------------------------

    async def list(self) -> tuple[StoredJob, ...]:
        """Return all jobs by name; deleted ones are left out."""
        raise NotImplementedError

    async def get(self, name: str) -> StoredJob | None:
        """Return a job; None if there is none, or it was deleted."""
        raise NotImplementedError

    async def deleted(self) -> tuple[str, ...]:
        """Return the names that an administrator deleted and nobody has allowed since."""
        raise NotImplementedError

    async def next_run(self, job: StoredJob, now: datetime) -> datetime | None:
        """Return a job's next slot; None while it is disabled, or if there is none. Computed once per expression and slot."""
        raise NotImplementedError

    # --- changes of jobs -------------------------------------------------------------------------------------------

    async def register(self, definition: JobDefinition, by: Actor, at: datetime) -> Change:
        """Enter what a service registers; what administrators decided stays, and the client's is kept beside.

        Raises:
            DeletedJob: an administrator deleted it.
            ForeignName: another service has the name.
        """
        raise NotImplementedError

    async def enable(self, name: str, by: Actor, at: datetime) -> Change:
        """Decide that a job is enabled; raises `UnknownJob`."""
        raise NotImplementedError

    async def disable(self, name: str, by: Actor, at: datetime) -> Change:
        """Decide that a job is disabled; raises `UnknownJob`."""
        raise NotImplementedError

    async def set_cron(self, name: str, expression: str, by: Actor, at: datetime) -> Change:
        """Decide a job's cron expression.

        Raises:
            UnknownJob: there is none.
            InvalidValue: the expression can't be read.
        """
        raise NotImplementedError

    async def delete(self, name: str, by: Actor, at: datetime) -> Change:
        """Delete a job until it is allowed again; its history stays. Raises `UnknownJob`."""
        raise NotImplementedError

    async def reset(self, name: str, by: Actor, at: datetime) -> Change:
        """Give a job the expression and state again that its service registered last; raises `UnknownJob`."""
        raise NotImplementedError

    async def allow(self, name: str, by: Actor, at: datetime) -> Change:
        """Let a deleted job be registered again, or another service take the name of a job over, once.

        Raises:
            UnknownJob: nothing was ever known of the name.
        """
        raise NotImplementedError

    async def pause(self, name: str, reason: str, by: Actor, at: datetime) -> Change:
        """Let no slot of a job run until `resume`; raises `UnknownJob`."""
        raise NotImplementedError

    async def resume(self, name: str, by: Actor, at: datetime) -> Change:
        """End a pause; raises `UnknownJob`."""
        raise NotImplementedError

    async def pause_all(self, reason: str, by: Actor, at: datetime) -> tuple[Change, ...]:
        """Pause every job that is not paused, in one transaction each."""
        raise NotImplementedError

    async def resume_all(self, by: Actor, at: datetime) -> tuple[Change, ...]:
        """End every pause."""
        raise NotImplementedError

    # --- what workflows have to know -------------------------------------------------------------------------------

    async def revisions(self) -> tuple[JobRevision, ...]:
        """Return every job as its workflow must know it, also those that have none any more: their definition is null."""
        raise NotImplementedError

    async def untold(self) -> tuple[JobRevision, ...]:
        """Return the jobs whose newest revision no workflow has heard."""
        raise NotImplementedError

    async def mark_told(self, name: str, revision: int) -> None:
        """Note that a job's workflow has heard a revision; an older one changes nothing."""
        raise NotImplementedError

    async def take_sql_edits(self, at: datetime) -> tuple[Change, ...]:
        """Take over what somebody changed, inserted or deleted in `job_schedules` by SQL: each is a revision of its own.

        Two processes that do so at once take each edit once.
        """
        raise NotImplementedError

    # --- runs ------------------------------------------------------------------------------------------------------

    async def open_run(self, start: RunStart) -> Opened:
        """Insert the row of a run, unless there is one, and return the job as it stands; the key is the run's id."""
        raise NotImplementedError

    async def close_run(self, end: RunEnd) -> Closing:
        """Write how a run ended, with the counters, in one transaction; the key is the run's id.

        It counts only if the row ran or was not there. A true end replaces `fate unknown` once, with the counters.
        """
        raise NotImplementedError

    async def pass_slots(self, name: str, slots: SlotCounts) -> bool:
        """Count slots that passed without a run; tells whether it did: not again for the same `served`, or an earlier one."""
        raise NotImplementedError

    async def running(self, started_before: datetime) -> tuple[RunRecord, ...]:
        """Return the runs of all jobs whose rows are open and began before an instant, oldest first, at most 1,000."""
        raise NotImplementedError

    async def run(self, name: str, run: uuid.UUID) -> RunRecord | None:
        """Return a run of a job; None if the job has none of this id."""
        raise NotImplementedError

    async def history(self, name: str, limit: int, offset: int) -> HistoryPage:
        """Return some runs of a job, newest first, and how many there are; empty for a job that nobody knows."""
        raise NotImplementedError

    async def stats(self, name: str, days: int, now: datetime) -> RunStats:
        """Return sums over the runs of a job that began in the last days; zeros for a job that nobody knows."""
        raise NotImplementedError

    async def last_successes(self) -> Mapping[str, datetime]:
        """Return when the last completed run of each job began; jobs without one are left out."""
        raise NotImplementedError

    async def foreign_runs(self, since: datetime) -> tuple[RunRecord, ...]:
        """Return runs that began since an instant and that we did not make: another scheduler is at work. At most 100."""
        raise NotImplementedError

    # --- upkeep ----------------------------------------------------------------------------------------------------

    async def prune(self, before: datetime) -> int:
        """Delete closed runs that began before an instant, at most 5,000; returns how many. Counters stay."""
        raise NotImplementedError

    async def note(self, line: AuditLine) -> None:
        """Enter a line of audit of something that changes no job, such as a trigger."""
        raise NotImplementedError

    async def audit(
        self, name: str | None = None, limit: int = 100, offset: int = 0
    ) -> tuple[AuditLine, ...]:
        """Return lines of audit, newest first; of one job or of all."""
        raise NotImplementedError

    async def check(self) -> tuple[Miscount, ...]:
        """Return the counters that differ from the rows; none is how it should be."""
        raise NotImplementedError

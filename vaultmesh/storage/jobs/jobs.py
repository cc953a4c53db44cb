"""Reads jobs and writes their changes: row, revision and audit line in one transaction.

1. The row of `job_decisions` is locked first, so changes of one job come one after the other, in every process.
2. What somebody did by SQL is taken over before a change of ours is made on top of it.
3. A change that changes nothing writes nothing.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from pydantic import JsonValue
from sqlalchemy import Connection, bindparam, func, or_, select

from vaultmesh.domain.jobs.decisions import Action, Job, changes, row_hash, taken_from_sql
from vaultmesh.domain.jobs.figures import begins_anew
from vaultmesh.domain.jobs.importing import SourceJob, imported
from vaultmesh.domain.jobs.records import (
    SQL,
    Actor,
    Change,
    Decisions,
    JobRevision,
    JobRow,
    StoredJob,
)
from vaultmesh.domain.jobs.run import TriggeredBy
from vaultmesh.storage.job_tables import DECISIONS, RUNS, SCHEDULES
from vaultmesh.storage.jobs.database import APPLICATION, Database
from vaultmesh.storage.jobs.figures import Figures
from vaultmesh.storage.jobs.rows import (
    READ_JOBS,
    READ_KNOWN,
    READ_ROWS,
    KnownJobs,
    columns_of,
    counted,
    decisions_of,
    line_of,
    own_columns,
    row_of,
    write_line,
)
from vaultmesh.storage.jobs.visibility import check_visible

Rule = Callable[[Job], Job]
"""What a change comes to; may refuse it."""

# Statements of many columns take long to put together.
_JOB = READ_JOBS.where(SCHEDULES.c.job_name == bindparam("name"))
_BESIDE = select(DECISIONS)


class Jobs:
    """Jobs in one database; every method blocks and may raise `StoreError`."""

    def __init__(self, database: Database, known: KnownJobs, figures: Figures) -> None:
        """Use a database whose tables are there."""
        self._database = database
        self._known = known
        self._figures = figures

    # --- reading ---------------------------------------------------------------------------------------------------

    def all(self) -> tuple[StoredJob, ...]:
        """Return all jobs by name."""
        with self._database.read() as connection:
            rows = connection.execute(READ_JOBS.order_by(SCHEDULES.c.job_name)).all()
        stored = (self._known.read(row).stored for row in rows)
        return tuple(job for job in stored if job is not None)

    def count(self) -> int:
        """Return how many jobs there are."""
        with self._database.read() as connection:
            return connection.execute(select(func.count()).select_from(SCHEDULES)).scalar_one()

    def get(self, name: str) -> StoredJob | None:
        """Return a job; None if there is none."""
        with self._database.read() as connection:
            return read_job(connection, self._known, name)

    def decisions(self, name: str) -> Decisions | None:
        """Return what was decided about a job or task; None if nothing was."""
        query = _BESIDE.where(DECISIONS.c.job_name == name)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else decisions_of(dict(row))

    def deleted(self) -> tuple[str, ...]:
        """Return the names of deleted jobs."""
        name = DECISIONS.c.job_name
        query = select(name).where(DECISIONS.c.deleted_by.is_not(None)).order_by(name)
        with self._database.read() as connection:
            return tuple(connection.execute(query).scalars())

    def revisions(self, *, untold: bool = False) -> tuple[JobRevision, ...]:
        """Return all jobs as their workflows must know them, or only those that have news."""
        name = DECISIONS.c.job_name
        query = READ_KNOWN.where(DECISIONS.c.revision > 0).order_by(name)
        if untold:
            query = query.where(DECISIONS.c.told < DECISIONS.c.revision)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        known = map(self._known.read, rows)
        return tuple(job.revision for job in known if job.job.has_workflow)

    # --- changing --------------------------------------------------------------------------------------------------

    def change(
        self,
        name: str,
        action: Action,
        rule: Rule,
        by: Actor,
        at: datetime,
        *,
        detail: JsonValue = None,
    ) -> Change:
        """Change a job by a rule, which may refuse it."""
        with self._database.write() as connection:
            before = self._locked(connection, name, at)
            after = rule(before)
            if after == before:
                return Change(now=before.revision(), changed=False)
            written = self._write(connection, before, after, at)
            said = {**changes(before, written), **({} if detail is None else {"said": detail})}
            write_line(connection, line_of(by, action, name, at, said or None))
            return Change(now=written.revision(), changed=True)

    def take(self, source: SourceJob, by: Actor, at: datetime, detail: JsonValue) -> Change:
        """Take a job of another store, with its counters; raises `JobRefused`. Taking it again changes nothing."""
        with self._database.write() as connection:
            before = self._locked(connection, source.name, at)
            after = imported(before, source, at)
            if after == before:
                return Change(now=before.revision(), changed=False)
            # Its workflow may have heard that store's revisions, and heeds only a higher one.
            heard = max(before.decisions.revision, source.decisions.revision)
            decisions = before.decisions.model_copy(update={"revision": heard})
            written = self._write(connection, replace(before, decisions=decisions), after, at)
            _take_counters(connection, source)
            said: JsonValue = {**changes(before, written), "said": detail}
            write_line(connection, line_of(by, Action.IMPORT, source.name, at, said))
            return Change(now=written.revision(), changed=True)

    def change_all(
        self, names: tuple[str, ...], action: Action, rule: Rule, by: Actor, at: datetime
    ) -> tuple[Change, ...]:
        """Change several jobs by one rule, in a transaction each."""
        return tuple(self.change(name, action, rule, by, at) for name in names)

    def mark_told(self, name: str, revision: int) -> None:
        """Note what a job's workflow has heard."""
        news = DECISIONS.c.told < revision, DECISIONS.c.revision >= revision
        statement = DECISIONS.update().where(DECISIONS.c.job_name == name, *news)
        with self._database.write() as connection:
            connection.execute(statement.values(told=revision))

    def overtake(self, name: str, heard: int) -> bool:
        """Give a job a revision above the one that its workflow has heard; tells whether it was not above before."""
        behind = DECISIONS.c.job_name == name, DECISIONS.c.revision <= heard
        statement = DECISIONS.update().where(*behind).values(revision=heard + 1)
        with self._database.write() as connection:
            return connection.execute(statement).rowcount > 0

    def take_sql_edits(self, at: datetime) -> tuple[Change, ...]:
        """Take over what somebody did by SQL. Jobs that are hidden from us, and not gone, are left as they are."""
        gone = READ_KNOWN.where(DECISIONS.c.row_hash.is_not(None), SCHEDULES.c.job_name.is_(None))
        with self._database.read() as connection:
            rows = [*connection.execute(READ_JOBS), *(lost := connection.execute(gone).all())]
            if lost:
                check_visible(self._database, connection, [SCHEDULES.name])
        known = map(self._known.read, rows)
        edited = {job.job.name for job in known if job.is_edited}
        taken = (self._take_edit(name, at) for name in sorted(edited))
        return tuple(change for change in taken if change is not None)

    def _take_edit(self, name: str, at: datetime) -> Change | None:
        with self._database.write() as connection:
            before = self._read(connection, name)
            after = self._locked(connection, name, at)
            if after.decisions.revision == before.decisions.revision:
                return None  # another process was faster
            return Change(now=after.revision(), changed=True)

    def _locked(self, connection: Connection, name: str, at: datetime) -> Job:
        """Lock a job and return it, with what somebody did by SQL taken over."""
        job = self._read(connection, name)
        query = select(DECISIONS.c.row_hash).where(DECISIONS.c.job_name == name)
        known = connection.execute(query).scalar()
        if known == (None if job.row is None else row_hash(job.row)):
            return job
        is_new = job.row is not None and job.decisions.revision == 0
        begun = _last_begun(connection, name) if is_new else None
        taken, action = taken_from_sql(job, was_known=known is not None, at=at, begun=begun)
        if known is None and job.row is not None:
            _keep_beside(connection, job.row)
        written = self._write(connection, job, taken, at)
        by = Actor(name=APPLICATION if action is Action.TAKE_OVER else SQL)
        said = changes(Job(name), written) or None
        write_line(connection, line_of(by, action, name, at, said))
        return written

    def _read(self, connection: Connection, name: str) -> Job:
        """Lock a job's rows and return it; decisions are begun where there are none."""
        query = _BESIDE.where(DECISIONS.c.job_name == name).with_for_update()
        beside = connection.execute(query).mappings().first()
        if beside is None:
            begun = self._database.insert(DECISIONS).values(job_name=name, policy={})
            connection.execute(begun.on_conflict_do_nothing())
            beside = connection.execute(query).mappings().one()
        schedule = READ_ROWS.where(SCHEDULES.c.job_name == name).with_for_update()
        row = connection.execute(schedule).mappings().first()
        there = None if row is None else row_of(dict(row))
        return Job(name, there, decisions_of(dict(beside)), beside["policy"])

    def _write(self, connection: Connection, before: Job, after: Job, at: datetime) -> Job:
        """Write a job with its next revision, and return it as it was read back."""
        row = _write_row(connection, before, after, at)
        decisions = after.decisions.model_copy(update={"revision": before.decisions.revision + 1})
        written = Job(after.name, row, decisions, after.policy)
        columns = columns_of(written) | {"row_hash": None if row is None else row_hash(row)}
        this = DECISIONS.c.job_name == after.name
        connection.execute(DECISIONS.update().where(this).values(columns))
        if begins_anew(before, after):
            self._figures.armed(connection, after.name, at)
        return written


def read_job(connection: Connection, known: KnownJobs, name: str) -> StoredJob | None:
    """Return a job in a transaction; None if there is none."""
    row = connection.execute(_JOB, {"name": name}).first()
    return None if row is None else known.read(row).stored


def _write_row(connection: Connection, before: Job, after: Job, at: datetime) -> JobRow | None:
    """Write the row of `job_schedules` where it changes, and return it as it was read back."""
    this = SCHEDULES.c.job_name == after.name
    if after.row is None:
        connection.execute(SCHEDULES.delete().where(this))
        return None
    if after.row == before.row:
        return after.row
    own = own_columns(after.row) | {"updated_at": at, "next_run_at": _next_run(after, at)}
    if before.row is not None:
        change = SCHEDULES.update().where(this).values(own).returning(*SCHEDULES.columns)
        return row_of(dict(connection.execute(change).mappings().one()))
    # Its history may be there from before: then the counters begin with it.
    counters = counted(connection, after.name)
    none_beside = {"total_beside": 0, "successful_beside": 0, "failed_beside": 0}
    beside = DECISIONS.update().where(DECISIONS.c.job_name == after.name)
    connection.execute(beside.values(none_beside))
    new = SCHEDULES.insert().values(**own, **counters, created_at=at)
    row = connection.execute(new.returning(*SCHEDULES.columns)).mappings().one()
    return row_of(dict(row))


def _next_run(job: Job, at: datetime) -> datetime | None:
    stored = job.stored()
    return stored.definition.next_run(at) if stored and stored.definition else None


def _take_counters(connection: Connection, source: SourceJob) -> None:
    """Write the counters of a job that was taken: its runs that are here, and what it counted beside its rows there."""
    name, beside = source.name, source.counters_beside()
    if source.row is not None:
        rows = counted(connection, name)
        values: dict[str, object] = {
            f"{counter}_runs": rows[f"{counter}_runs"] + more for counter, more in beside.items()
        }
        last_run = ("last_run_at", "last_run_status", "last_run_duration_ms")
        values |= {column: getattr(source.row, column) for column in last_run}
        if source.row.created_at is not None:
            values["created_at"] = source.row.created_at
        this = SCHEDULES.c.job_name == name
        connection.execute(SCHEDULES.update().where(this).values(values))
    slots = {"missed": source.decisions.missed, "skipped": source.decisions.skipped}
    noted = {f"{counter}_beside": more for counter, more in beside.items()} | slots
    connection.execute(DECISIONS.update().where(DECISIONS.c.job_name == name).values(noted))


def _last_begun(connection: Connection, name: str) -> datetime | None:
    """Return when the newest scheduled run of a job began; None if there is none."""
    scheduled = or_(RUNS.c.triggered_by == TriggeredBy.SCHEDULER, RUNS.c.triggered_by.is_(None))
    query = select(func.max(RUNS.c.started_at)).where(RUNS.c.job_name == name, scheduled)
    newest: datetime | None = connection.execute(query).scalar()
    return newest


def _keep_beside(connection: Connection, row: JobRow) -> None:
    """Note what the counters of a job that we take over hold beside the rows."""
    rows = counted(connection, row.job_name)
    beside = {
        "total_beside": row.total_runs - rows["total_runs"],
        "successful_beside": row.successful_runs - rows["successful_runs"],
        "failed_beside": row.failed_runs - rows["failed_runs"],
    }
    this = DECISIONS.c.job_name == row.job_name
    connection.execute(DECISIONS.update().where(this).values(beside))

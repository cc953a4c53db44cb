"""Opens and closes runs: each is inserted once, closed once and counted once.

1. The key is the run's id. A row that is there and not of this very request is never called again.
2. The end, the counters and the counts of slots are one transaction, and only a row that was open counts.
3. `fate unknown` gives way to the true end, once; the counters are put right in the same transaction.
4. Where a trigger of the database counts, an end is always the update of an open row, which counts in any case.
5. The row of `job_decisions` is locked first, as by changes of jobs, so the two never wait for each other.
6. The end of a maintenance task's run is a line of audit too, in the same transaction: it changed data that is not ours.
"""

import uuid
from contextlib import suppress
from datetime import datetime
from typing import Any

from pydantic import JsonValue
from sqlalchemy import BindParameter, Connection, bindparam, select
from sqlalchemy import text as sql

from vaultmesh.domain.jobs.decisions import Action, definition_of
from vaultmesh.domain.jobs.messages import SlotCounts
from vaultmesh.domain.jobs.other_scheduler import SlotSpan
from vaultmesh.domain.jobs.records import (
    AuditLine,
    Closing,
    JobRow,
    Opened,
    Opening,
    RunEnd,
    RunRecord,
    RunStart,
    StoredJob,
)
from vaultmesh.domain.jobs.refusals import StoreError
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy, is_fate_unknown
from vaultmesh.domain.jobs.slots import agreed
from vaultmesh.domain.jobs.storable import storable, storable_count, storable_text, storable_uuid
from vaultmesh.domain.jobs.tasks import is_task
from vaultmesh.storage.job_tables import DECISIONS, RUNS, SCHEDULES
from vaultmesh.storage.jobs.database import Database
from vaultmesh.storage.jobs.figures import Figures
from vaultmesh.storage.jobs.history import last_begun
from vaultmesh.storage.jobs.jobs import read_job
from vaultmesh.storage.jobs.rows import READ_ROWS, READ_RUNS, KnownJobs, row_of, run_of, write_line
from vaultmesh.storage.jobs.takeover import USERS, Traits

_MILLISECOND = 1_000
_CLERK_ID = "clerk_user_id"
_Columns = dict[str, Any]

# Each run executes these; to put them together anew takes longer than the database does.
_NAME: BindParameter[str] = bindparam("name")
_RUN_ID: BindParameter[str] = bindparam("run_id")
_SLOTS = (
    select(DECISIONS.c.served, DECISIONS.c.missed, DECISIONS.c.skipped)
    .where(DECISIONS.c.job_name == _NAME)
    .with_for_update()
)
_KEEP_SLOTS = DECISIONS.update().where(DECISIONS.c.job_name == _NAME)
_JOB_ROW = READ_ROWS.where(SCHEDULES.c.job_name == _NAME).with_for_update()
_UPDATE_JOB = SCHEDULES.update().where(SCHEDULES.c.job_name == _NAME)
_RUN = READ_RUNS.where(RUNS.c.id == _RUN_ID)
_ENDED = (
    "status", "completed_at", "duration_ms", "items_processed", "items_succeeded", "items_failed", "error_message",
    "metadata",
)  # fmt: skip
"""Columns that a run's end writes."""


class Runs:
    """Runs in one database; every method blocks and may raise `StoreError`."""

    def __init__(
        self, database: Database, traits: Traits, known: KnownJobs, figures: Figures
    ) -> None:
        """Use a database as it was found."""
        self._database = database
        self._figures = figures
        self._known = known
        self._by_trigger = traits.counted_by_trigger
        self._user_columns = traits.user_columns
        insertion = database.insert(RUNS)
        self._opening = insertion.on_conflict_do_nothing(index_elements=["id"]).returning(RUNS.c.id)
        self._closing = insertion.on_conflict_do_update(
            index_elements=["id"],
            set_={name: insertion.excluded[name] for name in _ENDED},
            where=RUNS.c.status == RunStatus.RUNNING,
        ).returning(RUNS.c.id)
        self._begin_slots = database.insert(DECISIONS).on_conflict_do_nothing()

    # --- opening ---------------------------------------------------------------------------------------------------

    def open(self, start: RunStart, slots: SlotCounts | None, span: SlotSpan | None) -> Opened:
        """Insert the row of a run unless there is one, or the job is not to be run; with its slot, that is dealt with.

        With the span of its slot, nothing is done where another scheduler works on the job.
        """
        user = self._user_id(start)
        with self._database.write() as connection:
            if span is not None:
                began = last_begun(connection, start.job_name, span, start.started_at)
                if began.sign_of_other is not None:
                    return Opened(outcome=Opening.WAITS)
            needs_job = start.needs_job
            job = read_job(connection, self._known, start.job_name) if needs_job else None
            if needs_job and not _is_to_run(job, start):
                return Opened(outcome=Opening.DROPPED, job=job)
            if slots is not None:
                before = _locked_slots(connection, start.job_name)
                slots = self._keep_slots(connection, start.job_name, before, slots)
            if self._insert(connection, _opened(start, user)):
                return Opened(outcome=Opening.OPENED, job=job, slots=slots)
            run = _run(connection, start.id)
            outcome = Opening.OPENED if _is_of(run, start) else Opening.EXISTS
            return Opened(outcome=outcome, job=job, run=run, slots=slots)

    def _insert(self, connection: Connection, row: _Columns) -> bool:
        return connection.execute(self._opening, row).first() is not None

    def _user_id(self, start: RunStart) -> str | None:
        """Return what the column for a user takes: a UUID; where there are accounts, of one that exists."""
        if start.user is None:
            return None
        own = storable_uuid(start.user)
        if not self._user_columns:
            return own
        column = "id" if own else _CLERK_ID
        if column not in self._user_columns:
            return None
        query = sql(f"SELECT id FROM {USERS} WHERE {column} = :user")  # noqa: S608 - constants
        with suppress(StoreError), self._database.read() as connection:
            account = connection.execute(query, {"user": own or start.user}).scalar()
            return None if account is None else storable_uuid(str(account))
        return None  # its table can't be read: who asked stands in the audit

    # --- closing ---------------------------------------------------------------------------------------------------

    def close(self, end: RunEnd) -> Closing:
        """Write a run's end and count it, if its row is open or was never opened."""
        user = self._user_id(end.start)
        with self._database.write() as connection:
            slots = _locked_slots(connection, end.start.job_name)
            job = _job_row(connection, end.start.job_name)
            closing = self._close(connection, end, user)
            if job is not None and closing is not Closing.KEPT:
                self._figures.count(connection, end, closing)
            match closing:
                case Closing.CLOSED:
                    self._count(connection, end, job)
                case Closing.REPLACED:
                    self._count_again(connection, end, job)
                case Closing.KEPT:
                    pass
            if closing is not Closing.KEPT and is_task(end.start.job_name):
                write_line(connection, _line_of(end))
            if end.slots is not None:
                self._keep_slots(connection, end.start.job_name, slots, end.slots)
            return closing

    def _close(self, connection: Connection, end: RunEnd, user: str | None) -> Closing:
        opened = _opened(end.start, user)
        if self._by_trigger:
            self._insert(connection, opened)
        ended = _ended(end)
        if connection.execute(self._closing, opened | ended).first() is not None:
            return Closing.CLOSED
        run = _run(connection, end.start.id)
        if run is None or not _gives_way(run, end):
            return Closing.KEPT
        still = RUNS.c.status == RunStatus.FAILED, RUNS.c.error_message == run.error_message
        change = RUNS.update().where(RUNS.c.id == run.id, *still).values(ended)
        replaced = connection.execute(change.returning(RUNS.c.id)).first()
        return Closing.KEPT if replaced is None else Closing.REPLACED

    def _count(self, connection: Connection, end: RunEnd, job: JobRow | None) -> None:
        """Count a run that ended now."""
        if job is None:
            return
        completed = end.status is RunStatus.COMPLETED
        values: _Columns = {"next_run_at": _next_run(job, end.completed_at)}
        if not self._by_trigger:
            values |= {
                "total_runs": job.total_runs + 1,
                "successful_runs": job.successful_runs + completed,
                "failed_runs": job.failed_runs + (not completed),
                **_last_run(end, job),
            }
        _update_job(connection, job, values)

    def _count_again(self, connection: Connection, end: RunEnd, job: JobRow | None) -> None:
        """Put the counters right after a run that had counted as failed; a trigger counted it twice."""
        if job is None:
            return
        completed = end.status is RunStatus.COMPLETED
        counters = {
            "total_runs": job.total_runs,
            "successful_runs": job.successful_runs + completed,
            "failed_runs": job.failed_runs - completed,
        }
        last_run = {} if self._by_trigger else _last_run(end, job)
        _update_job(connection, job, counters | last_run)

    # --- slots -----------------------------------------------------------------------------------------------------

    def pass_slots(self, name: str, slots: SlotCounts) -> SlotCounts:
        """Write what a job's slots have come to; returns that with what was known before."""
        with self._database.write() as connection:
            return self._keep_slots(connection, name, _locked_slots(connection, name), slots)

    def _keep_slots(
        self, connection: Connection, name: str, before: SlotCounts | None, slots: SlotCounts
    ) -> SlotCounts:
        """Write totals, which only rise: the same or an older message once more changes nothing; returns what holds now."""
        if before is None:
            connection.execute(self._begin_slots, {"job_name": name, "policy": {}})
            before = _locked_slots(connection, name) or SlotCounts()
        newest = agreed(before, slots)
        if newest != before:
            values = {"served": newest.served, "missed": newest.missed, "skipped": newest.skipped}
            connection.execute(_KEEP_SLOTS, {"name": name, **values})
        return newest


# --- what decides --------------------------------------------------------------------------------------------------


def _is_to_run(job: StoredJob | None, start: RunStart) -> bool:
    """Whether a run is to be made; somebody may ask for one of a job that is disabled or paused."""
    if job is None or job.definition is None:
        return False
    if start.triggered_by is not TriggeredBy.SCHEDULER:
        return True
    return job.definition.enabled and job.decisions.paused is None


def _is_of(run: RunRecord | None, start: RunStart) -> bool:
    """Whether an open row is of this very request, whose answer was lost."""
    return (
        run is not None
        and run.status == RunStatus.RUNNING
        and run.job_name == start.job_name
        and run.started_at == start.started_at
    )


def _gives_way(run: RunRecord, end: RunEnd) -> bool:
    """Whether what a row says gives way to an end."""
    unknown = run.status == RunStatus.FAILED and is_fate_unknown(run.error_message)
    return unknown and not is_fate_unknown(end.error_message)


def _last_run(end: RunEnd, job: JobRow) -> _Columns:
    """Return what is shown of the last run; nothing to change if a later one has ended."""
    began = end.start.started_at
    if job.last_run_at is not None and job.last_run_at > began:
        return {}
    return {
        "last_run_at": began,
        "last_run_status": end.status,
        "last_run_duration_ms": _duration_ms(end),
    }


def _next_run(job: JobRow, after: datetime) -> datetime | None:
    definition, _ = definition_of(job, None)
    return None if definition is None else definition.next_run(after)


# --- rows ----------------------------------------------------------------------------------------------------------


def _opened(start: RunStart, user: str | None) -> _Columns:
    """Return the row of a run under way; what is not said is left to the table."""
    row: _Columns = {
        "id": str(start.id),
        "job_name": start.job_name,
        "job_type": start.job_type,
        "status": RunStatus.RUNNING,
        "started_at": start.started_at,
        "triggered_by": start.triggered_by,
        "created_at": start.started_at,
    }
    return row if user is None else row | {"triggered_by_user": user}


def _ended(end: RunEnd) -> _Columns:
    error = end.error_message
    return {
        "status": end.status,
        "completed_at": end.completed_at,
        "duration_ms": _duration_ms(end),
        "items_processed": storable_count(end.items_processed),
        "items_succeeded": storable_count(end.items_succeeded),
        "items_failed": storable_count(end.items_failed),
        "error_message": None if error is None else storable_text(error),
        "metadata": storable(end.metadata),
    }


def _line_of(end: RunEnd) -> AuditLine:
    """Return the line of audit of a run that ended: who had it run, and what came of it."""
    said = end.metadata.get("outcome") if isinstance(end.metadata, dict) else None
    detail: dict[str, JsonValue] = {"outcome": said if isinstance(said, str) else str(end.status)}
    if end.error_message is not None:
        detail["error"] = storable_text(end.error_message)
    return AuditLine(
        at=end.completed_at,
        actor=end.start.user or str(end.start.triggered_by),
        action=Action.RUN,
        job_name=end.start.job_name,
        execution_id=end.start.id,
        detail=detail,
    )


def _duration_ms(end: RunEnd) -> int:
    seconds = (end.completed_at - end.start.started_at).total_seconds()
    return storable_count(max(0, round(seconds * _MILLISECOND)))


def _locked_slots(connection: Connection, name: str) -> SlotCounts | None:
    """Lock what is known beside a job, and return what its slots have come to; None where nothing is known."""
    row = connection.execute(_SLOTS, {"name": name}).first()
    if row is None:
        return None
    served, missed, skipped = row
    return SlotCounts(served=served, missed=missed, skipped=skipped)


def _job_row(connection: Connection, name: str) -> JobRow | None:
    row = connection.execute(_JOB_ROW, {"name": name}).mappings().first()
    return None if row is None else row_of(dict(row))


def _run(connection: Connection, run: uuid.UUID) -> RunRecord | None:
    row = connection.execute(_RUN, {"run_id": str(run)}).first()
    return None if row is None else run_of(row)


def _update_job(connection: Connection, job: JobRow, values: _Columns) -> None:
    connection.execute(_UPDATE_JOB, {"name": job.job_name, **values})

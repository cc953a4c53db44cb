"""Reads the history of jobs, bounds it, and compares the counters with it."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Update,
    bindparam,
    case,
    func,
    or_,
    select,
)

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.jobs.other_scheduler import SILENT_AFTER, LastBegun, SlotSpan, slot_span
from vaultmesh.domain.jobs.records import (
    HistoryPage,
    Miscount,
    RunRecord,
    RunStats,
)
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy, is_of_our_slot
from vaultmesh.storage.job_tables import DECISIONS, RUNS, SCHEDULES
from vaultmesh.storage.jobs.database import Database
from vaultmesh.storage.jobs.rows import READ_RUNS, counters_of, run_of, whole

PRUNED_A_GO = 5_000
"""Rows of one transaction."""
MOST_RUNNING = 1_000
MOST_FOREIGN = 100


# Many jobs are asked about at a time, and putting a statement together takes longer than carrying it out.
_BY_A_SCHEDULER = or_(RUNS.c.triggered_by == TriggeredBy.SCHEDULER, RUNS.c.triggered_by.is_(None))
_SINCE = RUNS.c.started_at >= bindparam("since", type_=RUNS.c.started_at.type)
_NEWEST_FIRST = RUNS.c.started_at.desc()
_RUNS_BEGUN = READ_RUNS.where(_BY_A_SCHEDULER, _SINCE).order_by(_NEWEST_FIRST).limit(MOST_RUNNING)
_BEGUN = (
    select(RUNS.c.id, RUNS.c.job_name, RUNS.c.started_at)
    .where(_BY_A_SCHEDULER, _SINCE)
    .order_by(_NEWEST_FIRST)
    .limit(MOST_RUNNING)
)
_BEGUN_OF_JOB = (
    select(RUNS.c.id, RUNS.c.started_at)
    .where(
        RUNS.c.job_name == bindparam("name", type_=RUNS.c.job_name.type), _BY_A_SCHEDULER, _SINCE
    )
    .order_by(_NEWEST_FIRST)
    .limit(MOST_RUNNING)
)


class History:
    """Runs that were made, in one database; every method blocks and may raise `StoreError`."""

    def __init__(self, database: Database) -> None:
        """Use a database whose tables are there."""
        self._database = database

    def page(self, name: str, limit: int, offset: int) -> HistoryPage:
        """Return some runs of a job, newest first, and how many there are."""
        of_job = RUNS.c.job_name == name
        count = select(func.count()).select_from(RUNS).where(of_job)
        with self._database.read() as connection:
            total = int(connection.execute(count).scalar_one())
            there = max(0, min(limit, total - offset))
            rows = connection.execute(_page(name, there, offset, total)).all() if there else []
        return HistoryPage(executions=tuple(map(run_of, rows)), total=total)

    def run(self, name: str, run: uuid.UUID) -> RunRecord | None:
        """Return a run of a job."""
        query = READ_RUNS.where(RUNS.c.id == str(run), RUNS.c.job_name == name)
        runs = self._runs(query)
        return runs[0] if runs else None

    def stats(self, name: str, days: int, now: datetime) -> RunStats:
        """Return sums over the runs of a job that began in the last days."""
        since = now - timedelta(days=days)
        query = select(
            func.count(),
            _number_of(RunStatus.COMPLETED),
            _number_of(RunStatus.FAILED),
            func.avg(RUNS.c.duration_ms),
            func.sum(RUNS.c.items_processed),
        ).where(RUNS.c.job_name == name, RUNS.c.started_at >= since)
        with self._database.read() as connection:
            total, completed, failed, average, items = connection.execute(query).one()
        return RunStats(
            total_executions=total,
            successful_executions=completed or 0,
            failed_executions=failed or 0,
            avg_duration_ms=round(float(average or 0), 2),
            total_items_processed=int(items or 0),
        )

    def running(self, started_before: datetime) -> tuple[RunRecord, ...]:
        """Return runs whose rows are open, oldest first."""
        started = RUNS.c.started_at
        query = READ_RUNS.where(RUNS.c.status == RunStatus.RUNNING, started < started_before)
        return self._runs(query.order_by(started).limit(MOST_RUNNING))

    def last_successes(self) -> Mapping[str, datetime]:
        """Return when the last completed run of each job began."""
        query = select(SCHEDULES.c.job_name, SCHEDULES.c.last_run_at, SCHEDULES.c.last_run_status)
        query = query.where(SCHEDULES.c.last_run_at.is_not(None))
        successes: dict[str, datetime] = {}
        with self._database.read() as connection:
            for name, last, status in connection.execute(query).all():
                at = last
                if status != RunStatus.COMPLETED:
                    at = connection.execute(_last_success(name)).scalar()
                if at is not None:
                    successes[name] = at
        return successes

    def foreign_runs(self, since: datetime) -> tuple[RunRecord, ...]:
        """Return scheduled runs that began since an instant and have no id of ours."""
        with self._database.read() as connection:
            return _foreign_runs(connection, since)

    def last_begun(self, name: str, span: SlotSpan, now: datetime) -> LastBegun:
        """Return what tells whether another scheduler works on a job."""
        with self._database.read() as connection:
            return last_begun(connection, name, span, now)

    def left_to_other(self, now: datetime) -> Mapping[str, datetime]:
        """Return the jobs that another scheduler works on, with the run by which that is known."""
        left: dict[str, datetime] = {}
        with self._database.read() as connection:
            anywhere = _sign_anywhere(connection, now - SILENT_AFTER)
            for name, span in _next_spans(connection, now):
                began = _last_begun(connection, name, span.watched_from)
                sign = replace(began, of_any_job=anywhere).sign_of_other
                if sign is not None:
                    left[name] = sign
        return left

    def prune(self, before: datetime) -> int:
        """Delete closed runs that began before an instant; what they counted is noted beside the counters."""
        old = select(RUNS.c.id).where(
            RUNS.c.started_at < before, RUNS.c.status != RunStatus.RUNNING
        )
        some = old.order_by(RUNS.c.started_at).limit(PRUNED_A_GO).with_for_update(skip_locked=True)
        deletion = RUNS.delete().where(RUNS.c.id.in_(some))
        with self._database.write() as connection:
            gone = connection.execute(deletion.returning(RUNS.c.job_name, RUNS.c.status)).all()
            ends: dict[str, dict[str, int]] = {}
            for name, status in gone:
                counts = ends.setdefault(name, {})
                counts[status] = counts.get(status, 0) + 1
            for name, counts in sorted(ends.items()):
                connection.execute(_noted_beside(name, counters_of(counts.items())))
        return len(gone)

    def check(self) -> tuple[Miscount, ...]:
        """Return the counters that differ from the rows; one statement, so that runs that end meanwhile do no harm."""
        rows = (
            select(
                RUNS.c.job_name,
                _number_of(RunStatus.COMPLETED).label("completed"),
                _number_of(RunStatus.FAILED).label("failed"),
            )
            .group_by(RUNS.c.job_name)
            .subquery()
        )
        of_job = SCHEDULES.c.job_name
        tables = SCHEDULES.join(DECISIONS, DECISIONS.c.job_name == of_job)
        query = select(
            of_job,
            *(SCHEDULES.c[name] for name in ("total_runs", "successful_runs", "failed_runs")),
            *(DECISIONS.c[f"{name}_beside"] for name in ("total", "successful", "failed")),
            rows.c.completed,
            rows.c.failed,
        ).select_from(tables.outerjoin(rows, rows.c.job_name == of_job))
        query = query.where(DECISIONS.c.row_hash.is_not(None)).order_by(of_job)
        with self._database.read() as connection:
            compared = [_miscounts(tuple(row)) for row in connection.execute(query)]
        return tuple(miscount for of_one in compared for miscount in of_one)

    def _runs(self, query: Select[Any]) -> tuple[RunRecord, ...]:
        with self._database.read() as connection:
            return tuple(map(run_of, connection.execute(query)))


def _page(name: str, limit: int, offset: int, total: int) -> Select[Any]:
    """Return what reads a page, newest first, of a history of `total` runs.

    The index alone finds the page, from the nearer end; rows are read of the page only.
    """
    newest_first = RUNS.c.started_at.desc(), RUNS.c.id
    order: Sequence[ColumnElement[Any]] = newest_first
    after = total - offset - limit
    if after < offset:
        order, offset = (RUNS.c.started_at, RUNS.c.id.desc()), after
    ids = select(RUNS.c.id).where(RUNS.c.job_name == name).order_by(*order)
    page = ids.limit(limit).offset(offset)
    return READ_RUNS.where(RUNS.c.id.in_(page)).order_by(*newest_first)


def _foreign_runs(connection: Connection, since: datetime) -> tuple[RunRecord, ...]:
    """Return scheduled runs that began since an instant, have no id of ours, and were not imported; newest first."""
    runs = map(run_of, connection.execute(_RUNS_BEGUN, {"since": since}))
    foreign = _without_imported(connection, [run for run in runs if not is_of_our_slot(run.id)])
    return tuple(foreign[:MOST_FOREIGN])


def last_begun(connection: Connection, name: str, span: SlotSpan, now: datetime) -> LastBegun:
    """Return, in a transaction, what tells whether another scheduler works on a job."""
    began = _last_begun(connection, name, span.watched_from)
    if began.by_other or began.by_us:
        return began
    return LastBegun(of_any_job=_sign_anywhere(connection, now - SILENT_AFTER))


def _sign_anywhere(connection: Connection, since: datetime) -> datetime | None:
    """Return when another scheduler began the newest run by which it is known to work on any job."""
    runs = connection.execute(_BEGUN, {"since": since}).all()
    if all(is_of_our_slot(run.id) for run in runs):
        return None
    began: dict[str, LastBegun] = {}
    for run in _without_imported(connection, runs):  # the newest comes first
        known = began.get(run.job_name, LastBegun())
        if is_of_our_slot(run.id):
            began[run.job_name] = replace(known, by_us=known.by_us or run.started_at)
        else:
            began[run.job_name] = replace(known, by_other=known.by_other or run.started_at)
    signs = (of_job.sign_of_other for of_job in began.values())
    return max((sign for sign in signs if sign is not None), default=None)


def _without_imported(connection: Connection, runs: Sequence[Any]) -> list[Any]:
    """Return those of some runs that were not imported; any rows with `job_name` and `started_at`."""
    if not runs:
        return []
    imported = select(DECISIONS.c.job_name, DECISIONS.c.imported_until)
    imported = imported.where(DECISIONS.c.imported_until.is_not(None))
    until = {str(name): instant for name, instant in connection.execute(imported)}
    return [run for run in runs if not _is_imported(run.started_at, until.get(run.job_name))]


def _last_begun(connection: Connection, name: str, since: datetime) -> LastBegun:
    """Return when scheduled runs of a job began last, of those since an instant."""
    rows = connection.execute(_BEGUN_OF_JOB, {"name": name, "since": since}).all()
    ours = [began for run, began in rows if is_of_our_slot(run)]
    others = [began for run, began in rows if not is_of_our_slot(run)]
    if others:
        beside = select(DECISIONS.c.imported_until).where(DECISIONS.c.job_name == name)
        until = connection.execute(beside).scalar()
        others = [began for began in others if not _is_imported(began, until)]
    return LastBegun(max(others, default=None), max(ours, default=None))


def _is_imported(began: datetime | None, until: datetime | None) -> bool:
    return began is None or (until is not None and began <= until)


def _next_spans(connection: Connection, now: datetime) -> list[tuple[str, SlotSpan]]:
    """Return the next slot of every job that has one, as the span in which runs say something about it."""
    query = select(SCHEDULES.c.job_name, SCHEDULES.c.cron_expression).where(SCHEDULES.c.enabled)
    spans: list[tuple[str, SlotSpan]] = []
    for name, expression in connection.execute(query).all():
        with suppress(InvalidValue):  # a row that can't be run has no slots
            cron = read_cron(expression or "")
            slot = cron.next_after(now)
            if slot is not None:
                spans.append((name, slot_span(cron, slot)))
    return spans


def _number_of(status: RunStatus) -> ColumnElement[Any]:
    return func.sum(case((RUNS.c.status == status, 1), else_=0))


def _last_success(name: str) -> Select[Any]:
    completed = RUNS.c.job_name == name, RUNS.c.status == RunStatus.COMPLETED
    newest = RUNS.c.started_at.desc()
    return select(RUNS.c.started_at).where(*completed).order_by(newest, RUNS.c.id).limit(1)


def _noted_beside(name: str, counters: Mapping[str, int]) -> Update:
    columns = {
        "total_beside": DECISIONS.c.total_beside + counters["total_runs"],
        "successful_beside": DECISIONS.c.successful_beside + counters["successful_runs"],
        "failed_beside": DECISIONS.c.failed_beside + counters["failed_runs"],
    }
    return DECISIONS.update().where(DECISIONS.c.job_name == name).values(columns)


def _miscounts(row: tuple[Any, ...]) -> list[Miscount]:
    """Compare a job's three counters with its rows."""
    name, total, successful, failed = row[0], *(whole(value) or 0 for value in row[1:4])
    beside_total, beside_successful, beside_failed = row[4:7]
    completed_rows, failed_rows = (int(value or 0) for value in row[7:9])
    expected = {
        "total_runs": (total, completed_rows + failed_rows + beside_total),
        "successful_runs": (successful, completed_rows + beside_successful),
        "failed_runs": (failed, failed_rows + beside_failed),
    }
    return [
        Miscount(job_name=name, counter=counter, counted=counted, rows=rows)
        for counter, (counted, rows) in expected.items()
        if counted != rows
    ]

"""Reads the history of jobs, bounds it, and compares the counters with it."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, Update, case, func, select

from vaultmesh.domain.jobs.records import (
    HistoryPage,
    Miscount,
    RunRecord,
    RunStats,
)
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy
from vaultmesh.storage.job_tables import DECISIONS, RUNS, SCHEDULES
from vaultmesh.storage.jobs.database import Database
from vaultmesh.storage.jobs.rows import READ_RUNS, counters_of, run_of

PRUNED_A_GO = 5_000
"""Rows of one transaction."""
MOST_RUNNING = 1_000
MOST_FOREIGN = 100
_OURS = 5
"""Version of the UUIDs of scheduled runs; another scheduler makes random ones."""


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
        by_scheduler = RUNS.c.triggered_by == TriggeredBy.SCHEDULER, RUNS.c.started_at >= since
        query = READ_RUNS.where(*by_scheduler).order_by(RUNS.c.started_at.desc())
        runs = self._runs(query.limit(MOST_RUNNING))
        foreign = [run for run in runs if uuid.UUID(run.id).version != _OURS]
        return tuple(foreign[:MOST_FOREIGN])

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
    name, total, successful, failed = row[0], *(value or 0 for value in row[1:4])
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

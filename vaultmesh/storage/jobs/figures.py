"""Counts what metrics say of jobs and no row tells, and reads all that they say.

1. A run counts in the transaction that closes its row, once.
2. Reading is bounded: one statement about all jobs, and the newest runs of each job that ran since the last time.
   A few others are read again each time, so that what somebody did to runs by SQL shows within some minutes.
3. Whoever writes here holds the job's row of `job_decisions`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from vaultmesh.domain.jobs.figures import (
    DURATION_BOUNDS,
    LAG_BOUNDS,
    RECENT_RUNS,
    CountedRuns,
    Histogram,
    JobFigures,
    RecentRun,
    RunsOfJob,
    figures_of,
)
from vaultmesh.domain.jobs.records import Closing, JobRow, RunEnd, StoredJob
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy, is_fate_unknown, is_of_our_slot
from vaultmesh.storage.job_tables import FIGURES, RUNS, SCHEDULES
from vaultmesh.storage.jobs.database import Database
from vaultmesh.storage.jobs.rows import READ_JOBS, KnownJobs

READ_AGAIN = 20
"""Jobs whose runs are read although none is known to have ended."""
_TOTAL = "total"
"""Key of a histogram's sum among its bounds."""
_NAME = bindparam("name", type_=RUNS.c.job_name.type)
_NEWEST_FIRST = RUNS.c.started_at.desc()
_RECENT = (
    select(RUNS.c.status, RUNS.c.started_at, RUNS.c.duration_ms)
    .where(RUNS.c.job_name == _NAME)
    .order_by(_NEWEST_FIRST)
    .limit(RECENT_RUNS)
)
_LAST_SUCCESS = (
    select(RUNS.c.started_at)
    .where(RUNS.c.job_name == _NAME, RUNS.c.status == RunStatus.COMPLETED)
    .order_by(_NEWEST_FIRST)
    .limit(1)
)
_RUNNING = (
    select(RUNS.c.job_name, func.min(RUNS.c.started_at, type_=RUNS.c.started_at.type))
    .where(RUNS.c.status == RunStatus.RUNNING)
    .group_by(RUNS.c.job_name)
)
_COUNTED = select(FIGURES.c.slots_run, FIGURES.c.durations, FIGURES.c.lags).where(
    FIGURES.c.job_name == bindparam("name", type_=FIGURES.c.job_name.type)
)
_Key = tuple[object, ...]


class Figures:
    """Figures of jobs in one database; methods that take no connection block and may raise `StoreError`."""

    def __init__(self, database: Database, known: KnownJobs) -> None:
        """Use a database whose tables are there."""
        self._database = database
        self._known = known
        self._runs: dict[str, tuple[_Key, RunsOfJob]] = {}
        """Of each job, with what its row said of its runs; the job whose runs were read longest ago comes first."""
        upsert = database.insert(FIGURES)
        names = ("slots_run", "durations", "lags")
        self._count = upsert.on_conflict_do_update(
            index_elements=["job_name"], set_={name: upsert.excluded[name] for name in names}
        )
        self._arm = upsert.on_conflict_do_update(
            index_elements=["job_name"], set_={"armed_at": upsert.excluded.armed_at}
        )

    # --- counting --------------------------------------------------------------------------------------------------

    def armed(self, connection: Connection, name: str, at: datetime) -> None:
        """Note when a job was armed."""
        values = {"job_name": name, "armed_at": at, "durations": {}, "lags": {}}
        connection.execute(self._arm, values)

    def count(self, connection: Connection, end: RunEnd, closing: Closing) -> None:
        """Count a run that ended, or whose true end came to be known."""
        name = end.start.job_name
        row = connection.execute(_COUNTED, {"name": name}).first()
        before = CountedRuns() if row is None else _counted(None, *row)
        after = _with_run(before, end, closing)
        values = {
            "slots_run": after.slots_run,
            "durations": _written(after.durations),
            "lags": _written(after.lags),
        }
        connection.execute(self._count, {"job_name": name, **values})

    # --- reading ---------------------------------------------------------------------------------------------------

    def all(self) -> tuple[JobFigures, ...]:
        """Return the figures of every job, by name."""
        with self._database.read() as connection:
            # First: a run that ends meanwhile counts as under way, and never as a slot without a run.
            running = dict(map(tuple, connection.execute(_RUNNING)))
            counted = {
                row.job_name: _counted(*row[1:]) for row in connection.execute(select(FIGURES))
            }
            rows = connection.execute(READ_JOBS.order_by(SCHEDULES.c.job_name)).all()
            stored = (self._known.read(row).stored for row in rows)
            jobs = [job for job in stored if job is not None]
            self._look(connection, jobs)
        return tuple(
            figures_of(
                job,
                counted.get(job.name, CountedRuns()),
                replace(self._runs[job.name][1], running_since=running.get(job.name)),
            )
            for job in jobs
        )

    def _look(self, connection: Connection, jobs: list[StoredJob]) -> None:
        """Read the newest runs of jobs that ran since the last time, and of a few others."""
        keys = {job.name: _key(job.row) for job in jobs}
        kept = {name: known for name, known in self._runs.items() if name in keys}
        news = [name for name, key in keys.items() if name not in kept or kept[name][0] != key]
        again = [name for name in kept if name not in news][:READ_AGAIN]
        for name in [*news, *again]:
            before = kept.pop(name, (None, RunsOfJob()))[1]
            kept[name] = keys[name], _runs_of(connection, name, before)
        self._runs = kept


def _key(row: JobRow) -> _Key:
    """Return what changes in a job's row whenever a run of it ends."""
    return row.total_runs, row.successful_runs, row.last_run_at, row.last_run_status


def _runs_of(connection: Connection, name: str, before: RunsOfJob) -> RunsOfJob:
    rows = connection.execute(_RECENT, {"name": name}).all()
    recent = tuple(RecentRun(*row) for row in rows if row.started_at is not None)
    newest = RunsOfJob(recent, before.newest_success)
    if newest.newest_success is not None or len(recent) < RECENT_RUNS:
        return newest
    return replace(newest, last_success=connection.execute(_LAST_SUCCESS, {"name": name}).scalar())


def _with_run(before: CountedRuns, end: RunEnd, closing: Closing) -> CountedRuns:
    """Return what is counted with one more run: what nobody knows of it counts when its true end is known."""
    start, after = end.start, before
    if closing is Closing.CLOSED:
        is_slot = start.triggered_by is TriggeredBy.SCHEDULER and is_of_our_slot(str(start.id))
        after = replace(after, slots_run=after.slots_run + is_slot)
        if start.slot is not None:
            lag = max(0.0, (start.started_at - start.slot).total_seconds())
            after = replace(after, lags=after.lags.with_value(lag, LAG_BOUNDS))
    if not is_fate_unknown(end.error_message):
        taken = max(0.0, (end.completed_at - start.started_at).total_seconds())
        after = replace(after, durations=after.durations.with_value(taken, DURATION_BOUNDS))
    return after


def _counted(armed_at: datetime | None, slots_run: int, durations: Any, lags: Any) -> CountedRuns:  # noqa: ANN401 - JSON
    return CountedRuns(armed_at, slots_run, _histogram(durations), _histogram(lags))


def _histogram(value: Any) -> Histogram:  # noqa: ANN401 - JSON
    """Read a histogram; what somebody wrote there by SQL and is none counts nothing."""
    known: Mapping[str, Any] = value if isinstance(value, dict) else {}
    return Histogram(dict(_counts(known)), _number(known.get(_TOTAL), float))


def _counts(known: Mapping[str, Any]) -> Iterator[tuple[float, int]]:
    for bound, count in known.items():
        if bound != _TOTAL:
            yield _number(bound, float), _number(count, int)


def _number(value: Any, kind: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - a number of this kind
    try:
        return kind(value or 0)
    except (TypeError, ValueError):
        return kind(0)


def _written(histogram: Histogram) -> dict[str, float]:
    counts = {f"{bound:g}": count for bound, count in sorted(histogram.counts.items())}
    return {**counts, _TOTAL: histogram.total}

"""Counts what metrics say of jobs and no row tells, and reads all that they say.

1. A run counts in the transaction that closes its row, once.
2. Reading is bounded: one statement about all jobs, and the newest runs of each job that ran since the last time.
   A few others are read again each time, so that what somebody did to runs by SQL shows within some minutes.
3. Whoever writes here holds the job's row of `job_decisions`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice, zip_longest
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select, union_all

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
from vaultmesh.storage.jobs.rows import READ_JOBS, KnownJobs, whole

READ_AGAIN = 20
"""Jobs whose runs are read although none is known to have ended."""
READ_AT_ONCE = 25
"""Jobs whose runs one statement reads: a database may be some milliseconds away."""
_TOTAL = "total"
"""Key of a histogram's sum among its bounds."""
_NAME = bindparam("name", type_=RUNS.c.job_name.type)
_NEWEST_FIRST = RUNS.c.started_at.desc()


def _recent(parameter: str) -> Select[Any]:
    """Return what reads the newest runs of the job that a parameter names; of none if it is null."""
    name = bindparam(parameter, type_=RUNS.c.job_name.type)
    columns = RUNS.c.job_name, RUNS.c.status, RUNS.c.started_at, RUNS.c.duration_ms
    runs = select(*columns).where(RUNS.c.job_name == name).order_by(_NEWEST_FIRST)
    return select(runs.limit(RECENT_RUNS).subquery())


_PARAMETERS = tuple(f"name_{number}" for number in range(READ_AT_ONCE))
_RECENT = union_all(*map(_recent, _PARAMETERS))
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
        self._looked_back: set[str] = set()
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
        again = list(islice((name for name in kept if kept[name][0] == keys[name]), READ_AGAIN))
        for name, recent in _recent_runs(connection, [*news, *again]).items():
            before = kept.pop(name, (None, RunsOfJob()))[1]
            runs = RunsOfJob(recent, before.newest_success)
            kept[name] = keys[name], self._with_last_success(connection, name, runs)
        self._runs = kept

    def _with_last_success(self, connection: Connection, name: str, runs: RunsOfJob) -> RunsOfJob:
        """Look further back for a success, once in the life of a process: that takes as long as there are failures."""
        is_short = len(runs.recent) < RECENT_RUNS
        if is_short or runs.newest_success is not None or name in self._looked_back:
            return runs
        self._looked_back.add(name)
        last = connection.execute(_LAST_SUCCESS, {"name": name}).scalar()
        return replace(runs, last_success=last)


def _key(row: JobRow) -> _Key:
    """Return what changes in a job's row whenever a run of it ends."""
    return row.total_runs, row.successful_runs, row.last_run_at, row.last_run_status


def _recent_runs(connection: Connection, names: Sequence[str]) -> Mapping[str, Sequence[RecentRun]]:
    """Return the newest runs of some jobs, newest first, in the order of the names."""
    runs_of: dict[str, list[RecentRun]] = {name: [] for name in names}
    for begin in range(0, len(names), READ_AT_ONCE):
        some = names[begin : begin + READ_AT_ONCE]
        values = dict(zip_longest(_PARAMETERS, some))
        for name, status, started_at, duration_ms in connection.execute(_RECENT, values):
            if started_at is not None:
                runs_of[name].append(RecentRun(status, started_at, whole(duration_ms)))
    for runs in runs_of.values():
        runs.sort(key=lambda run: run.started_at, reverse=True)
    return runs_of


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

"""Measures how fast the API lists jobs, pages through a long history and sums it up: on SQLite, and on PostgreSQL."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.figures import Row, at_most, median, quantile, unlimited
from bench.job_system import JobBench, all_started, definition, job_names
from devnet.postgres import PostgresServer
from vaultmesh.domain.jobs.run import RunStatus, run_id
from vaultmesh.domain.paths import JOBS_DATABASE
from vaultmesh.storage.job_tables import RUNS
from vaultmesh.storage.jobs.database import Database, Place, file_place, postgres_place

NEEDS = "server, PostgreSQL and workers; about 4 minutes"
_LIST_MS, _HISTORY_MS, _STATS_MS = 100.0, 50.0, 300.0
_DAYS, _PAGE = 365, 100
_PORTION = 5_000
"""Rows of one statement."""
_BUSY_SHARE = 0.4
"""Of all runs, those of the job that is asked about."""
_DAILY = "0 3 * * *"
_DATABASE = "jobs"


def measure(*, quick: bool) -> list[Row]:
    """Measure 500 jobs with 100,000 runs in both databases; quickly, few."""
    size = _Size(20, 2_000, 10) if quick else _Size(500, 100_000, 200)
    rows = _measure("SQLite", "", size)
    with PostgresServer() as server:
        return rows + _measure("PostgreSQL", server.create(_DATABASE), size)


@dataclass(frozen=True, slots=True)
class _Size:
    """How much there is, and how often it is asked for."""

    jobs: int
    runs: int
    times: int

    @property
    def busy(self) -> int:
        """Runs of the job that is asked about."""
        return int(self.runs * _BUSY_SHARE)


def _measure(kind: str, url: str, size: _Size) -> list[Row]:
    wanted = job_names(size.jobs)
    with JobBench(database_url=url) as system:
        asyncio.run(system.fill([definition(name, _DAILY) for name in wanted]))
        _insert(postgres_place(url) if url else file_place(system.root / JOBS_DATABASE), size)
        system.start_jobs_worker()
        asyncio.run(all_started(system, size.jobs))
        return _asked(system, kind, size)


def _asked(system: JobBench, kind: str, size: _Size) -> list[Row]:
    api, at = system.api(), f"/api/jobs/{job_names(1)[0]}"
    deep = f"{at}/history?limit={_PAGE}&offset={size.busy - _PAGE}"
    questions = [
        (f"{kind}, list of {size.jobs} jobs", "/api/jobs", _LIST_MS),
        (
            f"  first page of {size.busy:,} of {size.runs:,} runs",
            f"{at}/history?limit={_PAGE}",
            _HISTORY_MS,
        ),
        ("  last page of them", deep, _HISTORY_MS),
        (f"  sums over {_DAYS} days", f"{at}/stats?days={_DAYS}", _STATS_MS),
    ]
    rows = []
    for what, path, limit in questions:
        taken = api.milliseconds(path, size.times)
        more = f" (p50 {median(taken):.1f} ms)"
        p95 = quantile(taken, 0.95)
        rows.append(at_most(f"{what}, p95", p95, limit, "{:.1f} ms", more=more))
    listed = len(api.raw("GET", "/api/jobs")) / 1_000
    assert api.ask("GET", deep)["pagination"]["total"] == size.busy
    api.close()
    return [*rows, unlimited("  size of the list", f"{listed:.0f} kB")]


def _insert(place: Place, size: _Size) -> None:
    """Insert closed runs over the last year: `busy` ones of the first job, the others of all others in turn."""
    database, rows = Database(place), _rows(size)
    try:
        while portion := list(itertools.islice(rows, _PORTION)):
            with database.write() as connection:
                connection.execute(RUNS.insert(), portion)
    finally:
        database.close()


def _rows(size: _Size) -> Iterator[dict[str, Any]]:
    now, step = datetime.now(UTC), timedelta(days=_DAYS) / size.runs
    busy_one, *rest = job_names(size.jobs)
    others = itertools.cycle(rest)
    for number in range(size.runs):
        is_busy = number * size.busy // size.runs != (number + 1) * size.busy // size.runs
        name, at = busy_one if is_busy else next(others), now - (number + 1) * step
        failed = number % 20 == 0
        yield {
            "id": str(run_id(name, at)),
            "job_name": name,
            "job_type": "other",
            "status": RunStatus.FAILED if failed else RunStatus.COMPLETED,
            "started_at": at,
            "completed_at": at + timedelta(seconds=2),
            "duration_ms": 2_000,
            "items_processed": number % 100,
            "items_succeeded": number % 100,
            "items_failed": 0,
            "error_message": "HTTP 500: Internal Server Error" if failed else None,
            "metadata": {"mailed": number},
            "triggered_by": "scheduler",
            "created_at": at,
        }

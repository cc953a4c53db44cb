"""A store bounds itself: what is older than JOBS_KEEP_DAYS goes, runs and lines of audit alike, and the counters stay."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.jobs.job_system import JobSystem, kill
from vaultmesh.domain.paths import JOBS_DATABASE

pytestmark = [pytest.mark.server, pytest.mark.fault, pytest.mark.timeout(700)]


@pytest.fixture
def system(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[JobSystem]:
    monkeypatch.setenv("JOBS_KEEP_DAYS", "1")
    with JobSystem(tmp_path_factory.mktemp("upkeep")) as running:
        yield running


def rows(file: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as database:
        return database.execute(query).fetchall()


def test_a_worker_deletes_old_runs_and_old_lines_of_audit_and_keeps_the_counters(
    system: JobSystem,
) -> None:
    system.start_worker()
    system.register("tick", "0 0 1 1 *")
    system.ask("POST", "/api/jobs/tick/trigger", {})
    kill(system.workers[-1])
    file = system.root / JOBS_DATABASE
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE scheduled_jobs SET started_at = '2020-01-01T00:00:00.000000Z'")
        database.execute("UPDATE job_audit SET at = '2020-01-01T00:00:00.000000Z'")
    system.start_worker()
    system.wait(lambda: not rows(file, "SELECT id FROM scheduled_jobs"), "the end of an old run")
    old = "SELECT action FROM job_audit WHERE at < '2021'"
    # This line says whose database it is.
    system.wait(lambda: rows(file, old) == [("tables made",)], "the end of the old audit")
    assert system.books.schedule("tick")["total_runs"] == 1

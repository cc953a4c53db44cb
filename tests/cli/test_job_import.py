"""`jobs import`: what another store has comes over once, and nobody is left behind in silence."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devnet.errors import PartError
from devnet.postgres import Pgbouncer, PostgresServer
from tests.cli.conftest import Command, Outcome
from tests.storage.jobs.old_scheduler import make_old_database
from tests.storage.jobs.places import Place, definition, emptied
from vaultmesh.domain.jobs.records import Miscount
from vaultmesh.process.settings import REPOSITORY

OLD, NEW = "old", "new"
PATIENCE_SECONDS = 100


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        server.create(OLD)
        server.create(NEW)
        yield server


@pytest.fixture
def old(server: PostgresServer, tmp_path: Path) -> Place:
    """The database of the scheduler before."""
    emptied(server, OLD)
    make_old_database(server, OLD)
    return Place(tmp_path, server, OLD, server.url(OLD))


@pytest.fixture(params=["sqlite", "postgresql"])
def here(request: pytest.FixtureRequest, server: PostgresServer, tmp_path: Path) -> Place:
    """The store that is imported into, which does not exist yet."""
    root = tmp_path / "root"
    root.mkdir()
    if request.param == "sqlite":
        return Place(root)
    emptied(server, NEW)
    return Place(root, server, NEW, server.url(NEW))


@pytest.fixture
def jobs(run: Command, here: Place, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command of `jobs` on the store that is imported into; Temporal is not there."""
    point_at(here, monkeypatch)
    return lambda *arguments, **environment: run("jobs", *arguments, **environment)


def point_at(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.endswith("_SERVICE_URL")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VMSH_ROOT", str(place.root))
    monkeypatch.setenv("TEMPORAL_ADDRESS", "http://nowhere")
    monkeypatch.setenv("MAIL_SERVICE_URL", "http://mail:7006")
    monkeypatch.setenv(
        "JOBS_SERVICES", "user-service=http://user:7001,report-service=http://report"
    )
    monkeypatch.delenv("SUPABASE_URL", raising=False)
    monkeypatch.setenv("JOBS_DATABASE_URL", place.url or "sqlite")


def by_name(document: Any) -> dict[str, Any]:
    return {job["name"]: job for job in document["jobs"]}


def miscounts(place: Place) -> tuple[Miscount, ...]:
    async def asked() -> tuple[Miscount, ...]:
        async with place.store() as store:
            return await store.check()

    return asyncio.run(asked())


def tables(server: PostgresServer, database: str) -> list[str]:
    query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    return server.sql(database, query).splitlines()


# --- from the scheduler before -------------------------------------------------------------------------------------


def test_jobs_history_and_counters_come_over_once_however_often_it_is_repeated(
    jobs: Command, old: Place, here: Place
) -> None:
    first = jobs("import", old.url, "--json")
    assert first.code == 0, first.err
    document = first.json()
    assert document["runs"] == {"taken": 4, "there": 0}
    assert {job["fate"] for job in document["jobs"]} == {"taken"}
    for _ in range(2):
        again = jobs("import", old.url, "--json").json()
        assert again["runs"] == {"taken": 0, "there": 4}
        assert {job["fate"] for job in again["jobs"]} == {"unchanged"}
    listed = by_name(jobs("list", "--json").json())
    digest = listed["weekly-digest"]
    # The run that a crash left behind has ended here: it counts.
    assert (digest["totalRuns"], digest["successfulRuns"], digest["failedRuns"]) == (10, 7, 3)
    assert (digest["lastRunAt"], digest["lastRunStatus"]) == ("2026-03-02T09:00:05Z", "completed")
    assert (digest["cronExpression"], digest["config"]) == ("0 9 * * 1", {"batchSize": 100})
    assert (listed["queue-cleanup"]["enabled"], listed["deletion-cleanup"]["totalRuns"]) == (
        False,
        1,
    )
    assert miscounts(here) == ()
    runs = jobs("history", "weekly-digest", "--json").json()["executions"]
    assert [run["id"][-1] for run in runs] == ["2", "3", "1"]
    assert runs[1]["error_message"].endswith("its fate is unknown")
    assert jobs("history", "gone-job", "--json").json()["pagination"]["total"] == 1


def test_a_run_that_ends_after_the_first_copy_comes_with_the_second_and_counts_once(
    jobs: Command, old: Place, here: Place
) -> None:
    run = uuid.uuid4()
    old.sql(
        "INSERT INTO scheduled_jobs (id, job_name, job_type, status) VALUES "  # noqa: S608
        f"('{run}', 'deletion-cleanup', 'cleanup', 'running')"
    )
    first = jobs("import", old.url)
    assert first.code == 1
    assert f"run {run} of deletion-cleanup: not taken: it is still under way there" in first.err
    assert by_name(jobs("list", "--json").json())["deletion-cleanup"]["totalRuns"] == 1
    old.sql(
        f"UPDATE scheduled_jobs SET status = 'completed', completed_at = now() WHERE id = '{run}'"  # noqa: S608
    )
    assert jobs("import", old.url).code == 0
    assert by_name(jobs("list", "--json").json())["deletion-cleanup"]["totalRuns"] == 2
    assert miscounts(here) == ()


def test_a_slot_that_was_run_there_is_not_run_again_here(
    jobs: Command, old: Place, here: Place
) -> None:
    old.sql(
        "INSERT INTO scheduled_jobs (job_name, job_type, status, started_at, completed_at) VALUES "
        "('deletion-cleanup', 'cleanup', 'completed', '2026-03-03T02:00:00.4Z', '2026-03-03T02:00:01Z')"
    )
    assert jobs("import", old.url).code == 0
    (served,) = here.sql("SELECT served FROM job_decisions WHERE job_name = 'deletion-cleanup'")
    assert str(served[0]).replace(" ", "T").startswith("2026-03-03T02:00:00.4")


def test_a_check_changes_nothing_anywhere_and_says_what_would_run(
    jobs: Command, old: Place, here: Place, server: PostgresServer
) -> None:
    before = server.sql(OLD, "SELECT * FROM job_schedules ORDER BY 1")
    outcome = jobs("import", old.url, "--check", "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.json()
    digest = by_name(document)["weekly-digest"]
    assert (digest["fate"], len(digest["nextRuns"]), digest["whyIdle"]) == ("taken", 5, [])
    assert by_name(document)["queue-cleanup"]["whyIdle"] == ["disabled"]
    assert any(
        "counters differ from its rows: total_runs by +7" in line for line in digest["warnings"]
    )
    assert (document["runs"], document["running"], document["countedByTrigger"]) == (4, 1, True)
    assert (document["otherWorks"], document["isStoreItself"]) == (False, False)
    text = jobs("import", old.url, "--check").out
    assert "weekly-digest: would be taken" in text
    assert "a trigger on scheduled_jobs counts runs there" in text
    assert tables(server, OLD) == ["job_schedules", "scheduled_jobs", "users"]
    assert server.sql(OLD, "SELECT * FROM job_schedules ORDER BY 1") == before
    assert not (here.root / "ops").exists()
    assert here.is_file or tables(server, NEW) == []


def test_a_check_tells_of_a_scheduler_that_still_works_and_of_services_nobody_named(
    jobs: Command, old: Place
) -> None:
    old.sql(
        "INSERT INTO scheduled_jobs (job_name, job_type, status) VALUES ('queue-cleanup', 'cleanup', 'running')"
    )
    document = jobs("import", old.url, "--check", "--json", JOBS_SERVICES="").json()
    assert document["otherWorks"] is True
    assert document["otherBeganAt"] == by_name(document)["queue-cleanup"]["otherBeganAt"]
    warning, miscount = by_name(document)["deletion-cleanup"]["warnings"]
    assert "set USER_SERVICE_URL" in warning
    assert miscount.startswith("its counters differ from its rows: total_runs by +1")
    assert "another scheduler still works there" in jobs("import", old.url, "--check").out
    copied = jobs("import", old.url)
    assert (copied.code, "stop it, then import again" in copied.err) == (1, True)


def test_what_can_t_be_taken_is_told_with_its_mend_and_stops_nothing_else(
    jobs: Command, old: Place, here: Place
) -> None:
    old.sql("UPDATE job_schedules SET cron_expression = '@daily' WHERE job_name = 'queue-cleanup'")
    old.sql("ALTER TABLE scheduled_jobs DROP CONSTRAINT scheduled_jobs_triggered_by_check")
    old.sql("UPDATE scheduled_jobs SET triggered_by = 'cron' WHERE status = 'failed'")
    checked = jobs("import", old.url, "--check", "--json")
    assert (checked.code, by_name(checked.json())["queue-cleanup"]["fate"]) == (1, "refused")
    outcome = jobs("import", old.url, "--json")
    assert outcome.code == 1
    told = {refused["what"]: refused["reason"] for refused in outcome.json()["refused"]}
    assert "0 0 * * *" in told["queue-cleanup"]
    assert (
        "write admin, manual, scheduler there"
        in told["run 00000000-0000-4000-8000-000000000002 of weekly-digest"]
    )
    assert len(told) == outcome.json()["refusedTotal"] == 2
    assert set(by_name(jobs("list", "--json").json())) == {"deletion-cleanup", "weekly-digest"}
    assert miscounts(here) == ()


@pytest.mark.parametrize("here", ["postgresql"], indirect=True)
def test_a_row_that_the_database_here_refuses_leaves_the_others_of_its_batch(
    jobs: Command, old: Place, here: Place
) -> None:
    async def opened() -> None:
        async with here.store():
            pass

    asyncio.run(opened())
    here.sql("ALTER TABLE scheduled_jobs ADD CHECK (job_name <> 'gone-job')")
    outcome = jobs("import", old.url, "--json")
    assert (outcome.code, outcome.json()["runs"]["taken"], outcome.json()["refusedTotal"]) == (
        1,
        3,
        1,
    )
    assert miscounts(here) == ()


def test_a_job_that_is_here_and_differs_stays_and_is_told(jobs: Command, old: Place) -> None:
    assert jobs("import", old.url).code == 0
    old.sql(
        "UPDATE job_schedules SET cron_expression = '0 8 * * 1' WHERE job_name = 'weekly-digest'"
    )
    jobs("delete", "deletion-cleanup")
    checked = by_name(jobs("import", old.url, "--check", "--json").json())
    assert checked["weekly-digest"]["differences"] == ["cron_expression"]
    outcome = jobs("import", old.url)
    assert outcome.code == 1
    assert (
        "weekly-digest: not taken: it is here already, and differs in cron_expression"
        in outcome.err
    )
    assert "deletion-cleanup: not taken: it was deleted here by operator " in outcome.err
    listed = by_name(jobs("list", "--json").json())
    assert (listed["weekly-digest"]["cronExpression"], "deletion-cleanup" in listed) == (
        "0 9 * * 1",
        False,
    )


def test_tables_that_lack_most_columns_are_read(jobs: Command, old: Place) -> None:
    assert old.server is not None
    emptied(old.server, OLD)
    old.sql(
        "CREATE TABLE job_schedules (job_name text PRIMARY KEY, cron_expression text, service text, endpoint text, config jsonb);"
        "INSERT INTO job_schedules VALUES ('auto-enhance-metadata', '0 4 * * *', 'user-service', '/api/enhance/auto', '{\"n\": 1}')"
    )
    assert "auto-enhance-metadata: would be taken" in jobs("import", old.url, "--check").out
    outcome = jobs("import", old.url, "--json")
    assert outcome.code == 0, outcome.err
    (job,) = jobs("list", "--json").json()["jobs"]
    assert (job["displayName"], job["jobType"], job["config"]) == (
        "auto-enhance-metadata",
        "other",
        {"n": 1},
    )
    # Nothing says that it is enabled; the scheduler before did not run it either.
    assert (job["enabled"], outcome.json()["jobs"][0]["whyIdle"]) == (False, ["disabled"])


def test_a_database_without_jobs_is_no_store(jobs: Command, server: PostgresServer) -> None:
    outcome = jobs("import", server.url("postgres"), "--check")
    assert (outcome.code, "has neither job_schedules nor scheduled_jobs" in outcome.err) == (
        1,
        True,
    )


def test_a_password_is_never_printed(jobs: Command, server: PostgresServer) -> None:
    password = "hunter2-and-more"
    for url in (
        f"postgresql://vmsh:{password}@127.0.0.1:{server.port}/{OLD}",
        f"postgresql://vmsh:{password}@127.0.0.1:1/{OLD}",
        f"mysql://vmsh:{password}@host/{OLD}",
        f"postgresql://vmsh:{password}@host",
        f"postgresql:/vmsh:{password}@127.0.0.1:1/{OLD}",
        f"vmsh:{password}@127.0.0.1:1/{OLD}",
        f"host=127.0.0.1 user=vmsh password={password} dbname={OLD}",
    ):
        for check in ((), ("--check",)):
            outcome = jobs("import", url, *check)
            assert outcome.code in (1, 2)
            assert password not in outcome.out + outcome.err
            assert outcome.err.count("\n") == 1, outcome.err
    unknown = jobs("import", server.url(OLD, "nobody-here"))
    assert (unknown.code, "the URL of the import" in unknown.err) == (2, True)


# --- the store itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("here", ["sqlite"], indirect=True)
def test_the_store_itself_is_not_copied_and_its_take_over_is_checked(
    jobs: Command, old: Place, server: PostgresServer
) -> None:
    other_way = server.url(OLD).replace("127.0.0.1", "localhost")
    for url in (server.url(OLD), other_way):
        checked = jobs("import", url, "--check", "--json", JOBS_DATABASE_URL=server.url(OLD))
        assert (checked.code, checked.json()["isStoreItself"]) == (0, True)
        assert by_name(checked.json())["weekly-digest"]["fate"] == "unchanged"
        assert checked.json()["countedByTrigger"] is True
    assert tables(server, OLD) == ["job_schedules", "scheduled_jobs", "users"]
    outcome = jobs("import", other_way, JOBS_DATABASE_URL=server.url(OLD))
    assert (outcome.code, outcome.out) == (0, "")
    assert "there is nothing to copy" in outcome.err
    as_json = jobs("import", other_way, "--json", JOBS_DATABASE_URL=server.url(OLD)).json()
    assert (as_json["isStoreItself"], as_json["jobs"]) == (True, [])
    assert tables(server, OLD) == ["job_schedules", "scheduled_jobs", "users"]


def test_a_pooler_leads_to_the_same_database_and_lets_everything_be_read(
    run: Command,
    old: Place,
    server: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emptied(server, NEW)
    with Pgbouncer(server) as pooler:
        point_at(Place(tmp_path, server, NEW, pooler.url(NEW)), monkeypatch)
        assert run("jobs", "import", pooler.url(OLD), "--json").json()["runs"]["taken"] == 4
        assert run("jobs", "import", pooler.url(OLD), "--json").json()["runs"]["there"] == 4
        for url in (server.url(NEW), pooler.url(NEW)):
            checked = run("jobs", "import", url, "--check", "--json")
            assert (checked.code, checked.json()["isStoreItself"]) == (0, True)
        checked = run("jobs", "import", server.url(OLD), "--check", "--json")
        assert checked.json()["isStoreItself"] is False


# --- from a store of ours ------------------------------------------------------------------------------------------


def test_what_administrators_decided_moves_with_a_store_of_ours(
    run: Command, here: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Place(tmp_path / "before")
    before.root.mkdir()
    point_at(before, monkeypatch)
    registrations = [
        definition(name, policy={"timeoutSeconds": 9}).model_dump(mode="json", by_alias=True)
        for name in ("paused", "moved", "deleted")
    ]
    file = tmp_path / "jobs.json"
    file.write_text(json.dumps(registrations))
    for command in (
        ("import", file), ("pause", "paused", "--reason", "mail moves"), ("cron", "moved", "0 4 * * *"), ("delete", "deleted"),
    ):  # fmt: skip
        assert run("jobs", *command).code == 0
    revisions = "SELECT job_name, revision FROM job_decisions ORDER BY 1"
    heard = before.sql(revisions)
    point_at(here, monkeypatch)
    for _ in range(2):
        assert run("jobs", "import", before.file).code == 0
    # A workflow heeds only what is newer than all that it heard of the store before.
    for (name, now), (same, then) in zip(here.sql(revisions), heard, strict=True):
        assert (name, int(str(now)) > int(str(then))) == (same, True)
    listed = by_name(run("jobs", "list", "--json").json())
    assert set(listed) == {"paused", "moved"}
    assert listed["paused"]["paused"]["reason"] == "mail moves"
    assert (listed["moved"]["cronExpression"], listed["moved"]["clientCron"]) == (
        "0 4 * * *",
        "0 3 * * *",
    )
    assert run("jobs", "show", "moved", "--json").json()["policy"]["timeoutSeconds"] == 9
    assert run("jobs", "list", "--json").json()["deleted"] == ["deleted"]
    # Its service's start brings nothing back, and undoes no decision.
    assert run("jobs", "import", file).code == 1
    assert by_name(run("jobs", "list", "--json").json())["moved"]["cronExpression"] == "0 4 * * *"


# --- from a file ---------------------------------------------------------------------------------------------------


REGISTRATION = definition().model_dump(mode="json", by_alias=True)
YAML = """
- name: weekly-digest
  displayName: Weekly digest
  description: Mail it
  cronExpression: "0 9 * * 1"
  enabled: true
  jobType: email
  service: mail-service
  endpoint: /api/jobs/weekly-digest
"""


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("jobs.json", json.dumps([REGISTRATION, {**REGISTRATION, "name": "other"}]), {"nightly-report", "other"}),
        ("job.json", json.dumps(REGISTRATION), {"nightly-report"}),
        ("jobs.yaml", YAML, {"weekly-digest"}),
    ],
)  # fmt: skip
def test_a_file_of_registrations_is_checked_then_registered_once(
    name: str, text: str, names: set[str], jobs: Command, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_text(text)
    checked = jobs("import", file, "--check", "--json")
    assert (checked.code, set(by_name(checked.json()))) == (0, names)
    assert jobs("list", "--json").json()["jobs"] == []
    assert {job["fate"] for job in jobs("import", file, "--json").json()["jobs"]} == {"taken"}
    assert {job["fate"] for job in jobs("import", file, "--json").json()["jobs"]} == {"unchanged"}
    assert set(by_name(jobs("list", "--json").json())) == names


def test_a_bad_registration_in_a_file_leaves_the_others(jobs: Command, tmp_path: Path) -> None:
    file = tmp_path / "jobs.json"
    file.write_text(json.dumps([{"name": "bad", "cronExpression": "@daily"}, 7, REGISTRATION]))
    outcome = jobs("import", file)
    assert outcome.code == 1
    assert "bad: not taken: displayName: is missing" in outcome.err
    assert "entry 2: not taken: the body is a number" in outcome.err
    assert set(by_name(jobs("list", "--json").json())) == {"nightly-report"}


@pytest.mark.parametrize("text", [f"[{json.dumps(REGISTRATION)},]", json.dumps(REGISTRATION)[:-1]])
def test_broken_json_is_refused_and_not_read_as_yaml_where_fractions_are_texts(
    text: str, jobs: Command, tmp_path: Path
) -> None:
    file = tmp_path / "jobs.json"
    file.write_text(text)
    for check in ((), ("--check",)):
        outcome = jobs("import", file, *check)
        assert (outcome.code, outcome.out) == (2, "")
        assert "jobs.json: is not JSON (" in outcome.err


@pytest.mark.parametrize("text", ["", "- [", "7", "\x00"])
def test_a_file_that_lists_nothing_is_bad_usage(text: str, jobs: Command, tmp_path: Path) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text(text)
    for arguments in (
        (file,),
        (file, "--check"),
        (tmp_path / "none.yaml",),
        (f"sqlite:///{file}",),
    ):
        outcome: Outcome = jobs("import", *arguments)
        assert (outcome.code, outcome.out) == (2, "")


# --- large, and cut off --------------------------------------------------------------------------------------------


MANY = 30_000
ROWS = f"""
INSERT INTO scheduled_jobs (job_name, job_type, status, started_at, completed_at, duration_ms)
  SELECT 'job-' || (n % 7), 'other', CASE n % 10 WHEN 0 THEN 'failed' ELSE 'completed' END::job_status,
    timestamptz '2026-01-01' + n * interval '1 minute', timestamptz '2026-01-01' + n * interval '1 minute', 5
  FROM generate_series(1, {MANY}) AS n
"""  # noqa: S608 - a constant


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.timeout(700)
def test_a_copy_that_is_killed_goes_on_and_counts_every_run_once(
    jobs: Command, old: Place, here: Place
) -> None:
    old.sql("DELETE FROM scheduled_jobs WHERE status = 'running'")
    old.sql(ROWS)
    command = [sys.executable, "starter.py", "jobs", "import", str(old.url)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as copying:
        wait_until(lambda: runs_in(here) > 0)
        copying.kill()
    partly = runs_in(here)
    assert 0 < partly < MANY
    outcome = jobs("import", old.url, "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.json()
    assert document["runs"] == {"taken": MANY + 3 - partly, "there": partly}
    assert runs_in(here) == MANY + 3
    assert miscounts(here) == ()


def runs_in(place: Place) -> int:
    if place.is_file and not place.file.exists():
        return 0
    try:
        ((count,),) = place.sql("SELECT count(*) FROM scheduled_jobs")
    except (sqlite3.OperationalError, PartError):  # the table is being made
        return 0
    return int(str(count))


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)

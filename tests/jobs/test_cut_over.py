"""The database of the scheduler before is taken over as it is, in every order in which people stop and start the two.

What is documented (`docs/cut-over.md`) is what happens here: nothing is changed by looking, ids, counters and history stay, a slot
that is due while both are off is run once or counted as missed, and the one order that doubles a slot is known.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from devnet.postgres import PostgresServer
from tests.docs.readme import REPOSITORY
from tests.jobs.job_system import EVERY_SECOND, NEVER, JobSystem
from tests.storage.jobs.old_scheduler import OldScheduler, make_old_database
from vaultmesh.domain.paths import JOBS_DATABASE

pytestmark = [pytest.mark.server, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(700)]
DATABASE, JOB = "jobs", "weekly-digest"
MINUTE = 60
PAGE = REPOSITORY / "docs" / "cut-over.md"
CATALOG = """
SELECT 'column', table_name || '.' || column_name || ' ' || data_type FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'index', indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'trigger', pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'function', pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'type', typname FROM pg_type WHERE typnamespace = 'public'::regnamespace ORDER BY 1, 2
"""
HISTORY = "SELECT * FROM scheduled_jobs WHERE status <> 'running' ORDER BY id"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def database(server: PostgresServer) -> str:
    """A database of the scheduler before, with the function and the trigger that count its runs."""
    server.sql("postgres", f'DROP DATABASE IF EXISTS "{DATABASE}" WITH (FORCE)')
    url = server.create(DATABASE)
    make_old_database(server, DATABASE)
    return url


@pytest.fixture
def system(
    tmp_path_factory: pytest.TempPathFactory, database: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[JobSystem]:
    monkeypatch.setenv("JOBS_DATABASE_URL", database)
    monkeypatch.setenv("JOBS_SERVICES", "user-service=http://127.0.0.1:9")
    monkeypatch.delenv("SUPABASE_URL", raising=False)
    with JobSystem(tmp_path_factory.mktemp("cut-over"), database) as running:
        yield running


def dump(server: PostgresServer) -> str:
    """Return everything that the database holds, and how."""
    catalog = server.sql(DATABASE, CATALOG)
    tables = server.sql(
        DATABASE, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    )
    rows = [server.sql(DATABASE, f'SELECT * FROM "{table}" ORDER BY 1') for table in tables.split()]  # noqa: S608
    return "\n".join([catalog, tables, *rows])


def commanded(system: JobSystem, *arguments: str) -> str:
    """Run a command of `jobs` as an operator does, and return what it prints."""
    environment = {
        **os.environ,
        "TEMPORAL_ADDRESS": system.temporal.address,
        "VMSH_ROOT": str(system.root),
        "MAIL_SERVICE_URL": system.handler.url,
    }
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "starter.py"), "jobs", *arguments],
        cwd=system.root, env=environment, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def give(server: PostgresServer, cron: str, begun: str) -> None:
    """Give the job another expression, and a newest run of the scheduler before."""
    server.sql(
        DATABASE,
        f"UPDATE job_schedules SET cron_expression = '{cron}' WHERE job_name = '{JOB}';"  # noqa: S608
        "INSERT INTO scheduled_jobs (job_name, job_type, status, started_at, completed_at) VALUES "
        f"('{JOB}', 'email', 'completed', {begun}, {begun})",
    )


def slots_of(system: JobSystem, second: int) -> Counter[int]:
    """Return how often the handler was called for each minute's slot, at so many seconds past."""
    calls = [call for call in list(system.handler.calls) if call["triggeredBy"] == "scheduler"]
    return Counter(int((call["at"] - second) // MINUTE) for call in calls)


def until(second: int) -> None:
    """Wait until the clock shows so many seconds past a minute."""
    time.sleep((second - time.time()) % MINUTE)


def second_in(seconds: int) -> int:
    """Return how many seconds past its minute the clock shows in so many seconds."""
    return int(time.time() + seconds) % MINUTE


# --- looking -------------------------------------------------------------------------------------------------------


def test_a_look_says_what_would_run_and_leaves_the_database_byte_for_byte(
    system: JobSystem, server: PostgresServer
) -> None:
    before = dump(server)
    text = commanded(system, "import", system.database, "--check")
    assert dump(server) == before
    assert f"{JOB}: is here already" in text
    assert len(re.findall(r"^  runs: ", text, re.MULTILINE)) >= 2
    assert "queue-cleanup: is here already" in text
    assert "does not run: disabled" in text
    assert "rows that still say running: 1" in text
    assert "a trigger on scheduled_jobs counts runs there" in text
    assert "nothing is copied, its jobs are taken over as they are" in text
    assert not (system.root / JOBS_DATABASE).exists()


# --- taking over ---------------------------------------------------------------------------------------------------


def test_ids_counters_and_history_stay_and_new_runs_count_once_by_the_trigger_that_is_there(
    system: JobSystem, server: PostgresServer
) -> None:
    history = server.sql(DATABASE, HISTORY)
    counters = f"SELECT total_runs, successful_runs, failed_runs FROM job_schedules WHERE job_name = '{JOB}'"  # noqa: S608
    left = "SELECT count(*) FROM scheduled_jobs WHERE status = 'running'"
    assert server.sql(DATABASE, counters) == "9|7|2"
    system.start_worker()
    # A run that a crash of the scheduler before left behind is closed, since months have passed: it counts.
    system.wait(lambda: server.sql(DATABASE, left) == "0", "the end of what a crash left")
    assert server.sql(DATABASE, counters) == "10|7|3"
    status, answer = system.ask("GET", f"/api/jobs/{JOB}/history?limit=100")
    assert (status, answer["pagination"]["total"]) == (200, 3)
    assert system.ask("GET", "/api/jobs/gone-job/history")[1]["pagination"]["total"] == 1
    assert system.trigger(JOB)["success"] is True
    assert server.sql(DATABASE, counters) == "11|8|3"
    # Every row from before is as it was, letter for letter.
    assert set(history.splitlines()) <= set(server.sql(DATABASE, HISTORY).splitlines())
    assert server.sql(DATABASE, "SELECT count(*) FROM scheduled_jobs") == "5"
    # PostgreSQL alone keeps the jobs.
    assert not (system.root / JOBS_DATABASE).exists()


# --- the order of steps --------------------------------------------------------------------------------------------


def test_a_slot_that_is_due_while_both_are_off_is_run_once_where_the_old_one_was_stopped_first(
    system: JobSystem, server: PostgresServer
) -> None:
    """The harm: the first worker that sees the database begins at that instant, and the slot is nobody's."""
    second = second_in(2)
    give(server, f"{second} * * * * *", "now() - interval '50 seconds'")
    until(second + 3)  # a slot has passed, and nobody ran it
    assert system.handler.calls == []
    passed = int((time.time() - second) // MINUTE)
    system.start_worker()
    system.wait(lambda: system.handler.of(JOB), "the slot that passed", 90)
    system.wait(lambda: len(system.handler.of(JOB)) >= 2, "the slot after it", 90)
    slots = slots_of(system, second)
    assert slots == Counter({passed: 1, passed + 1: 1})
    assert missed_of(system) == 0


def test_slots_that_passed_too_long_ago_are_counted_as_missed_and_shown(
    system: JobSystem, server: PostgresServer
) -> None:
    """The harm: a night's run is lost, and nobody is told."""
    give(
        server,
        "0 30 * * * *",
        "date_trunc('hour', now()) - interval '5 hours' + interval '30 minutes 0.2 seconds'",
    )
    system.start_worker()
    system.wait(lambda: missed_of(system) in {4, 5}, "the hours that were missed")
    assert system.handler.of(JOB) == []
    assert system.trigger(JOB)["success"] is True  # by hand, as the guide says
    system.wait(
        lambda: re.search(r"slots +[45] missed", commanded(system, "show", JOB)), "its word"
    )


def test_a_slot_that_is_due_while_both_are_off_is_run_once_where_ours_ran_beside_the_old_one(
    system: JobSystem, server: PostgresServer
) -> None:
    second = second_in(12)
    give(server, f"{second} * * * * *", "now() - interval '70 seconds'")
    old = OldScheduler(server, DATABASE, JOB, f"{system.handler.url}/run", second)
    old.start()
    try:
        ours = system.start_worker()
        system.wait(lambda: old.runs, "a slot of the other scheduler", 90)
    finally:
        old.stop()
    # A worker that dies while it looks whether the slot is begun has that slot's end to write first.
    system.wait(lambda: system.status(JOB)["running"] is None, "the slot that is left", 60)
    ours.kill()
    time.sleep(10)
    until(second + 3)  # a slot has passed, and nobody ran it
    assert system.handler.of(JOB) == old.runs
    system.start_worker()
    system.wait(lambda: len(system.handler.of(JOB)) > len(old.runs) + 1, "two slots of ours", 150)
    slots = slots_of(system, second)
    assert slots == Counter(dict.fromkeys(range(min(slots), max(slots) + 1), 1))
    assert missed_of(system) == 0


def test_the_old_one_started_again_beside_ours_doubles_one_slot_and_is_then_left_its_slots(
    system: JobSystem, server: PostgresServer
) -> None:
    """This order is the one that the guide forbids. What it says of it holds: one slot twice, and then none."""
    second = second_in(20)
    give(server, f"{second} * * * * *", "now() - interval '9 days'")
    system.start_worker()
    system.wait(lambda: system.handler.of(JOB), "a slot that we run alone", 120)
    # Ours runs alone: nothing tells of the other one before its first run.
    old = OldScheduler(server, DATABASE, JOB, f"{system.handler.url}/run", second)
    old.start()
    try:
        system.wait(lambda: len(old.runs) >= 2, "two slots of the other scheduler", 180)
        system.wait(lambda: system.status(JOB)["running"] is None, "the slot that is left", 60)
    finally:
        old.stop()
    slots = slots_of(system, second)
    # On a busy machine ours may come after the other one's first row, and leave that slot too.
    assert [calls for calls in slots.values() if calls != 1] in ([2], []), slots
    assert sorted(slots) == list(range(min(slots), max(slots) + 1)), slots
    assert f"{JOB}: left to another scheduler" in commanded(system, "list")
    assert "twice" in PAGE.read_text(encoding="utf-8")


def test_nothing_is_called_by_ours_after_going_back(
    system: JobSystem, server: PostgresServer
) -> None:
    """The harm: whoever goes back has each slot twice, since workflows of ours go on."""
    give(server, EVERY_SECOND, "now()")
    anchoring = system.start_worker("workflows")
    ours = system.start_worker("jobs,api")
    system.wait(lambda: len(system.handler.of(JOB)) >= 2, "runs of ours", 120)
    ours.stop()
    called = len(system.handler.of(JOB))
    time.sleep(5)
    assert len(system.handler.of(JOB)) == called
    assert anchoring.alive
    open_rows = "SELECT count(*) FROM scheduled_jobs WHERE status = 'running' AND started_at > now() - interval '1 day'"
    assert server.sql(DATABASE, open_rows) == "0"
    server.sql(DATABASE, f"UPDATE job_schedules SET cron_expression = '{NEVER}'")  # noqa: S608


def missed_of(system: JobSystem) -> int:
    """Return how many slots of the job were missed, as its workflow counts them."""
    return int(system.status(JOB)["missed"])

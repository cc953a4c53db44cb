"""An installation moves over while its jobs run: the guide's own commands, another scheduler that fires, and a service that counts."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from devnet.postgres import PostgresServer
from tests.docs.readme import REPOSITORY, blocks
from tests.jobs.job_system import JobSystem
from tests.storage.jobs.old_scheduler import OldScheduler, make_old_database
from vaultmesh.domain.jobs.other_scheduler import BEGINS_WITHIN

pytestmark = [pytest.mark.server, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(700)]
PAGE = (REPOSITORY / "docs" / "jobs.md").read_text(encoding="utf-8")
DATABASE, JOB = "jobs", "weekly-digest"
SLOTS_AT = "10 * * * * *"
SECOND = 10
ASKED_FOR_THERE = """
INSERT INTO scheduled_jobs (job_name, job_type, status, started_at, triggered_by) VALUES
  ('queue-cleanup', 'email', 'completed', '2020-01-01', 'scheduler'),
  ('queue-cleanup', 'email', 'running', now() - interval '5 minutes', 'admin')
"""
REGISTRATIONS = """
- name: report
  displayName: Report
  description: Mail the report
  cronExpression: "0 0 1 1 *"
  enabled: true
  jobType: email
  service: mail-service
  endpoint: /report
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        server.create(DATABASE)
        make_old_database(server, DATABASE)
        yield server


@pytest.fixture
def system(
    tmp_path_factory: pytest.TempPathFactory,
    server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[JobSystem]:
    """A worker's surroundings, on the database of the scheduler before."""
    monkeypatch.setenv("JOBS_DATABASE_URL", server.url(DATABASE))
    monkeypatch.setenv("JOBS_SERVICES", "user-service=http://127.0.0.1:9")
    monkeypatch.delenv("SUPABASE_URL", raising=False)
    with JobSystem(tmp_path_factory.mktemp("moving"), server.url(DATABASE)) as running:
        yield running


def shown(section: str) -> list[list[str]]:
    """Return the commands of a section of the guide."""
    text = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (part,) = [part for part in text if part.startswith(section)]
    plain = "\n".join(line.strip() for line in part.splitlines())
    lines = [line for block in blocks("sh", plain) for line in block.splitlines() if line]
    return [shlex.split(os.path.expandvars(line), comments=True) for line in lines]


def told(system: JobSystem, command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    assert command[:2] == ["python", "starter.py"]
    environment = {
        **os.environ,
        "TEMPORAL_ADDRESS": system.temporal.address,
        "VMSH_ROOT": str(system.root),
        "MAIL_SERVICE_URL": system.handler.url,
        **more,
    }
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "starter.py"), *command[2:]],
        cwd=system.root, env=environment, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip


def test_nothing_is_lost_or_doubled_while_an_installation_moves_over(
    system: JobSystem, server: PostgresServer
) -> None:
    check, first_list, second_list, history = shown("Move over from the scheduler before, in")
    this = f"WHERE job_name = '{JOB}'"
    server.sql(DATABASE, f"UPDATE job_schedules SET cron_expression = '{SLOTS_AT}' {this}")  # noqa: S608
    server.sql(DATABASE, ASKED_FOR_THERE)
    counted = f"SELECT total_runs FROM job_schedules {this}"  # noqa: S608
    before = int(server.sql(DATABASE, counted))
    old = OldScheduler(server, DATABASE, JOB, f"{system.handler.url}/run", SECOND)
    began = time.time()
    old.start()
    try:
        system.wait(lambda: old.runs, "a run of the other scheduler", 90)
        looked = told(system, check)
        assert looked.returncode == 0, looked.stderr
        assert "another scheduler still works there" in looked.stdout
        assert "a trigger on scheduled_jobs counts runs there" in looked.stdout
        assert "job_decisions" not in server.sql(
            DATABASE, "SELECT string_agg(tablename, ',') FROM pg_tables"
        )
        # A user that the database does not know stops a worker at once.
        refused = start_refused(system, server.url(DATABASE, "nobody_here"))
        assert refused.returncode == 2
        assert "correct the user in JOBS_DATABASE_URL" in refused.stdout + refused.stderr

        system.start_worker()
        alone = len(old.runs)
        system.wait(lambda: len(old.runs) > alone, "a slot that both see", 90)
        listed = told(system, first_list)
        assert listed.returncode == 0, listed.stderr
        assert f"{JOB}: left to another scheduler, which began a run" in listed.stdout
        assert {call["executionId"] for call in system.handler.calls} == set(old.runs)
        # A run that somebody asked for there is not ours to close, and nothing is deleted in a database of others.
        system.wait(lambda: said(system, "another scheduler works here"), "word of the other one")
        kept = (
            "SELECT status FROM scheduled_jobs WHERE job_name = 'queue-cleanup' ORDER BY started_at"
        )
        assert server.sql(DATABASE, kept).split() == ["completed", "running"]
        # Somebody who asks is served meanwhile.
        status, answer = system.ask("POST", f"/api/jobs/{JOB}/trigger", {})
        assert (status, answer["result"]["success"]) == (200, True)
    finally:
        old.stop()
    stopped = time.time()
    system.wait(lambda: len(ours(system)) >= 2, "two slots that we run", 150)
    assert ours(system)[0]["at"] >= stopped
    assert told(system, second_list).returncode == 0
    waiting = told(system, second_list)
    assert "left to another" not in waiting.stdout
    assert told(system, history).returncode == 0

    slots = Counter(int((call["at"] - SECOND) // 60) for call in scheduled(system))
    last = max(slots)
    assert slots == Counter(dict.fromkeys(range(min(slots), last + 1), 1))
    assert min(slots) * 60 + SECOND >= began - 60
    first_lag, second_lag = ((call["at"] - SECOND) % 60 for call in ours(system)[:2])
    assert first_lag >= BEGINS_WITHIN.total_seconds() - 1
    assert second_lag < BEGINS_WITHIN.total_seconds() / 2
    left_behind = 1  # by a crash, before: it is closed here, and counts
    total = before + len(old.runs) + len(ours(system)) + 1 + left_behind
    system.wait(lambda: int(server.sql(DATABASE, counted)) == total, "the counters", 90)
    system.wait(
        lambda: said(system, "no other scheduler works here any more"), "word of the end", 90
    )
    assert said(system, "another scheduler works here") == 1
    assert said(system, "no other scheduler works here any more") == 1


def test_the_other_commands_of_the_guide_work_in_their_order(
    system: JobSystem, server: PostgresServer
) -> None:
    (system.root / "jobs.yaml").write_text(REGISTRATIONS)
    system.start_worker()
    commands = shown("Register and decide")
    os.environ["OLD_DATABASE_URL"] = server.url(DATABASE)
    try:
        check, copy, of_ours = shown("Move over into another database")
    finally:
        del os.environ["OLD_DATABASE_URL"]
    commands += [check, copy]
    for command in commands:
        done = told(system, command, JOBS_DATABASE_URL="sqlite")
        assert done.returncode == 0, done.stderr
    moved = told(system, of_ours)
    assert moved.returncode == 0, moved.stderr
    assert "report: would be taken" in moved.stdout


def start_refused(system: JobSystem, url: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "TEMPORAL_ADDRESS": system.temporal.address,
        "VMSH_ROOT": str(system.root),
        "JOBS_DATABASE_URL": url,
        "METRICS_PORT": "0",
    }
    return subprocess.run(
        [sys.executable, "worker.py", "--roles", "workflows,jobs"],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip


def scheduled(system: JobSystem) -> list[dict[str, object]]:
    return [call for call in system.handler.calls if call["triggeredBy"] == "scheduler"]


def ours(system: JobSystem) -> list[dict[str, object]]:
    """Return the calls of slots that were run here: their ids are of version 5."""
    return [call for call in scheduled(system) if str(call["executionId"])[14] == "5"]


def said(system: JobSystem, words: str) -> int:
    """Return how often the workers have logged something."""
    logs = system.folder.glob("*.log")
    return sum(log.read_text(errors="replace").count(f'"{words}"') for log in logs)

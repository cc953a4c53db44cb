"""`maintenance status`, `pause`, `resume`, `history` and `run` on a file of SQLite, with Temporal absent."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, Group

from tests.cli.conftest import Command
from vaultmesh.cli import maintenance_tables
from vaultmesh.domain.jobs.records import Actor, JobRevision, Pause, RunEnd, RunRecord, RunStart
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.jobs.tasks import TaskSchedule, task_job_name
from vaultmesh.domain.maintenance.listing import TaskReport, TaskState, task_report
from vaultmesh.storage.job_store import JobStore

COLUMNS = 80
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
NIGHTLY = TaskSchedule(kind="vacuum", cron="0 3 * * *")
LATER = "workers with role jobs tell it later"
FILE = "database: postgresql://u@db/shop\ntasks:\n  tidy: {kind: vacuum, tables: all}\n  fresh: {kind: vacuum, tables: all}\n"


@pytest.fixture
def maintenance(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command of `maintenance`: a file with two tasks, and a store that knows one of them and an old one."""
    monkeypatch.setenv("VMSH_ROOT", str(tmp_path))
    monkeypatch.setenv("TEMPORAL_ADDRESS", "http://nowhere")
    for name in ("JOBS_DATABASE_URL", "SUPABASE_URL", "DATABASE_URL", "VMSH_MAINTENANCE"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "vmsh/config/maintenance.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(FILE)

    async def prepared() -> None:
        store = await JobStore.open(None, tmp_path)
        by = Actor(name="maintenance.yaml")
        for name in ("tidy", "old"):
            await store.offer_task(task_job_name(name), NIGHTLY, by, NOW)
        await store.withdraw_task(task_job_name("old"), by, NOW)
        for number, name in enumerate(("tidy", "old", "tidy")):
            await ran(store, name, NOW + timedelta(minutes=number))
        await store.close()

    asyncio.run(prepared())
    return lambda *arguments, **environment: run("maintenance", *arguments, **environment)


async def ran(store: JobStore, task: str, at: datetime) -> None:
    start = RunStart(id=uuid.uuid4(), job_name=task_job_name(task), started_at=at, needs_job=False)
    await store.open_run(start)
    end = RunEnd(
        start=start,
        status=RunStatus.COMPLETED,
        completed_at=at + timedelta(seconds=2),
        items_processed=3,
        metadata={"outcome": "not needed"},
    )
    await store.close_run(end)


def states(document: dict[str, Any]) -> dict[str, str]:
    return {task["task"]: task["state"] for task in document["tasks"]}


def test_every_task_that_the_file_or_the_store_knows_has_its_state(maintenance: Command) -> None:
    outcome = maintenance("status", "--json")
    assert states(outcome.json()) == {"fresh": "not offered", "old": "gone", "tidy": "waiting"}
    (tidy,) = maintenance("status", "tidy", "--json").json()["tasks"]
    assert (tidy["last_run"]["outcome"], tidy["last_run"]["status"]) == ("not needed", "completed")
    assert tidy["next"] > "2026"
    shown = maintenance("status").out
    assert "no worker with role jobs has taken it up yet" in shown


def test_a_pause_stands_while_temporal_is_away_and_says_so(maintenance: Command) -> None:
    paused = maintenance("pause", "tidy", "--reason", "a migration", "--json")
    assert paused.code == 0
    assert (paused.json()["changed"], paused.json()["told"]) == (True, False)
    assert LATER in paused.err
    assert states(maintenance("status", "--json").json())["tidy"] == "paused"
    assert (
        "tidy: paused: a migration" in maintenance("pause", "tidy", "--reason", "a migration").out
    )
    resumed = maintenance("resume", "tidy", "--json").json()
    assert (resumed["changed"], resumed["now"]["state"]) == (True, "waiting")
    assert maintenance("resume", "tidy", "--json").json()["changed"] is False


def test_history_is_of_one_task_or_of_all_newest_first(maintenance: Command) -> None:
    of_all = maintenance("history", "--json").json()
    names = [run["job_name"] for run in of_all["executions"]]
    assert names == ["maintenance:tidy", "maintenance:old", "maintenance:tidy"]
    newest = maintenance("history", "tidy", "--limit", "1", "--json").json()
    assert len(newest["executions"]) == 1
    assert newest["pagination"] == {"limit": 1, "total": 2}
    assert "not needed" in maintenance("history", "old").out
    assert maintenance("history", "fresh").err.strip() == "0 of 0 runs"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("pause", "tidyy"), "did you mean 'tidy'"),
        (("status", "nothing-like-it"), "there are: fresh, old, tidy"),
        (("run",), "add --once"),
    ],
)
def test_what_names_no_task_is_bad_usage(
    maintenance: Command, arguments: tuple[str, ...], says: str
) -> None:
    refused = maintenance(*arguments)
    assert refused.code == 2
    assert says in refused.err


@pytest.mark.parametrize(("task", "why"), [("old", "no file names it"), ("fresh", "no worker")])
def test_a_task_that_no_worker_runs_is_refused_before_anything_waits(
    maintenance: Command, task: str, why: str
) -> None:
    refused = maintenance("run", task)
    assert refused.code == 1
    assert why in refused.err


def report(**changes: object) -> TaskReport:
    pause = Pause(by="operator ada@host", at=NOW, reason="the migration of the orders")
    revision = JobRevision(
        name="maintenance:statistics", revision=3, definition=None, task=NIGHTLY, missed=2
    ).model_copy(update={"paused": pause, **changes})
    failed = RunRecord(
        id=str(uuid.uuid4()),
        job_name=revision.name,
        status="failed",
        started_at=NOW,
        error_message="denied: public.orders: only its owner may vacuum it",
        metadata={"outcome": "denied"},
    )
    return task_report(revision, NIGHTLY, (failed,), NOW)


def test_tables_fit_a_terminal_of_80_columns_and_say_why() -> None:
    out = StringIO()
    console = Console(file=out, width=COLUMNS)
    console.print(Group(*maintenance_tables.status_table([report(), report(paused=None)], NOW)))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= COLUMNS
    text = " ".join(" ".join(lines).split())
    for words in ("the migration of the orders", "only its owner may vacuum it", "slots missed 2"):
        assert words in text
    assert report().state is TaskState.PAUSED
    assert report().next is None

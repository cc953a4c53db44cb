"""maintenance.yaml changes while workers run: what is valid is taken up, what is not changes nothing, and tasks that are gone stop."""

import json
import secrets
import urllib.request
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from devnet.errors import PartError
from tests.maintenance_runs.task_system import EVERY_TWO_SECONDS, RARELY, TaskSystem
from vaultmesh.cli.worker_process import WorkerProcess
from vaultmesh.domain.jobs.tasks import task_job_name

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(700)]
REFUSED = "maintenance file refused; what it said before stays in use"


def said(worker: WorkerProcess, message: str) -> list[dict[str, str]]:
    """Return the lines of a worker's log with a message."""
    lines = [json.loads(line) for line in worker.log.read_text().splitlines() if line[:1] == "{"]
    return [line for line in lines if message in line.values()]


def refused_in_health(worker: WorkerProcess) -> dict[str, Any]:
    """Return what a worker says of its health if it names a refused file."""
    with urllib.request.urlopen(f"{worker.url}/health", timeout=120) as page:  # noqa: S310 - of our own worker
        document: dict[str, Any] = json.load(page)
    return document if "refused" in document else {}


def is_over(system: TaskSystem, task: str) -> bool:
    """Whether the workflow of a task has completed."""

    async def asked(client: object) -> WorkflowExecutionStatus | None:
        handle = client.get_workflow_handle(task_job_name(task))  # type: ignore[attr-defined]
        status: WorkflowExecutionStatus | None = (await handle.describe()).status
        return status

    return system.temporal_says(asked) is WorkflowExecutionStatus.COMPLETED


def test_a_broken_file_is_said_once_and_stops_no_task_and_a_mended_one_is_taken_up(
    system: TaskSystem,
) -> None:
    system.write({"tidy": {"cron": EVERY_TWO_SECONDS}, "old": {}})
    worker = system.start_worker("workflows,jobs")
    system.ended("tidy", 1)
    system.trigger_task("old")
    system.ended("old")
    good = system.file.read_text()
    system.file.write_text(good.replace("kind: vacuum", "kind: vacum", 1))
    (line,) = system.wait(lambda: said(worker, REFUSED), "a word about the file")
    assert "is no kind of task" in str(line)
    ran = len(system.runs("tidy"))
    system.ended("tidy", ran + 3)
    assert len(said(worker, REFUSED)) == 1
    assert system.metrics(worker)['scheduler_config_file_refused{file="maintenance.yaml"}'] == 1
    health = system.wait(lambda: refused_in_health(worker), "a word in /health")
    assert "is no kind of task" in health["refused"]["maintenance.yaml"]
    assert health["status"] == "degraded"
    system.write({"tidy": {"cron": RARELY}, "new": {}})
    system.says("tidy", lambda view: view["cron"] == RARELY, "the other expression")
    system.says("new", lambda view: view["state"] == "waiting", "the new task")
    system.wait(lambda: is_over(system, "old"), "the end of what the file names no more")
    assert system.metrics(worker)['scheduler_config_file_refused{file="maintenance.yaml"}'] == 0
    system.wait(lambda: not refused_in_health(worker), "no such word in /health")
    assert len(system.runs("old")) == 1  # its history stays
    states = {task["task"]: task["state"] for task in system.command("status")["tasks"]}
    assert (states["old"], states["new"], states["tidy"]) == ("gone", "waiting", "waiting")
    assert [action for _, action in system.audit("old")] == ["offer", "withdraw"]


def test_a_task_that_comes_back_begins_then_and_keeps_its_pause_and_its_history(
    system: TaskSystem,
) -> None:
    task = f"returning-{secrets.token_hex(3)}"  # counts stay with a name
    system.write({task: {}, "other": {}})
    system.start_worker("workflows,jobs")
    system.trigger_task(task)
    system.ended(task)
    system.command("pause", task, "--reason", "for good")
    system.write({"other": {}})
    system.wait(lambda: is_over(system, task), "the end")
    system.write({task: {"cron": "* * * * * *"}, "other": {}})
    view = system.says(task, lambda view: view["paused"], "the task")
    assert view["paused"]["reason"] == "for good"
    system.command("resume", task)
    rows = system.ended(task, 2)
    assert rows[0]["triggered_by"] == "manual"
    system.rest(task)
    system.trigger_task(task)  # a last run writes what the slots have come to
    system.wait(lambda: system.slot_findings(task, 1) == [], "slots that add up from then on")


def test_a_workflow_that_somebody_terminated_is_started_again_from_the_store(
    system: TaskSystem,
) -> None:
    task = "terminated"
    system.write({task: {"cron": EVERY_TWO_SECONDS}})
    system.start_worker("workflows,jobs")
    system.ended(task, 1)
    job = task_job_name(task)
    system.temporal_says(lambda client: client.get_workflow_handle(job).terminate("by hand"))
    ran = len(system.runs(task))
    system.wait(lambda: len(system.runs(task)) > ran + 2, "runs of the next workflow")
    assert len({row["id"] for row in system.runs(task)}) == len(system.runs(task))


def test_two_workers_with_different_files_do_not_fight(system: TaskSystem) -> None:
    first, second = {"mine": {"cron": "0 1 * * *"}}, {"mine": {"cron": "0 2 * * *"}}
    system.write(first)
    system.start_worker("workflows,jobs")
    system.says("mine", lambda view: view["cron"] == "0 1 * * *", "the first file's task")
    other = system.file.with_name("other.yaml")
    system.write(second, other)
    system.start_worker("workflows,jobs", environment={"VMSH_MAINTENANCE": str(other)})
    system.says("mine", lambda view: view["cron"] == "0 2 * * *", "the newer file's task")
    system.write({"mine": first["mine"]})  # written again, and the same
    system.trigger_task("mine")
    system.ended("mine")
    assert system.task_status("mine")["cron"] == "0 2 * * *"
    assert [action for _, action in system.audit("mine")] == ["offer", "offer"]


def test_a_broken_file_at_the_start_ends_the_worker_with_one_clear_line(
    system: TaskSystem,
) -> None:
    system.write({"tidy": {"kind": "vacum"}})
    with pytest.raises(PartError, match="is no kind of task"):
        system.start_worker("workflows,jobs")
    system.start_worker("workflows")  # which has nothing to do with the file

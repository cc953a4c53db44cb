"""Maintenance tasks on their schedules: every run has one row that says what really happened, and operators decide about them."""

import json
import subprocess
from collections import Counter

import pytest

from devnet.tctl import tctl
from devnet.temporal import temporal_cli
from tests.maintenance_runs.task_system import EVERY_TWO_SECONDS, RARELY, TaskSystem, outcomes
from vaultmesh.domain.jobs.tasks import task_job_name

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(700)]
PROGRAMS = {"temporal": (temporal_cli, "--workflow-id"), "tctl": (tctl, "--workflow_id")}
"""Programs of Temporal's, and how each is told a workflow."""


def test_a_task_fires_on_its_schedule_and_its_rows_equal_what_happened(system: TaskSystem) -> None:
    system.write({"tidy": {"cron": EVERY_TWO_SECONDS}})
    worker = system.start_worker()
    system.ended("tidy", 3)
    system.rest("tidy")
    rows = system.runs("tidy")
    assert {row["status"] for row in rows} == {"completed"}
    assert outcomes(rows) == ["done"] + ["not needed"] * (len(rows) - 1)
    assert system.statistics("vacuum_count") == "1"
    first = rows[0]
    (step,) = first["metadata"]["steps"]
    assert (step["subject"], step["outcome"]) == ("public.goods", "done")
    assert step["statements"][0].startswith("VACUUM")
    assert (first["items_processed"], first["items_succeeded"], first["items_failed"]) == (1, 1, 0)
    assert (first["triggered_by"], first["error_message"]) == ("scheduler", None)
    assert first["metadata"]["attempts"] == 1
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["id"][14] for row in rows} == {"5"}  # each of its own slot
    system.trigger_task("tidy")  # a last run writes what the slots have come to
    system.ended("tidy", len(rows) + 1)
    assert system.slot_findings("tidy", 2) == []
    rows = system.runs("tidy")
    assert_counted(system.metrics(worker), "tidy", outcomes(rows))


def assert_counted(series: dict[str, float], task: str, ended: list[str]) -> None:
    """The metrics say what the rows say."""
    for outcome, count in Counter(ended).items():
        key = f'scheduler_runs_total{{outcome="{outcome}",task="{task}"}}'
        assert series[key] == count, (key, series)
    assert series[f'scheduler_duration_seconds_count{{task="{task}"}}'] == len(ended)
    assert series[f'scheduler_tasks_completed{{task="{task}"}}'] == 1
    assert not [name for name in series if name.startswith("scheduler_errors_total")]


def test_an_operator_pauses_resumes_and_runs_a_task(system: TaskSystem) -> None:
    system.write({"daily": {"cron": EVERY_TWO_SECONDS}, "weekly": {"cron": RARELY}})
    system.start_worker("workflows,jobs")
    system.ended("daily")
    paused = system.command("pause", "daily", "--reason", "a migration")
    assert (paused["changed"], paused["told"], paused["now"]["state"]) in {
        (True, True, "paused"),
        (True, True, "running"),
    }
    system.says("daily", lambda view: view["paused"] and not view["running"], "a pause")
    ran = len(system.runs("daily"))
    (status,) = system.command("status", "daily")["tasks"]
    assert (status["state"], status["paused"]["reason"]) == ("paused", "a migration")
    assert status["last_run"]["outcome"] in {"done", "not needed"}
    (asked,) = system.command("run", "daily")["runs"]  # a paused task may be run by hand
    assert (asked["status"], asked["triggered_by"]) == ("completed", "manual")
    assert len(system.runs("daily")) == ran + 1
    system.command("resume", "daily")
    system.ended("daily", ran + 2)
    history = system.command("history", "daily", "--limit", "2")
    listed = [run["id"] for run in history["executions"]]
    assert len(listed) == len(set(listed) & {row["id"] for row in system.runs("daily")}) == 2
    states = {task["task"]: task["state"] for task in system.command("status")["tasks"]}
    assert states["weekly"] == "waiting"
    assert states["daily"] in {"waiting", "running"}
    actions = [action for _, action in system.audit("daily")]
    assert actions == ["offer", "pause", "trigger", "resume"]
    assert system.audit("daily")[0][0] == "maintenance.yaml"
    assert system.audit("daily")[1][0].startswith("operator ")
    mistaken = system.command("pause", "dayly", code=2)
    assert "did you mean 'daily'" in mistaken


@pytest.mark.parametrize("program", PROGRAMS)
def test_signals_of_temporals_own_programs_work_as_for_jobs(
    system: TaskSystem, program: str
) -> None:
    task = f"by-{program}"
    system.write({task: {}})
    system.start_worker("workflows,jobs")
    system.says(task, lambda view: view["state"] == "waiting", "the task")
    obtained, option = PROGRAMS[program]
    address = ["--address", system.temporal.address]

    def send(name: str, *value: str) -> None:
        command = [str(obtained()), *(address if program == "tctl" else [])]
        command += ["workflow", "signal", option, task_job_name(task), "--name", name]
        given = ["--input", json.dumps(value[0])] if value else []
        command += [*given, *([] if program == "tctl" else address)]
        subprocess.run(command, check=True, capture_output=True, timeout=240)

    send("pause", "by hand")
    system.wait(
        lambda: system.books.decisions(task_job_name(task))["paused_reason"] == "by hand",
        "the decision of the signal",
    )
    send("trigger")
    (row,) = system.ended(task)
    assert (row["status"], row["triggered_by"]) == ("completed", "manual")
    send("resume")
    system.wait(
        lambda: system.books.decisions(task_job_name(task))["paused_by"] is None, "the resume"
    )
    assert system.audit(task)[1:] == [("signal", "pause"), ("signal", "resume")]


def test_tasks_are_no_jobs_of_services_so_the_api_can_neither_change_nor_delete_them(
    system: TaskSystem,
) -> None:
    system.write({"kept": {}})
    system.start_worker()
    system.trigger_task("kept")
    system.ended("kept")
    job = task_job_name("kept")
    assert system.ask("GET", "/api/jobs") == (200, {"jobs": []})
    assert system.ask("GET", f"/api/jobs/{job}")[0] == 404
    assert system.ask("POST", f"/api/jobs/{job}/trigger", {})[0] == 404
    for verb in ("enable", "disable", "reset", "allow"):
        assert system.ask("POST", f"/api/jobs/{job}/{verb}")[0] == 404
    assert system.ask("DELETE", f"/api/jobs/{job}")[0] == 200  # as for every name that no job has
    status, history = system.ask("GET", f"/api/jobs/{job}/history")
    assert status == 200
    assert [run["status"] for run in history["executions"]] == ["completed"]
    assert system.task_status("kept")["state"] == "waiting"
    assert system.audit("kept") == [("maintenance.yaml", "offer")]
    query = "SELECT execution_id FROM job_audit WHERE job_name = ? AND action = 'run'"
    noted = [row["execution_id"] for row in system.books.sql(query, job)]
    assert noted == [run["id"] for run in history["executions"]]

"""Runs of maintenance tasks that are cut off: another attempt goes on, nothing is left on the server, and rows say what was."""

import os
import signal
import time

import pytest

from tests.jobs.job_system import kill
from tests.maintenance_runs.task_system import EVERY_TWO_SECONDS, RARELY, TaskSystem, outcomes
from vaultmesh.domain.jobs.run import TASK_LEFT
from vaultmesh.domain.jobs.tasks import task_job_name

pytestmark = [
    pytest.mark.server,
    pytest.mark.fault,
    pytest.mark.slow,
    pytest.mark.timeout(700),
]
SLOW_TASK = {"deadline": "200s", "statementTimeout": "190s"}


def test_a_worker_killed_in_mid_vacuum_is_followed_by_another_that_ends_the_same_run(
    system: TaskSystem,
) -> None:
    system.write({"killed": SLOW_TASK})
    doomed = system.start_worker("workflows,jobs")
    system.slow_down()
    system.trigger_task("killed")
    system.wait_for_vacuum()
    (row,) = system.runs("killed")
    assert row["status"] == "running"
    begun = row["started_at"]
    said = system.wait(lambda: system.progress("killed"), "progress")
    assert said["attempt"] == 1
    assert said["progress"].startswith("public.goods: ")
    system.speed_up()
    kill(doomed)
    system.wait_for_silence()  # the server notices by itself, long before anybody tries again
    system.start_worker("workflows,jobs")
    (row,) = system.ended("killed", seconds=120)
    assert (row["status"], row["error_message"], row["started_at"]) == ("completed", None, begun)
    assert (row["metadata"]["outcome"], row["metadata"]["attempts"]) == ("done", 2)
    assert system.statistics("vacuum_count") == "1"
    view = system.says("killed", lambda view: view["running"] is None, "the end")
    assert (view["last_run"]["status"], view["failures"]) == ("completed", 0)


def test_a_database_that_is_restarted_in_mid_vacuum_fails_no_run(system: TaskSystem) -> None:
    system.write({"restarted": SLOW_TASK})
    system.start_worker("workflows,jobs")
    system.slow_down()
    system.trigger_task("restarted")
    system.wait_for_vacuum()
    system.speed_up()
    system.server.stop()
    (row,) = system.runs("restarted")
    assert row["status"] == "running"
    system.server.start()
    (row,) = system.ended("restarted", seconds=120)
    assert (row["status"], row["error_message"]) == ("completed", None)
    assert row["metadata"]["outcome"] in {"done", "not needed"}
    system.wait_for_silence()


def test_a_database_that_stays_away_fails_the_run_in_words_that_say_so(system: TaskSystem) -> None:
    system.write({"away": {"deadline": "40s"}})
    system.start_worker("workflows,jobs")
    system.server.stop()
    try:
        system.trigger_task("away")
        (row,) = system.ended("away", seconds=150)
    finally:
        system.server.start()
    assert (row["status"], row["metadata"]["reason"]) == ("failed", "connection")
    assert row["error_message"].startswith("failed: ")
    assert row["metadata"]["attempts"] > 1
    system.trigger_task("away")
    _, row = system.ended("away", 2)
    assert row["status"] == "completed"


def test_a_deadline_that_passes_ends_the_statement_and_leaves_nothing_on_the_server(
    system: TaskSystem,
) -> None:
    system.write({"late": {"deadline": "4s", "statementTimeout": "190s"}})
    worker = system.start_worker("workflows,jobs")
    system.slow_down()
    system.trigger_task("late")
    system.wait_for_vacuum()
    (row,) = system.ended("late")
    assert (row["status"], row["metadata"]["outcome"]) == ("failed", "timed out")
    assert row["error_message"].startswith("timed out: ")
    assert "deadline" in row["error_message"]
    system.wait_for_silence()
    assert system.statistics("vacuum_count") == "0"
    series = system.metrics(worker)
    assert series['scheduler_errors_total{reason="timeout",task="late"}'] == 1
    assert series['scheduler_runs_total{outcome="timed out",task="late"}'] == 1


def test_a_workflow_that_is_cancelled_has_the_statement_cancelled_and_goes_on(
    system: TaskSystem,
) -> None:
    system.write({"cancelled": SLOW_TASK})
    system.start_worker("workflows,jobs")
    system.slow_down()
    system.trigger_task("cancelled")
    system.wait_for_vacuum()
    job = task_job_name("cancelled")
    system.temporal_says(lambda client: client.get_workflow_handle(job).cancel())
    (row,) = system.ended("cancelled")
    assert (row["status"], row["metadata"]["outcome"]) == ("failed", "cancelled")
    assert row["error_message"].startswith("cancelled")
    system.wait_for_silence()
    system.speed_up()
    system.says("cancelled", lambda view: view["running"] is None, "the end of the run")
    system.trigger_task("cancelled")
    assert outcomes(system.ended("cancelled", 2)) == ["cancelled", "done"]


def test_temporal_that_is_away_in_mid_vacuum_costs_no_run_its_true_end(system: TaskSystem) -> None:
    """The server goes on with the attempt, or gives it up: then the next one meets the lock of the one before."""
    system.write({"cut": SLOW_TASK})
    system.fill(1_000)
    system.start_worker("workflows,jobs")
    system.slow_down(10)  # about a minute
    system.trigger_task("cut")
    system.wait_for_vacuum()
    system.replays.check_at(system.temporal.address)
    kill(system.temporal)
    time.sleep(12)  # longer than an attempt may be silent
    assert system.busy() == 1  # nobody who could cancel it is there
    system.speed_up()
    system.temporal.start()
    (row,) = system.ended("cut", seconds=150)
    assert (row["status"], row["error_message"]) == ("completed", None)
    assert row["metadata"]["outcome"] == "done"
    assert system.statistics("vacuum_count") == "1"
    system.wait_for_silence()
    view = system.says("cut", lambda view: view["running"] is None, "the end")
    assert view["last_run"]["status"] == "completed"


def test_the_loss_of_temporals_database_leaves_nothing_running_and_tasks_begin_anew(
    system: TaskSystem,
) -> None:
    system.write({"lost": SLOW_TASK})
    system.start_worker("workflows,jobs")
    system.slow_down()
    system.trigger_task("lost")
    system.wait_for_vacuum()
    system.speed_up()
    system.replace_database()
    system.wait_for_silence()  # nobody waits for the attempt any more
    (row,) = system.ended("lost", seconds=150)
    assert (row["status"], row["error_message"]) == ("failed", TASK_LEFT)
    system.trigger_task("lost")
    assert [row["status"] for row in system.ended("lost", 2)] == ["failed", "completed"]


def test_a_worker_that_is_told_to_end_leaves_its_run_to_another(system: TaskSystem) -> None:
    system.write({"drained": SLOW_TASK})
    ending = system.start_worker("workflows,jobs", environment={"JOBS_DRAIN": "1"})
    system.slow_down()
    system.trigger_task("drained")
    system.wait_for_vacuum()
    system.speed_up()
    second = system.start_worker("workflows,jobs")
    os.kill(ending.pid, signal.SIGTERM)
    (row,) = system.ended("drained", seconds=120)
    # A third attempt is right where the second came before the server had ended the first one's statement.
    assert row["status"] == "completed"
    assert row["metadata"]["attempts"] in {2, 3}
    assert system.statistics("vacuum_count") == "1"
    assert second.alive


def test_a_run_under_way_is_never_met_by_another_of_the_same_task(system: TaskSystem) -> None:
    """Slots pass while a VACUUM is under way, a second worker is there, and somebody runs the task by hand."""
    system.write({"alone": {**SLOW_TASK, "cron": EVERY_TWO_SECONDS}, "other": {"cron": RARELY}})
    system.slow_down()
    for _ in range(2):
        system.start_worker("workflows,jobs")
    system.wait_for_vacuum()
    by_hand = system.command("run", "alone", "--once")["tasks"]
    assert [task["outcome"] for task in by_hand] == ["skipped: running"]
    (status,) = system.command("status", "alone")["tasks"]
    assert status["state"] == "running"
    assert status["running"]["execution_id"] == system.runs("alone")[0]["id"]
    refused = system.command("run", "alone", code=1)
    assert "is under way" in refused
    system.trigger_task("other")  # another task is not held up by it; the table is in use, however
    (row,) = system.ended("other")
    assert row["status"] == "completed"
    assert outcomes([row]) == ["skipped: running"]
    assert system.busy() == 1
    assert len([row for row in system.runs("alone") if row["status"] == "running"]) == 1
    system.speed_up()
    system.temporal_says(lambda client: client.get_workflow_handle(task_job_name("alone")).cancel())
    system.ended("alone", 2)
    system.rest("alone")
    system.trigger_task("alone")
    system.wait(lambda: system.slot_findings("alone", 2) == [], "slots that add up")

"""Workers and APIs that die, stand still or are told to end, on one system with split roles and PostgreSQL.

Whatever happens: each run is called once, none is left running, counters equal rows, and slots add up.
"""

import http.client
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus

from devnet.ports import LOOPBACK
from devnet.postgres import PostgresServer
from devnet.tctl import tctl
from devnet.temporal import temporal_cli
from tests.jobs.job_system import ADMIN, NEVER, JobSystem, kill
from tests.support.freezing import freeze, thaw
from vaultmesh.cli.worker_process import WorkerProcess
from vaultmesh.domain.jobs.run import WORKER_DIED, is_fate_unknown
from vaultmesh.domain.names import job_workflow_id

pytestmark = [pytest.mark.server, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(700)]
POINTS = ("before", "opened", "connected", "called", "answered", "closed")
"""Where a run may be when its worker dies."""
GIVEN_UP = "job execution given up by Temporal goes on"
DRAIN_SECONDS = 2.0
CHANGES, CLIENTS = 200, 10
PROGRAMS = {"temporal": (temporal_cli, "--workflow-id"), "tctl": (tctl, "--workflow_id")}
"""Programs of Temporal's, and how each is told a workflow."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobSystem]:
    with (
        PostgresServer() as server,
        JobSystem(tmp_path_factory.mktemp("kills"), server.create("jobs")) as running,
    ):
        running.start_worker("workflows,api")
        yield running


@pytest.fixture(scope="module")
def runner(system: JobSystem) -> WorkerProcess:
    """Start a worker that makes runs, for the tests that end none; those that do come first."""
    return system.start_worker("jobs")


def rows_called(system: JobSystem, name: str, calls: int = 1) -> str:
    """Wait until a job was called so often; return the id of its newest run."""
    return system.wait(
        lambda: len(system.handler.of(name)) >= calls and system.handler.of(name)[-1],
        f"call {calls} of {name}",
    )


def ends_as(system: JobSystem, name: str, run: str, status: str, seconds: float = 180) -> Any:
    """Wait until a run's row says a status; return the row."""
    return system.wait(
        lambda: (row := system.books.run(name, run))["status"] == status and row,
        f"run {run} of {name} as {status}",
        seconds,
    )


# --- worker killed -------------------------------------------------------------------------------------------------


def test_a_worker_killed_at_any_point_of_a_run_calls_no_slot_twice(
    system: JobSystem, tmp_path: Path
) -> None:
    """One kill meets six runs: before the row, with the row, connected, in the call, before the close, after it."""
    names = [f"killed-{point}" for point in POINTS]
    holds = {"HOLD_AT": json.dumps(dict(zip(names, POINTS, strict=True)))}
    system.handler.shut("killed-called")
    doomed = system.start_worker(
        "jobs",
        script="tests/jobs/holding_worker.py",
        environment={**holds, "HOLD_MARKS": str(tmp_path)},
    )
    for name in names:
        system.register(name)
    held = {f"killed-{point}" for point in POINTS if point != "called"}
    system.wait(lambda: {place.name for place in tmp_path.iterdir()} == held, "all points")
    rows_called(system, "killed-called")
    kill(doomed)
    system.handler.open("killed-called")
    survivor = system.start_worker("jobs")
    for name in names:
        system.wait(
            lambda name=name: [row["status"] for row in system.books.runs(name)].count("completed") > 2,
            f"further runs of {name}",
        )  # fmt: skip
    system.settle(*names)
    system.assert_kept(*names, period=1)
    first = {point: system.books.runs(f"killed-{point}")[0] for point in POINTS}
    assert {point: row["status"] for point, row in first.items()} == {
        point: "completed" if point == "closed" else "failed" for point in POINTS
    }
    errors = {row["error_message"] for point, row in first.items() if point != "closed"}
    assert errors == {WORKER_DIED}
    times = {
        point: system.handler.of(f"killed-{point}").count(row["id"]) for point, row in first.items()
    }
    assert times == dict(zip(POINTS, (0, 0, 0, 1, 1, 1), strict=True))
    assert {system.status(name)["failures"] for name in names} == {0}
    survivor.kill()


# --- worker that stands still --------------------------------------------------------------------------------------


def test_a_worker_that_stood_still_writes_the_true_end_of_its_call(system: JobSystem) -> None:
    """The harm: once it went on, the connection was broken, and nobody ever knew how the call ended."""
    frozen = system.start_worker("jobs")
    system.handler.shut("frozen")
    system.register("frozen", "*/2 * * * * *")
    run = rows_called(system, "frozen")
    second = system.start_worker("jobs")
    freeze(frozen.pid)
    try:  # 10 s without a beat
        system.wait(
            lambda: (system.status("frozen")["running"] or {}).get("run_id") != run, "its end"
        )
    finally:
        thaw(frozen.pid)
    row = ends_as(system, "frozen", run, "failed")
    assert is_fate_unknown(row["error_message"])
    system.wait(lambda: len(set(system.handler.of("frozen"))) > 1, "the next slot")
    system.wait(lambda: GIVEN_UP in frozen.log.read_text(), "the worker to hear of it")
    system.handler.open("frozen")
    ends_as(system, "frozen", run, "completed")
    system.settle("frozen")
    system.assert_kept("frozen", period=2)
    frozen.kill()
    second.kill()


# --- worker that is told to end ------------------------------------------------------------------------------------


def test_a_worker_that_is_told_to_end_waits_for_the_runs_under_way(system: JobSystem) -> None:
    """Fault 21 of the scheduler that this one replaces."""
    worker = system.start_worker("jobs", environment={"JOBS_DRAIN": "60"})
    system.register("drained", NEVER)
    system.handler.shut("drained")
    system.signal("drained", "trigger")
    run = rows_called(system, "drained")
    assert worker.process is not None
    worker.process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        worker.process.wait(DRAIN_SECONDS)
    assert system.books.run("drained", run)["status"] == "running"
    system.handler.open("drained")
    assert worker.process.wait(30) == 0
    assert system.books.run("drained", run)["status"] == "completed"
    system.assert_kept("drained")


def test_a_run_that_outlasts_the_drain_is_cut_off_and_written(system: JobSystem) -> None:
    """Also one that Temporal gave up, of which the worker hears no more."""
    worker = system.start_worker("jobs", environment={"JOBS_DRAIN": f"{DRAIN_SECONDS:g}"})
    names = ("cut-off", "given-up")
    for name in names:
        system.register(name, NEVER)
        system.handler.shut(name)
        system.signal(name, "trigger")
    runs = {name: rows_called(system, name) for name in names}
    terminate(system, "given-up")
    system.wait(lambda: GIVEN_UP in worker.log.read_text(), "the worker to hear of it")
    assert worker.process is not None
    began = time.monotonic()
    worker.process.terminate()
    assert worker.process.wait(30) == 0
    assert time.monotonic() - began >= DRAIN_SECONDS
    for name, run in runs.items():
        row = system.books.run(name, run)
        assert (row["status"], is_fate_unknown(row["error_message"])) == ("failed", True)
        system.handler.open(name)
    system.assert_kept(*names)


def terminate(system: JobSystem, name: str) -> None:
    """End a job's workflow by hand."""
    workflow_id = job_workflow_id(name)
    system.temporal_says(
        lambda client: client.get_workflow_handle(workflow_id).terminate("by hand")
    )


# --- API killed ------------------------------------------------------------------------------------------------------


def test_a_trigger_outlives_the_api_that_took_it_and_the_client_that_asked(
    system: JobSystem, runner: WorkerProcess
) -> None:
    """Two workers make runs, one API dies in a trigger, a client leaves in another."""
    second, port = system.start_worker("jobs"), system.api_port
    doomed = system.start_worker("api")
    names = ("asked", "left")
    for name in names:
        system.register(name, NEVER)
        system.handler.shut(name)

    def ask() -> None:
        with suppress(OSError, http.client.HTTPException):
            system.ask("POST", "/api/jobs/asked/trigger", {}, port=doomed_port)

    doomed_port = system.api_port
    asking = threading.Thread(target=ask)
    asking.start()
    run = rows_called(system, "asked")
    kill(doomed)
    asking.join()
    system.api_port = port
    client = http.client.HTTPConnection(LOOPBACK, port)
    headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json"}
    client.request("POST", "/api/jobs/left/trigger", "{}", headers)
    left = rows_called(system, "left")
    client.close()
    assert [len(system.books.open_runs(name)) for name in names] == [1, 1]
    for name in names:
        system.handler.open(name)
    ends_as(system, "asked", run, "completed")
    ends_as(system, "left", left, "completed")
    system.assert_kept(*names)
    second.kill()


# --- workflows ended or reset by hand ------------------------------------------------------------------------------


def test_a_workflow_ended_by_hand_in_the_second_of_a_slot_comes_back_and_counts_its_run_once(
    system: JobSystem, runner: WorkerProcess
) -> None:
    """The harm: the call was cut off, and its slot counted as missed beside its row."""
    system.register("ended")
    rows_called(system, "ended", 3)
    system.handler.shut("ended")
    run = rows_called(system, "ended", len(system.handler.of("ended")) + 1)
    terminate(system, "ended")
    rows_called(system, "ended", len(system.handler.of("ended")) + 1)  # by the next workflow
    assert system.books.run("ended", run)["status"] == "running"
    system.handler.open("ended")
    ends_as(system, "ended", run, "completed")
    system.settle("ended")
    system.assert_kept("ended", period=1)


def test_a_reset_to_before_a_run_calls_nothing_again_and_counts_no_slot_twice(
    system: JobSystem, runner: WorkerProcess
) -> None:
    """The harm: slots that had been run were also counted as missed."""
    system.register("reset")
    rows_called(system, "reset", 6)
    system.temporal_says(reset_to_the_first_run)
    calls = len(system.handler.of("reset"))
    rows_called(system, "reset", calls + 3)
    system.settle("reset")
    system.assert_kept("reset", period=1)
    assert system.books.decisions("reset")["missed"] <= 3  # while the reset was done


async def reset_to_the_first_run(client: Client) -> None:
    handle = client.get_workflow_handle(job_workflow_id("reset"))
    run_id = (await handle.describe()).run_id
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    async for event in handle.fetch_history_events():
        if event.event_type == completed:
            await client.workflow_service.reset_workflow_execution(
                ResetWorkflowExecutionRequest(
                    namespace=client.namespace,
                    workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=run_id),
                    reason="a test",
                    workflow_task_finish_event_id=event.event_id,
                    request_id="reset",
                )
            )
            return


# --- what people do during a run -----------------------------------------------------------------------------------


def test_a_job_that_is_disabled_or_deleted_during_its_run_lets_it_end_and_makes_no_other(
    system: JobSystem, runner: WorkerProcess
) -> None:
    names = ("disabled", "deleted")
    for name in names:
        system.handler.shut(name)
        system.register(name)
    runs = {name: rows_called(system, name) for name in names}
    assert system.ask("POST", "/api/jobs/disabled/disable", {})[0] == 200
    assert system.ask("DELETE", "/api/jobs/deleted")[0] == 200
    for name, run in runs.items():
        assert system.books.run(name, run)["status"] == "running"
        system.handler.open(name)
        ends_as(system, name, run, "completed")
    handle = job_workflow_id("deleted")
    system.wait(
        lambda: system.temporal_says(
            lambda client: client.get_workflow_handle(handle).describe()
        ).status is WorkflowExecutionStatus.COMPLETED,
        "the end of a deleted job's workflow",
    )  # fmt: skip
    system.wait(lambda: system.status("disabled")["state"] == "disabled", "a disabled job")
    called = {name: system.handler.of(name) for name in names}
    time.sleep(2.5)  # two slots of jobs that have none any more
    assert {name: system.handler.of(name) for name in names} == called
    assert {name: len(calls) for name, calls in called.items()} == dict.fromkeys(names, 1)
    system.assert_kept("disabled")
    assert system.ask("GET", "/api/jobs/deleted")[0] == 404
    assert len(system.books.runs("deleted")) == 1


def test_a_trigger_in_the_very_second_of_a_slot_overlaps_nothing_and_loses_no_slot(
    system: JobSystem, runner: WorkerProcess
) -> None:
    system.register("met", config={"seconds": 0.3})
    rows_called(system, "met")
    statuses = []
    for _ in range(8):
        time.sleep(1 - time.time() % 1)
        statuses.append(system.ask("POST", "/api/jobs/met/trigger", {})[0])
    assert set(statuses) <= {200, 409}
    system.settle("met")
    system.assert_kept("met", period=1)
    assert system.handler.most_at_once["met"] == 1
    manual = [row for row in system.books.runs("met") if row["triggered_by"] == "manual"]
    assert len(manual) == statuses.count(200) + 1


def test_two_apis_that_register_and_disable_one_job_leave_row_and_workflow_agreed(
    system: JobSystem, runner: WorkerProcess
) -> None:
    port = system.api_port
    second = system.start_worker("api")
    ports = (port, system.api_port)
    system.register("torn", "0 * * * * *")
    statuses: list[int] = []

    def change(client: int) -> None:
        for number in range(CHANGES // CLIENTS // 2):
            at = ports[(number + client) % 2]
            verb = "disable" if (number + client) % 2 else "enable"
            statuses.append(system.ask("POST", f"/api/jobs/torn/{verb}", {}, port=at)[0])
            body = registration(f"text {client} {number}")
            statuses.append(system.ask("POST", "/api/jobs/register", body, port=at)[0])

    threads = [threading.Thread(target=change, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(statuses), set(statuses)) == (CHANGES, {200})
    decided, row = system.books.decisions("torn"), system.books.schedule("torn")

    def is_agreed() -> bool:
        view = system.status("torn")
        return (view["revision"], view["enabled"]) == (decided["revision"], row["enabled"])

    system.wait(is_agreed, "row and workflow to agree")
    second.kill()
    system.api_port = port


def registration(text: str) -> dict[str, Any]:
    return {
        "name": "torn", "displayName": text, "description": text, "cronExpression": "0 * * * * *", "enabled": True,
        "jobType": "other", "service": "mail-service", "endpoint": "/run",
    }  # fmt: skip


@pytest.mark.parametrize("client", PROGRAMS)
def test_signals_from_temporals_own_clients_are_taken_and_written(
    system: JobSystem, runner: WorkerProcess, client: str
) -> None:
    name = f"signalled-by-{client}"
    system.register(name, NEVER)
    send(system, client, name, "pause", '{"reason": "the mail server moves"}')
    decided = system.wait(
        lambda: (row := system.books.decisions(name))["paused_by"] and row, "the pause in the row"
    )
    assert (decided["paused_by"], decided["paused_reason"]) == ("signal", "the mail server moves")
    send(system, client, name, "resume")
    system.wait(lambda: system.books.decisions(name)["paused_by"] is None, "the end of the pause")
    send(system, client, name, "trigger", '{"user": "ada"}')
    run = rows_called(system, name)
    ends_as(system, name, run, "completed")
    send(system, client, name, "trigger", '"what"')
    rejected = system.wait(lambda: system.status(name)["last_rejected"], "a refusal")
    assert rejected["message"] == "trigger"
    system.assert_kept(name)


def send(system: JobSystem, client: str, name: str, message: str, content: str = "") -> None:
    """Send a signal by a program of Temporal's."""
    program, workflow_key = PROGRAMS[client]
    at = system.temporal.address
    given = {"--name": message, workflow_key: job_workflow_id(name), "--input": content}
    arguments = [text for key, value in given.items() if value for text in (key, value)]
    done = subprocess.run(
        [str(program()), "workflow", "signal", *arguments],
        env={**os.environ, "TEMPORAL_ADDRESS": at, "TEMPORAL_CLI_ADDRESS": at},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"

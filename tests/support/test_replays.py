"""The check at the end of tests with a server finds what it is there for, and names it."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionStartedEventAttributes,
    WorkflowExecutionTerminatedEventAttributes,
    WorkflowTaskFailedEventAttributes,
)
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from devnet.temporal import TemporalServer
from tests.support.replays import (
    BUSY,
    ReplayError,
    Replays,
    all_histories,
    cause_of,
    ends_by_termination,
    replay_database,
    replayed_server,
)
from tests.workflows.stage import counted, until
from vaultmesh.domain.names import NAMESPACE_WORKFLOW

pytestmark = pytest.mark.server
QUEUE = "foreign"
UNHANDLED = "WORKFLOW_WORKER_UNHANDLED_FAILURE"
_NUMBERS = itertools.count(1)


@workflow.defn(name=NAMESPACE_WORKFLOW)
class OtherCode:
    """Has our workflow's name and does something else."""

    @workflow.run
    async def run(self, runs: int) -> None:
        await workflow.sleep(0.01)
        if runs > 1:
            workflow.continue_as_new(runs - 1)


@workflow.defn(name=NAMESPACE_WORKFLOW)
class Failing:
    """Has our workflow's name; its workflow task fails."""

    @workflow.run
    async def run(self, runs: int) -> None:
        message = f"planted {runs}"
        raise LookupError(message)


@workflow.defn(name=NAMESPACE_WORKFLOW)
class Slow:
    """Has our workflow's name; its first workflow task takes a second."""

    @workflow.run
    async def run(self, runs: int) -> None:
        time.sleep(runs)  # noqa: ASYNC251 - keeps its workflow task


@workflow.defn(name="Foreign")
class Foreign:
    @workflow.run
    async def run(self, runs: int) -> None:
        await workflow.sleep(0.01 * runs)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    """Return a server that nobody checks: each test plants what a check must find."""
    server = TemporalServer(tmp_path_factory.mktemp("replays"), headless=True)
    with server:
        yield server


@asynccontextmanager
async def started(
    address: str, code: type, runs: int = 1
) -> AsyncIterator[tuple[Client, WorkflowHandle[object, object]]]:
    """Start a workflow of this code beside a worker that runs it."""
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    queue = f"{QUEUE}-{next(_NUMBERS)}"
    async with Worker(
        client, task_queue=queue, workflows=[code], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        kind = code.__temporal_workflow_definition.name  # type: ignore[attr-defined]
        handle = await client.start_workflow(kind, runs, id=queue, task_queue=queue)
        yield client, handle


async def _completed(address: str, code: type, runs: int = 1) -> str:
    """Let a workflow complete; returns its id."""
    async with started(address, code, runs) as (_, handle):
        await handle.result()
        return handle.id


async def _failed(address: str) -> str:
    """Let a workflow task fail; returns the workflow's id."""
    async with started(address, Failing) as (_, handle):
        await until(lambda: _has_failed_task(handle))
        await handle.terminate()
        return handle.id


async def _has_failed_task(handle: WorkflowHandle[object, object]) -> bool:
    history = await handle.fetch_history()
    return counted(history.events, "WORKFLOW_TASK_FAILED") > 0


# --- what it finds -------------------------------------------------------------------------------


def test_a_history_that_does_not_replay_fails_the_test_by_name(tmp_path: Path) -> None:
    with (
        pytest.raises(ReplayError, match="does not replay") as caught,
        replayed_server(tmp_path) as server,
    ):
        planted = asyncio.run(_completed(server.address, OtherCode))
    assert planted in str(caught.value)
    assert not server.alive


def test_every_run_of_a_chain_is_replayed(server: TemporalServer) -> None:
    planted = asyncio.run(_completed(server.address, OtherCode, 4))
    checks = Replays(foreign=["Foreign"])
    with pytest.raises(ReplayError) as caught:
        checks.check_at(server.address)
    lines = [line for line in str(caught.value).splitlines() if line.startswith(planted)]
    assert len(lines) == len(set(lines)) == 4


async def test_a_run_that_the_list_lacks_is_followed_from_its_neighbours(
    server: TemporalServer,
) -> None:
    async with started(server.address, OtherCode, 3) as (client, handle):
        await handle.result()
        checks = Replays()
        with pytest.raises(ReplayError) as caught:
            await checks.check_workflows(client, [handle])
        assert len(str(caught.value).splitlines()) == 3
        assert len([ref for ref in await all_histories(client) if ref[0] == handle.id]) == 3


def test_a_failed_workflow_task_fails_the_test_by_cause(tmp_path: Path) -> None:
    with (
        pytest.raises(ReplayError, match=f"failed workflow task, {UNHANDLED}: planted 1"),
        replayed_server(tmp_path) as server,
    ):
        asyncio.run(_failed(server.address))


def test_a_failed_workflow_task_that_was_planted_is_counted(tmp_path: Path) -> None:
    checks = Replays()
    with replayed_server(tmp_path, checks) as server:
        planted = asyncio.run(_failed(server.address))
        checks.plant(BUSY)
        checks.plant(UNHANDLED, "another workflow")
        with pytest.raises(ReplayError):
            checks.check_at(server.address)
        checks.plant(UNHANDLED, planted)
    assert checks.count(UNHANDLED) == checks.count(UNHANDLED, planted) >= 1
    assert checks.count(UNHANDLED, "another workflow") == 0


async def test_a_task_that_a_termination_ends_is_counted(tmp_path: Path) -> None:
    checks = Replays()
    with replayed_server(tmp_path, checks) as server:
        async with started(server.address, Slow) as (_, handle):
            await until(lambda: _has_started_task(handle))
            await handle.signal("waits for the task")
            await handle.terminate()
            kinds = [event.event_type for event in (await handle.fetch_history()).events]
        assert kinds[-2] == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
    assert checks.count("FORCE_CLOSE_COMMAND", handle.id) == 1


async def _has_started_task(handle: WorkflowHandle[object, object]) -> bool:
    history = await handle.fetch_history()
    return counted(history.events, "WORKFLOW_TASK_STARTED") > 0


def test_a_foreign_type_is_left_out_by_name_alone(tmp_path: Path) -> None:
    with replayed_server(tmp_path, Replays(foreign=["Foreign"])) as server:
        planted = asyncio.run(_completed(server.address, Foreign))
        with pytest.raises(ReplayError, match=f"{planted} is of type Foreign"):
            Replays().check_at(server.address)


def test_an_error_of_the_test_stays_and_the_findings_are_added(tmp_path: Path) -> None:
    def wrong(server: TemporalServer) -> None:
        asyncio.run(_completed(server.address, OtherCode))
        raise LookupError

    with pytest.raises(LookupError) as caught, replayed_server(tmp_path) as server:
        wrong(server)
    (note,) = caught.value.__notes__
    assert "does not replay" in note


def test_a_server_that_died_by_itself_fails_the_test(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="onnect"), replayed_server(tmp_path) as server:
        server.kill()


def test_the_database_of_a_server_that_ended_is_checked_and_stays(tmp_path: Path) -> None:
    database = tmp_path / "temporal.db"
    with TemporalServer(tmp_path, headless=True, database=database) as server:
        planted = asyncio.run(_completed(server.address, OtherCode))
    before = database.read_bytes()
    with pytest.raises(ReplayError, match=planted):
        replay_database(database)
    assert database.read_bytes() == before


# --- causes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message", "cause"),
    [
        ("UNHANDLED_COMMAND", "", "UNHANDLED_COMMAND"),
        ("RESET_WORKFLOW", "", "RESET_WORKFLOW"),
        ("NON_DETERMINISTIC_ERROR", "[TMPRL1100] nondeterminism", "NON_DETERMINISTIC_ERROR"),
        (UNHANDLED, "[TMPRL1101] Potential deadlock detected", BUSY),
    ],
)
def test_a_task_that_took_too_long_has_a_cause_of_its_own(
    name: str, message: str, cause: str
) -> None:
    attributes = WorkflowTaskFailedEventAttributes(
        cause=WorkflowTaskFailedCause.Value(f"WORKFLOW_TASK_FAILED_CAUSE_{name}"),
        failure=Failure(message=message),
    )
    event = HistoryEvent(
        event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
        workflow_task_failed_event_attributes=attributes,
    )
    assert cause_of(event) == cause


STARTED = HistoryEvent(event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED)
SCHEDULED = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED)
TERMINATED = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED)
TOO_LONG = HistoryEvent(
    event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
    workflow_execution_terminated_event_attributes=WorkflowExecutionTerminatedEventAttributes(
        identity="history-service"
    ),
)


@pytest.mark.parametrize(
    ("events", "by_a_client"),
    [
        ([TERMINATED], True),
        ([STARTED, TERMINATED], True),
        ([SCHEDULED, TERMINATED], False),
        ([TOO_LONG], False),
        ([STARTED], False),
        ([], False),
    ],
)
def test_only_a_client_ends_a_task_by_terminating_its_workflow(
    events: list[HistoryEvent], by_a_client: bool
) -> None:
    assert ends_by_termination(events) is by_a_client


@pytest.mark.parametrize(
    ("message", "findings"), [("[TMPRL1101] Potential deadlock", 0), ("planted", 1)]
)
def test_a_slow_task_that_came_right_is_no_finding_and_another_cause_is(
    message: str, findings: int
) -> None:
    failed = _failed_task(message)
    completed = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
    history = _history_of(NAMESPACE_WORKFLOW, [failed, SCHEDULED, completed])
    assert len(Replays()._findings(("w", "r"), history)) == findings


def test_a_task_that_blocks_for_good_is_a_finding() -> None:
    history = _history_of(
        NAMESPACE_WORKFLOW, [_failed_task("[TMPRL1101] Potential deadlock"), SCHEDULED]
    )
    assert len(Replays()._findings(("w", "r"), history)) == 1


def _failed_task(message: str) -> HistoryEvent:
    return HistoryEvent(
        event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
        workflow_task_failed_event_attributes=WorkflowTaskFailedEventAttributes(
            cause=WorkflowTaskFailedCause.Value(f"WORKFLOW_TASK_FAILED_CAUSE_{UNHANDLED}"),
            failure=Failure(message=message),
        ),
    )


def _history_of(workflow: str, events: list[HistoryEvent]) -> WorkflowHistory:
    started = HistoryEvent(
        event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
        workflow_execution_started_event_attributes=WorkflowExecutionStartedEventAttributes(
            workflow_type=WorkflowType(name=workflow)
        ),
    )
    return WorkflowHistory("w", [started, *events])


def test_a_cause_that_does_not_exist_cannot_be_planted() -> None:
    with pytest.raises(ValueError, match="OVERTAKEN"):
        Replays().plant("OVERTAKEN")

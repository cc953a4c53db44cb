"""Which runs are dropped from a worker's cache: those alone that a query may have run ahead of their history."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse,
)
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import WorkflowSerializationContext
from temporalio.worker import Worker, WorkflowInstanceDetails, WorkflowRunner
from typing_extensions import override

from vaultmesh.domain.jobs.messages import JobSpec
from vaultmesh.process.eviction import NEWEST_EVENTS, EvictingRunner

REPLAYED, LIVE, QUERY, QUERY_WITH_A_TASK = "replayed", "live", "query", "query with a task"
"""What an activation brings: events of a task that was done before, new ones, or a question."""
LAST = 30
"""The event that an activation brings last."""


class PassiveRunner(WorkflowRunner):
    def prepare_workflow(self, defn: object) -> None:
        raise NotImplementedError

    @override
    def create_instance(self, det: WorkflowInstanceDetails) -> "PassiveRunner":  # type: ignore[override]
        return self

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        return WorkflowActivationCompletion(run_id=act.run_id)


class Server:
    """What the server has of one run: events from the first on, of which those named start a task."""

    def __init__(self, *started: int, last: int = 40) -> None:
        self.started, self.last = started, last
        self.asked = 0
        self.answers = True

    async def get_workflow_execution_history_reverse(
        self, request: GetWorkflowExecutionHistoryReverseRequest
    ) -> GetWorkflowExecutionHistoryReverseResponse:
        self.asked += 1
        assert (request.execution.workflow_id, request.execution.run_id) == ("one", "run")
        if not self.answers:
            await asyncio.sleep(60)
        answer = GetWorkflowExecutionHistoryReverseResponse()
        for event_id in range(self.last, 0, -1)[: request.maximum_page_size]:
            kind = (
                EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED
                if event_id in self.started
                else EventType.EVENT_TYPE_TIMER_FIRED
            )
            answer.history.events.add(event_id=event_id, event_type=kind)
        return answer


def worker_of(server: Server, dropped: list[str]) -> Worker:
    core = SimpleNamespace(request_workflow_eviction=dropped.append)
    client = SimpleNamespace(workflow_service=server)
    return cast("Worker", SimpleNamespace(_bridge_worker=core, client=client))


def details(run_id: str = "run") -> WorkflowInstanceDetails:
    info = SimpleNamespace(namespace="default", workflow_id="one", run_id=run_id)
    return cast("WorkflowInstanceDetails", SimpleNamespace(info=info))


def activation(step: str) -> WorkflowActivation:
    made = WorkflowActivation(run_id="run", is_replaying=step == REPLAYED, history_length=LAST)
    job = made.jobs.add()
    if step == QUERY:
        job.query_workflow.query_id = "legacy_query"
    elif step == QUERY_WITH_A_TASK:
        job.query_workflow.query_id = "one"
    else:
        job.fire_timer.seq = 1
    return made


LEVEL, AHEAD = Server(LAST), Server(LAST - 1, LAST + 1)
UNSEEN = Server(LAST, last=LAST + NEWEST_EVENTS)
"""So much came meanwhile that the event is not among the newest."""


@pytest.mark.parametrize(
    ("server", "steps", "dropped"),
    [
        pytest.param(AHEAD, [REPLAYED, LIVE, QUERY], 1, id="ahead"),
        pytest.param(AHEAD, [REPLAYED, QUERY], 0, id="replayed"),
        pytest.param(AHEAD, [LIVE, QUERY, QUERY], 1, id="once"),
        pytest.param(AHEAD, [LIVE, QUERY, LIVE, QUERY], 2, id="again"),
        pytest.param(AHEAD, [REPLAYED, LIVE, QUERY_WITH_A_TASK], 0, id="query-with-a-task"),
        pytest.param(LEVEL, [REPLAYED, LIVE, QUERY, LIVE, QUERY], 0, id="level"),
        pytest.param(UNSEEN, [LIVE, QUERY], 1, id="unseen"),
    ],
)
async def test_only_a_run_that_is_ahead_of_what_the_server_has_is_dropped(
    server: Server, steps: list[str], dropped: int
) -> None:
    asked: list[str] = []
    runner = EvictingRunner(PassiveRunner())
    runner.serve(worker_of(server, asked))
    instance = runner.create_instance(details())
    for step in steps:
        done = await asyncio.to_thread(instance.activate, activation(step))
        assert done.run_id == "run"
    assert asked == ["run"] * dropped
    assert runner.evicted == dropped


async def test_a_server_is_asked_once_however_often_a_run_at_rest_is_queried() -> None:
    server = Server(LAST)
    runner = EvictingRunner(PassiveRunner())
    runner.serve(worker_of(server, []))
    instance = runner.create_instance(details())
    for step in [LIVE, QUERY, QUERY, QUERY]:
        await asyncio.to_thread(instance.activate, activation(step))
    assert server.asked == 1


async def test_a_server_that_does_not_say_holds_no_query_and_has_the_run_dropped() -> None:
    """The SDK fails a workflow that needs two seconds."""
    asked: list[str] = []
    server = Server(LAST)
    server.answers = False
    runner = EvictingRunner(PassiveRunner())
    runner.serve(worker_of(server, asked))
    instance = runner.create_instance(details())
    for step in [LIVE, QUERY]:
        async with asyncio.timeout(10):
            await asyncio.to_thread(instance.activate, activation(step))
    assert asked == ["run"]


def test_a_replay_drops_nothing() -> None:
    instance = EvictingRunner(PassiveRunner()).create_instance(details())
    for step in [REPLAYED, LIVE, QUERY]:
        instance.activate(activation(step))


async def test_every_run_that_is_kept_is_dropped_at_once() -> None:
    asked: list[str] = []
    runner = EvictingRunner(PassiveRunner())
    runner.serve(worker_of(Server(), asked))
    kept = [runner.create_instance(details(run_id)) for run_id in ("a", "b", "c")]
    del kept[1]
    runner.evict_all()
    assert sorted(asked) == ["a", "c"]


def test_the_sandbox_is_asked_for_no_context_since_no_converter_of_ours_takes_one() -> None:
    instance = EvictingRunner(PassiveRunner()).create_instance(details())  # it has none to give
    assert instance.get_serialization_context(None) is None
    assert instance.get_external_store_context(None).target is None
    ours = pydantic_data_converter
    assert (ours.payload_codec, ours.external_storage) == (None, None)
    context = WorkflowSerializationContext(namespace="default", workflow_id="job:nightly-report")
    spec = JobSpec(name="nightly-report", cron="0 3 * * *", config={"batchSize": 25})
    with_context = ours.with_context(context).payload_converter
    payloads = ours.payload_converter.to_payloads([spec])
    assert with_context.to_payloads([spec]) == payloads
    assert with_context.from_payloads(payloads, [JobSpec]) == [spec]

"""What the Web UI and `temporal workflow metadata` show: messages with what they do, the state, and what each activity is about."""

import asyncio
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.sdk.v1 import WorkflowMetadata

from tests.workflows.aggregator.scripted_target import ScriptedTarget, request
from tests.workflows.namespace.scripted_worker import ScriptedWorker
from tests.workflows.stage import Stage, cadences
from vaultmesh.domain.aggregator import decisions, orders
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.message_guide import OF_AGGREGATORS, OF_NAMESPACES, MessageGuide
from vaultmesh.domain.names import STOP
from vaultmesh.domain.namespaces.commands import VERBS
from workflows.metadata import METADATA_QUERY

WITHIN_SECONDS = 60.0


@pytest.fixture
def stage(real_stage: Stage) -> Stage:
    """Run on the real server, which keeps what it is told beside the commands."""
    return real_stage


def listed(definitions: Any) -> dict[str, str]:
    return {definition.name: definition.description for definition in definitions}


async def metadata(handle: Any) -> WorkflowMetadata:
    answer: WorkflowMetadata = await asyncio.wait_for(
        handle.query(METADATA_QUERY, result_type=WorkflowMetadata), WITHIN_SECONDS
    )
    return answer


def assert_guided(answer: WorkflowMetadata, guide: MessageGuide, kind: str) -> None:
    definition = answer.definition
    assert definition.type == kind
    assert listed(definition.signal_definitions) == guide.signals
    assert listed(definition.update_definitions) == guide.updates
    assert listed(definition.query_definitions) == guide.queries


async def summaries(stage: Stage, handle: Any) -> dict[str, set[str]]:
    """Return the summaries of each kind of activity, of all runs."""
    shown: dict[str, set[str]] = {}
    for events in await stage.runs(handle):
        for event in events:
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                name = event.activity_task_scheduled_event_attributes.activity_type.name
                shown.setdefault(name, set()).add(event.user_metadata.summary.data.decode())
    return shown


@pytest.mark.asyncio(loop_scope="session")
async def test_a_namespace_lists_what_it_takes_and_what_each_activity_is_about(
    stage: Stage,
) -> None:
    worker = ScriptedWorker(owed=0)
    async with stage.working(worker.adapters()):
        namespace = await stage.namespace(cadences(fast="1s"))
        await namespace.handle.signal("pause", "a test")
        await namespace.handle.signal("resume")
        answer = await metadata(namespace.handle)
        assert_guided(answer, OF_NAMESPACES, "NamespaceWorkflow")
        assert "fast" in answer.current_details
        async with asyncio.timeout(WITHIN_SECONDS):
            while "anchor" not in (  # noqa: ASYNC110 - a history has no event to wait for
                shown := await summaries(stage, namespace.handle)
            ):
                await asyncio.sleep(0.2)
    assert all("" not in texts for texts in shown.values())


@pytest.mark.asyncio(loop_scope="session")
async def test_an_aggregator_lists_what_it_takes_and_what_each_activity_is_about(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await aggregator.handle.signal("enqueue", [request(1)])
        async with asyncio.timeout(WITHIN_SECONDS):
            while not (  # noqa: ASYNC110 - the scripted target has no event
                rounds := {asked.round_id for asked in scripted.asked("broadcast")}
            ):
                await asyncio.sleep(0.1)
        for round_id in rounds:
            scripted.include(round_id, block=5)
        answer = await metadata(aggregator.handle)
        assert_guided(answer, OF_AGGREGATORS, "AggregatorWorkflow")
        shown = await summaries(stage, aggregator.handle)
    assert {"recover", "seal", "reserve", "sign", "broadcast"} <= set(shown)
    assert all("" not in texts for texts in shown.values())


def test_a_message_that_is_listed_is_one_that_is_taken() -> None:
    """And the other way round: what operators send to namespaces is listed."""
    assert set(OF_NAMESPACES.signals) == set(VERBS)
    assert set(OF_NAMESPACES.updates) == {*VERBS, STOP}
    for name in OF_AGGREGATORS.signals:
        orders.read(name, [])
    for order in ({"lost": "x"}, {"adopt": ["x", "y"]}, {"forget": "x"}, {"fill": True}):
        decisions.read_resolve({**order, "by": "me"})
    with pytest.raises(InvalidValue):
        orders.read("stop", [])

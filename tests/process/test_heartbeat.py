"""An answer that outlived the connection to Temporal is kept back: it might reach another step of an older history."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.worker import Worker

import worker
from activities.heartbeat import Heartbeats
from activities.registry import Adapters
from vaultmesh.domain.names import ANCHORS_QUEUE, SCHEDULER_QUEUE
from vaultmesh.process.client import connect

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("address")]


@workflow.defn(name="AnotherWorkflow", sandboxed=False)
class Asks:
    @workflow.run
    async def run(self, queue: str, beats: bool) -> int:
        return await workflow.execute_activity(
            "answer",
            task_queue=queue,
            start_to_close_timeout=timedelta(seconds=60),
            heartbeat_timeout=timedelta(seconds=20) if beats else None,
            result_type=int,
        )


def answering(beats: Heartbeats) -> Callable[[], Awaitable[int]]:
    """Return an activity during whose first attempt the connection is lost, and which answers which attempt it is."""

    @activity.defn(name="answer")
    async def answer() -> int:
        await asyncio.sleep(0)
        if activity.info().attempt == 1:
            beats.connection_lost()
        return activity.info().attempt

    return answer


@pytest.mark.parametrize("queue", [SCHEDULER_QUEUE, ANCHORS_QUEUE])
@pytest.mark.parametrize("with_beats", [True, False], ids=["beats", "no beats"])
async def test_an_answer_on_either_queue_is_given_anew_if_the_connection_was_lost_meanwhile(
    queue: str,
    with_beats: bool,
) -> None:
    """The harm: an answer to one cadence's request ended the request of another one, whose batches were left out."""
    beats, client, own = Heartbeats(), await connect(), f"answers-{secrets.token_hex(4)}"
    both = {SCHEDULER_QUEUE: [answering(beats)], ANCHORS_QUEUE: [answering(beats)]}
    adapters = Adapters(both, files=None, targets=None, troubles=None)  # type: ignore[arg-type]
    sticky, runner = timedelta(seconds=10), worker.sandbox()
    built = worker.workers(client, adapters, worker.ROLES, runner, heartbeats=beats, sticky=sticky)
    async with AsyncExitStack() as stack:
        for each in (*built, Worker(client, task_queue=own, workflows=[Asks])):
            await stack.enter_async_context(each)
        assert (
            await client.execute_workflow(
                Asks.run, args=[queue, with_beats], id=own, task_queue=own
            )
            == 2
        )

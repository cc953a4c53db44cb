"""A query runs no workflow ahead of its history, also after a workflow task that had nothing for it.

The activity that a workflow cancelled ends in a task without work: the SDK moves the time, and hands the workflow nothing.
What a query brings next then does not look like part of an earlier task.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ActivityError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from tests.support.replays import Replays, replayed_server
from tests.workflows.stage import until
from vaultmesh.process.eviction import EvictingRunner

pytestmark = [pytest.mark.server, pytest.mark.slow]
QUEUE = "reminders"
WORKFLOWS = 24
"""Of each, the worker gets either the query first or the task; the first is the harm, and comes about in every third."""
WITHIN = timedelta(seconds=20)
LATE = timedelta(seconds=1)
WATCHING: set[str] = set()
"""The workflows whose activity began: cancelled before, it ends without a task of its own."""


@activity.defn
async def watch() -> None:
    """Last until cancelled."""
    WATCHING.add(activity.info().workflow_id)
    while True:
        activity.heartbeat()
        await asyncio.sleep(0.05)


@activity.defn
async def early() -> None:
    """Do nothing."""


@activity.defn
async def late() -> None:
    """Do nothing."""


@workflow.defn(name="Reminder")
class Reminder:
    """Cancels an activity, then decides by the time of a signal."""

    def __init__(self) -> None:
        self._signals = 0
        self._decided = False

    @workflow.run
    async def run(self) -> None:
        watching = workflow.start_activity(
            watch,
            start_to_close_timeout=timedelta(minutes=5),
            heartbeat_timeout=timedelta(seconds=5),
            cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
        )
        await workflow.wait_condition(lambda: self._signals == 1)
        watching.cancel()
        try:
            await watching
        except ActivityError:
            began = workflow.now()
        await workflow.wait_condition(lambda: self._signals == 2)
        step = late if workflow.now() - began > LATE else early
        await workflow.execute_activity(step, start_to_close_timeout=WITHIN)
        self._decided = True

    @workflow.signal
    def go(self) -> None:
        self._signals += 1

    @workflow.query
    def decided(self) -> bool:
        return self._decided


@asynccontextmanager
async def working(client: Client, *, cached: int) -> AsyncIterator[EvictingRunner]:
    runner = EvictingRunner(UnsandboxedWorkflowRunner())
    brief = timedelta(milliseconds=100)
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[Reminder],
        activities=[watch, early, late],
        workflow_runner=runner,
        max_cached_workflows=cached,
        max_heartbeat_throttle_interval=brief,
        default_heartbeat_throttle_interval=brief,
    )
    runner.serve(worker)
    async with worker:
        yield runner


async def ended_without_work(handle: WorkflowHandle[object, object]) -> bool:
    """Whether the cancelled activity ended, and a workflow task after it is done."""
    kinds = [event.event_type for event in (await handle.fetch_history()).events]
    return kinds[-3:] == [
        EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
    ] and (EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED in kinds)


async def all_ended_without_work(reminders: list[WorkflowHandle[object, object]]) -> bool:
    return all([await ended_without_work(one) for one in reminders])


async def test_a_query_after_a_task_without_work_leaves_a_history_that_replays(
    tmp_path: Path,
) -> None:
    """The harm: a worker was asked in its first seconds, and the workflow failed every task from then on."""
    with replayed_server(tmp_path, Replays(foreign=["Reminder"])) as server:
        client = await Client.connect(server.address)
        async with working(client, cached=0):
            reminders = [
                await client.start_workflow("Reminder", id=f"reminder-{number}", task_queue=QUEUE)
                for number in range(WORKFLOWS)
            ]
            await until(lambda: len(WATCHING) == WORKFLOWS, "all that is cancelled")
            for one in reminders:
                await one.signal("go")
            await until(lambda: all_ended_without_work(reminders), "the end of what was cancelled")
        asked = [asyncio.create_task(one.query("decided")) for one in reminders]
        await asyncio.sleep(2 * LATE.total_seconds())
        for one in reminders:
            await one.signal("go")
        async with working(client, cached=WORKFLOWS) as runner:
            async with asyncio.timeout(WITHIN.total_seconds()):
                await asyncio.gather(*asked)
                await asyncio.gather(*(one.result() for one in reminders))
        assert runner.evicted > 0
        replayer = Replayer(workflows=[Reminder], workflow_runner=UnsandboxedWorkflowRunner())
        for one in reminders:
            await replayer.replay_workflow(await one.fetch_history())

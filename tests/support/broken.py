"""Workflows that can't go on: histories that the real code does not replay, and code that raises."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.support.replays import Replays
from vaultmesh.domain.names import SCHEDULER_QUEUE

FIRST_TASK = 4
"""Events of a history after its first workflow task."""


@workflow.defn(dynamic=True)
class Earlier:
    """Has another history than today's code makes, whatever the workflow's type."""

    @workflow.run
    async def run(self, arguments: Sequence[RawValue]) -> None:
        del arguments
        await workflow.sleep(timedelta(days=1000))


@workflow.defn(dynamic=True)
class Raising:
    """Fails each workflow task, whatever the workflow's type."""

    @workflow.run
    async def run(self, arguments: Sequence[RawValue]) -> None:
        del arguments
        message = "broken\non purpose"
        raise LookupError(message)


async def plant_unreplayable(client: Client, planted: Mapping[str, tuple[str, object]]) -> None:
    """Leave running workflows whose next workflow task fails for the real code; by id their type and input.

    No worker may take tasks beside.
    """
    handles = []
    async with Worker(
        client,
        task_queue=SCHEDULER_QUEUE,
        workflows=[Earlier],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=0,
    ):
        for workflow_id, (kind, content) in planted.items():
            handles.append(
                await client.start_workflow(
                    kind, content, id=workflow_id, task_queue=SCHEDULER_QUEUE
                )
            )
        for handle in handles:
            while (await handle.describe()).history_length <= FIRST_TASK:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
    for handle in handles:
        await handle.signal("nudge")


def raising_worker(client: Client, task_queue: str) -> Worker:
    """Return a worker that fails each workflow task of a queue."""
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[Raising],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=0,
    )


async def plant_raising(
    client: Client,
    kind: str,
    workflow_id: str,
    replays: Replays,
    memo: Mapping[str, object] | None = None,
) -> None:
    """Leave a running workflow whose workflow task has failed."""
    replays.plant("WORKFLOW_WORKER_UNHANDLED_FAILURE", workflow_id)
    async with raising_worker(client, workflow_id):
        await client.start_workflow(kind, id=workflow_id, task_queue=workflow_id, memo=memo)
        await until_failed(client, workflow_id)


async def until_failed(client: Client, workflow_id: str) -> None:
    """Wait until a workflow's task is tried again."""
    handle = client.get_workflow_handle(workflow_id)
    while True:
        try:
            described = await handle.describe()
        except RPCError:
            continue
        if described.raw_description.pending_workflow_task.attempt > 1:
            return
        await asyncio.sleep(0.1)

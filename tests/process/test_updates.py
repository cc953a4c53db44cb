"""Updates whose sender is told to end while nobody answers: the sender ends, and takes it for no silence of the workflow."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.client import Client

from vaultmesh.domain.jobs.records import JobRevision
from vaultmesh.domain.jobs.refusals import NotTold
from vaultmesh.domain.names import (
    JOB_WORKFLOW,
    NAMESPACE_WORKFLOW,
    SCHEDULER_QUEUE,
    job_workflow_id,
    namespace_workflow_id,
)
from vaultmesh.domain.namespaces.stopped import StopDecision
from vaultmesh.process import anchor_workflows, job_workflows
from vaultmesh.process.client import connect
from vaultmesh.process.job_workflows import TemporalJobs
from vaultmesh.process.stops import Stops

pytestmark = pytest.mark.server
SOON_SECONDS = 0.5
"""Long enough for the update to be on its way, and a tenth of what it waits for."""
Sending = Callable[[Client, str], Coroutine[Any, Any, object]]


async def _still_holds(_: StopDecision) -> bool:
    return True


def stops_job(client: Client, name: str) -> Coroutine[Any, Any, object]:
    return TemporalJobs(client).tell(JobRevision(name=name, revision=2, definition=None))


def tells_namespace_to_stop(client: Client, name: str) -> Coroutine[Any, Any, object]:
    decision = StopDecision(namespace=name, at=datetime.now(UTC))
    return Stops(client)._tell(decision, _still_holds)


def pauses_namespace(client: Client, name: str) -> Coroutine[Any, Any, object]:
    return anchor_workflows.order(client, name, "pause", {})


@pytest.mark.parametrize("send", [stops_job, tells_namespace_to_stop, pauses_namespace])
async def test_a_task_that_is_cancelled_while_an_update_waits_is_cancelled_and_goes_on_with_nothing(
    address: str, send: Sending
) -> None:
    client, name = await connect(), f"silent-{secrets.token_hex(4)}"
    started = [
        (JOB_WORKFLOW, job_workflow_id(name)),
        (NAMESPACE_WORKFLOW, namespace_workflow_id(name)),
    ]
    for workflow, workflow_id in started:  # nobody polls: updates are never answered
        await client.start_workflow(workflow, id=workflow_id, task_queue=SCHEDULER_QUEUE)
    task = asyncio.create_task(send(client, name))
    await asyncio.sleep(SOON_SECONDS)
    task.cancel()
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await task
    for _, workflow_id in started:
        await client.get_workflow_handle(workflow_id).terminate()


async def test_a_job_whose_workflow_stays_silent_is_still_said_not_to_be_told(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, name = await connect(), f"silent-{secrets.token_hex(4)}"
    monkeypatch.setattr(job_workflows, "WITHIN", job_workflows.WITHIN / 10)
    await client.start_workflow(JOB_WORKFLOW, id=job_workflow_id(name), task_queue=SCHEDULER_QUEUE)
    with pytest.raises(NotTold, match="nobody answered for job"):
        await stops_job(client, name)
    await client.get_workflow_handle(job_workflow_id(name)).terminate()

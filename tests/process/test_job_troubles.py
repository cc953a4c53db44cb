"""Why workflows of jobs do not go on, as a real Temporal server tells it."""

import asyncio
import secrets

import pytest
from temporalio.client import Client

from tests.support.broken import plant_raising
from tests.support.gate import Gate
from tests.support.replays import Replays
from vaultmesh.domain.jobs.refusals import NotTold
from vaultmesh.domain.names import JOB_WORKFLOW, job_workflow_id
from vaultmesh.process import job_troubles as module
from vaultmesh.process.client import connect
from vaultmesh.process.job_troubles import MISSING, JobTroubles
from vaultmesh.process.job_workflows import TemporalJobs

pytestmark = pytest.mark.server
PATIENCE_SECONDS = 180


def fresh() -> str:
    return f"job-{secrets.token_hex(4)}"


async def start_waiting(client: Client) -> str:
    """Start the workflow of a job that no worker ever takes; returns the job."""
    name = fresh()
    await client.start_workflow(JOB_WORKFLOW, id=job_workflow_id(name), task_queue="nobody")
    return name


async def listed(troubles: JobTroubles, client: Client, *names: str) -> None:
    """Wait until the server lists the workflows of jobs, and forget lists from before."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        for name in names:
            query = f"WorkflowId = '{job_workflow_id(name)}'"
            while not (await client.count_workflows(query)).count:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.1)


async def test_a_workflow_that_is_not_there_or_was_ended_is_missing(address: str) -> None:
    client, gone = await connect(), fresh()
    troubles, ended = JobTroubles(client), await start_waiting(client)
    await client.get_workflow_handle(job_workflow_id(ended)).terminate()
    assert await troubles.of([gone]) == {gone: MISSING}
    assert await troubles.of([ended]) == {ended: MISSING}
    assert await troubles.of([gone, ended]) == {gone: MISSING, ended: MISSING}
    assert await troubles.of([]) == {}


async def test_one_that_waits_for_a_worker_is_said_after_a_while_and_not_before(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await connect()
    waiting, troubles = await start_waiting(client), JobTroubles(client)
    await listed(troubles, client, waiting)
    assert await troubles.of([waiting]) == {}
    monkeypatch.setattr(module, "WAITS_LONG", module.WAITS_LONG * 0)
    for names in ([waiting], [waiting, fresh()]):
        assert "no worker with role workflows" in (await troubles.of(names))[waiting]
    await client.get_workflow_handle(job_workflow_id(waiting)).terminate()


async def test_one_that_fails_is_said_with_its_cause_among_few_and_among_many(
    address: str, replays: Replays
) -> None:
    client, failing = await connect(), fresh()
    await plant_raising(client, JOB_WORKFLOW, job_workflow_id(failing), replays)
    troubles = JobTroubles(client)
    await listed(troubles, client, failing)
    assert "LookupError: broken on purpose" in (await troubles.of([failing]))[failing]
    many = [failing, *(fresh() for _ in range(module.MOST_ASKED + 1))]
    async with asyncio.timeout(PATIENCE_SECONDS):  # the server reports a problem after a while
        while failing not in (said := await troubles.of(many)):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.5)
    assert "broken on purpose" in said[failing]
    assert {said[name] for name in many[1:]} == {MISSING}
    await client.get_workflow_handle(job_workflow_id(failing)).terminate()


async def test_one_that_was_started_since_the_last_list_is_not_called_missing(
    address: str,
) -> None:
    client, troubles = await connect(), JobTroubles(await connect())
    other = fresh()
    assert other in await troubles.of([other, fresh()])
    name = await start_waiting(client)
    assert await troubles.of([name]) == {}
    assert await troubles.of([name, other]) == {other: MISSING}  # the list from before lacks both
    await client.get_workflow_handle(job_workflow_id(name)).terminate()


async def test_a_server_that_goes_away_is_said_as_such(address: str) -> None:
    gate = Gate(int(address.rpartition(":")[2]))
    gate.open()
    jobs = TemporalJobs(await Client.connect(f"127.0.0.1:{gate.port}"))
    name = fresh()
    assert await jobs.troubles([name]) == {name: MISSING}
    gate.close()
    with pytest.raises(NotTold, match="does not say"):
        await jobs.troubles([name])

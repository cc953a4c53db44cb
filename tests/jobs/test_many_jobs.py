"""Where many jobs run, the list of them is not taken each time; what is missing is started all the same."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.client import Client

from activities.jobs import reconcile
from activities.jobs.reconcile import JobReconciler
from tests.support.replays import Replays, replayed_server
from vaultmesh.domain.jobs.job import read_registration
from vaultmesh.domain.jobs.records import Actor, JobRevision
from vaultmesh.domain.names import JOB_WORKFLOW, job_workflow_id
from vaultmesh.process.client import connect
from vaultmesh.process.job_workflows import TemporalJobs
from vaultmesh.storage.job_store import JobStore

pytestmark = [pytest.mark.server, pytest.mark.timeout(700)]

JOBS = 12
WITHIN_SECONDS = 180.0


class Clock:
    """Stands still until it is put forward."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def folder(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Return a folder for the store, while a server runs that no worker asks."""
    folder = tmp_path_factory.mktemp("many")
    with replayed_server(folder, Replays()) as server:
        monkeypatch.setenv("TEMPORAL_ADDRESS", server.address)
        yield folder


async def filled(folder: Path) -> JobStore:
    store = await JobStore.open(None, folder)
    for number in range(JOBS):
        job = {
            "name": f"job-{number}",
            "displayName": "Job",
            "description": "One of many",
            "cronExpression": "0 0 1 1 *",
            "enabled": True,
            "jobType": "other",
            "service": "some-service",
            "endpoint": "/",
        }
        await store.register(read_registration(job), Actor(name="test"), datetime.now(UTC))
    return store


async def counted(client: Client, wanted: int) -> None:
    """Wait until the server's list, which lags, shows so many workflows."""
    query = f"WorkflowType = '{JOB_WORKFLOW}' AND ExecutionStatus = 'Running'"
    async with asyncio.timeout(WITHIN_SECONDS):
        while (await client.count_workflows(query)).count != wanted:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)


@dataclass
class Many:
    """Jobs whose workflows the reconciler started, and has listed once."""

    client: Client
    clock: Clock
    store: JobStore
    jobs: TemporalJobs
    reconciler: JobReconciler


@asynccontextmanager
async def many_jobs(folder: Path) -> AsyncIterator[Many]:
    client, clock = await connect(), Clock()
    store, jobs = await filled(folder), TemporalJobs(client)
    try:
        reconciler = JobReconciler(client, store, jobs, keep=None, now=clock)
        async with asyncio.timeout(WITHIN_SECONDS):
            await reconciler.once()
        await counted(client, JOBS)
        assert not await store.untold()
        await reconciler.once()
        yield Many(client, clock, store, jobs, reconciler)
    finally:
        await store.close()


async def test_a_job_that_lost_its_workflow_among_many_gets_one_though_no_worker_answers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harm: a list that is not taken each time hides it, or each start waits for workers that are not there yet."""
    monkeypatch.setattr(reconcile, "MOST_LISTED", JOBS - 1)
    async with many_jobs(folder) as many:
        await many.client.get_workflow_handle(job_workflow_id("job-7")).terminate("lost")
        await counted(many.client, JOBS - 1)
        await many.reconciler.once()
        await counted(many.client, JOBS)


async def test_a_workflow_among_many_that_was_put_back_is_told_within_a_minute(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harm: it goes on by an old revision, and the list that was kept says that it knows the newest."""
    monkeypatch.setattr(reconcile, "MOST_LISTED", JOBS - 1)
    told: list[str] = []

    async def tell(revision: JobRevision) -> None:
        told.append(revision.name)

    async with many_jobs(folder) as many:
        await many.client.get_workflow_handle(job_workflow_id("job-3")).terminate("put back")
        newest = next(job for job in await many.store.revisions() if job.name == "job-3")
        await many.jobs.start(newest.model_copy(update={"revision": newest.revision - 1}))
        monkeypatch.setattr(many.jobs, "tell", tell)
        await counted(many.client, JOBS)
        await many.reconciler.once()
        assert not told
        many.clock.now += reconcile.LIST_EVERY + timedelta(seconds=1)
        await many.reconciler.once()
        assert told == ["job-3"]

"""The demo's jobs fit into 80 columns; where they can't be registered, that is said and holds up nothing."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from rich.console import Console, Group

from devnet.ports import free_port
from devnet.sample_service import WHY
from tests.api.running import SERVICE_TOKEN, RunningApi, running, settings
from vaultmesh.api.calls import Parts
from vaultmesh.api.server import ApiServer
from vaultmesh.cli.demo_jobs import FAILING, NAMES, SLOW_ONE, WORKING, DemoJobs
from vaultmesh.cli.dev_jobs import DevJobs
from vaultmesh.domain.jobs.messages import SlotCounts
from vaultmesh.domain.jobs.records import RunEnd, RunStart
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy

COLUMNS = 80


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DevJobs]:
    """A session of dev whose API a test starts, or not."""
    monkeypatch.setenv("VMSH_ROOT", str(tmp_path))
    for name in ("JOBS_DATABASE_URL", "SUPABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    jobs = DevJobs(tmp_path, {"SERVICE_TOKEN": SERVICE_TOKEN})
    jobs.start(free_port())
    yield jobs
    jobs.stop()


@asynccontextmanager
async def _api(session: DevJobs, root: Path, *, knows: bool = True) -> AsyncIterator[RunningApi]:
    """Run the API of a session; `knows` tells whether it knows the sample service."""
    async with running(root) as api:
        if knows:
            port = int(session.environment()["API_PORT"])
            parts = Parts(api.store, api.workflows, lambda _: None, lambda: False)
            server = ApiServer(settings(port=port), parts)
        else:
            server = ApiServer(settings(port=int(session.environment()["API_PORT"])), api.parts)
        await server.start()
        try:
            yield api
        finally:
            await server.stop()


async def _ran(api: RunningApi, name: str, status: RunStatus, error: str | None) -> None:
    now = datetime.now(UTC)
    start = RunStart(
        id=uuid4(), job_name=name, job_type="other", started_at=now - timedelta(seconds=3), triggered_by=TriggeredBy.SCHEDULER
    )  # fmt: skip
    slots = SlotCounts(served=now, skipped=14 if name == SLOW_ONE else 0)
    await api.store.open_run(start)
    await api.store.close_run(
        RunEnd(
            start=start,
            status=status,
            completed_at=now,
            items_processed=3,
            error_message=error,
            slots=slots,
        )
    )


def _shown(jobs: DemoJobs) -> str:
    console = Console(width=COLUMNS, highlight=False)
    with console.capture() as captured:
        console.print(Group(*jobs.blocks()))
    return captured.get()


async def test_jobs_are_shown_in_eighty_columns_with_what_was_skipped_and_what_failed(
    session: DevJobs, tmp_path: Path
) -> None:
    jobs = DemoJobs(session)
    async with _api(session, tmp_path) as api, jobs.registered():
        assert jobs.trouble == ""
        assert not jobs.are_shown
        for name in (WORKING, SLOW_ONE):
            await _ran(api, name, RunStatus.COMPLETED, None)
        await jobs.look()
        assert not jobs.are_shown
        await _ran(api, FAILING, RunStatus.FAILED, WHY)
        await jobs.look()
        assert jobs.are_shown
        shown = _shown(jobs)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= COLUMNS
    assert [line.split()[0] for line in lines[2:5]] == sorted(NAMES)
    assert f"{SLOW_ONE}: 14 slots passed during its runs: skipped" in shown
    assert f"{FAILING}: failed: {WHY}" in shown
    assert f"{SLOW_ONE}: 14 slots skipped" in jobs.lines()


async def test_a_folder_that_is_used_again_shows_no_run_of_before_as_one_of_now(
    session: DevJobs, tmp_path: Path
) -> None:
    for is_first in (True, False):
        jobs = DemoJobs(session)
        async with _api(session, tmp_path) as api, jobs.registered():
            assert not jobs.are_shown
            if is_first:
                for name in NAMES:
                    await _ran(api, name, RunStatus.COMPLETED, None)


async def test_a_job_that_is_refused_is_told_and_holds_up_nothing(
    session: DevJobs, tmp_path: Path
) -> None:
    jobs = DemoJobs(session)
    async with _api(session, tmp_path, knows=False), jobs.registered():
        assert jobs.are_shown
    assert "sample-works could not be registered" in jobs.trouble
    assert "SAMPLE_SERVICE_URL" in jobs.trouble
    assert "{" not in jobs.trouble
    assert "do not run: sample-works could not be registered" in " ".join(_shown(jobs).split())


async def test_an_api_that_does_not_answer_is_told_and_holds_up_nothing(session: DevJobs) -> None:
    jobs = DemoJobs(session)
    async with jobs.registered():
        assert jobs.are_shown
    assert "refused" in jobs.trouble
    assert jobs.lines() == [f"jobs do not run: {jobs.trouble}"]


async def test_what_kept_the_worker_from_jobs_is_told(session: DevJobs) -> None:
    session.trouble = "port 7007 is taken"
    jobs = DemoJobs(session)
    async with jobs.registered():
        assert jobs.are_shown
    assert jobs.lines() == ["jobs do not run: port 7007 is taken"]

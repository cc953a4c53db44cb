"""A run's work outlives what Temporal knows of it, and ends with whoever cancels it and with its worker."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from activities.jobs.outlive import outlive

DRAIN = timedelta(seconds=0.2)
LONG = timedelta(minutes=10)


class Work:
    """Goes on until it may end."""

    def __init__(self) -> None:
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()
        self.is_cancelled = False

    async def done(self) -> str:
        self.begun.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise
        return "done"


async def started(work: Work, drain: timedelta) -> tuple[ActivityEnvironment, asyncio.Task[str]]:
    async def run() -> str:
        return await outlive(work.done(), drain)

    environment = ActivityEnvironment()
    task = asyncio.create_task(environment.run(run))
    await work.begun.wait()
    return environment, task


@pytest.mark.parametrize("why", ["not_found", "timed_out", "paused", "reset"])
async def test_work_that_temporal_gives_up_goes_on(why: str) -> None:
    work = Work()
    environment, task = await started(work, LONG)
    environment.cancel(ActivityCancellationDetails(**{why: True}))
    await asyncio.sleep(0.05)
    assert not task.done()
    work.may_end.set()
    assert await task == "done"
    assert not work.is_cancelled


@pytest.mark.parametrize("why", ["cancel_requested", "worker_shutdown"])
async def test_work_that_somebody_cancels_ends(why: str) -> None:
    work = Work()
    environment, task = await started(work, LONG)
    environment.cancel(ActivityCancellationDetails(**{why: True}))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.is_cancelled


async def test_work_that_was_given_up_keeps_no_worker_from_ending() -> None:
    work = Work()
    environment, task = await started(work, DRAIN)
    environment.cancel(ActivityCancellationDetails(not_found=True))
    await asyncio.sleep(2 * DRAIN.total_seconds())
    assert not task.done()
    environment.worker_shutdown()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.is_cancelled


async def test_work_that_ends_gives_its_answer() -> None:
    work = Work()
    work.may_end.set()
    _, task = await started(work, DRAIN)
    assert await task == "done"

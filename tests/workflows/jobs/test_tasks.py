"""A maintenance task's workflow: an attempt that died is followed by another, and every run ends as it really did."""

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest
from temporalio.worker import Worker

from tests.workflows.jobs.scripted_tasks import ScriptedTasks, task
from tests.workflows.stage import JobRun, Stage, until
from vaultmesh.domain.jobs.messages import JobKind, JobSpec
from vaultmesh.domain.jobs.run import FATE_UNKNOWN, NO_WORKER, TASK_LEFT, RunStatus, run_id
from vaultmesh.domain.names import JOBS_QUEUE

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.server]
EVERY_MINUTE, NEVER = "* * * * *", "0 0 31 2 *"


async def test_every_slot_of_a_task_runs_once_and_reckons_from_its_start(stage: Stage) -> None:
    tasks = ScriptedTasks()
    async with stage.working(jobs=tasks.adapters()):
        job = await task(stage, EVERY_MINUTE)
        await stage.skip(minutes=6)
        await until(lambda: len(tasks.orders) >= 5)
    slots = tasks.slots
    assert {later - sooner for sooner, later in pairwise(slots)} == {timedelta(minutes=1)}
    assert [order.run_id for order in tasks.orders] == [str(run_id(job.name, at)) for at in slots]
    for order in tasks.orders:
        assert order.slot is not None
        assert order.began is not None
        assert order.began >= order.slot


async def test_attempts_that_fail_in_passing_are_one_run(stage: Stage) -> None:
    tasks = ScriptedTasks()
    tasks.failing = 2
    async with stage.working(jobs=tasks.adapters()):
        job = await task(stage, NEVER)
        await job.update("trigger")
        view = await job.shows(lambda view: view.last_run is not None)
    assert view.last_run is not None
    assert (view.last_run.status, view.failures) == (RunStatus.COMPLETED, 0)
    assert tasks.attempts == [(view.last_run.run_id, number) for number in (1, 2, 3)]


async def test_three_attempts_that_fail_are_no_fourth_and_the_run_is_failed(stage: Stage) -> None:
    tasks = ScriptedTasks()
    tasks.failing = 9
    async with stage.working(jobs=tasks.adapters()):
        job = await task(stage, NEVER)
        await job.update("trigger")
        await until(lambda: bool(tasks.closed))
        view = await job.shows(lambda view: view.unwritten == 0)
    assert len(tasks.attempts) == 3
    (end,) = tasks.closed[0].ends
    assert view.last_run is not None
    assert end.error == view.last_run.error == f"the database is away; {FATE_UNKNOWN}"


async def test_what_must_not_be_repeated_is_tried_once(stage: Stage) -> None:
    """The harm: a service was called twice because its worker broke after the first call."""
    tasks = ScriptedTasks()
    tasks.failing = 1
    async with stage.working(jobs=tasks.adapters()):
        job = await task(stage, NEVER, attempts=1)
        await job.update("trigger")
        await until(lambda: bool(tasks.closed))
        await job.shows(lambda view: view.unwritten == 0)
    assert len(tasks.attempts) == 1


async def test_a_task_that_no_worker_takes_is_missed_and_one_that_was_asked_for_fails(
    stage: Stage,
) -> None:
    async with stage.working(cached=0):
        job = await task(stage, "* * * * * *", catch_up_seconds=1)
        await job.shows(lambda view: view.missed >= 1)
        await job.update("configure", _never(job))
        await job.shows(lambda view: view.running is None)
        await job.update("trigger")
        view = await job.shows(lambda view: view.last_run is not None)
        assert view.last_run is not None
        assert view.last_run.error == NO_WORKER
    tasks = ScriptedTasks()
    async with stage.working(jobs=tasks.adapters()):
        await until(lambda: bool(tasks.closed))
        await job.shows(lambda view: view.unwritten == 0)
    assert tasks.attempts == []


async def test_a_slot_whose_worker_died_and_that_nobody_took_over_is_a_failed_run_and_not_a_missed_slot(
    real_stage: Stage,
) -> None:
    """The harm: the row said `running` while the slot counted as one that nobody began."""
    tasks = ScriptedTasks()
    tasks.stuck = asyncio.Event()
    alone = Worker(
        real_stage.env.client,
        task_queue=JOBS_QUEUE,
        activities=list(tasks.adapters()),
        max_concurrent_activities=1,  # what is stuck takes its place, as if it had died
    )
    async with real_stage.working(), alone:
        job = await task(real_stage, "* * * * * *", catch_up_seconds=2, timeout_seconds=60)
        await until(lambda: bool(tasks.attempts))
        await job.update("configure", _never(job))
        view = await job.shows(lambda view: view.running is None, "the end of the run")
        tasks.stuck.set()
        await until(lambda: bool(tasks.closed))
    (end,) = tasks.closed[0].ends
    assert view.last_run is not None
    assert view.last_run.error == end.error == TASK_LEFT
    assert end.run_id == tasks.attempts[0][0]
    assert (view.missed, view.failures, len(tasks.attempts)) == (0, 1, 1)


async def test_cancelling_the_workflow_ends_the_run_under_way_with_the_end_that_the_worker_tells(
    real_stage: Stage,
) -> None:
    tasks = ScriptedTasks()
    tasks.seconds = 60
    async with real_stage.working(jobs=tasks.adapters()):
        job = await task(real_stage, NEVER)
        await job.update("trigger")
        await until(lambda: bool(tasks.attempts))
        await job.handle.cancel()
        view = await job.shows(lambda view: view.last_run is not None)
    assert tasks.cancelled == [tasks.attempts[0][0]]
    assert view.last_run is not None
    assert (view.last_run.error, len(tasks.attempts)) == ("cancelled", 1)
    assert tasks.closed == []


async def test_a_signal_pauses_a_task_and_its_row_hears_of_it(stage: Stage) -> None:
    tasks = ScriptedTasks()
    async with stage.working(jobs=tasks.adapters()):
        job = await task(stage, EVERY_MINUTE)
        await job.handle.signal("pause", {"reason": "a migration"})
        await until(lambda: bool(tasks.decisions))
        await stage.skip(minutes=4)
        assert tasks.attempts == []
        await job.handle.signal("resume")
        view = await job.shows(lambda view: view.paused is None)
        assert view.skipped >= 3
        await until(lambda: len(tasks.decisions) == 2)
        await job.handle.signal("trigger")
        await until(lambda: bool(tasks.attempts))
        await job.shows(lambda view: view.last_run is not None)
    assert {decision.job for decision in tasks.decisions} == {job.name}


async def test_the_web_ui_says_what_a_run_did(stage: Stage) -> None:
    tasks = ScriptedTasks()
    async with stage.working(jobs=tasks.adapters()):
        job = await task(stage, NEVER)
        await job.update("trigger")
        await job.shows(lambda view: view.last_run is not None)
        history = await stage.history(job)
    summaries = [event.user_metadata.summary.data.decode() for event in history.events]
    assert f'"{job.name}: vacuum, asked for"' in summaries


async def test_a_task_that_is_stopped_ends_its_workflow_once_its_run_has_ended(
    stage: Stage,
) -> None:
    tasks = ScriptedTasks()
    tasks.seconds = 0.5
    async with stage.working(jobs=tasks.adapters()):
        job = await task(stage, NEVER)
        await job.update("trigger")
        await until(lambda: bool(tasks.attempts))
        await job.update("stop", {"revision": 7})
        view = await job.handle.result()
    assert view["last_run"]["status"] == RunStatus.COMPLETED


def _never(job: JobRun) -> dict[str, object]:
    spec = JobSpec(
        name=job.name,
        revision=1,
        kind=JobKind.MAINTENANCE,
        cron=NEVER,
        config={"kind": "vacuum"},
        catch_up_seconds=1,
    )
    return spec.model_dump(mode="json")

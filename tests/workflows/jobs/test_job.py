"""A job's workflow: each slot is run once or counted once, nothing overlaps, and nothing that is sent to it wedges it."""

import asyncio
import uuid
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError

from tests.storage.jobs.places import definition
from tests.workflows.jobs.scripted_runs import ScriptedRuns
from tests.workflows.stage import JobRun, Stage, failed_tasks, until
from vaultmesh.domain.jobs.messages import JobCarried, JobSpec, SlotCounts
from vaultmesh.domain.jobs.records import JobRevision
from vaultmesh.domain.jobs.refusals import AlreadyRunning
from vaultmesh.domain.jobs.run import FATE_UNKNOWN, NO_WORKER, RunStatus, TriggeredBy, run_id
from vaultmesh.domain.jobs.schedule import ALREADY_RUNNING
from vaultmesh.domain.jobs.slots import JobState
from vaultmesh.process.job_workflows import TemporalJobs

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.server]
EVERY_MINUTE, EVERY_SECOND, NEVER = "* * * * *", "* * * * * *", "0 0 31 2 *"
MONDAYS = "0 9 * * 1"
MESSAGES = 200


def spec_of(job: JobRun, revision: int, cron: str = EVERY_MINUTE, **more: Any) -> dict[str, Any]:
    """Return what `configure` takes."""
    spec = JobSpec(
        name=job.name, revision=revision, cron=cron, service="mail", endpoint="/run", **more
    )
    return spec.model_dump(mode="json")


async def test_every_slot_is_run_once_under_the_id_of_its_slot(stage: Stage) -> None:
    runs = ScriptedRuns()
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(EVERY_MINUTE)
        await stage.skip(minutes=10)
        await until(lambda: len(runs.orders) >= 9)
        slots = runs.slots
        assert len(set(slots)) == len(slots)
        assert {later - sooner for sooner, later in pairwise(slots)} == {timedelta(minutes=1)}
        assert [order.run_id for order in runs.orders] == [
            str(run_id(job.name, slot)) for slot in slots
        ]
        view = await job.status()
        assert (view.missed, view.skipped, view.failures) == (0, 0, 0)
        assert view.last_run is not None
        assert view.next_due is not None


async def test_slots_that_pass_during_a_run_are_skipped_and_nothing_overlaps(stage: Stage) -> None:
    runs = ScriptedRuns()
    runs.seconds = 2.5
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(EVERY_SECOND)
        view = await job.shows(lambda view: view.skipped >= 4)
    assert runs.most_at_once == 1
    assert view.missed == 0


async def test_a_trigger_runs_the_job_now_and_a_second_one_meanwhile_is_refused(
    stage: Stage,
) -> None:
    runs = ScriptedRuns()
    runs.seconds = 1.5
    asked = str(uuid.uuid4())
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(NEVER, enabled=False)
        await job.update("trigger", {"run_id": asked, "user": "ada"})
        await until(lambda: bool(runs.orders))
        with pytest.raises(WorkflowUpdateFailedError) as refusal:
            await job.update("trigger", {"run_id": str(uuid.uuid4())})
        assert ALREADY_RUNNING in str(refusal.value.cause)
        await job.update("trigger", {"run_id": asked})
        await job.shows(lambda view: view.state is JobState.DISABLED and view.last_run is not None)
        await job.update("trigger", {"run_id": asked})
    (order,) = runs.orders
    assert (order.run_id, order.user, order.triggered_by) == (asked, "ada", TriggeredBy.MANUAL)


async def test_slots_of_a_disabled_time_do_not_exist(stage: Stage) -> None:
    runs = ScriptedRuns()
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(EVERY_MINUTE, enabled=False)
        await stage.skip(minutes=5)
        assert runs.orders == []
        view = await job.update("configure", spec_of(job, 1))
        enabled = await stage.now()
        assert (view.missed, view.skipped, view.state) == (0, 0, JobState.WAITING)
        await stage.skip(minutes=2)
        await until(lambda: bool(runs.orders))
    assert all(slot > enabled for slot in runs.slots)


async def test_an_older_revision_that_arrives_late_changes_nothing(stage: Stage) -> None:
    runs = ScriptedRuns()
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(NEVER)
        await job.update("configure", spec_of(job, 5, enabled=False))
        view = await job.update("configure", spec_of(job, 4, enabled=True))
        assert (view.revision, view.enabled) == (5, False)


async def test_a_new_expression_loses_no_slot_that_was_due(stage: Stage) -> None:
    runs = ScriptedRuns()
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(EVERY_SECOND)
        await until(lambda: len(runs.orders) >= 2)
        view = await job.update("configure", spec_of(job, 1, NEVER))
        assert view.next_due is None or view.next_due <= await stage.now()
        counted = await job.shows(lambda view: view.running is None)
    taken = len(runs.orders) + counted.missed + counted.skipped
    span = runs.slots[-1] - runs.slots[0]
    assert len(runs.slots) - 1 + counted.missed + counted.skipped >= span.total_seconds()
    assert taken >= 2


async def test_a_paused_job_lets_no_slot_run_and_the_row_hears_of_it(stage: Stage) -> None:
    runs = ScriptedRuns()
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(EVERY_MINUTE)
        await job.handle.signal("pause", {"reason": "the mail server moves"})
        view = await job.shows(lambda view: view.paused is not None)
        assert view.state is JobState.PAUSED
        await until(lambda: bool(runs.decisions))
        await stage.skip(minutes=5)
        ran = len(runs.orders)
        await job.handle.signal("resume")
        view = await job.shows(lambda view: view.paused is None)
        assert view.skipped in {4, 5, 6}
        assert len(runs.orders) == ran
        await job.shows(lambda view: view.revision > 100)
        await until(lambda: len(runs.decisions) == 2)
    assert [decision.paused is None for decision in runs.decisions] == [False, True]


async def test_a_slot_that_no_worker_takes_in_time_is_missed_and_never_called(
    stage: Stage,
) -> None:
    runs = ScriptedRuns()
    async with stage.working(cached=0):
        job = await stage.job(EVERY_SECOND, catch_up_seconds=1)
        await job.shows(lambda view: view.missed >= 1)
        await job.update("configure", spec_of(job, 1, NEVER, catch_up_seconds=1))
        view = await job.shows(lambda view: view.running is None)
        assert view.last_run is None
    async with stage.working(jobs=runs.adapters()):
        await job.status()
    assert runs.orders == []


async def test_a_trigger_that_no_worker_takes_fails_and_says_so(stage: Stage) -> None:
    runs = ScriptedRuns()
    async with stage.working(cached=0):
        job = await stage.job(NEVER, catch_up_seconds=1)
        await job.update("trigger")
        view = await job.shows(lambda view: view.last_run is not None)
        assert view.last_run is not None
        assert view.last_run.error == NO_WORKER
    async with stage.working(jobs=runs.adapters()):
        await until(lambda: bool(runs.closed))
        await job.shows(lambda view: view.unwritten == 0)
    (end,) = runs.closed[0].ends
    assert (end.status, end.error, end.started_at) == (RunStatus.FAILED, NO_WORKER, None)
    assert runs.orders == []


async def test_a_run_whose_worker_broke_is_failed_with_its_fate_unknown_and_not_repeated(
    stage: Stage,
) -> None:
    runs = ScriptedRuns()
    runs.breaks = True
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(NEVER)
        await job.update("trigger")
        await until(lambda: bool(runs.closed))
        view = await job.shows(lambda view: view.unwritten == 0)
    assert len(runs.orders) == 1
    assert view.last_run is not None
    assert (view.last_run.error or "").endswith(FATE_UNKNOWN)
    assert view.failures == 1


async def test_a_store_that_is_down_delays_no_slot_and_hears_of_every_run_later(
    stage: Stage,
) -> None:
    runs = ScriptedRuns()
    runs.is_written = False
    runs.close_failures = 1
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(EVERY_SECOND)
        await until(lambda: len(runs.orders) >= 4)
        runs.is_written = True
        await job.update("configure", spec_of(job, 1, NEVER))
        await stage.skip(seconds=30)
        await job.shows(lambda view: view.running is None and view.unwritten == 0)
    written = {end.run_id for close in runs.closed for end in close.ends}
    assert written >= {order.run_id for order in runs.orders[:4]}


async def test_a_job_that_continues_as_new_again_and_again_runs_no_slot_twice(stage: Stage) -> None:
    runs = ScriptedRuns()
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(EVERY_MINUTE, continue_after_events=20)
        await stage.skip(minutes=15)
        await until(lambda: len(runs.orders) >= 13)
        assert len(await stage.runs(job.handle)) > 2
    assert len(set(runs.slots)) == len(runs.slots)


async def test_what_was_missed_while_nobody_looked_is_counted_and_the_newest_slot_runs(
    stage: Stage,
) -> None:
    """A workflow that begins again, after its history was lost, goes on after the newest slot that was served."""
    runs = ScriptedRuns()
    async with stage.working(jobs=runs.adapters()):
        served = (await stage.now()).replace(second=0, microsecond=0) - timedelta(days=7)
        counts = SlotCounts(missed=3, skipped=2, served=served)
        job = await stage.job(EVERY_MINUTE, JobCarried(after=served, counts=counts))
        view = await job.shows(lambda view: view.missed > 3)
    assert view.missed - 3 in range(7 * 24 * 60 - 3, 7 * 24 * 60 + 3)
    assert len(runs.orders) <= 2


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("pause", [1, 2]),
        ("pause", [{"reson": "x"}]),
        ("resume", ["fast"]),
        ("trigger", [{"user": 7}]),
        ("trigger", [{"run_id": "no uuid"}]),
        ("trigger", ["now"]),
        ("nonsense", []),
    ],
)
async def test_a_signal_that_means_nothing_is_shown_and_wedges_nothing(
    stage: Stage, name: str, arguments: list[object]
) -> None:
    runs = ScriptedRuns()
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(NEVER)
        await job.handle.signal(name, args=arguments)
        view = await job.shows(lambda view: view.last_rejected is not None)
        assert view.last_rejected is not None
        assert view.last_rejected.message == name
        await job.update("trigger")
        await until(lambda: bool(runs.orders))
        assert failed_tasks((await stage.history(job)).events) == 0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("configure", []),
        ("configure", [{"name": "another", "cron": NEVER}]),
        ("configure", [{"cron": 5}]),
        ("configure", ["text"]),
        ("stop", [{"revision": "new"}]),
        ("stop", [True]),
        ("trigger", [[]]),
        ("nonsense", []),
    ],
)
async def test_an_update_that_means_nothing_is_refused_with_a_reason(
    stage: Stage, name: str, arguments: list[object]
) -> None:
    async with stage.working(jobs=ScriptedRuns().adapters()):
        job = await stage.job(NEVER)
        with pytest.raises(WorkflowUpdateFailedError) as refusal:
            await job.update(name, *arguments)
        assert str(refusal.value.cause)
        assert (await job.status()).state is JobState.WAITING


async def test_a_cron_expression_that_nobody_can_read_is_refused(stage: Stage) -> None:
    async with stage.working(jobs=ScriptedRuns().adapters()):
        job = await stage.job(NEVER)
        with pytest.raises(WorkflowUpdateFailedError, match="failed") as refusal:
            await job.update("configure", spec_of(job, 1, "61 * * * *"))
        assert "out of range" in str(refusal.value.cause)


async def test_a_job_that_is_stopped_ends_after_the_run_under_way(stage: Stage) -> None:
    runs = ScriptedRuns()
    runs.seconds = 1.0
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(NEVER)
        await job.update("trigger")
        await until(lambda: bool(runs.orders))
        await job.update("stop", {"revision": 3})
        await job.handle.result()
        described = await job.handle.describe()
    assert described.status is WorkflowExecutionStatus.COMPLETED
    assert runs.at_once == 0


async def test_a_newer_revision_keeps_a_stopping_job_alive(stage: Stage) -> None:
    runs = ScriptedRuns()
    runs.seconds = 1.0
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(NEVER)
        await job.update("trigger")
        await until(lambda: bool(runs.orders))
        await job.update("stop", {"revision": 3})
        await job.update("configure", spec_of(job, 4))
        view = await job.shows(lambda view: view.running is None)
        assert not view.is_stopping
        assert (await job.handle.describe()).status is WorkflowExecutionStatus.RUNNING


async def test_a_run_that_was_completed_by_hand_with_nonsense_is_failed(stage: Stage) -> None:
    runs = ScriptedRuns()
    runs.seconds = 3.0
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(NEVER)
        asked = str(uuid.uuid4())
        await job.update("trigger", {"run_id": asked})
        await until(lambda: bool(runs.orders))
        await stage.complete(job, asked, {"no": ["run"]})
        view = await job.shows(lambda view: view.last_run is not None)
        await until(lambda: bool(runs.closed))
    assert view.last_run is not None
    assert "done by hand" in (view.last_run.error or "")


@pytest.mark.parametrize("is_skipped", [True, False])
async def test_a_slot_of_a_job_that_was_paused_before_its_workflow_heard_of_it_is_skipped(
    stage: Stage, is_skipped: bool
) -> None:
    """The harm: such a slot ended in nothing. One of a job that was disabled meanwhile does not exist."""
    runs = ScriptedRuns()
    runs.is_dropped, runs.is_skipped = True, is_skipped
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(EVERY_MINUTE)
        await stage.skip(minutes=1)
        await until(lambda: bool(runs.orders))
        await job.update("configure", spec_of(job, 1, NEVER))
        view = await job.shows(lambda view: view.running is None)
    assert view.last_run is None
    assert view.skipped == (len(runs.orders) if is_skipped else 0)
    assert runs.closed == []


async def test_a_year_of_mondays_is_run_monday_by_monday(stage: Stage) -> None:
    runs = ScriptedRuns()
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(MONDAYS, continue_after_events=60)
        began = await stage.now()
        for _ in range(52):
            await stage.env.sleep(timedelta(weeks=1))
        due = ((await stage.now()) - began) // timedelta(weeks=1)
        await until(lambda: len(runs.orders) >= due)
        view = await job.shows(lambda view: view.running is None)
        assert len(await stage.runs(job.handle)) > 2
    slots = runs.slots
    assert {(slot.weekday(), slot.hour, slot.minute, slot.second) for slot in slots} == {
        (0, 9, 0, 0)
    }
    assert {later - sooner for sooner, later in pairwise(slots)} == {timedelta(weeks=1)}
    assert (len(slots), view.missed, view.skipped) == (due, 0, 0)


async def test_200_triggers_and_revisions_meet_a_job_that_continues_as_new_and_none_is_lost(
    stage: Stage,
) -> None:
    runs = ScriptedRuns()
    messages = MESSAGES if stage.cached else MESSAGES // 10  # each task replays the whole run
    accepted: list[str] = []
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(NEVER, continue_after_events=60)
        jobs = TemporalJobs(stage.env.client, continue_after_events=60)

        async def trigger() -> None:
            run = uuid.uuid4()
            while str(run) not in accepted:
                try:
                    await jobs.trigger(job.name, run, None)
                except AlreadyRunning:
                    await asyncio.sleep(0.05)
                else:
                    accepted.append(str(run))

        async def send(half: int) -> None:
            for number in range(1, messages // 4 + 1):
                told = definition(job.name, cronExpression=NEVER)
                revision = number * 2 + half
                await jobs.tell(JobRevision(name=job.name, revision=revision, definition=told))
                await trigger()

        await asyncio.gather(send(0), send(1))
        view = await job.shows(lambda view: view.running is None and not view.is_asked_for)
        assert len(await stage.runs(job.handle)) > messages // 40
    assert sorted(order.run_id for order in runs.orders) == sorted(accepted)
    assert len(accepted) == messages // 2
    assert view.revision == messages // 2 + 1
    assert runs.most_at_once == 1


async def test_the_answer_of_another_run_is_not_taken_for_this_ones(stage: Stage) -> None:
    """The harm: a server that was put back hands it to the step of the same number, whose own end is then lost."""
    runs = ScriptedRuns()
    runs.seconds = 3.0
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(NEVER)
        asked = str(uuid.uuid4())
        await job.update("trigger", {"run_id": asked})
        await until(lambda: bool(runs.orders))
        other = {"run_id": str(uuid.uuid4()), "status": "completed", "is_written": True}
        await stage.complete(job, asked, other)
        view = await job.shows(lambda view: view.last_run is not None)
        await until(lambda: bool(runs.closed))
    assert view.last_run is not None
    assert (view.last_run.run_id, view.last_run.status) == (asked, RunStatus.FAILED)
    (end,) = runs.closed[0].ends
    assert (end.run_id, (end.error or "").endswith(FATE_UNKNOWN)) == (asked, True)

"""Figures of jobs equal their rows, on every database, and cost little however long histories are."""

from datetime import timedelta

import pytest

from tests.storage.jobs.places import ADMIN, NAME, NOON, SERVICE, Place, definition, end, start
from vaultmesh.domain.jobs.figures import COMPARED, RECENT_RUNS, Histogram, JobFigures
from vaultmesh.domain.jobs.messages import SlotCounts
from vaultmesh.domain.jobs.records import Closing, RunEnd
from vaultmesh.domain.jobs.run import WORKER_DIED, TriggeredBy
from vaultmesh.domain.jobs.slots import SlotOutcome
from vaultmesh.storage.job_store import JobStore

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
DUE_FIRST = NOON.replace(hour=3, minute=0, second=0, microsecond=0) + DAY
"""The first slot of the job after noon: it is due at three o'clock."""


async def figures(store: JobStore, name: str = NAME) -> JobFigures:
    by_name = {job.name: job for job in await store.figures()}
    return by_name[name]


@pytest.fixture
async def store(store: JobStore) -> JobStore:
    """A store with one job."""
    await store.register(definition(), SERVICE, NOON)
    return store


def ran(number: int, error: str | None = None, *, seconds: float = 2, lag: float = 1.5) -> RunEnd:
    """Return the end of the run of a slot so many hours after noon, which began so late."""
    run = start(after=number * HOUR)
    slot = run.started_at - timedelta(seconds=lag)
    return end(run.model_copy(update={"slot": slot}), error, seconds=seconds)


async def test_a_job_that_was_just_registered_has_its_counters_and_owes_nothing(
    store: JobStore,
) -> None:
    job = await figures(store)
    assert (job.completed, job.failed) == (0, 0)
    assert job.slots == dict.fromkeys(SlotOutcome, 0)
    assert (job.durations, job.lags) == (Histogram(), Histogram())
    assert (job.consecutive_failures, job.last_success, job.median_duration) == (0, None, None)
    # Its first slot is due once, though it may have been registered just after one.
    assert (job.due, job.catch_up) == (DUE_FIRST, MINUTE)
    assert job.success_due == DUE_FIRST + DAY + timedelta(seconds=60 + 300 + 60)


async def test_figures_equal_the_rows(store: JobStore, place: Place) -> None:
    await store.close_run(ran(1, seconds=2))
    await store.close_run(ran(2, "HTTP 500: no", seconds=40))
    manual = start(after=3 * HOUR, by=TriggeredBy.MANUAL)
    await store.close_run(end(manual, seconds=0.05))
    await store.close_run(end(manual, seconds=0.05))
    await store.pass_slots(NAME, SlotCounts(missed=4, skipped=3, served=NOON))
    job = await figures(store)
    assert (job.completed, job.failed) == (2, 1)
    assert job.slots == {SlotOutcome.RUN: 2, SlotOutcome.MISSED: 4, SlotOutcome.SKIPPED: 3}
    assert job.durations == Histogram({0.1: 1, 5.0: 1, 60.0: 1}, 42.05)
    assert job.lags == Histogram({2.5: 2}, 3.0)
    assert (job.last_success, job.last_duration) == (
        NOON + 3 * HOUR,
        timedelta(milliseconds=50),
    )
    of_slots = place.sql("SELECT count(*) FROM scheduled_jobs WHERE triggered_by = 'scheduler'")
    assert [int(str(count)) for (count,) in of_slots] == [2]
    # Another process reads the same, whenever it starts, and also after the rows are gone.
    async with place.store() as other:
        assert await figures(other) == job
        assert await other.prune(NOON + 2 * HOUR) == 1
        again = await figures(other)
        assert (again.slots, again.durations) == (job.slots, job.durations)


async def test_a_run_whose_fate_is_unknown_counts_its_duration_when_that_is_known(
    store: JobStore,
) -> None:
    run = ran(1)
    lost = run.start.model_copy(update={"slot": None})
    assert await store.close_run(end(lost, WORKER_DIED, seconds=30)) is Closing.CLOSED
    job = await figures(store)
    assert (job.failed, job.slots[SlotOutcome.RUN], job.durations) == (1, 1, Histogram())
    assert await store.close_run(run) is Closing.REPLACED
    job = await figures(store)
    assert (job.completed, job.failed, job.slots[SlotOutcome.RUN]) == (1, 0, 1)
    assert job.durations == Histogram({5.0: 1}, 2.0)


async def test_failures_in_a_row_end_with_a_success_whoever_asked_for_it(store: JobStore) -> None:
    for number in range(1, 4):
        await store.close_run(ran(number, "HTTP 500: no"))
        assert (await figures(store)).consecutive_failures == number
    await store.open_run(start(after=4 * HOUR, by=TriggeredBy.MANUAL))
    under_way = await figures(store)
    assert (under_way.consecutive_failures, under_way.running_since) == (3, NOON + 4 * HOUR)
    assert under_way.due is None
    await store.close_run(end(start(after=4 * HOUR, by=TriggeredBy.MANUAL)))
    well = await figures(store)
    assert (well.consecutive_failures, well.running_since) == (0, None)
    assert well.last_success == NOON + 4 * HOUR


async def test_a_slot_that_no_run_followed_stays_due_until_one_does(store: JobStore) -> None:
    await store.pass_slots(NAME, SlotCounts(missed=1, served=DUE_FIRST))
    assert (await figures(store)).due == DUE_FIRST
    run = start(after=DUE_FIRST + 2 * HOUR - NOON, by=TriggeredBy.MANUAL)
    await store.close_run(end(run))
    assert (await figures(store)).due == DUE_FIRST + DAY


async def test_slots_that_passed_during_a_run_are_not_due(store: JobStore) -> None:
    """The harm: a job each minute that works for four looks late as soon as it is done."""
    await store.set_cron(NAME, "* * * * *", ADMIN, NOON)
    await store.close_run(ran(1, seconds=240))
    job = await figures(store)
    assert job.due is not None
    assert job.due > NOON + HOUR + 4 * MINUTE


@pytest.mark.parametrize("how", ["disabled", "paused", "unusable"])
async def test_nothing_is_expected_of_a_job_that_is_not_armed(
    store: JobStore, place: Place, how: str
) -> None:
    if how == "disabled":
        await store.disable(NAME, ADMIN, NOON)
    elif how == "paused":
        await store.pause(NAME, "a move", ADMIN, NOON)
    else:
        place.sql("UPDATE job_schedules SET cron_expression = 'each day'")
    job = await figures(store)
    assert (job.due, job.success_due, job.catch_up) == (None, None, None)


async def test_the_time_before_a_job_is_enabled_or_resumed_does_not_count(store: JobStore) -> None:
    later = NOON + 10 * DAY
    await store.pause(NAME, "a move", ADMIN, NOON)
    await store.resume(NAME, ADMIN, later)
    assert (await figures(store)).due == DUE_FIRST + 10 * DAY
    await store.disable(NAME, ADMIN, later)
    await store.enable(NAME, ADMIN, later + 10 * DAY)
    job = await figures(store)
    assert (job.due, job.is_enabled, job.is_paused) == (DUE_FIRST + 20 * DAY, True, False)


async def test_a_deleted_job_has_no_figures_and_a_new_one_of_its_name_goes_on(
    store: JobStore,
) -> None:
    await store.close_run(ran(1))
    await figures(store)
    await store.delete(NAME, ADMIN, NOON)
    assert await store.figures() == ()
    await store.allow(NAME, ADMIN, NOON)
    await store.register(definition(), SERVICE, NOON + DAY)
    job = await figures(store)
    assert (job.completed, job.slots[SlotOutcome.RUN], job.due) == (1, 1, DUE_FIRST + DAY)


async def test_a_median_needs_twenty_runs_before_the_newest(store: JobStore) -> None:
    for number in range(COMPARED):
        await store.close_run(ran(number, seconds=number))
    assert (await figures(store)).median_duration is None
    await store.close_run(ran(COMPARED, "HTTP 500: no", seconds=900))
    await store.close_run(ran(COMPARED + 1, seconds=600))
    job = await figures(store)
    assert job.median_duration == timedelta(seconds=9.5)
    assert job.last_duration == timedelta(seconds=600)


async def test_a_success_that_lies_far_back_is_found(store: JobStore, place: Place) -> None:
    await store.close_run(ran(0))
    for number in range(1, RECENT_RUNS + 2):
        await store.close_run(ran(number, "HTTP 500: no"))
    assert (await figures(store)).last_success == NOON
    async with place.store() as other:
        job = await figures(other)
        assert (job.last_success, job.consecutive_failures) == (NOON, RECENT_RUNS)


async def test_what_somebody_does_to_runs_by_sql_shows(store: JobStore, place: Place) -> None:
    for number in range(3):
        await store.close_run(ran(number, "HTTP 500: no"))
    assert (await figures(store)).consecutive_failures == 3
    place.sql("UPDATE scheduled_jobs SET status = 'completed'")
    assert (await figures(store)).consecutive_failures == 0


async def test_a_store_of_the_version_before_gets_the_table_and_loses_nothing(
    place: Place,
) -> None:
    async with place.store() as store:
        await store.register(definition(), SERVICE, NOON)
        await store.close_run(ran(1))
    place.sql("DROP TABLE job_figures")
    async with place.store() as store:
        job = await figures(store)
        assert (job.completed, job.last_success) == (1, NOON + HOUR)
        # Nobody noted when it was armed: its decisions and runs say from when on slots are due.
        assert job.due == DUE_FIRST
        await store.close_run(ran(2))
        assert (await figures(store)).slots[SlotOutcome.RUN] == 1


async def test_a_histogram_that_somebody_broke_by_sql_counts_from_nothing(
    store: JobStore, place: Place
) -> None:
    await store.close_run(ran(1))
    place.sql("""UPDATE job_figures SET durations = '["x"]', lags = '{"x": "y", "total": []}'""")
    assert (await figures(store)).durations == Histogram()
    await store.close_run(ran(2))
    assert (await figures(store)).durations.counts == {5.0: 1}

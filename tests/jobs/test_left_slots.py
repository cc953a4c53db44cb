"""A slot that another scheduler begins is not called a second time; one that it leaves is not lost."""

import asyncio
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.testing import ActivityEnvironment

from activities.jobs.run_job import STOPPED_WAITING, JobRuns
from tests.jobs.calls import calls_to
from tests.jobs.job_system import Handler
from tests.storage.jobs.places import NAME, SERVICE, Place, definition
from vaultmesh.domain.jobs.messages import JobInput, JobSpec, RunEnd, RunOrder
from vaultmesh.domain.jobs.other_scheduler import BEGINS_WITHIN
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy, run_id
from vaultmesh.domain.jobs.schedule import JobSchedule

MINUTELY = "* * * * *"
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
DRAIN = MINUTE


@pytest.fixture
def handler() -> Iterator[Handler]:
    handler = Handler()
    yield handler
    handler.shutdown()
    handler.server_close()


def last_slot(ago: timedelta = timedelta(0)) -> datetime:
    """Return an instant that stands for a slot: which of them cron means does not matter here."""
    return (datetime.now(UTC) - ago).replace(microsecond=0)


def order(slot: datetime | None) -> RunOrder:
    spec = JobSpec(name=NAME, cron=MINUTELY, service="report-service", endpoint="/x")
    if slot is None:
        return RunOrder(spec=spec, run_id=str(uuid.uuid4()), triggered_by=TriggeredBy.MANUAL)
    return RunOrder(spec=spec, run_id=str(run_id(NAME, slot)), slot=slot)


def begun_by_other(place: Place, at: datetime) -> None:
    place.sql(
        "INSERT INTO scheduled_jobs (id, job_name, job_type, status, started_at, triggered_by) VALUES "  # noqa: S608
        f"('{uuid.uuid4()}', '{NAME}', 'email', 'running', '{at:%Y-%m-%dT%H:%M:%S.%fZ}', 'scheduler')"
    )


async def run(place: Place, handler: Handler, asked: RunOrder) -> RunEnd:
    async with place.store() as store:
        await store.register(
            definition(cronExpression=MINUTELY), SERVICE, datetime.now(UTC) - 9 * MINUTE
        )
        runs = JobRuns(store, calls_to(handler.url), DRAIN)
        return await ActivityEnvironment().run(runs.run_job, asked)


@pytest.fixture
async def place(tmp_path: object) -> Place:
    place = Place(tmp_path)  # type: ignore[arg-type]
    async with place.store():
        return place


async def test_a_slot_that_another_scheduler_has_begun_is_skipped_at_once_and_says_why(
    place: Place, handler: Handler
) -> None:
    slot = last_slot()
    begun_by_other(place, slot)
    end = await run(place, handler, order(slot))
    assert (end.is_dropped, end.is_skipped, end.is_written) == (True, True, False)
    assert end.error is not None
    assert end.error.startswith("left to another scheduler")
    assert handler.calls == []
    assert place.sql("SELECT count(*) FROM scheduled_jobs") == [(1,)]


async def test_a_slot_that_another_scheduler_begins_a_little_later_is_left_to_it(
    place: Place, handler: Handler
) -> None:
    slot = last_slot()
    begun_by_other(place, slot - MINUTE)
    running = asyncio.create_task(run(place, handler, order(slot)))
    await asyncio.sleep(2)  # whoever does not wait has called by then
    assert handler.calls == []
    begun_by_other(place, datetime.now(UTC))
    assert (await running).is_skipped
    assert handler.calls == []


async def test_a_slot_that_another_scheduler_leaves_is_run_when_its_time_is_over(
    place: Place, handler: Handler
) -> None:
    slot = last_slot(BEGINS_WITHIN - 3 * SECOND)
    begun_by_other(place, slot - MINUTE)
    end = await run(place, handler, order(slot))
    assert (end.status, end.is_dropped) == (RunStatus.COMPLETED, False)
    assert len(handler.calls) == 1
    assert handler.calls[0]["at"] >= (slot + BEGINS_WITHIN).timestamp()


async def test_a_worker_that_ends_while_it_waits_has_called_nobody_and_says_so(
    place: Place, handler: Handler
) -> None:
    slot = last_slot()
    begun_by_other(place, slot - MINUTE)
    environment = ActivityEnvironment()
    async with place.store() as store:
        await store.register(definition(cronExpression=MINUTELY), SERVICE, slot - 9 * MINUTE)
        runs = JobRuns(store, calls_to(handler.url), DRAIN)
        running = asyncio.create_task(environment.run(runs.run_job, order(slot)))
        await asyncio.sleep(1)
        environment.cancel()
        end = await running
    assert (end.status, end.is_written) == (RunStatus.FAILED, True)
    assert end.error == STOPPED_WAITING
    assert handler.calls == []


async def test_the_next_slot_waits_for_nobody(place: Place, handler: Handler) -> None:
    slot = last_slot(BEGINS_WITHIN)
    begun_by_other(place, slot - 2 * MINUTE)
    first = await run(place, handler, order(slot - MINUTE))
    async with place.store() as store:
        (mine,) = [
            run for run in (await store.history(NAME, 9, 0)).executions if run.id == first.run_id
        ]
    assert mine.status == RunStatus.COMPLETED
    began = asyncio.get_running_loop().time()
    assert (await run(place, handler, order(last_slot()))).status is RunStatus.COMPLETED
    assert asyncio.get_running_loop().time() - began < BEGINS_WITHIN.total_seconds() / 2


async def test_a_run_that_somebody_asks_for_is_made_beside_another_scheduler(
    place: Place, handler: Handler
) -> None:
    begun_by_other(place, datetime.now(UTC))
    assert (await run(place, handler, order(None))).status is RunStatus.COMPLETED
    assert len(handler.calls) == 1


async def test_a_slot_that_was_left_counts_as_skipped_and_as_no_run() -> None:
    slot = last_slot()
    spec = order(slot).spec
    schedule = JobSchedule(JobInput(spec=spec), slot - MINUTE)
    taken = schedule.take(slot.replace(second=0) + timedelta(seconds=1))
    assert taken is not None
    schedule.ended(
        RunEnd(run_id=taken.run_id, is_dropped=True, is_skipped=True), slot.replace(second=2)
    )
    assert (schedule.counts.skipped, schedule.last_run, schedule.failures) == (1, None, 0)

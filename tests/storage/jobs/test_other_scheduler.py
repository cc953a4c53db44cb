"""Another scheduler on the same database is known by its rows, and by nothing else."""

import uuid
from datetime import datetime, timedelta

from tests.storage.jobs.places import ADMIN, NAME, NOON, SERVICE, Place, definition, end, start
from tests.storage.jobs.test_takeover import SEED
from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.jobs.importing import read_run
from vaultmesh.domain.jobs.messages import SlotCounts
from vaultmesh.domain.jobs.other_scheduler import LastBegun, slot_span
from vaultmesh.domain.jobs.records import AuditLine, Opening
from vaultmesh.domain.jobs.run import TriggeredBy
from vaultmesh.storage.job_store import JobStore

HOUR = timedelta(hours=1)
HOURLY = "0 * * * *"
SLOT = NOON.replace(minute=0, second=0, microsecond=0) + HOUR
SPAN = slot_span(read_cron(HOURLY), SLOT)


def begun_by_hand(place: Place, at: datetime, *, name: str = NAME, by: str = "scheduler") -> None:
    place.sql(
        "INSERT INTO scheduled_jobs (id, job_name, job_type, status, started_at, triggered_by) VALUES "  # noqa: S608
        f"('{uuid.uuid4()}', '{name}', 'email', 'running', '{at:%Y-%m-%dT%H:%M:%S.%fZ}', '{by}')"
    )


async def registered(store: JobStore, *names: str) -> None:
    for name in names or (NAME,):
        await store.register(definition(name, cronExpression=HOURLY), SERVICE, NOON - 9 * HOUR)


async def test_rows_of_another_scheduler_are_a_sign_until_a_slot_was_run_here_alone(
    store: JobStore, place: Place
) -> None:
    await registered(store)
    assert await store.last_begun(NAME, SPAN, SLOT) == LastBegun()
    assert await store.left_to_other(NOON) == {}
    begun_by_hand(place, SLOT - HOUR)
    assert await store.last_begun(NAME, SPAN, SLOT) == LastBegun(by_other=SLOT - HOUR)
    assert await store.left_to_other(NOON) == {NAME: SLOT - HOUR}
    await store.open_run(start(after=SLOT - NOON))
    later = slot_span(read_cron(HOURLY), SLOT + HOUR)
    began = await store.last_begun(NAME, later, SLOT + HOUR)
    assert (began.by_us, began.sign_of_other) == (SLOT, None)
    assert await store.left_to_other(SLOT) == {}


async def test_no_row_is_opened_while_another_scheduler_may_begin_the_slot(
    store: JobStore, place: Place
) -> None:
    """The harm: its row and ours stand side by side, and the handler is called twice."""
    await registered(store)
    begun_by_hand(place, SLOT - HOUR)
    run, slots = start(after=SLOT - NOON), SlotCounts(served=SLOT)
    waits = await store.open_run(run, slots, SPAN)
    assert (waits.outcome, waits.slots) == (Opening.WAITS, None)
    assert len(place.sql("SELECT id FROM scheduled_jobs")) == 1  # the other one's
    decisions = await store.decisions(NAME)
    assert decisions is not None
    assert decisions.served != SLOT
    assert (await store.open_run(run, slots)).outcome is Opening.OPENED
    later = start(after=SLOT - NOON + HOUR)
    span = slot_span(read_cron(HOURLY), SLOT + HOUR)
    assert (await store.open_run(later, slots, span)).outcome is Opening.OPENED


async def test_runs_of_replicas_and_runs_that_somebody_asked_for_hold_nothing_back(
    store: JobStore, place: Place
) -> None:
    await registered(store)
    await store.close_run(end(start()))
    await store.open_run(start(after=timedelta(seconds=1)))
    begun_by_hand(place, NOON, by="manual")
    begun_by_hand(place, NOON, by="admin")
    manual = start(by=TriggeredBy.MANUAL).model_copy(update={"id": uuid.uuid4()})
    await store.open_run(manual)
    assert (await store.last_begun(NAME, SPAN, SLOT)).sign_of_other is None
    assert await store.left_to_other(NOON) == {}


async def test_a_row_that_somebody_wrote_by_hand_holds_nothing_back_for_long(
    store: JobStore, place: Place
) -> None:
    await registered(store)
    begun_by_hand(place, SLOT - 3 * HOUR)
    await registered(store, "other")
    await store.open_run(start("other", after=-2 * HOUR))
    assert await store.left_to_other(SLOT + 24 * HOUR) == {}


async def test_a_job_that_nobody_ran_yet_is_left_while_another_scheduler_begins_other_jobs(
    store: JobStore, place: Place
) -> None:
    await registered(store, NAME, "new")
    begun_by_hand(place, SLOT - 5 * HOUR)
    began = await store.last_begun("new", SPAN, SLOT)
    assert began.sign_of_other == SLOT - 5 * HOUR
    assert not began.has_begun(SPAN)
    assert set(await store.left_to_other(NOON)) == {NAME, "new"}
    assert await store.left_to_other(NOON + timedelta(days=2)) == {}
    await store.open_run(start(after=SLOT - NOON))  # the other one has left a slot: it is gone
    assert await store.left_to_other(SLOT) == {}
    assert (await store.last_begun("new", SPAN, SLOT)).sign_of_other is None


async def test_imported_history_holds_nothing_back_and_what_begins_later_does(
    store: JobStore, place: Place
) -> None:
    await registered(store)
    run = {"id": str(uuid.uuid4()), "job_name": NAME, "status": "completed", "started_at": NOON}
    line = AuditLine(at=NOON, actor=ADMIN.name, action="import", job_name="")
    taken = await store.take_runs([read_run(run, NOON)], line)
    assert (taken.taken, taken.refused) == (1, [])
    assert await store.left_to_other(NOON) == {}
    assert await store.foreign_runs(NOON - HOUR) == ()
    begun_by_hand(place, NOON + timedelta(seconds=1))
    assert set(await store.left_to_other(NOON)) == {NAME}
    assert len(await store.foreign_runs(NOON - HOUR)) == 1


async def test_rows_that_are_partial_or_of_another_form_break_nothing(
    store: JobStore, place: Place
) -> None:
    await registered(store)
    if place.is_file:
        place.sql(
            "INSERT INTO scheduled_jobs (id, job_name, started_at, triggered_by) VALUES "  # noqa: S608
            f"('by hand', '{NAME}', '2026-03-02T12:00:00Z', null)"
        )
        assert set(await store.left_to_other(NOON)) == {NAME}
        assert len(await store.foreign_runs(NOON - HOUR)) == 1
    place.sql("UPDATE job_schedules SET cron_expression = '@daily'")
    assert await store.left_to_other(NOON) == {}


async def test_a_database_with_an_enum_and_accounts_is_looked_at_as_well(postgres: Place) -> None:
    postgres.sql(SEED)
    async with postgres.store() as store:
        await registered(store)
        begun_by_hand(postgres, SLOT - HOUR)
        assert set(await store.left_to_other(NOON)) == {NAME}

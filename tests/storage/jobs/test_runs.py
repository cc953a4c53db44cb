"""Runs are inserted once, closed once and counted once, whatever is repeated, and their history is bounded."""

import uuid
from datetime import timedelta

import pytest

from tests.storage.jobs.places import (
    ADMIN,
    NAME,
    NOON,
    SERVICE,
    Place,
    definition,
    end,
    every_kind,
    start,
)
from vaultmesh.domain.jobs.messages import SlotCounts, Stretch, Unchecked
from vaultmesh.domain.jobs.records import AuditLine, Closing, Opening, RunStats
from vaultmesh.domain.jobs.run import NO_WORKER, WORKER_DIED, RunStatus, TriggeredBy
from vaultmesh.storage.job_store import JobStore
from vaultmesh.storage.jobs import history

MINUTE = timedelta(minutes=1)
Counters = tuple[int, int, int, str | None]


async def counters(store: JobStore, name: str = NAME) -> Counters:
    job = await store.get(name)
    assert job is not None
    row = job.row
    return row.total_runs, row.successful_runs, row.failed_runs, row.last_run_status


@pytest.fixture
async def store(store: JobStore) -> JobStore:
    """A store with one job."""
    await store.register(definition(), SERVICE, NOON)
    return store


async def test_a_run_is_seen_with_its_start_before_it_ends(store: JobStore) -> None:
    opened = await store.open_run(start())
    assert opened.outcome is Opening.OPENED
    assert opened.job is not None
    assert opened.job.definition == definition()
    (run,) = await store.running(NOON + MINUTE)
    assert (run.id, run.status, run.completed_at) == (str(start().id), RunStatus.RUNNING, None)
    assert run.started_at == NOON
    assert await store.running(NOON) == ()
    assert await counters(store) == (0, 0, 0, None)


@every_kind
async def test_a_slot_is_called_once_though_a_workflow_is_reset(store: JobStore) -> None:
    run = start()
    assert (await store.open_run(run)).outcome is Opening.OPENED
    # Our own question again, since its answer was lost: the call was not made yet.
    assert (await store.open_run(run)).outcome is Opening.OPENED
    another = run.model_copy(update={"started_at": NOON + MINUTE})
    assert (await store.open_run(another)).outcome is Opening.EXISTS
    await store.close_run(end(run))
    again = await store.open_run(run)
    assert again.outcome is Opening.EXISTS
    assert again.run is not None
    assert again.run.status == RunStatus.COMPLETED


async def test_a_run_under_way_is_no_slot_that_nobody_dealt_with(store: JobStore) -> None:
    """The harm: a workflow that began anew meanwhile counted its slot as missed, beside its row."""
    slots = SlotCounts(served=NOON + MINUTE, missed=2)
    opened = await store.open_run(start(after=MINUTE), slots)
    assert opened.slots == slots
    job = await store.get(NAME)
    assert job is not None
    assert (job.decisions.served, job.decisions.missed) == (NOON + MINUTE, 2)
    await store.disable(NAME, ADMIN, NOON)
    later = SlotCounts(served=NOON + 2 * MINUTE, missed=3)
    assert (await store.open_run(start(after=2 * MINUTE), later)).slots is None
    job = await store.get(NAME)
    assert job is not None
    assert job.decisions.missed == 2


async def test_slots_that_were_dealt_with_before_a_reset_count_once(store: JobStore) -> None:
    run, begun = start(after=10 * MINUTE), NOON.replace(microsecond=0)
    await store.pass_slots(NAME, SlotCounts(served=begun + 8 * MINUTE, missed=3, skipped=1))
    stretch = Stretch(since=begun, until=begun + 9 * MINUTE, is_missed=True)
    unchecked = Unchecked(cron="* * * * *", stretches=[stretch])
    told = SlotCounts(served=begun + 10 * MINUTE, missed=9, unchecked=unchecked)
    known = SlotCounts(served=begun + 10 * MINUTE, missed=4, skipped=1)
    assert (await store.open_run(run, told)).slots == known
    assert (await store.open_run(run, told)).slots == known


async def test_a_scheduled_run_of_a_job_that_must_not_run_is_dropped(store: JobStore) -> None:
    by_hand = start(after=MINUTE, by=TriggeredBy.MANUAL)
    await store.pause(NAME, "", ADMIN, NOON)
    assert (await store.open_run(start())).outcome is Opening.DROPPED
    await store.resume(NAME, ADMIN, NOON)
    await store.disable(NAME, ADMIN, NOON)
    assert (await store.open_run(start())).outcome is Opening.DROPPED
    assert (await store.open_run(by_hand)).outcome is Opening.OPENED
    await store.delete(NAME, ADMIN, NOON)
    assert (await store.open_run(start(by=TriggeredBy.MANUAL))).outcome is Opening.DROPPED
    task = start("maintenance:vacuum").model_copy(update={"needs_job": False})
    assert (await store.open_run(task)).outcome is Opening.OPENED
    assert (await store.history(NAME, 10, 0)).total == 1


@every_kind
async def test_a_run_counts_once_though_its_end_is_written_again(store: JobStore) -> None:
    await store.open_run(start())
    slots = SlotCounts(served=NOON + MINUTE, missed=2, skipped=1)
    ended = end(start(), slots=slots, items=5)
    closings = [await store.close_run(ended) for _ in range(3)]
    assert closings == [Closing.CLOSED, Closing.KEPT, Closing.KEPT]
    assert await counters(store) == (1, 1, 0, "completed")
    job = await store.get(NAME)
    assert job is not None
    assert (job.row.last_run_at, job.row.last_run_duration_ms) == (NOON, 2_000)
    assert (job.decisions.missed, job.decisions.skipped) == (2, 1)
    assert job.decisions.served == NOON + MINUTE
    assert await store.check() == ()


async def test_a_run_whose_row_could_not_be_opened_is_written_at_its_end(store: JobStore) -> None:
    assert await store.close_run(end(start(), "HTTP 500: Internal Server Error")) is Closing.CLOSED
    assert await store.close_run(end(start())) is Closing.KEPT
    assert (await store.open_run(start())).outcome is Opening.EXISTS
    run = await store.run(NAME, start().id)
    assert run is not None
    assert (run.status, run.error_message) == ("failed", "HTTP 500: Internal Server Error")
    assert (run.started_at, run.duration_ms) == (NOON, 2_000)
    assert await counters(store) == (1, 0, 1, "failed")
    assert await store.check() == ()


@every_kind
async def test_a_true_end_replaces_an_unknown_fate_once_with_the_counters(store: JobStore) -> None:
    await store.open_run(start())
    slots = SlotCounts(served=NOON, missed=1)
    assert await store.close_run(end(start(), WORKER_DIED, slots=slots)) is Closing.CLOSED
    assert await counters(store) == (1, 0, 1, "failed")
    assert await store.close_run(end(start(), WORKER_DIED)) is Closing.KEPT
    assert await store.close_run(end(start(), seconds=60, slots=slots)) is Closing.REPLACED
    assert await counters(store) == (1, 1, 0, "completed")
    for error in (None, "HTTP 500: no", WORKER_DIED, NO_WORKER):
        assert await store.close_run(end(start(), error)) is Closing.KEPT
    run = await store.run(NAME, start().id)
    assert run is not None
    assert (run.status, run.error_message, run.duration_ms) == ("completed", None, 60_000)
    job = await store.get(NAME)
    assert job is not None
    assert job.decisions.missed == 1
    assert await store.check() == ()


async def test_a_true_end_that_is_a_failure_counts_no_second_one(store: JobStore) -> None:
    await store.close_run(end(start(), WORKER_DIED))
    assert await store.close_run(end(start(), "HTTP 500: no")) is Closing.REPLACED
    assert await counters(store) == (1, 0, 1, "failed")
    assert await store.check() == ()


async def test_the_last_run_stays_the_last_when_an_older_one_ends_later(store: JobStore) -> None:
    await store.close_run(end(start(), WORKER_DIED))
    await store.close_run(end(start(after=MINUTE), "HTTP 500: no"))
    await store.close_run(end(start(), seconds=300))
    assert await counters(store) == (2, 1, 1, "failed")
    job = await store.get(NAME)
    assert job is not None
    assert job.row.last_run_at == NOON + MINUTE


async def test_what_a_handler_answers_can_always_be_written(store: JobStore) -> None:
    nasty = {"a\x00": "\ud800 half", "n": float("nan"), "big": 2**70, "deep": [[{"x": 1.5}]]}
    ended = end(start(), "bad \x00 \udfff").model_copy(
        update={"metadata": nasty, "items_processed": 2**40, "items_failed": -(2**40)}
    )
    assert await store.close_run(ended) is Closing.CLOSED
    run = await store.run(NAME, start().id)
    assert run is not None
    assert run.metadata == {
        "a\ufffd": "? half",
        "n": None,
        "big": str(2**70),
        "deep": [[{"x": 1.5}]],
    }
    assert run.error_message == "bad \ufffd ?"
    assert (run.items_processed, run.items_failed) == (2**31 - 1, -(2**31) + 1)


async def test_history_goes_by_pages_newest_first(store: JobStore) -> None:
    for minutes in (2, 0, 1):
        await store.close_run(end(start(after=minutes * MINUTE)))
    page = await store.history(NAME, 2, 0)
    starts = [run.started_at for run in page.executions]
    assert (starts, page.total) == ([NOON + 2 * MINUTE, NOON + MINUTE], 3)
    rest = await store.history(NAME, 2, 2)
    assert [run.started_at for run in rest.executions] == [NOON]
    assert (await store.history(NAME, 2, 4)).executions == ()
    assert (await store.history("nobody", 2, 0)).total == 0
    entry = page.executions[0].model_dump(mode="json")
    assert entry == {
        "id": str(start(after=2 * MINUTE).id), "job_name": NAME, "job_type": "other", "status": "completed",
        "started_at": "2026-03-02T12:02:00.123456Z", "completed_at": "2026-03-02T12:02:02.123456Z", "duration_ms": 2_000,
        "items_processed": 0, "items_succeeded": 0, "items_failed": 0, "error_message": None, "metadata": None,
        "triggered_by": "scheduler", "triggered_by_user": None,
    }  # fmt: skip


@every_kind
async def test_pages_from_either_end_show_each_run_once_also_those_of_one_instant(
    store: JobStore,
) -> None:
    await store.register(definition(), SERVICE, NOON)
    for number in range(9):
        run = start(after=timedelta(minutes=number // 3)).model_copy(update={"id": uuid.uuid4()})
        await store.close_run(end(run))
    whole = (await store.history(NAME, 100, 0)).executions
    assert len({run.id for run in whole}) == 9
    assert [run.started_at for run in whole] == sorted(
        (run.started_at for run in whole), key=lambda at: at or NOON, reverse=True
    )
    for limit in (1, 2, 4, 5, 9, 20):
        for offset in range(11):
            page = await store.history(NAME, limit, offset)
            assert page.executions == whole[offset : offset + limit], (limit, offset)
            assert page.total == 9


@every_kind
async def test_stats_are_sums_over_days(store: JobStore) -> None:
    day = timedelta(days=1)
    await store.close_run(end(start(), items=5))
    await store.close_run(end(start(after=day), "HTTP 500: no", seconds=4, items=7))
    await store.open_run(start(after=day + MINUTE))
    now = NOON + 2 * day
    assert await store.stats(NAME, 30, now) == RunStats(
        total_executions=3,
        successful_executions=1,
        failed_executions=1,
        avg_duration_ms=3_000,
        total_items_processed=12,
    )
    assert (await store.stats(NAME, 1, now)).total_executions == 2
    assert await store.stats("nobody", 30, now) == RunStats()


async def test_history_outlives_the_job_and_counts_again_when_it_comes_back(
    store: JobStore,
) -> None:
    await store.close_run(end(start()))
    await store.open_run(start(after=MINUTE))
    await store.delete(NAME, ADMIN, NOON)
    assert await store.close_run(end(start(after=MINUTE), "HTTP 500: no")) is Closing.CLOSED
    assert (await store.history(NAME, 10, 0)).total == 2
    await store.allow(NAME, ADMIN, NOON)
    await store.register(definition(), SERVICE, NOON)
    assert await counters(store) == (2, 1, 1, None)
    await store.close_run(end(start(after=2 * MINUTE)))
    assert await store.check() == ()


@every_kind
async def test_old_runs_are_pruned_a_batch_at_a_time_and_counters_stay(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PRUNED_A_GO", 2)
    for minutes in range(5):
        await store.close_run(end(start(after=minutes * MINUTE), None if minutes % 2 else "no"))
    await store.open_run(start(after=-MINUTE))
    before = NOON + 3 * MINUTE
    assert [await store.prune(before) for _ in range(3)] == [2, 1, 0]
    assert (await store.history(NAME, 10, 0)).total == 3
    assert len(await store.running(NOON)) == 1
    assert await counters(store) == (5, 2, 3, "failed")
    assert await store.check() == ()


async def test_a_counter_that_differs_from_the_rows_is_found(store: JobStore, place: Place) -> None:
    await store.close_run(end(start()))
    place.sql("UPDATE job_schedules SET total_runs = 2, successful_runs = 3")
    found = [
        (miscount.counter, miscount.counted, miscount.rows) for miscount in await store.check()
    ]
    assert found == [("total_runs", 2, 1), ("successful_runs", 3, 1)]


async def test_the_last_success_is_known_though_later_runs_failed(store: JobStore) -> None:
    await store.register(definition("other"), SERVICE, NOON)
    await store.register(definition("never"), SERVICE, NOON)
    await store.close_run(end(start()))
    await store.close_run(end(start(after=MINUTE), "HTTP 500: no"))
    await store.close_run(end(start("other", after=MINUTE)))
    await store.close_run(end(start("never"), "HTTP 500: no"))
    assert await store.last_successes() == {NAME: NOON, "other": NOON + MINUTE}


async def test_runs_of_another_scheduler_are_told_apart_from_ours(
    store: JobStore, place: Place
) -> None:
    await store.close_run(end(start()))
    manual = start(after=MINUTE, by=TriggeredBy.MANUAL).model_copy(update={"id": uuid.uuid4()})
    await store.close_run(end(manual))
    assert await store.foreign_runs(NOON) == ()
    foreign = uuid.uuid4()
    place.sql(
        "INSERT INTO scheduled_jobs (id, job_name, job_type, status, started_at, triggered_by) VALUES "  # noqa: S608
        f"('{foreign}', '{NAME}', 'email', 'running', '2026-03-02T12:05:00Z', 'scheduler')"
    )
    assert [run.id for run in await store.foreign_runs(NOON)] == [str(foreign)]
    assert await store.foreign_runs(NOON + timedelta(hours=1)) == ()


async def test_who_asked_is_kept_where_the_column_takes_it(store: JobStore) -> None:
    asked = uuid.uuid4()
    for minutes, user in enumerate((str(asked), "user_2abc", None)):
        run = start(after=minutes * MINUTE, by=TriggeredBy.MANUAL).model_copy(update={"user": user})
        assert (await store.open_run(run)).outcome is Opening.OPENED
    page = await store.history(NAME, 10, 0)
    assert [run.triggered_by_user for run in page.executions] == [None, None, str(asked)]


@every_kind
async def test_the_audit_bounds_itself_and_the_database_stays_known_as_ours(place: Place) -> None:
    async with place.store() as store:
        for minutes in range(5):
            line = AuditLine(
                at=NOON + minutes * MINUTE, actor="ada", action="trigger", job_name=NAME
            )
            await store.note(line)
        assert await store.prune_audit(NOON + 3 * MINUTE) == 3
        assert await store.prune_audit(NOON + 3 * MINUTE) == 0
        left = await store.audit()
        assert [line.action for line in left] == ["pruned", "trigger", "trigger", "tables made"]
    place.sql("UPDATE job_audit SET at = '2020-01-01T00:00:00Z' WHERE action = 'tables made'")
    async with place.store() as store:
        assert await store.prune_audit(NOON + 9 * MINUTE) == 2
        assert store.made_by_us
    async with place.store() as store:
        assert store.made_by_us


async def test_a_large_audit_goes_in_portions(place: Place) -> None:
    async with place.store() as store:
        numbers = (
            "generate_series(1, 7000) AS n"
            if not place.is_file
            else "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 7000) SELECT n FROM c)"
        )
        place.sql(
            "INSERT INTO job_audit (at, actor, action, job_name) "  # noqa: S608 - constants
            f"SELECT '2026-03-02T12:00:00.000000Z', 'ada', 'trigger', 'x' FROM {numbers}"
        )
        assert await store.prune_audit(NOON + MINUTE) == 5_000
        assert await store.prune_audit(NOON + MINUTE) == 2_000

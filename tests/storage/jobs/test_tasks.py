"""Maintenance tasks in the job store: what a file says is entered once, told once, and stays apart from the jobs of services."""

from datetime import timedelta

from tests.storage.jobs.places import ADMIN, NOON, SERVICE, definition, end, start
from vaultmesh.domain.jobs.messages import SlotCounts
from vaultmesh.domain.jobs.records import Actor, Closing
from vaultmesh.domain.jobs.run import TriggeredBy
from vaultmesh.domain.jobs.tasks import TaskSchedule
from vaultmesh.storage.job_store import JobStore

TASK = "maintenance:tidy"
FILE = Actor(name="maintenance.yaml")
NIGHTLY = TaskSchedule(kind="vacuum", cron="0 3 * * *", timeout_seconds=90, version="a")
LATER = NOON + timedelta(hours=1)


async def test_what_a_file_says_is_a_revision_once_and_told_until_it_was_heard(
    store: JobStore,
) -> None:
    first = await store.offer_task(TASK, NIGHTLY, FILE, NOON)
    again = await store.offer_task(TASK, NIGHTLY, FILE, LATER)
    assert (first.changed, again.changed) == (True, False)
    assert first.now == again.now
    assert (first.now.task, first.now.served, first.now.is_gone) == (NIGHTLY, NOON, False)
    assert await store.untold() == (first.now,)
    await store.mark_told(TASK, first.now.revision)
    assert await store.untold() == ()
    assert await store.tasks() == await store.revisions() == (first.now,)
    other = NIGHTLY.model_copy(update={"cron": "0 4 * * *", "version": "b"})
    changed = await store.offer_task(TASK, other, FILE, LATER)
    assert (changed.now.served, changed.now.task) == (LATER, other)
    (line, _) = await store.audit(TASK)
    assert (line.actor, line.action) == ("maintenance.yaml", "offer")
    assert line.detail == {"said": other.model_dump(mode="json")}


async def test_a_task_that_is_gone_is_told_to_stop_and_keeps_history_counts_and_pause(
    store: JobStore,
) -> None:
    await store.offer_task(TASK, NIGHTLY, FILE, NOON)
    await store.pause(TASK, "a migration", ADMIN, NOON)
    run = start(TASK).model_copy(update={"needs_job": False})
    slots = SlotCounts(missed=2, skipped=1, served=LATER)
    await store.open_run(run, slots)
    await store.close_run(end(run, items=4))
    gone = await store.withdraw_task(TASK, FILE, LATER)
    assert (gone.changed, gone.now.is_gone, gone.now.task) == (True, True, None)
    assert (await store.withdraw_task(TASK, FILE, LATER)).changed is False
    assert await store.untold() == (gone.now,)
    assert (await store.history(TASK, 10, 0)).total == 1
    back = await store.offer_task(TASK, NIGHTLY, FILE, LATER + timedelta(days=1))
    assert back.now.paused is not None
    assert (back.now.missed, back.now.skipped) == (2, 1)
    assert back.now.served == LATER + timedelta(days=1)


async def test_each_run_of_a_task_is_a_line_of_audit_that_is_there_exactly_if_its_end_is(
    store: JobStore,
) -> None:
    nightly = start(TASK).model_copy(update={"needs_job": False})
    asked = start(TASK, after=timedelta(minutes=5), by=TriggeredBy.MANUAL)
    asked = asked.model_copy(update={"needs_job": False, "user": "operator ada"})
    await store.open_run(nightly, None)
    assert await store.audit(TASK) == ()
    done = end(nightly).model_copy(update={"metadata": {"outcome": "not needed"}})
    assert await store.close_run(done) is Closing.CLOSED
    assert await store.close_run(done) is Closing.KEPT
    await store.close_run(end(asked, "denied: public.goods"))
    later, earlier = await store.audit(TASK)
    assert (earlier.actor, earlier.action, earlier.execution_id) == ("scheduler", "run", nightly.id)
    assert (earlier.at, earlier.detail) == (done.completed_at, {"outcome": "not needed"})
    assert later.actor == "operator ada"
    assert later.detail == {"outcome": "failed", "error": "denied: public.goods"}
    assert await store.prune_audit(NOON + timedelta(days=1)) == 2


async def test_a_run_of_a_services_job_stays_in_its_history_alone(store: JobStore) -> None:
    await store.register(definition(), SERVICE, NOON)
    run = start()
    await store.open_run(run, None)
    await store.close_run(end(run))
    assert [line.action for line in await store.audit(run.job_name)] == ["register"]


async def test_tasks_are_among_no_jobs_and_jobs_among_no_tasks(store: JobStore) -> None:
    await store.offer_task(TASK, NIGHTLY, FILE, NOON)
    await store.register(definition(), SERVICE, NOON)
    assert [job.name for job in await store.list()] == [definition().name]
    assert await store.get(TASK) is None
    assert await store.count() == 1
    assert [task.name for task in await store.tasks()] == [TASK]
    assert await store.take_sql_edits(LATER) == ()
    assert [change.now.name for change in await store.pause_all("all", ADMIN, NOON)] == [
        definition().name
    ]
    assert await store.check() == ()

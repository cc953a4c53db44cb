"""Jobs are registered, decided about and edited by SQL, each change with its revision and its line of audit."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from tests.storage.jobs.places import (
    ADMIN,
    CRON,
    NAME,
    NOON,
    SERVICE,
    Place,
    definition,
    either_postgres,
    end,
    start,
)
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.jobs.messages import SlotCounts
from vaultmesh.domain.jobs.records import Actor, AuditLine
from vaultmesh.domain.jobs.refusals import DeletedJob, ForeignName, UnknownJob
from vaultmesh.storage.job_store import JobStore

LATER = NOON + timedelta(hours=1)


async def actions(store: JobStore, name: str | None = NAME) -> list[str]:
    return [line.action for line in reversed(await store.audit(name))]


async def test_a_job_is_read_as_it_was_registered(store: JobStore) -> None:
    policy = {"timeoutSeconds": 20, "idempotent": True, "maxAttempts": 3}
    wanted = definition(policy=policy)
    change = await store.register(wanted, SERVICE, NOON)
    job = await store.get(NAME)
    assert change.changed
    assert change.now.revision == 1
    assert job is not None
    assert job.definition == change.now.definition == wanted
    assert job.row.created_at == NOON
    assert (job.row.total_runs, job.row.last_run_at) == (0, None)
    assert [listed.name for listed in await store.list()] == [NAME]


async def test_the_same_registration_at_each_start_of_a_client_leaves_no_trace(
    store: JobStore,
) -> None:
    await store.register(definition(), SERVICE, NOON)
    again = await store.register(definition(), SERVICE, LATER)
    assert not again.changed
    assert again.now.revision == 1
    assert await actions(store) == ["register"]


async def test_a_client_that_restarts_undoes_nothing_that_an_administrator_changed(
    store: JobStore,
) -> None:
    await store.register(definition(), SERVICE, NOON)
    await store.disable(NAME, ADMIN, LATER)
    await store.set_cron(NAME, "*/5 * * * *", ADMIN, LATER)
    change = await store.register(definition(description="New words"), SERVICE, LATER)
    job = await store.get(NAME)
    assert job is not None
    assert job.definition == change.now.definition
    assert job.definition is not None
    assert (job.definition.enabled, job.definition.cron_expression) == (False, "*/5 * * * *")
    assert job.definition.description == "New words"
    assert (job.decisions.client_enabled, job.decisions.client_cron) == (True, CRON)
    assert job.decisions.enabled is not None
    assert (job.decisions.enabled.by, job.decisions.enabled.at) == (ADMIN.name, LATER)


async def test_reset_gives_the_client_its_newest_words_back(store: JobStore) -> None:
    await store.register(definition(), SERVICE, NOON)
    await store.disable(NAME, ADMIN, NOON)
    await store.set_cron(NAME, "*/5 * * * *", ADMIN, NOON)
    await store.register(definition(cronExpression="0 4 * * *"), SERVICE, NOON)
    change = await store.reset(NAME, ADMIN, LATER)
    assert change.now.definition == definition(cronExpression="0 4 * * *")
    assert change.now.served == LATER
    after = await store.register(definition(cronExpression="0 5 * * *"), SERVICE, LATER)
    assert after.now.definition == definition(cronExpression="0 5 * * *")


async def test_a_deleted_job_stays_deleted_until_it_is_allowed(store: JobStore) -> None:
    await store.register(definition(), SERVICE, NOON)
    gone = await store.delete(NAME, ADMIN, NOON)
    assert (gone.now.definition, gone.now.revision) == (None, 2)
    assert await store.get(NAME) is None
    assert await store.list() == ()
    assert await store.deleted() == (NAME,)
    with pytest.raises(
        DeletedJob, match=r"deleted by admin@example.org .*jobs allow nightly-report"
    ):
        await store.register(definition(), SERVICE, LATER)
    await store.allow(NAME, ADMIN, LATER)
    back = await store.register(definition(), SERVICE, LATER)
    assert back.now.definition == definition()
    assert back.now.revision == 4
    assert await store.deleted() == ()
    assert await actions(store) == ["register", "delete", "allow", "register"]


async def test_a_name_belongs_to_its_service_until_an_administrator_allows_another(
    store: JobStore,
) -> None:
    await store.register(definition(), SERVICE, NOON)
    other = definition(service="other-service")
    with pytest.raises(ForeignName, match=r"belongs to 'report-service'.*other-service"):
        await store.register(other, SERVICE, NOON)
    await store.allow(NAME, ADMIN, NOON)
    assert (await store.register(other, SERVICE, NOON)).now.definition == other
    with pytest.raises(ForeignName):
        await store.register(definition(), SERVICE, NOON)


async def test_what_nobody_knows_is_refused_and_leaves_nothing(
    store: JobStore, place: Place
) -> None:
    for refused in (
        store.enable("nobody", ADMIN, NOON),
        store.disable("nobody", ADMIN, NOON),
        store.set_cron("nobody", CRON, ADMIN, NOON),
        store.delete("nobody", ADMIN, NOON),
        store.reset("nobody", ADMIN, NOON),
        store.allow("nobody", ADMIN, NOON),
        store.pause("nobody", "", ADMIN, NOON),
        store.resume("nobody", ADMIN, NOON),
    ):
        with pytest.raises(UnknownJob, match="Job nobody not found"):
            await refused
    assert await actions(store, "nobody") == []
    assert place.sql("SELECT job_name FROM job_decisions") == []


async def test_an_expression_that_cannot_be_read_changes_nothing(store: JobStore) -> None:
    await store.register(definition(), SERVICE, NOON)
    with pytest.raises(InvalidValue, match="invalid expression for minute"):
        await store.set_cron(NAME, "99 * * * *", ADMIN, NOON)
    assert await actions(store) == ["register"]


async def test_enabling_begins_anew_and_disabling_does_not(store: JobStore) -> None:
    await store.register(definition(), SERVICE, NOON)
    assert (await store.disable(NAME, ADMIN, LATER)).now.served == NOON
    assert (await store.enable(NAME, ADMIN, LATER)).now.served == LATER


async def test_a_pause_is_apart_from_enabled_and_is_for_tasks_too(store: JobStore) -> None:
    await store.register(definition(), SERVICE, NOON)
    await store.register(definition("other"), SERVICE, NOON)
    await store.pause(NAME, "the mail server moves", ADMIN, NOON)
    assert [change.now.name for change in await store.pause_all("all", ADMIN, NOON)] == ["other"]
    job = await store.get(NAME)
    assert job is not None
    assert job.decisions.paused is not None
    assert job.decisions.paused.reason == "the mail server moves"
    assert job.row.enabled is True
    resumed = await store.resume_all(ADMIN, LATER)
    assert [change.now.paused for change in resumed] == [None, None]
    await store.pause("maintenance:vacuum", "", ADMIN, NOON)
    task = await store.decisions("maintenance:vacuum")
    assert task is not None
    assert task.paused is not None
    assert [revision.name for revision in await store.revisions()] == [NAME, "other"]


async def test_jobs_that_were_paused_together_are_resumed_together_and_no_other(
    store: JobStore,
) -> None:
    for name in (NAME, "other", "third"):
        await store.register(definition(name), SERVICE, NOON)
    exact = NOON + timedelta(microseconds=123_457)  # the database keeps all of it
    await store.pause("third", "its own", ADMIN, NOON)
    await store.pause_all("a move", ADMIN, exact)
    await store.resume("other", ADMIN, LATER)
    await store.pause("other", "again", ADMIN, LATER)
    resumed = await store.resume_paused(exact, ADMIN, LATER)
    assert [(change.now.name, change.now.paused) for change in resumed] == [(NAME, None)]
    reasons = {
        job.name: job.decisions.paused and job.decisions.paused.reason for job in await store.list()
    }
    assert reasons == {NAME: None, "other": "again", "third": "its own"}
    assert await store.resume_paused(exact, ADMIN, LATER) == ()
    assert (await store.audit(NAME))[0].detail == {"paused": {"was": "a move", "is": None}}


async def test_the_audit_says_who_did_what_and_whom_a_body_named(store: JobStore) -> None:
    await store.register(definition(), SERVICE, NOON)
    actor = Actor(name="token", claimed_user="user-7")
    await store.set_cron(NAME, "0 4 * * *", actor, LATER)
    note = AuditLine(at=LATER, actor="token", action="trigger", job_name=NAME, detail={"a": [1]})
    await store.note(note)
    lines = await store.audit(NAME)
    assert lines[0] == note
    assert (lines[1].at, lines[1].actor, lines[1].claimed_user) == (LATER, "token", "user-7")
    assert lines[1].detail == {"cron_expression": {"was": CRON, "is": "0 4 * * *"}}
    assert await store.audit(NAME, limit=1, offset=2) == lines[2:3]


async def test_what_no_workflow_heard_is_told_until_it_did(store: JobStore) -> None:
    first = await store.register(definition(), SERVICE, NOON)
    second = await store.disable(NAME, ADMIN, NOON)
    await store.mark_told(NAME, first.now.revision)
    assert await store.untold() == (second.now,)
    await store.mark_told(NAME, second.now.revision)
    await store.mark_told(NAME, first.now.revision)
    await store.mark_told(NAME, 99)
    assert await store.untold() == ()
    assert await store.revisions() == (second.now,)
    await store.delete(NAME, ADMIN, NOON)
    assert [revision.definition for revision in await store.untold()] == [None]


# --- by SQL --------------------------------------------------------------------------------------------------------


async def test_an_edit_by_sql_is_a_revision_and_a_decision(store: JobStore, place: Place) -> None:
    await store.register(definition(), SERVICE, NOON)
    place.sql("UPDATE job_schedules SET cron_expression = '0 6 * * *'")
    (change,) = await store.take_sql_edits(LATER)
    assert change.now.definition == definition(cronExpression="0 6 * * *")
    assert change.now.revision == 2
    assert await store.take_sql_edits(LATER) == ()
    kept = await store.register(definition(), SERVICE, LATER)
    assert kept.now.definition == definition(cronExpression="0 6 * * *")
    assert await actions(store) == ["register", "sql edit"]


async def test_an_edit_that_nobody_took_yet_is_not_overwritten_by_a_change(
    store: JobStore, place: Place
) -> None:
    await store.register(definition(), SERVICE, NOON)
    place.sql("UPDATE job_schedules SET enabled = false")
    change = await store.register(definition(description="New words"), SERVICE, LATER)
    assert change.now.definition == definition(description="New words", enabled=False)
    assert await actions(store) == ["register", "sql edit", "register"]


async def test_what_runs_write_is_no_edit(store: JobStore, place: Place) -> None:
    await store.register(definition(), SERVICE, NOON)
    place.sql(
        "UPDATE job_schedules SET total_runs = 7, last_run_status = 'failed', next_run_at = null"
    )
    assert await store.take_sql_edits(LATER) == ()


async def test_a_row_that_is_deleted_by_sql_stops_and_may_come_back(
    store: JobStore, place: Place
) -> None:
    await store.register(definition(), SERVICE, NOON)
    place.sql("DELETE FROM job_schedules")
    (change,) = await store.take_sql_edits(LATER)
    assert change.now.definition is None
    assert await store.take_sql_edits(LATER) == ()
    assert (await store.register(definition(), SERVICE, LATER)).now.definition == definition()


async def test_a_partial_row_inserted_by_sql_runs(store: JobStore, place: Place) -> None:
    place.sql(
        "INSERT INTO job_schedules (job_name, cron_expression, service, endpoint, config) VALUES "
        "('auto-enhance-metadata', '0 */6 * * *', 'crawler-service', '/api/enhance/auto', '{\"batchSize\": 10}')"
    )
    (change,) = await store.take_sql_edits(NOON)
    job = change.now.definition
    assert job is not None
    assert (job.name, job.enabled, job.config) == ("auto-enhance-metadata", True, {"batchSize": 10})
    assert job.display_name == "auto-enhance-metadata"
    assert change.now.served == NOON
    assert await store.check() == ()


async def test_a_row_that_cannot_run_is_listed_with_its_problem(
    store: JobStore, place: Place
) -> None:
    await store.register(definition(), SERVICE, NOON)
    place.sql("UPDATE job_schedules SET cron_expression = '@daily', service = null")
    (change,) = await store.take_sql_edits(LATER)
    (job,) = await store.list()
    assert (change.now.definition, job.definition) == (None, None)
    assert "cronExpression: '@daily' is no cron expression" in job.problem
    assert "service: is not a text" in job.problem


async def test_a_job_knows_its_next_slot_and_computes_it_again_when_it_passed(
    store: JobStore,
) -> None:
    await store.register(definition(cronExpression="0 * * * *"), SERVICE, NOON)
    job = await store.get(NAME)
    assert job is not None
    one = NOON.replace(hour=13, minute=0, second=0, microsecond=0)
    assert await store.next_run(job, NOON) == one
    assert await store.next_run(job, one) == one + timedelta(hours=1)
    assert await store.next_run(job, NOON) == one
    disabled = await store.disable(NAME, ADMIN, NOON)
    assert disabled.now.definition is not None
    job = await store.get(NAME)
    assert job is not None
    assert await store.next_run(job, NOON) is None


async def test_a_paused_job_still_tells_its_next_slot_since_it_is_armed(store: JobStore) -> None:
    await store.register(definition(cronExpression="0 * * * *"), SERVICE, NOON)
    await store.pause(NAME, "the database moves", ADMIN, NOON)
    job = await store.get(NAME)
    assert job is not None
    assert job.decisions.paused is not None
    assert await store.next_run(job, NOON) == NOON.replace(
        hour=13, minute=0, second=0, microsecond=0
    )


async def test_jobs_are_counted_without_those_that_were_deleted(store: JobStore) -> None:
    for name in ("first", "second", "third"):
        await store.register(definition(name), SERVICE, NOON)
    assert await store.count() == 3
    await store.delete("second", ADMIN, NOON)
    assert await store.count() == len(await store.list()) == 2


@pytest.mark.parametrize(
    ("before", "after"), [("1", "true"), ("0", "false"), ("2", "2.0"), ('{"a": 1}', '{"a": true}')]
)
async def test_a_value_of_another_kind_is_an_edit_although_python_takes_both_for_equal(
    before: str, after: str, store: JobStore, place: Place
) -> None:
    place.sql(
        "INSERT INTO job_schedules (job_name, cron_expression, service, endpoint, config) VALUES "  # noqa: S608 - constants
        f"('edited', '0 3 * * *', 'crawler-service', '/run', '{{\"value\": {before}}}')"
    )
    await store.take_sql_edits(NOON)
    (job,) = await store.list()
    assert json.dumps(job.row.config) == f'{{"value": {before}}}'
    place.sql(f"UPDATE job_schedules SET config = '{{\"value\": {after}}}'")  # noqa: S608 - constants
    (job,) = await store.list()
    assert json.dumps(job.row.config) == f'{{"value": {after}}}'
    assert [change.now.name for change in await store.take_sql_edits(LATER)] == ["edited"]


async def test_a_list_shows_what_another_process_wrote_meanwhile(
    store: JobStore, place: Place
) -> None:
    for name in ("first", "second"):
        await store.register(definition(name), SERVICE, NOON)
    assert [job.row.total_runs for job in await store.list()] == [0, 0]
    async with place.store() as other:
        await other.close_run(end(start("first")))
        await other.pause("second", "it moves", ADMIN, NOON)
    first, second = await store.list()
    assert (first.row.total_runs, first.row.last_run_status) == (1, "completed")
    assert second.decisions.paused is not None
    assert await store.get("first") == first


async def test_slots_are_counted_once(store: JobStore) -> None:
    await store.register(definition(), SERVICE, NOON)
    slots = SlotCounts(served=LATER, missed=3, skipped=1)
    assert [await store.pass_slots(NAME, slots) for _ in range(3)] == [slots] * 3
    decisions = await store.decisions(NAME)
    assert decisions is not None
    assert (decisions.missed, decisions.skipped, decisions.served) == (3, 1, LATER)
    assert (await store.untold())[0].revision == 1


async def test_people_who_read_the_table_see_the_next_slot(store: JobStore, place: Place) -> None:
    query = "SELECT next_run_at FROM job_schedules"
    await store.register(definition(), SERVICE, NOON)
    assert str(place.sql(query)[0][0]).startswith("2026-03-03")
    run = start(after=timedelta(days=1))
    await store.close_run(end(run))
    assert str(place.sql(query)[0][0]).startswith("2026-03-04")
    await store.disable(NAME, ADMIN, NOON)
    assert place.sql(query) in ([], [(None,)])  # psql prints nothing for null


async def test_a_row_with_values_that_no_column_should_hold_hides_no_other_job(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path)
    async with place.store() as store:
        await store.register(definition(), SERVICE, NOON)
        other = definition(name="other")
        await store.register(other, SERVICE, NOON)
        await store.open_run(start())
        await store.close_run(end(start()))
        place.sql(
            "UPDATE job_schedules SET total_runs = 'many', failed_runs = 1.0, last_run_duration_ms = 'long', "  # noqa: S608
            f"last_run_at = 'then', config = '{{bad' WHERE job_name = '{NAME}'; "
            "UPDATE scheduled_jobs SET duration_ms = 'long', items_processed = '', completed_at = 'then', metadata = '{bad'"
        )
        (change,) = await store.take_sql_edits(LATER)
        assert (change.now.name, change.now.definition) == (NAME, None)
        first, second = await store.list()
        assert (first.row.total_runs, first.row.failed_runs) == (0, 1)
        assert first.row.last_run_duration_ms is None
        assert second.definition == other
        (run,) = (await store.history(NAME, 20, 0)).executions
        assert (run.duration_ms, run.items_processed, run.completed_at) == (None, None, None)
        assert {figures.name for figures in await store.figures()} == {NAME, "other"}
        await store.stats(NAME, 30, LATER)
        await store.check()


@either_postgres
async def test_an_instant_that_python_does_not_know_hides_no_other_job(postgres: Place) -> None:
    async with postgres.store() as store:
        await store.register(definition(), SERVICE, NOON)
        other = definition(name="other")
        await store.register(other, SERVICE, NOON)
        await store.open_run(start())
        await store.close_run(end(start()))
        for instant in ("infinity", "-infinity", "0044-03-15 BC"):
            postgres.sql(
                f"UPDATE job_schedules SET last_run_at = '{instant}' WHERE job_name = '{NAME}'; "  # noqa: S608
                f"UPDATE scheduled_jobs SET completed_at = '{instant}'"
            )
            assert await store.take_sql_edits(LATER) == ()
            first, second = await store.list()
            assert (first.row.last_run_at, second.definition) == (None, other)
            (run,) = (await store.history(NAME, 20, 0)).executions
            assert run.completed_at is None
            assert len(await store.figures()) == 2

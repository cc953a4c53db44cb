"""Databases that others made are taken over as they are; what can't be is refused with the mend."""

import asyncio
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

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
    every_kind,
    start,
)
from vaultmesh.domain.jobs.messages import SlotCounts
from vaultmesh.domain.jobs.records import Closing
from vaultmesh.domain.jobs.refusals import StoreError, StoreErrorKind
from vaultmesh.domain.jobs.run import WORKER_DIED, TriggeredBy
from vaultmesh.storage.job_store import JobStore
from vaultmesh.storage.jobs.source import Source

MINUTE = timedelta(minutes=1)

SEED = """
CREATE TYPE job_status AS ENUM ('running', 'completed', 'failed');
CREATE TABLE users (id uuid PRIMARY KEY, clerk_user_id text UNIQUE, role text);
CREATE TABLE job_schedules (
  job_name varchar(100) PRIMARY KEY, display_name text NOT NULL, description text, cron_expression text NOT NULL,
  enabled boolean NOT NULL DEFAULT true, job_type text NOT NULL CHECK (job_type IN ('email','crawler','cleanup','analytics','other')),
  service text NOT NULL, endpoint text NOT NULL, config jsonb DEFAULT '{}', last_run_at timestamptz, last_run_status text,
  last_run_duration_ms integer, next_run_at timestamptz, total_runs integer NOT NULL DEFAULT 0,
  successful_runs integer NOT NULL DEFAULT 0, failed_runs integer NOT NULL DEFAULT 0,
  created_at timestamp NOT NULL DEFAULT now(), updated_at timestamp NOT NULL DEFAULT now());
CREATE TABLE scheduled_jobs (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), job_name varchar(100) NOT NULL, job_type text NOT NULL,
  status job_status NOT NULL, started_at timestamptz NOT NULL DEFAULT now(), completed_at timestamptz, duration_ms integer,
  items_processed integer NOT NULL DEFAULT 0, items_succeeded integer NOT NULL DEFAULT 0, items_failed integer NOT NULL DEFAULT 0,
  error_message text, metadata jsonb, triggered_by text NOT NULL DEFAULT 'scheduler' CHECK (triggered_by IN ('scheduler','manual','admin')),
  triggered_by_user uuid REFERENCES users(id) ON DELETE SET NULL, created_at timestamptz NOT NULL DEFAULT now());
"""
"""Tables such as the scheduler that we replace has: with an enum, a foreign key and instants without time zone."""

TRIGGER = """
CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  UPDATE job_schedules SET last_run_at = NEW.completed_at, last_run_status = NEW.status, last_run_duration_ms = NEW.duration_ms,
    total_runs = total_runs + 1, successful_runs = successful_runs + (NEW.status = 'completed')::int,
    failed_runs = failed_runs + (NEW.status = 'failed')::int WHERE job_name = NEW.job_name;
  RETURN NEW; END $$;
CREATE TRIGGER counts AFTER UPDATE ON scheduled_jobs FOR EACH ROW WHEN (NEW.status IN ('completed', 'failed')) EXECUTE FUNCTION bump();
"""
"""Counts each update of a row that has ended, as the original does; a second one counts twice."""

SQLITE_TRIGGER = """
CREATE TRIGGER counts AFTER UPDATE ON scheduled_jobs WHEN NEW.status IN ('completed', 'failed') BEGIN
  UPDATE job_schedules SET last_run_at = NEW.completed_at, last_run_status = NEW.status, last_run_duration_ms = NEW.duration_ms,
    total_runs = total_runs + 1, successful_runs = successful_runs + (NEW.status = 'completed'),
    failed_runs = failed_runs + (NEW.status = 'failed') WHERE job_name = NEW.job_name; END
"""

LIVE_ROWS = """
INSERT INTO job_schedules (job_name, display_name, cron_expression, job_type, service, endpoint, enabled, total_runs, successful_runs, failed_runs)
  VALUES ('nightly-report', 'Nightly report', '0 3 * * *', 'analytics', 'report-service', '/api/jobs/nightly-report', false, 9, 7, 2);
INSERT INTO scheduled_jobs (job_name, job_type, status, started_at, completed_at, duration_ms) VALUES
  ('nightly-report', 'analytics', 'completed', '2026-03-01T03:00:00Z', '2026-03-01T03:00:05Z', 5000),
  ('nightly-report', 'analytics', 'running', '2026-03-02T03:00:00Z', null, null);
"""


async def counters(store: JobStore) -> tuple[int, int, int, str | None]:
    job = await store.get(NAME)
    assert job is not None
    return (
        job.row.total_runs,
        job.row.successful_runs,
        job.row.failed_runs,
        job.row.last_run_status,
    )


@either_postgres
async def test_a_live_database_is_taken_over_as_it_is(postgres: Place) -> None:
    postgres.sql(SEED)
    postgres.sql(LIVE_ROWS)
    async with postgres.store() as store:
        assert not store.made_by_us
        made = "job_audit, job_audit_chain, job_audit_marks, job_decisions, job_figures"
        assert store.notices == (f"made the tables {made}",)
        (change,) = await store.take_sql_edits(NOON)
        assert change.now.definition is not None
        assert (change.now.definition.enabled, change.now.served) == (False, NOON)
        assert await counters(store) == (9, 7, 2, None)
        assert await store.check() == ()
        # What stood in the row was changed by somebody: the client's start undoes nothing.
        kept = await store.register(definition(cronExpression="0 4 * * *"), SERVICE, NOON)
        assert kept.now.definition == definition(cronExpression=CRON, enabled=False)
        reset = await store.reset(NAME, ADMIN, NOON)
        assert reset.now.definition == definition(cronExpression="0 4 * * *")
        (left_running,) = await store.running(NOON)
        assert left_running.started_at is not None
        await store.close_run(end(start()))
        assert await counters(store) == (10, 8, 2, "completed")
        assert await store.check() == ()
        job = await store.get(NAME)
        assert job is not None
        assert job.row.updated_at == NOON


@pytest.mark.parametrize(
    ("enabled", "begun", "served"),
    [
        ("true", NOON - MINUTE, NOON - MINUTE),
        ("true", NOON + MINUTE, NOON),  # by a clock that is ahead
        ("true", None, NOON),
        ("false", NOON - MINUTE, NOON),
    ],
)
async def test_a_slot_that_passed_after_the_scheduler_before_was_stopped_is_not_lost(
    postgres: Place, enabled: str, begun: datetime | None, served: datetime
) -> None:
    postgres.sql(SEED)
    postgres.sql(
        "INSERT INTO job_schedules (job_name, display_name, cron_expression, job_type, service, endpoint, enabled) "  # noqa: S608
        f"VALUES ('{NAME}', 'x', '* * * * *', 'other', 'report-service', '/run', {enabled})"
    )
    if begun is not None:
        postgres.sql(
            "INSERT INTO scheduled_jobs (job_name, job_type, status, started_at, triggered_by) VALUES "  # noqa: S608
            f"('{NAME}', 'other', 'completed', '{begun.isoformat()}', 'scheduler'), "
            f"('{NAME}', 'other', 'completed', '{(NOON - MINUTE / 2).isoformat()}', 'manual')"
        )
    async with postgres.store() as store:
        (change,) = await store.take_sql_edits(NOON)
        assert change.now.served == served
        # Deleted and inserted again by SQL, it begins anew: its old runs say nothing of the time between.
        postgres.sql("DELETE FROM job_schedules")
        await store.take_sql_edits(NOON + MINUTE)
        postgres.sql(
            "INSERT INTO job_schedules (job_name, display_name, cron_expression, job_type, service, endpoint) "  # noqa: S608
            f"VALUES ('{NAME}', 'x', '* * * * *', 'other', 'report-service', '/run')"
        )
        (again,) = await store.take_sql_edits(NOON + 9 * MINUTE)
        assert again.now.served == NOON + 9 * MINUTE


@every_kind
async def test_a_database_that_we_made_is_known_as_ours(place: Place) -> None:
    for _ in range(2):
        async with place.store() as store:
            assert store.made_by_us
            assert not store.counted_by_trigger


@every_kind
async def test_a_trigger_that_counts_is_left_to_count(place: Place) -> None:
    if place.is_file:
        async with place.store():
            pass
        place.sql(SQLITE_TRIGGER)
    else:
        place.sql(SEED + TRIGGER)
    async with place.store() as store:
        assert store.counted_by_trigger
        assert any("a trigger on scheduled_jobs counts" in notice for notice in store.notices)
        assert await store.list() == ()
        await store.register(definition(), SERVICE, NOON)
        await store.open_run(start())
        assert await store.close_run(end(start())) is Closing.CLOSED
        assert await counters(store) == (1, 1, 0, "completed")
        # A row that was never opened counts too, and the true end of an unknown fate counts once.
        late = start(after=MINUTE)
        assert await store.close_run(end(late, WORKER_DIED)) is Closing.CLOSED
        assert await counters(store) == (2, 1, 1, "failed")
        assert await store.close_run(end(late)) is Closing.REPLACED
        assert await store.close_run(end(late)) is Closing.KEPT
        assert await counters(store) == (2, 2, 0, "completed")
        assert await store.check() == ()


@either_postgres
async def test_a_trigger_that_does_not_count_changes_nothing(postgres: Place) -> None:
    postgres.sql(SEED + TRIGGER.replace("total_runs = total_runs + 1", "total_runs = total_runs"))
    async with postgres.store() as store:
        assert not store.counted_by_trigger
    postgres.sql("ALTER TABLE scheduled_jobs DISABLE TRIGGER counts")
    async with postgres.store() as store:
        assert not store.counted_by_trigger


@either_postgres
async def test_who_asked_is_an_account_where_there_are_accounts(postgres: Place) -> None:
    postgres.sql(SEED)
    known = "5d3f6c1e-7f58-4b9c-9a3d-0d6ed1a3b001"
    postgres.sql(f"INSERT INTO users VALUES ('{known}', 'user_2abc', 'admin')")  # noqa: S608
    unknown = "00000000-0000-4000-8000-000000000000"
    async with postgres.store() as store:
        await store.register(definition(), SERVICE, NOON)
        for minutes, user in enumerate((known, "user_2abc", unknown, "nobody")):
            run = start(after=minutes * MINUTE, by=TriggeredBy.MANUAL)
            await store.close_run(end(run.model_copy(update={"user": user})))
        page = await store.history(NAME, 10, 0)
        assert [run.triggered_by_user for run in page.executions] == [None, None, known, known]


@either_postgres
async def test_a_database_in_another_time_zone_keeps_instants(postgres: Place) -> None:
    postgres.sql(SEED)
    postgres.sql("ALTER ROLE postgres SET timezone = 'Pacific/Auckland'")
    try:
        async with postgres.store() as store:
            await store.register(definition(), SERVICE, NOON)
            job = await store.get(NAME)
            assert job is not None
            assert (job.row.created_at, job.row.updated_at) == (NOON, NOON)
    finally:
        postgres.sql("ALTER ROLE postgres RESET timezone")


# --- rights --------------------------------------------------------------------------------------------------------


def as_guest(place: Place, *grants: str) -> Place:
    """Return the way of a user who has only these rights."""
    assert place.server is not None
    place.sql(
        "DO $$ BEGIN CREATE ROLE guest LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    )
    place.sql(";".join(grants) or "SELECT 1")
    return replace(place, url=place.server.url(place.database, "guest"))


@either_postgres
async def test_no_right_to_make_tables_is_told_with_the_sql_to_run(postgres: Place) -> None:
    postgres.sql(SEED)
    rights = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO guest"
    guest = as_guest(postgres, rights)
    with pytest.raises(StoreError) as refused:
        await JobStore.open(guest.url, guest.root)
    assert refused.value.kind is StoreErrorKind.DENIED
    message = str(refused.value)
    assert "\n" not in message
    statements = message.partition("let somebody who may run: ")[2]
    assert statements.startswith("CREATE TABLE IF NOT EXISTS job_audit (id BIGSERIAL")
    postgres.sql(statements)
    async with guest.store() as store:
        await store.register(definition(), SERVICE, NOON)
        assert await counters(store) == (0, 0, 0, None)
        made = await store.make_indexes()
    assert len(made) == 3
    assert all("may not make the index" in line for line in made)


GUEST_RIGHTS = (
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO guest",
    "GRANT CREATE ON SCHEMA public TO guest",
)
HIDE = (
    "ALTER TABLE job_schedules ENABLE ROW LEVEL SECURITY;"
    "ALTER TABLE scheduled_jobs ENABLE ROW LEVEL SECURITY"
)


@either_postgres
async def test_a_database_that_hides_its_jobs_from_us_does_not_pass_for_an_empty_one(
    postgres: Place,
) -> None:
    postgres.sql(SEED)
    postgres.sql(LIVE_ROWS + HIDE)
    guest = as_guest(postgres, *GUEST_RIGHTS)
    with pytest.raises(StoreError, match="hides all rows of job_schedules, scheduled_jobs") as no:
        await JobStore.open(guest.url, guest.root)
    assert no.value.kind is StoreErrorKind.DENIED
    assert guest.url is not None
    with (
        closing(Source.at_url(guest.url, "the URL")) as source,
        pytest.raises(StoreError, match="hides all rows"),
    ):
        source.require_jobs()
    # Whoever a policy names sees something: what that is, is not ours to judge.
    for table in ("job_schedules", "scheduled_jobs"):
        postgres.sql(f"CREATE POLICY all_of_it ON {table} TO guest USING (true)")
    async with guest.store() as store:
        (change,) = await store.take_sql_edits(NOON)
        assert change.now.name == NAME


@either_postgres
async def test_jobs_that_are_hidden_later_are_not_taken_for_deleted_ones(postgres: Place) -> None:
    postgres.sql(SEED)
    guest = as_guest(postgres, *GUEST_RIGHTS)
    async with guest.store() as store:
        await store.register(definition(), SERVICE, NOON)
        await store.set_cron(NAME, "0 5 * * *", ADMIN, NOON)
        assert await store.take_sql_edits(NOON) == ()
        postgres.sql(HIDE)
        with pytest.raises(StoreError, match="hides all rows of job_schedules"):
            await store.take_sql_edits(NOON + MINUTE)
        postgres.sql(HIDE.replace("ENABLE", "DISABLE"))
        assert await store.take_sql_edits(NOON + 2 * MINUTE) == ()
        job = await store.get(NAME)
        assert job is not None
        assert job.definition == definition(cronExpression="0 5 * * *")


@either_postgres
async def test_indexes_are_made_beside_the_use_of_a_table_of_others(postgres: Place) -> None:
    postgres.sql(SEED)
    async with postgres.store() as store:
        assert [line.split()[:3] for line in await store.make_indexes()] == [
            ["made", "the", "index"]
        ] * 3
        assert await store.make_indexes() == ()
    names = postgres.sql(
        "SELECT indexname FROM pg_indexes WHERE tablename = 'scheduled_jobs' ORDER BY 1"
    )
    assert [name for (name,) in names][:3] == [
        "scheduled_jobs_by_job",
        "scheduled_jobs_by_start",
        "scheduled_jobs_pkey",
    ]


async def test_an_index_that_was_cut_off_is_named(postgres: Place) -> None:
    async with postgres.store() as store:
        assert await store.make_indexes() == ()
        postgres.sql(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'scheduled_jobs_running'::regclass"
        )
        (line,) = await store.make_indexes()
    assert "DROP INDEX CONCURRENTLY scheduled_jobs_running;" in line


@every_kind
async def test_tables_of_another_program_are_refused_by_name(place: Place) -> None:
    place.sql("CREATE TABLE scheduled_jobs (id integer PRIMARY KEY, title text)")
    with pytest.raises(
        StoreError, match="the table scheduled_jobs lacks job_name, job_type"
    ) as refused:
        await JobStore.open(place.url, place.root)
    assert refused.value.kind is StoreErrorKind.SCHEMA


@every_kind
async def test_two_processes_that_make_the_tables_at_once_both_succeed(place: Place) -> None:
    stores = await asyncio.gather(*(JobStore.open(place.url, place.root) for _ in range(4)))
    for number, store in enumerate(stores):
        await store.register(definition(f"job-{number}"), SERVICE, NOON)
    assert len(await stores[0].list()) == 4
    assert len([line for line in await stores[0].audit() if line.action == "tables made"]) == 1
    for store in stores:
        await store.close()


@every_kind
async def test_sql_of_the_seed_works_on_tables_of_ours(place: Place) -> None:
    async with place.store() as store:
        place.sql(
            "INSERT INTO job_schedules (job_name, display_name, cron_expression, service, endpoint) "
            "VALUES ('by-hand', 'By hand', '0 1 * * *', 'a-service', '/x')"
        )
        place.sql(
            "INSERT INTO scheduled_jobs (job_name, job_type, status) VALUES ('by-hand', 'email', 'completed')"
        )
        await store.take_sql_edits(NOON)
        page = await store.history("by-hand", 10, 0)
        assert page.total == 1
        assert len(page.executions[0].id) == 36
        assert await store.check() == ()
        assert await store.pass_slots("by-hand", SlotCounts(served=NOON + MINUTE))


@either_postgres
async def test_whoever_asks_by_the_functions_of_the_seed_gets_the_same_answers(
    postgres: Place,
) -> None:
    """The harm: a portal that asks the database and not the API finds nothing after the move."""
    async with postgres.store() as store:
        await store.register(definition(), SERVICE, NOON)
        postgres.sql(
            "INSERT INTO scheduled_jobs (job_name, status, duration_ms, items_processed, started_at) VALUES "
            "('nightly-report', 'completed', 100, 3, now()), ('nightly-report', 'failed', 50, 1, now() - interval '1 day'), "
            "('nightly-report', 'completed', 9, 9, now() - interval '40 days'), ('another', 'completed', 1, 1, now())"
        )
        stats = await store.stats(NAME, 30, datetime.now(UTC))
    (row,) = postgres.sql("SELECT * FROM get_job_execution_stats('nightly-report', 30)")
    assert row == ("2", "1", "1", "75.00", "4")
    assert [float(str(value)) for value in row] == list(stats.model_dump().values())
    history = "SELECT duration_ms FROM get_job_execution_history"
    assert postgres.sql(f"{history}('{NAME}', 2, 0)") == [("100",), ("50",)]
    assert postgres.sql(f"{history}('{NAME}', 2, 2)") == [("9",)]

"""Tables get what they need and nothing else; what the server skips is never taken for done."""

import asyncio
import re

import psycopg
import pytest

from tests.postgres.shop import Shop, on_both, step_of, wait_until
from vaultmesh.domain.maintenance.outcomes import Outcome, Reason

pytestmark = on_both
ALL = {"kind": "vacuum", "tables": "all"}
FAST = {"lockTimeout": "200ms"}
GOODS = "CREATE TABLE goods (id int PRIMARY KEY, name text); INSERT INTO goods SELECT n, 'tea' FROM generate_series(1, 5000) n"


def number(shop: Shop, query: str) -> int:
    return int(shop.sql(query))


def dead(shop: Shop, table: str = "goods") -> int:
    return number(shop, f"SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = '{table}'")


def test_dead_rows_go_statistics_are_fresh_and_a_second_run_has_nothing_to_do(shop: Shop) -> None:
    shop.sql(f"{GOODS}; DELETE FROM goods WHERE id % 2 = 0")
    assert dead(shop) == 2_500
    first = shop.run(**ALL)
    assert (first.outcome, dead(shop)) == (Outcome.DONE, 0)
    assert number(shop, "SELECT reltuples FROM pg_class WHERE relname = 'goods'") == 2_500
    again = shop.run(**ALL)
    assert again.outcome is Outcome.NOT_NEEDED
    assert [step.statements for step in again.steps] == [()]


def test_a_plan_is_exactly_what_a_run_sends(shop: Shop) -> None:
    shop.sql(f"{GOODS}; DELETE FROM goods WHERE id % 2 = 0; CREATE TABLE fresh AS SELECT 1 AS n")
    planned = [statement for step in shop.plan(**ALL) for statement in step.statements]
    sent = [statement for step in shop.run(**ALL).steps for statement in step.statements]
    assert planned == sent
    assert len(planned) == 2


def test_a_lock_of_somebody_else_is_a_skip_and_the_next_table_is_done(shop: Shop) -> None:
    shop.sql(f"{GOODS}; DELETE FROM goods WHERE id % 2 = 0; CREATE TABLE later AS SELECT 1 AS n")
    with shop.holding("LOCK TABLE goods IN ACCESS EXCLUSIVE MODE"):
        result = shop.run(**ALL, **FAST)
    skipped = step_of(result, "public.goods")
    assert (skipped.outcome, skipped.reason) == (Outcome.LOCKED, Reason.LOCK)
    assert "skipping" in skipped.detail
    assert step_of(result, "public.later").outcome is Outcome.DONE
    assert (result.outcome, result.is_good) == (Outcome.LOCKED, True)
    assert dead(shop) == 2_500


def test_what_the_role_does_not_own_is_denied_although_the_command_succeeds(shop: Shop) -> None:
    shop.sql(f"{GOODS}; DELETE FROM goods WHERE id % 2 = 0")
    shop.sql("DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN")
    shop.sql("GRANT SELECT ON goods TO stranger")
    shop.user = "stranger"
    result = shop.run(**ALL)
    step = step_of(result, "public.goods")
    assert (step.outcome, step.reason) == (Outcome.DENIED, Reason.PERMISSION)
    assert not result.is_good
    assert dead(shop) == 2_500


HOSTILE = (
    'a"; DROP TABLE goods; --',
    "Mixed Case.With Dot",
    "it's",
    "back\\slash",
    "n" * 63,
    "ä" * 31,
    "select",
)


def test_no_name_of_a_table_becomes_sql(shop: Shop) -> None:
    shop.sql(GOODS)
    for name in HOSTILE:
        quoted = name.replace('"', '""')
        shop.sql(f'CREATE SCHEMA "{quoted}"; CREATE TABLE "{quoted}"."{quoted}" AS SELECT 1 AS n')
    result = shop.run(**ALL)
    assert {step.outcome for step in result.steps} == {Outcome.DONE}
    assert len(result.steps) == len(HOSTILE) + 1
    named = [f'"{name}"."{name}"'.replace('a"', 'a""') for name in HOSTILE]
    again = shop.run(kind="vacuum", tables=named)
    assert again.outcome is Outcome.NOT_NEEDED
    assert len(again.steps) == len(HOSTILE)
    assert number(shop, "SELECT count(*) FROM goods") == 5_000


def test_what_can_not_be_vacuumed_does_not_pass_for_clean(shop: Shop) -> None:
    shop.sql("CREATE TABLE goods (n int PRIMARY KEY); CREATE VIEW shown AS SELECT * FROM goods")
    result = shop.run(kind="vacuum", tables=["shown", "goods_pkey", "goods"])
    assert [(step.subject, step.outcome) for step in result.steps[:2]] == [
        ("public.goods_pkey", Outcome.FAILED),
        ("public.shown", Outcome.FAILED),
    ]
    assert "in tasks.it.tables in maintenance.yaml" in result.steps[0].detail
    assert len(result.steps) == 3


def test_a_table_that_is_not_there_fails_and_the_others_are_done(shop: Shop) -> None:
    shop.sql(GOODS)
    result = shop.run(kind="vacuum", tables=["public.goods", "nowhere.goods", "public.good"])
    outcomes = {step.subject: step.outcome for step in result.steps}
    assert outcomes == {
        "nowhere.goods": Outcome.FAILED,
        "public.good": Outcome.FAILED,
        "public.goods": Outcome.DONE,
    }
    assert not result.is_good


def test_two_runs_at_once_are_one_run(shop: Shop) -> None:
    shop.sql(GOODS)
    from vaultmesh.postgres.connection import LOCK_SPACE, lock_key

    with shop.holding(f"SELECT pg_advisory_lock({LOCK_SPACE}, {lock_key('it')})"):
        result = shop.run(**ALL)
    assert (result.outcome, result.is_good) == (Outcome.RUNNING, True)
    assert result.steps == ()
    assert shop.run(**ALL).outcome is Outcome.DONE


def test_a_partitioned_table_is_analysed_although_autovacuum_never_does(shop: Shop) -> None:
    shop.sql(
        "CREATE TABLE sales (day date) PARTITION BY RANGE (day); "
        "CREATE TABLE sales_1 PARTITION OF sales FOR VALUES FROM ('2026-01-01') TO ('2026-02-01'); "
        "INSERT INTO sales SELECT '2026-01-05' FROM generate_series(1, 100)"
    )
    assert step_of(shop.run(**ALL), "public.sales").outcome is Outcome.DONE
    assert shop.sql("SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'sales'") == "t"
    assert shop.run(**ALL).outcome is Outcome.NOT_NEEDED


def test_counters_that_a_crash_lost_do_not_count_as_clean(shop: Shop) -> None:
    shop.sql(GOODS)
    shop.run(**ALL)
    shop.sql("SELECT pg_stat_reset()")
    step = step_of(shop.run(**ALL), "public.goods")
    assert step.outcome is Outcome.DONE
    assert "lost its counters" in step.detail


def test_an_old_transaction_that_keeps_rows_alive_is_named(shop: Shop) -> None:
    shop.sql(GOODS)
    with shop.holding("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1"):
        shop.sql("DELETE FROM goods WHERE id % 2 = 0")
        step = step_of(shop.run(**ALL), "public.goods")
    assert step.outcome is Outcome.DONE
    assert "2,500 rows stay dead" in step.detail
    assert "somebody" in step.detail


def test_a_task_that_names_a_parent_leaves_its_children_alone(shop: Shop) -> None:
    """From PostgreSQL 18 on a parent's VACUUM takes them along, needed or not, ours or not, unless it says ONLY."""
    shop.sql(
        f"{GOODS}; CREATE TABLE teas () INHERITS (goods); INSERT INTO teas SELECT * FROM goods"
    )
    shop.sql("DELETE FROM goods WHERE id % 2 = 0")
    assert shop.run(kind="vacuum", tables=["public.goods"]).outcome is Outcome.DONE
    assert (dead(shop), dead(shop, "teas")) == (0, 2_500)
    kinds = (
        "SELECT string_agg(DISTINCT inherited::text, ' ') FROM pg_stats WHERE tablename = 'goods'"
    )
    assert shop.sql(kinds) == "false true"
    result = shop.run(**ALL)
    assert [step_of(result, f"public.{name}").outcome for name in ("goods", "teas")] == [
        Outcome.NOT_NEEDED,
        Outcome.DONE,
    ]


def test_an_old_table_is_frozen_with_an_alert(shop: Shop) -> None:
    shop.sql(GOODS)
    shop.sql(
        "DO $$ BEGIN FOR i IN 1..1200 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
    )
    task = {**ALL, "freezeAge": 1_000}
    [step] = shop.plan(**task)
    assert step.is_alert
    assert "FREEZE" in step.statements[0]
    assert shop.run(**task).outcome is Outcome.DONE
    assert not shop.plan(**task)[0].statements


@pytest.mark.parametrize("limit", ["statement", "deadline"])
def test_what_takes_too_long_is_ended_and_said(shop: Shop, limit: str) -> None:
    shop.sql("CREATE TABLE slow AS SELECT n FROM generate_series(1, 50) n")
    shop.sql(
        "CREATE FUNCTION wait(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(10); RETURN n; END'"
    )
    shop.sql("SET check_function_bodies = off; CREATE STATISTICS slow_s ON (wait(n)) FROM slow")
    limits = {"statementTimeout": "1s"} if limit == "statement" else {"deadline": "2s"}
    result = shop.run(**ALL, **limits)
    step = step_of(result, "public.slow")
    assert (step.outcome, step.reason) == (Outcome.TIMED_OUT, Reason.TIMEOUT)
    assert result.outcome is Outcome.TIMED_OUT
    wait_until(lambda: not shop.sees("query LIKE 'ANALYZE%' AND state = 'active'"), "its end")


async def test_a_cancelled_run_ends_its_statement_on_the_server(shop: Shop) -> None:
    shop.sql("CREATE TABLE slow AS SELECT n FROM generate_series(1, 50) n")
    shop.sql(
        "CREATE FUNCTION wait(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(30); RETURN n; END'; CREATE STATISTICS slow_s ON (wait(n)) FROM slow"
    )
    running = asyncio.ensure_future(shop.run_async(**ALL))
    active = "query LIKE 'ANALYZE%' AND state = 'active'"
    await asyncio.to_thread(wait_until, lambda: shop.sees(active), "the statement")
    running.cancel()
    result = await running
    assert result.outcome is Outcome.CANCELLED
    assert step_of(result, "public.slow").outcome is Outcome.CANCELLED
    assert not shop.sees(active)


async def test_a_statement_that_an_administrator_ends_is_cancelled_not_timed_out(
    shop: Shop,
) -> None:
    shop.sql(
        "CREATE TABLE slow AS SELECT n FROM generate_series(1, 50) n; CREATE TABLE t AS SELECT 1 AS n"
    )
    shop.sql(
        "CREATE FUNCTION wait(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(30); RETURN n; END'; CREATE STATISTICS slow_s ON (wait(n)) FROM slow"
    )
    running = asyncio.ensure_future(shop.run_async(**ALL))
    cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'ANALYZE%' AND state = 'active'"
    await asyncio.to_thread(wait_until, lambda: shop.sql(cancel) != "0", "the statement")
    result = await running
    assert step_of(result, "public.slow").outcome is Outcome.CANCELLED
    assert step_of(result, "public.t").outcome is Outcome.DONE


def test_the_server_lists_a_run_by_its_name_with_every_setting(shop: Shop) -> None:
    seen: list[tuple[str, ...]] = []

    def look(line: str) -> None:
        with psycopg.connect(shop.url) as other:
            query = (
                "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'vmsh:%'"
            )
            seen.extend(other.execute(query).fetchall())

    shop.sql(GOODS)
    asyncio.run(shop.run_async(beat=look, **ALL))
    assert seen
    assert all(re.fullmatch(r"vmsh:maintenance:it:[0-9a-f]{12}", name) for (name,) in seen)

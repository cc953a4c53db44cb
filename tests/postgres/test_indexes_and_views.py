"""Indexes are built anew beside the work that goes on, and views refreshed; what was interrupted leaves nothing behind."""

import asyncio

import psycopg
import pytest

from tests.postgres.shop import Shop, on_both, step_of, wait_until
from vaultmesh.domain.maintenance.outcomes import Outcome

pytestmark = on_both
GOODS = "CREATE TABLE goods (id int PRIMARY KEY, name text); INSERT INTO goods SELECT n, 'tea ' || n FROM generate_series(1, 20000) n; CREATE INDEX goods_name ON goods (name)"
LISTED = {"kind": "reindex", "indexes": ["public.goods_name"], "minBloat": "0.4"}
ALL = {"kind": "reindex", "indexes": "all"}
INVALID = "SELECT coalesce(string_agg(indexrelid::regclass::text, ' '), '') FROM pg_index WHERE NOT indisvalid"


def interrupted(shop: Shop) -> None:
    """Leave what an interrupted build leaves."""
    with (
        shop.holding("INSERT INTO goods VALUES (-1, 'open')"),
        psycopg.connect(shop.url, autocommit=True) as other,
    ):
        other.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("REINDEX INDEX CONCURRENTLY goods_name")
    assert shop.sql(INVALID) == "goods_name_ccnew"


def test_a_listed_index_is_built_anew(shop: Shop) -> None:
    shop.sql(GOODS)
    before = shop.sql("SELECT relfilenode FROM pg_class WHERE relname = 'goods_name'")
    planned = [statement for step in shop.plan(**LISTED) for statement in step.statements]
    result = shop.run(**LISTED)
    assert result.outcome is Outcome.DONE
    assert [statement for step in result.steps for statement in step.statements] == planned
    assert shop.sql("SELECT relfilenode FROM pg_class WHERE relname = 'goods_name'") != before


@pytest.mark.parametrize("task", [LISTED, ALL], ids=["listed", "all"])
def test_what_an_interrupted_build_left_is_dropped(shop: Shop, task: dict[str, object]) -> None:
    shop.sql("CREATE EXTENSION IF NOT EXISTS pgstattuple SCHEMA public")
    shop.sql(GOODS)
    interrupted(shop)
    result = shop.run(**task)
    assert result.outcome is Outcome.DONE
    assert step_of(result, "public.goods_name_ccnew").statements == (
        'DROP INDEX CONCURRENTLY "public"."goods_name_ccnew"',
    )
    assert shop.sql(INVALID) == ""


async def test_a_build_that_fails_leaves_nothing_behind(shop: Shop) -> None:
    shop.sql(GOODS)
    with shop.holding("INSERT INTO goods VALUES (-1, 'open')") as other:
        running = asyncio.ensure_future(shop.run_async(**LISTED, lockTimeout="300ms"))
        await asyncio.to_thread(
            wait_until, lambda: "_ccnew" in shop.sql(INVALID), "the second index"
        )
        failed = "SELECT count(*) >= 2 FROM pg_class WHERE relname LIKE 'goods_name_ccnew%'"
        await asyncio.to_thread(wait_until, lambda: shop.sql(failed) == "t", "a second attempt")
        other.rollback()
        result = await running
    assert shop.sql(INVALID) == "", result


def test_an_invalid_index_of_somebody_is_told_and_left(shop: Shop) -> None:
    shop.sql(GOODS)
    shop.sql("INSERT INTO goods SELECT n + 50000, 'tea 1' FROM generate_series(1, 2) n")
    with pytest.raises(Exception, match="could not create unique index"):
        shop.sql("CREATE UNIQUE INDEX CONCURRENTLY goods_only ON goods (name)")
    [alert] = [step for step in shop.plan(**LISTED) if step.is_alert]
    assert alert.subject == "public.goods_only"
    shop.run(**LISTED)
    assert shop.sql(INVALID) == "goods_only"


def test_only_bloated_indexes_are_built_anew_where_bloat_can_be_seen(shop: Shop) -> None:
    shop.sql("CREATE EXTENSION IF NOT EXISTS pgstattuple SCHEMA public")
    shop.sql(GOODS)
    assert shop.run(**ALL).outcome is Outcome.NOT_NEEDED
    shop.sql("DELETE FROM goods WHERE id % 10 <> 0")
    shop.sql("VACUUM goods")
    result = shop.run(**ALL)
    assert step_of(result, "public.goods_name").outcome is Outcome.DONE
    assert "bloat, minBloat is 40%" in step_of(result, "public.goods_name").detail
    assert shop.run(**ALL).outcome is Outcome.NOT_NEEDED


def test_without_the_extension_all_is_refused_with_its_mend(shop: Shop) -> None:
    shop.sql(GOODS)
    result = shop.run(**ALL)
    assert result.outcome is Outcome.FAILED
    assert "CREATE EXTENSION pgstattuple" in result.steps[0].detail


def test_an_index_of_somebody_else_is_denied(shop: Shop) -> None:
    shop.sql(GOODS)
    shop.sql("DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN")
    shop.user = "stranger"
    assert shop.run(**LISTED).outcome is Outcome.DENIED


VIEW = "CREATE TABLE sales (n int); INSERT INTO sales VALUES (1), (2); CREATE MATERIALIZED VIEW ranking AS SELECT n FROM sales"
REFRESH = {"kind": "refresh", "view": "public.ranking"}


def test_a_view_is_refreshed_beside_its_readers_where_that_can_be(shop: Shop) -> None:
    shop.sql(f"{VIEW}; INSERT INTO sales VALUES (3)")
    first = shop.run(**REFRESH)
    assert first.outcome is Outcome.DONE
    assert "no unique index on plain columns" in first.steps[0].detail
    assert shop.sql("SELECT count(*) FROM ranking") == "3"
    shop.sql("CREATE UNIQUE INDEX ON ranking (n); INSERT INTO sales VALUES (4)")
    with shop.holding("SELECT FROM ranking"):
        second = shop.run(**REFRESH)
    assert second.steps[0].statements == (
        'REFRESH MATERIALIZED VIEW CONCURRENTLY "public"."ranking"',
    )
    assert (second.outcome, shop.sql("SELECT count(*) FROM ranking")) == (Outcome.DONE, "4")


@pytest.mark.parametrize("index", ["(n) WHERE n > 0", "((n + 0))"])
def test_an_index_that_does_not_serve_is_not_taken_for_one(shop: Shop, index: str) -> None:
    shop.sql(f"{VIEW}; CREATE UNIQUE INDEX ON ranking {index}")
    assert shop.run(**REFRESH).steps[0].statements == (
        'REFRESH MATERIALIZED VIEW "public"."ranking"',
    )


def test_a_view_that_was_never_populated_is_populated(shop: Shop) -> None:
    shop.sql(f"{VIEW} WITH NO DATA; CREATE UNIQUE INDEX ON ranking (n)")
    assert shop.run(**REFRESH).outcome is Outcome.DONE
    assert shop.sql("SELECT count(*) FROM ranking") == "2"


def test_a_reader_of_a_view_without_a_key_is_waited_for_a_little_only(shop: Shop) -> None:
    shop.sql(VIEW)
    with shop.holding("SELECT FROM ranking"):
        result = shop.run(**REFRESH, lockTimeout="100ms")
    assert (result.outcome, result.is_good) == (Outcome.LOCKED, True)


async def test_a_lock_that_goes_away_in_time_is_waited_for(shop: Shop) -> None:
    shop.sql(VIEW)
    with shop.holding("SELECT FROM ranking") as other:
        running = asyncio.ensure_future(shop.run_async(**REFRESH, lockTimeout="20s"))
        await asyncio.to_thread(
            wait_until, lambda: shop.sees("wait_event_type = 'Lock'"), "its wait"
        )
        other.rollback()
        assert (await running).outcome is Outcome.DONE

"""What alerts are told of a database names the rows that no VACUUM cleans, and what holds them."""

import asyncio
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from devnet.postgres import PostgresServer
from docs.tables import MAINTENANCE_RULES
from tests.postgres.shop import DATABASE, NOON, Shop
from vaultmesh.domain.maintenance.config import VacuumTask
from vaultmesh.domain.maintenance.figures import Figures, Holder
from vaultmesh.postgres.connection import Database, Session
from vaultmesh.postgres.figures import figures
from vaultmesh.process.maintenance_settings import Telemetry
from vaultmesh.process.run_metrics import measured

ROWS, DEAD = 1_000, 600
GOODS = f"""
CREATE TABLE goods AS SELECT number FROM generate_series(1, {ROWS}) AS number;
ANALYZE goods;
"""
KILL = f"DELETE FROM goods WHERE number <= {DEAD}"
VACUUM = {"kind": "vacuum", "tables": ["public.goods"]}


@pytest.fixture(scope="module")
def held() -> Iterator[PostgresServer]:
    """A server that knows prepared transactions."""
    with PostgresServer({"autovacuum": "off", "max_prepared_transactions": "2"}) as server:
        server.create(DATABASE)
        yield server


@pytest.fixture
def goods(held: PostgresServer, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(held, tmp_path)
    shop.empty()
    shop.sql(GOODS)
    yield shop
    shop.close()


async def _read(shop: Shop, seconds: float) -> Figures:
    task = shop.config(**VACUUM).tasks[0].task
    assert isinstance(task, VacuumTask)
    database = Database(SecretStr(shop.url))
    async with Session(database, "it", task, shop.order()) as session:
        return await figures(session, task, seconds)


def after_a_run(shop: Shop) -> Figures:
    """Vacuum what is needed, and return what alerts are told then."""
    shop.run(**VACUUM)
    return asyncio.run(_read(shop, 60.0))


def test_rows_that_a_transaction_may_still_see_are_counted_with_their_holder(goods: Shop) -> None:
    with goods.holding("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM goods"):
        goods.sql(KILL)
        seen = after_a_run(goods)
        assert (seen.held_dead, seen.held_by) == (DEAD, Holder.TRANSACTION)
        assert seen.database == DATABASE
    assert after_a_run(goods).held_dead == 0


def test_a_transaction_that_only_wrote_elsewhere_is_a_holder_too(goods: Shop) -> None:
    goods.sql("CREATE TABLE others (number int)")
    with goods.holding("INSERT INTO others VALUES (1)"):
        goods.sql(KILL)
        assert after_a_run(goods).held_by == Holder.TRANSACTION


def test_a_forgotten_prepared_transaction_is_named(goods: Shop) -> None:
    goods.sql("CREATE TABLE others (number int)")
    goods.sql("BEGIN; INSERT INTO others VALUES (1); PREPARE TRANSACTION 'forgotten'")
    try:
        goods.sql(KILL)
        seen = after_a_run(goods)
        assert (seen.held_dead, seen.held_by) == (DEAD, Holder.PREPARED)
    finally:
        goods.sql("ROLLBACK PREPARED 'forgotten'")


def test_dead_rows_that_no_run_had_to_clean_alert_nobody(goods: Shop) -> None:
    goods.sql(KILL)
    assert asyncio.run(_read(goods, 60.0)).held_dead == 0
    goods.sql("VACUUM goods")
    goods.sql("DELETE FROM goods WHERE number <= 610")
    assert after_a_run(goods).held_dead == 0


def test_a_table_s_own_setting_counts(goods: Shop) -> None:
    goods.sql("ALTER TABLE goods SET (autovacuum_vacuum_scale_factor = 2)")
    with goods.holding("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM goods"):
        goods.sql(KILL)
        goods.sql("VACUUM goods")
        assert asyncio.run(_read(goods, 60.0)).held_dead == 0


def test_the_oldest_age_grows_with_transactions_and_a_freeze_ends_it(goods: Shop) -> None:
    goods.sql("VACUUM (FREEZE)")
    before = asyncio.run(_read(goods, 1.0)).oldest_age
    for _ in range(20):
        goods.sql("INSERT INTO goods VALUES (0)")
    after = asyncio.run(_read(goods, 1.0)).oldest_age
    assert after >= before + 20


# --- what a run says of itself -----------------------------------------------------------------


def test_a_run_that_vacuumed_says_what_it_could_not_clean(goods: Shop) -> None:
    with goods.holding("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM goods"):
        goods.sql(KILL)
        result = goods.run(**VACUUM)
    assert result.figures is not None
    assert (result.figures.held_dead, result.figures.held_by) == (DEAD, Holder.TRANSACTION)


def test_a_run_that_succeeded_says_by_when_the_next_one_must(goods: Shop) -> None:
    result = goods.run(**VACUUM, cron="*/15 * * * *", deadline="60s", now=NOON)
    assert result.success_due == NOON + timedelta(minutes=31)
    failed = goods.run(kind="vacuum", tables=["public.gone"], now=NOON)
    assert failed.success_due is None


def test_the_metrics_of_a_run_are_those_that_the_alerts_read(goods: Shop) -> None:
    """A name that is spelled otherwise on one side alerts never."""
    result = goods.run(**VACUUM)
    data = measured(Telemetry(SecretStr("http://127.0.0.1:1")), [result])
    (of_resource,) = data.resource_metrics
    sent = {
        metric.name: {key for point in metric.data.data_points for key in point.attributes}
        for scope in of_resource.scope_metrics
        for metric in scope.metrics
    }
    (group,) = yaml.safe_load(MAINTENANCE_RULES.read_text(encoding="utf-8"))["groups"]
    expressions = " ".join(rule["expr"] for rule in group["rules"])
    read = set(re.findall(r"\bscheduler_\w+", expressions))
    assert read
    assert read <= set(sent)
    labels = set(re.findall(r"\b(task|outcome|database|held_by)\b", expressions))
    assert labels == {label for name in read for label in sent[name]}

"""Batches go on where the one before was, and leave out nothing for it; they leave time to whoever uses the table."""

import asyncio
from collections.abc import Callable

import pytest

from tests.postgres.shop import Shop, on_both, step_of
from vaultmesh.domain.maintenance.outcomes import Outcome, TaskResult

ROWS, BATCH = 1_000, 50
ORDERS = f"""
CREATE TABLE orders (id int PRIMARY KEY, at timestamptz);
INSERT INTO orders SELECT n, '2025-10-01'::timestamptz + n * interval '1 minute' FROM generate_series(1, {ROWS}) n;
CREATE INDEX orders_at ON orders (at); CREATE SCHEMA archive; CREATE TABLE archive.orders (LIKE orders)
"""
RETAIN = {
    "kind": "retain", "table": "orders", "ageColumn": "at", "keep": "90d", "batch": BATCH, "pause": "0s",
}  # fmt: skip
PLACES = {
    "nowhere": {},
    "table": {"archive": {"table": "archive.orders"}},
    "folder": {"archive": {"folder": "archive"}},
}
everywhere = pytest.mark.parametrize("place", PLACES)


def left(shop: Shop) -> int:
    return int(shop.sql("SELECT count(*) FROM orders"))


def run_with(
    shop: Shop, do: Callable[[], object], when: str = f": {2 * BATCH} rows", **task: object
) -> TaskResult:
    """Run a task, and have somebody else do something once so many rows are gone."""
    done: list[str] = []

    def look(line: str) -> None:
        if line.endswith(when) and not done:
            done.append(line)
            do()

    result = asyncio.run(shop.run_async(beat=look, **{**RETAIN, **task}))
    assert done
    return result


@everywhere
@on_both
def test_a_long_report_does_not_make_each_batch_read_all_that_is_deleted(
    shop: Shop, place: str
) -> None:
    """Entries of deleted rows stay in the index while anybody may see them: 20 batches from the start read 10,500 of them."""
    shop.sql(ORDERS)
    with shop.holding("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM orders"):
        assert shop.run(**RETAIN, **PLACES[place]).steps[0].rows == ROWS
    read = int(
        shop.sql("SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'orders_at'")
    )
    assert read <= 6 * ROWS
    assert left(shop) == 0


@everywhere
@on_both
def test_rows_that_come_late_with_an_old_age_go_with_the_same_run(shop: Shop, place: str) -> None:
    shop.sql(ORDERS)
    late = "INSERT INTO orders SELECT 5000 + n, '2020-01-01' FROM generate_series(1, 70) n"
    result = run_with(shop, lambda: shop.sql(late), **PLACES[place])
    assert result.steps[0].rows == ROWS + 70
    assert left(shop) == 0


@everywhere
def test_rows_that_somebody_held_when_their_batch_passed_go_with_the_same_run(
    shop: Shop, place: str
) -> None:
    shop.sql(ORDERS)
    with shop.holding("SELECT FROM orders WHERE id <= 10 FOR UPDATE") as other:
        result = run_with(shop, other.rollback, **PLACES[place])
    assert "stay" not in result.steps[0].detail
    assert result.steps[0].rows == ROWS
    assert left(shop) == 0


def test_a_row_that_gets_an_old_age_behind_the_batches_goes_with_the_same_run(shop: Shop) -> None:
    shop.sql(ORDERS)
    shop.sql("INSERT INTO orders VALUES (0, '2026-03-01')")
    sooner = "UPDATE orders SET at = '2024-01-01' WHERE id = 0"
    result = run_with(shop, lambda: shop.sql(sooner))
    assert result.steps[0].rows == ROWS + 1


AGES = {
    "timestamptz": [
        "-infinity", "0044-03-15 12:00 BC", "0044-03-15 12:00:00.000001 BC", "1999-12-31 23:59:59.999999",
        "2000-01-01", "2025-06-01 00:00:00.5+14", "2025-06-01 00:00:00.5+14", "2025-06-01 00:00:00.5+14",
        "2025-06-01 00:00:00.500001+14",
    ],
    "timestamp": ["-infinity", "4713-11-24 BC", "1999-12-31 23:59:59.999999", "2025-06-01", "2025-06-01"],
    "date": ["-infinity", "4713-11-24 BC", "2025-06-01", "2025-06-01", "2025-06-01", "2025-06-02"],
}  # fmt: skip


@pytest.mark.parametrize("kind", AGES)
@on_both
def test_ages_of_every_kind_are_told_apart_whatever_the_role_is_used_to(
    shop: Shop, kind: str
) -> None:
    shop.sql(
        f"CREATE TABLE orders (id serial, at {kind}); CREATE INDEX ON orders (at); "
        f"INSERT INTO orders (at) SELECT unnest(ARRAY[{', '.join(map(repr, AGES[kind]))}]::{kind}[]); "
        "INSERT INTO orders (at) VALUES (NULL), ('2026-03-01'), ('infinity'); "
        "ALTER DATABASE shop SET datestyle = 'SQL, DMY'; ALTER DATABASE shop SET timezone = 'Asia/Kathmandu'"
    )
    try:
        step = shop.run(**{**RETAIN, "batch": 2}).steps[0]
    finally:
        shop.sql("ALTER DATABASE shop RESET ALL")
    assert (step.outcome, step.rows) == (Outcome.DONE, len(AGES[kind]))
    assert left(shop) == 3


@on_both
def test_each_partition_is_looked_at_from_its_own_start(shop: Shop) -> None:
    shop.sql(
        "CREATE TABLE orders (id int, at timestamptz NOT NULL) PARTITION BY HASH (id); "
        "CREATE TABLE even PARTITION OF orders FOR VALUES WITH (MODULUS 2, REMAINDER 0); "
        "CREATE TABLE odd PARTITION OF orders FOR VALUES WITH (MODULUS 2, REMAINDER 1); CREATE INDEX ON orders (at); "
        f"INSERT INTO orders SELECT n, '2025-10-01'::timestamptz - n * interval '1 hour' FROM generate_series(1, {ROWS}) n"
    )
    result = shop.run(**RETAIN)
    gone = [step_of(result, f"public.{name}").rows for name in ("even", "odd")]
    assert sum(rows or 0 for rows in gone) == ROWS
    assert left(shop) == 0


def test_rows_that_a_trigger_keeps_stop_neither_the_run_nor_the_rows_behind_them(
    shop: Shop,
) -> None:
    shop.sql(ORDERS)
    shop.sql(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
        "CREATE TRIGGER keep BEFORE DELETE ON orders FOR EACH ROW WHEN (OLD.id % 50 = 7) EXECUTE FUNCTION keep()"
    )
    step = shop.run(**RETAIN).steps[0]
    assert (step.rows, left(shop)) == (ROWS - 20, 20)
    assert "20 rows stay: they are in use, or a trigger keeps them" in step.detail


def test_a_rule_of_the_table_that_does_something_beside_a_deletion_is_no_hindrance(
    shop: Shop,
) -> None:
    shop.sql(ORDERS)
    shop.sql(
        "CREATE TABLE told (n serial); CREATE RULE tell AS ON DELETE TO orders DO ALSO INSERT INTO told DEFAULT VALUES"
    )
    assert shop.run(**RETAIN).outcome is Outcome.DONE
    assert left(shop) == 0


@pytest.mark.parametrize(
    "partitions", ["", "PARTITION BY RANGE (id)"], ids=["one table", "partitions"]
)
def test_rows_that_go_with_others_and_into_no_archive_are_told(shop: Shop, partitions: str) -> None:
    """The harm: an operator believes that whatever his task deletes is in its archive."""
    shop.sql(f"CREATE TABLE orders (id int PRIMARY KEY, at timestamptz) {partitions}")
    if partitions:
        shop.sql("CREATE TABLE first PARTITION OF orders FOR VALUES FROM (0) TO (1000)")
    shop.sql("INSERT INTO orders VALUES (1, '2025-01-01'); CREATE INDEX ON orders (at)")
    for name, action in (("parcels", "CASCADE"), ("notes", "SET NULL")):
        shop.sql(f"CREATE TABLE {name} (order_id int REFERENCES orders ON DELETE {action})")
        shop.sql(f"INSERT INTO {name} VALUES (1)")
    task = {**RETAIN, "archive": {"folder": "archive"}}
    words = "rows of public.parcels that refer to them go too (ON DELETE CASCADE), into no archive"
    assert words in shop.plan(**task)[0].reason
    assert words in shop.run(**task).steps[0].detail
    assert shop.sql("SELECT count(*) FROM parcels") == "0"


def test_a_file_with_long_texts_is_verified_and_settled(shop: Shop) -> None:
    """The harm: a whole archive is told to be unreadable, and after a kill its task never runs again."""
    shop.sql("CREATE TABLE orders (id int PRIMARY KEY, at timestamptz, text text)")
    shop.sql("INSERT INTO orders VALUES (1, '2025-01-01', repeat('x', 200000))")
    task = {**RETAIN, "archive": {"folder": "archive"}}
    assert shop.run(**task).outcome is Outcome.DONE
    [data] = (shop.root / "archive").glob("*.csv.gz")
    assert shop.command("verify", str(data)).code == 0
    xid = data.name.removesuffix(".csv.gz").rpartition("-")[2]
    for ending in (".csv.gz", ".json"):
        place = data.with_name(data.name.removesuffix(".csv.gz") + ending)
        place.rename(place.with_name(f".pending-{xid}{ending}"))
    assert shop.run(**task).outcome is Outcome.DONE
    assert data.exists()


def test_an_age_column_of_any_name_is_deleted_by(shop: Shop) -> None:
    shop.sql(
        'CREATE TABLE orders (id int, "a < ""b""" timestamptz); CREATE INDEX ON orders ("a < ""b"""); '
        "INSERT INTO orders VALUES (1, '2025-01-01'), (2, '2026-03-01')"
    )
    assert shop.run(**{**RETAIN, "ageColumn": '"a < ""b"""'}).outcome is Outcome.DONE
    assert left(shop) == 1


@pytest.mark.parametrize(
    "index", ["orders USING brin (at)", "orders (at) WHERE id > 5", "orders (id, at)"]
)
def test_an_index_that_leads_to_no_oldest_row_does_not_pass_for_one(shop: Shop, index: str) -> None:
    shop.sql(ORDERS)
    shop.sql(f"DROP INDEX orders_at; CREATE INDEX ON {index}")
    [step] = shop.plan(**RETAIN)
    assert "no index begins with at, so each batch reads the whole table" in step.reason
    assert shop.run(**RETAIN).steps[0].rows == ROWS


def test_whoever_uses_the_table_has_half_of_the_time_however_slow_a_batch_is(shop: Shop) -> None:
    shop.sql(ORDERS)
    shop.sql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END'; "
        "CREATE TRIGGER slow AFTER DELETE ON orders FOR EACH STATEMENT EXECUTE FUNCTION slow()"
    )
    step = shop.run(**{**RETAIN, "batch": 400}).steps[0]
    batches = 4  # three with rows, and one that finds none
    assert step.rows == ROWS
    assert step.seconds >= 0.2 * (2 * batches - 1)

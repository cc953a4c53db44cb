"""Old rows go and only they, beside whoever uses the table; an archive has each of them once."""

import asyncio
import csv
import gzip
import json
import threading
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from tests.postgres.shop import NOON, Shop, on_both, step_of, wait_until
from vaultmesh.domain.errors import InvalidDocument
from vaultmesh.domain.maintenance.outcomes import Outcome, Reason

OLD, YOUNG = 1_200, 300
"""Orders: the older ones are more than 90 days old at noon."""
ORDERS = f"""
CREATE TABLE orders (id int PRIMARY KEY, at timestamptz, note text);
INSERT INTO orders SELECT n, '2025-10-01'::timestamptz, CASE WHEN n % 3 = 0 THEN NULL WHEN n % 3 = 1 THEN '' ELSE E'a,"b"\\n' END
FROM generate_series(1, {OLD}) n;
INSERT INTO orders SELECT n, '2026-02-01'::timestamptz, 'young' FROM generate_series({OLD + 1}, {OLD + YOUNG}) n;
INSERT INTO orders VALUES (0, NULL, 'no age');
CREATE INDEX ON orders (at)
"""
LEFT = YOUNG + 1
RETAIN = {
    "kind": "retain", "table": "public.orders", "ageColumn": "at", "keep": "90d", "batch": 250, "pause": "0s",
}  # fmt: skip
TO_TABLE = {**RETAIN, "archive": {"table": "archive.orders"}}
TO_FOLDER = {**RETAIN, "archive": {"folder": "archive"}}
MORE_OLD = "INSERT INTO orders SELECT 5000 + n, '2025-10-01', 'more' FROM generate_series(1, 10) n"
ARCHIVE = "CREATE SCHEMA archive; CREATE TABLE archive.orders (LIKE orders)"


def number(shop: Shop, query: str) -> int:
    return int(shop.sql(query))


def archived(shop: Shop) -> list[tuple[int, Path]]:
    """Return the id of each row in files with final names, and its file."""
    rows = []
    for path in sorted((shop.root / "archive").glob("[!.]*.csv.gz")):
        with gzip.open(path, "rt", newline="") as file:
            rows += [(int(row["id"]), path) for row in csv.DictReader(file)]
    return rows


def files(shop: Shop) -> list[str]:
    return sorted(path.name for path in (shop.root / "archive").iterdir())


@pytest.fixture
def orders(shop: Shop) -> Shop:
    shop.sql(ORDERS)
    shop.sql(ARCHIVE)
    return shop


@on_both
def test_old_rows_go_and_rows_without_an_age_stay(orders: Shop) -> None:
    [step] = orders.plan(**RETAIN)
    assert "1,200 rows older than 2025-12-02 12:00:00 UTC" in step.reason
    assert number(orders, "SELECT count(*) FROM orders") == OLD + LEFT
    result = orders.run(**RETAIN)
    assert (result.outcome, result.steps[0].rows) == (Outcome.DONE, OLD)
    assert number(orders, "SELECT count(*) FROM orders") == LEFT
    assert number(orders, "SELECT count(*) FROM orders WHERE id = 0") == 1
    assert orders.run(**RETAIN).outcome is Outcome.NOT_NEEDED


@on_both
def test_a_table_takes_every_row_once(orders: Shop) -> None:
    before = orders.sql(
        f"SELECT md5(string_agg(o::text, '|' ORDER BY id)) FROM orders o WHERE id BETWEEN 1 AND {OLD}"
    )
    assert orders.run(**TO_TABLE).steps[0].rows == OLD
    after = orders.sql("SELECT md5(string_agg(o::text, '|' ORDER BY id)) FROM archive.orders o")
    assert before == after
    assert number(orders, "SELECT count(*) FROM orders") == LEFT


@on_both
def test_files_take_every_row_once_and_can_be_read_back(orders: Shop) -> None:
    assert orders.run(**TO_FOLDER).steps[0].rows == OLD
    assert sorted(row for row, _ in archived(orders)) == list(range(1, OLD + 1))
    paths = sorted({path for _, path in archived(orders)})
    assert len(paths) == 5
    assert len(files(orders)) == 10
    manifest = json.loads(paths[0].with_name(paths[0].name.replace(".csv.gz", ".json")).read_text())
    assert manifest["rows"] == 250
    assert manifest["columns"] == ["id", "at", "note"]
    assert paths[0].name.startswith("20251202T120000Z-")
    with psycopg.connect(orders.url, autocommit=True) as other, other.cursor() as cursor:
        for path in paths:
            with cursor.copy("COPY archive.orders FROM STDIN (FORMAT csv, HEADER)") as copy:
                copy.write(gzip.decompress(path.read_bytes()))
    assert number(orders, "SELECT count(*) FROM archive.orders WHERE note IS NULL") == OLD // 3
    assert number(orders, "SELECT count(*) FROM archive.orders WHERE note = ''") == OLD // 3
    said = orders.command("verify", str(paths[0]), "--json")
    assert said.code == 0
    assert said.json["rows"] == 250


def test_a_changed_or_cut_file_is_noticed(orders: Shop) -> None:
    orders.run(**TO_FOLDER)
    _, path = archived(orders)[0]
    path.write_bytes(path.read_bytes()[:-20])
    said = orders.command("verify", str(path))
    assert said.code == 1
    assert "SHA-256" in said.errors


def test_writers_beside_it_lose_nothing_and_only_old_rows_go(orders: Shop) -> None:
    stop = threading.Event()
    kept: set[int] = set()

    def write() -> None:
        with psycopg.connect(orders.url, autocommit=True) as other:
            row = 10_000
            while not stop.is_set() and row < 14_000:
                old = row % 2 == 0
                age = "2025-09-01" if old else "2026-03-01"
                other.execute(
                    "INSERT INTO orders VALUES (%s, %s::text::timestamptz, 'new')", (row, age)
                )
                if not old:
                    kept.add(row)
                # a row becomes young just before it would go
                saved = other.execute(
                    "UPDATE orders SET at = '2026-02-28' WHERE id = %s RETURNING id",
                    (row % OLD + 1,),
                ).fetchall()
                kept.update(number for (number,) in saved)
                row += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            assert orders.run(**{**TO_FOLDER, "batch": 40}).is_good
    finally:
        stop.set()
        writer.join()
    assert orders.run(**TO_FOLDER).is_good
    left = {int(line) for line in orders.sql("SELECT id FROM orders").split()}
    gone = [row for row, _ in archived(orders)]
    assert len(gone) == len(set(gone))
    assert not left & set(gone)
    assert kept <= left
    assert number(orders, "SELECT count(*) FROM orders WHERE at < '2025-12-02'") == 0


@on_both
def test_rows_that_somebody_holds_are_left_and_said(orders: Shop) -> None:
    with orders.holding("SELECT FROM orders WHERE id <= 10 FOR UPDATE"):
        step = orders.run(**TO_TABLE).steps[0]
    assert (step.outcome, step.rows) == (Outcome.DONE, OLD - 10)
    assert "10 rows stay" in step.detail
    assert orders.run(**TO_TABLE).steps[0].rows == 10


def test_no_run_deletes_more_than_max_rows(orders: Shop) -> None:
    step = orders.run(**{**RETAIN, "maxRows": 610}).steps[0]
    assert step.rows == 610
    assert "maxRows" in step.detail
    assert number(orders, "SELECT count(*) FROM orders") == OLD + LEFT - 610


def test_a_slip_in_keep_deletes_nothing(orders: Shop) -> None:
    with pytest.raises(InvalidDocument, match="shorter than minKeep"):
        orders.run(**{**RETAIN, "keep": "9d"})
    assert orders.run(**{**RETAIN, "keep": "9d", "minKeep": "0s"}).steps[0].rows == OLD + YOUNG


@pytest.mark.parametrize("kind", ["timestamp", "date"])
def test_other_types_of_age_are_read_as_utc(shop: Shop, kind: str) -> None:
    shop.sql(
        f"CREATE TABLE orders (id int, at {kind}); ALTER DATABASE shop SET timezone = 'Asia/Tokyo'"
    )
    shop.sql(
        "INSERT INTO orders VALUES (1, '2026-01-30 11:00'), (2, '2026-01-31 11:00'), (3, '2026-01-31 13:00')"
    )
    try:
        assert shop.run(**{**RETAIN, "keep": "30d"}).outcome is Outcome.DONE
    finally:
        shop.sql("ALTER DATABASE shop RESET timezone")
    assert shop.sql("SELECT string_agg(id::text, ' ' ORDER BY id) FROM orders") == (
        "3" if kind == "timestamp" else "2 3"
    )


def test_the_cut_off_is_that_of_the_order_in_every_batch(orders: Shop) -> None:
    orders.run(**TO_FOLDER, now=NOON + timedelta(days=61))
    assert {path.name[:16] for _, path in archived(orders)} == {"20260201T120000Z"}
    assert number(orders, "SELECT count(*) FROM orders") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"table": "public.order"}, "there is none of this name"),
        ({"ageColumn": "note"}, "name one of: at"),
        ({"archive": {"table": "archive.nothing"}}, "there is none of this name"),
        ({"archive": {"table": "archive.narrow"}}, "lacks what public.orders has: note"),
        (
            {"table": "orders", "archive": {"table": "public.orders"}},
            "is the table that rows are deleted from",
        ),
        ({"archive": {"table": "archive.forgotten"}}, "is emptied by a crash"),
        ({"archive": {"table": "archive.same"}}, "is no table of this database"),
        ({"archive": {"folder": "/not-mounted"}}, "is no folder - mount it"),
        ({"archive": {"folder": "archive/../../not-mounted"}}, "is no folder - mount it"),
    ],
)
def test_a_task_that_can_not_work_says_why_before_it_deletes(
    orders: Shop, change: dict[str, object], words: str
) -> None:
    orders.sql(
        "CREATE TABLE archive.narrow (id int, at timestamptz); CREATE UNLOGGED TABLE archive.forgotten (LIKE orders); "
        "CREATE VIEW archive.same AS SELECT * FROM orders"
    )
    result = orders.run(**{**RETAIN, **change})
    assert result.outcome is Outcome.FAILED
    assert words in result.detail
    assert number(orders, "SELECT count(*) FROM orders") == OLD + LEFT


def test_rows_are_not_archived_into_a_partition_of_where_they_are_deleted(shop: Shop) -> None:
    shop.sql(
        "CREATE TABLE orders (id int, at timestamptz) PARTITION BY RANGE (at); "
        "CREATE TABLE early PARTITION OF orders FOR VALUES FROM ('2020-01-01') TO ('2030-01-01'); "
        "INSERT INTO orders VALUES (1, '2025-10-01')"
    )
    for table, archive in (("orders", "early"), ("early", "orders")):
        result = shop.run(**{**RETAIN, "table": table, "archive": {"table": archive}})
        assert (result.outcome, result.steps) == (Outcome.FAILED, ())
        assert "each row would go back" in result.detail


def test_a_table_keeps_what_a_generated_column_had_computed(shop: Shop) -> None:
    shop.sql(
        "CREATE TABLE orders (id int, at timestamptz, twice int GENERATED ALWAYS AS (2 * id) STORED); "
        "CREATE SCHEMA archive; CREATE TABLE archive.orders (id int, at timestamptz, twice int); "
        "INSERT INTO orders VALUES (7, '2025-10-01')"
    )
    assert shop.run(**TO_TABLE).outcome is Outcome.DONE
    assert shop.sql("SELECT id, twice FROM archive.orders") == "7|14"


def test_rows_that_a_policy_hides_do_not_pass_for_rows_that_are_not_there(orders: Shop) -> None:
    orders.sql(
        "DROP ROLE IF EXISTS cleaner; CREATE ROLE cleaner LOGIN; GRANT SELECT, UPDATE, DELETE ON orders TO cleaner; "
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON orders USING (note = 'mine')"
    )
    orders.user = "cleaner"
    step = orders.run(**RETAIN).steps[0]
    check = {"kind": "check", "query": "SELECT count(*) FROM orders", "failAbove": 5}
    asked = orders.run(**check).steps[0]
    orders.sql("DROP OWNED BY cleaner")
    assert [each.outcome for each in (step, asked)] == [Outcome.DENIED, Outcome.DENIED]
    assert "row-level security" in step.detail


def test_rows_of_tables_that_inherit_are_said_to_stay(orders: Shop) -> None:
    orders.sql(
        "CREATE TABLE more () INHERITS (orders); INSERT INTO more VALUES (9999, '2025-10-01')"
    )
    left = orders.plan(**RETAIN)[-1]
    assert (left.subject, left.is_alert) == ("public.more", True)
    assert orders.run(**RETAIN).steps[0].rows == OLD
    assert number(orders, "SELECT count(*) FROM more") == 1


def test_files_of_another_task_are_neither_deleted_nor_written_over(orders: Shop) -> None:
    orders.sql("CREATE TABLE others AS SELECT * FROM orders")
    orders.run(**TO_FOLDER)
    before = {path: path.read_bytes() for _, path in archived(orders)}
    keys = {**RETAIN, "table": "others", "archive": {"folder": "archive", "keep": "91d"}}
    orders.write({"other": keys})
    assert orders.command("run", "--once").code == 0
    after = {path: path.read_bytes() for _, path in archived(orders)}
    assert (
        before.items() < after.items()
    )  # those of `it` are older than the other task keeps its own

    orders.sql(MORE_OLD)
    xid = number(orders, "SELECT pg_current_xact_id()::text::int8 + 1")
    note = orders.root / "archive" / f".pending-{xid}.json"
    first = next(iter(before))
    note.write_bytes(
        first.with_name(first.name.replace(".csv.gz", ".json"))
        .read_bytes()
        .replace(b'"it"', b'"elsewhere"')
    )
    rows = orders.root / "archive" / f".pending-{xid}.csv.gz"
    rows.write_bytes(b"rows of a database that was restored since")
    step = orders.run(**TO_FOLDER).steps[-1]
    assert step.outcome is Outcome.FAILED
    assert "of another transaction of the same number" in step.detail
    assert rows.read_bytes() == b"rows of a database that was restored since"
    assert b"elsewhere" in note.read_bytes()
    assert number(orders, "SELECT count(*) FROM orders WHERE note = 'more'") == 10
    assert orders.run(**TO_FOLDER).outcome is Outcome.DONE  # the next number is free


def test_an_archive_that_drops_rows_loses_none(orders: Shop) -> None:
    orders.sql(
        "CREATE FUNCTION archive.forget() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
        "CREATE TRIGGER forget BEFORE INSERT ON archive.orders FOR EACH ROW WHEN (NEW.id = 7) EXECUTE FUNCTION archive.forget()"
    )
    step = orders.run(**{**TO_TABLE, "batch": 2_000}).steps[0]
    assert step.outcome is Outcome.FAILED
    assert "nothing was changed" in step.detail
    assert number(orders, "SELECT count(*) FROM orders") == OLD + LEFT


@on_both
def test_a_row_that_is_referred_to_stops_the_task_and_says_so(orders: Shop) -> None:
    orders.sql(
        "CREATE TABLE parcels (order_id int REFERENCES orders); INSERT INTO parcels VALUES (5)"
    )
    step = orders.run(**TO_FOLDER).steps[0]
    assert (step.outcome, step.sqlstate) == (Outcome.FAILED, "23503")
    assert number(orders, "SELECT count(*) FROM orders") == OLD + LEFT
    assert files(orders) == []


@pytest.mark.parametrize("role", ["reader", "read_only"])
@on_both
def test_a_role_that_may_not_delete_is_denied(orders: Shop, role: str) -> None:
    orders.sql(
        f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN; GRANT SELECT ON orders TO {role}"
    )
    if role == "read_only":
        orders.sql(
            f"GRANT UPDATE, DELETE ON orders TO {role}; ALTER ROLE {role} SET default_transaction_read_only = on"
        )
    orders.user = role
    step = orders.run(**RETAIN).steps[0]
    orders.sql(f"DROP OWNED BY {role}")
    assert (step.outcome, step.reason) == (Outcome.DENIED, Reason.PERMISSION)


def test_a_deadlock_is_tried_again(orders: Shop) -> None:
    orders.sql(
        "CREATE TABLE parcels (order_id int REFERENCES orders ON DELETE CASCADE, n int); INSERT INTO parcels VALUES (1, 0)"
    )
    ready, ended = threading.Event(), list[str]()

    def other() -> None:
        patient = {"options": "-c deadlock_timeout=60s", "application_name": "somebody"}
        with psycopg.connect(orders.url, **patient) as connection:  # type: ignore[arg-type]
            connection.execute("UPDATE parcels SET n = 1")
            ready.set()
            ours = "application_name LIKE 'vmsh:%' AND wait_event_type = 'Lock'"
            wait_until(lambda: orders.sees(ours), "our wait")
            connection.execute("UPDATE orders SET note = 'mine' WHERE id = 1")
            connection.commit()
            ended.append("committed")

    somebody = threading.Thread(target=other)
    somebody.start()
    ready.wait(30)
    orders.url_of_others = f"{orders.url}?options=-c%20deadlock_timeout%3D2s"
    result = orders.run(**{**RETAIN, "lockTimeout": "30s", "statementTimeout": "40s"})
    somebody.join()
    assert (result.outcome, ended) == (Outcome.DONE, ["committed"])
    assert int(orders.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = 'shop'")) >= 1
    assert number(orders, "SELECT count(*) FROM orders WHERE at < '2025-12-02'") == 0


SALES = """
CREATE TABLE sales (id int, at timestamptz NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE sales_1 PARTITION OF sales FOR VALUES FROM ('2025-09-01') TO ('2025-10-01');
CREATE TABLE sales_2 PARTITION OF sales FOR VALUES FROM ('2025-10-01') TO ('2025-11-01');
CREATE TABLE sales_3 PARTITION OF sales FOR VALUES FROM ('2025-11-01') TO ('2026-01-01');
CREATE TABLE sales_4 PARTITION OF sales FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO sales SELECT n, '2025-09-05'::timestamptz + n * interval '1 day' FROM generate_series(0, 120) n
"""
SALES_TASK = {**RETAIN, "table": "sales"}
OLD_SALES = 89


@pytest.mark.parametrize("place", ["nowhere", "table", "folder"])
@on_both
def test_partitions_that_are_old_as_a_whole_are_dropped_after_they_are_archived(
    shop: Shop, place: str
) -> None:
    shop.sql(SALES)
    shop.sql("CREATE SCHEMA archive; CREATE TABLE archive.sales (LIKE sales)")
    where = {"table": {"table": "archive.sales"}, "folder": {"folder": "archive"}}.get(place)
    task = {**SALES_TASK, **({"archive": where} if where else {})}
    planned = [statement for step in shop.plan(**task) for statement in step.statements]
    assert (
        'ALTER TABLE "public"."sales" DETACH PARTITION "public"."sales_1" CONCURRENTLY' in planned
    )
    result = shop.run(**task)
    assert result.outcome is Outcome.DONE
    sent = [statement for step in result.steps for statement in step.statements]
    assert sent == planned
    assert (
        shop.sql(
            "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relname LIKE 'sales%' AND relnamespace = 'public'::regnamespace"
        )
        == "sales sales_3 sales_4"
    )
    assert number(shop, "SELECT count(*) FROM sales") == 121 - OLD_SALES
    if place == "table":
        assert number(shop, "SELECT count(DISTINCT id) FROM archive.sales") == OLD_SALES
    if place == "folder":
        assert sorted(row for row, _ in archived(shop)) == list(range(OLD_SALES))


@on_both
def test_a_partition_that_a_killed_run_left_detached_is_found_again(shop: Shop) -> None:
    shop.sql(SALES)
    statements = next(
        step for step in shop.plan(**SALES_TASK) if step.subject == "public.sales_1"
    ).statements
    for statement in statements[:2]:
        shop.sql(statement)
    task = {**SALES_TASK, "archive": {"folder": "archive"}}
    assert shop.run(**task).outcome is Outcome.DONE
    assert sorted(row for row, _ in archived(shop)) == list(range(OLD_SALES))
    assert shop.sql("SELECT to_regclass('sales_1') IS NULL") == "t"


def test_a_row_that_somebody_writes_into_a_partition_that_goes_is_archived_too(shop: Shop) -> None:
    shop.sql(SALES)
    old = next(step for step in shop.plan(**SALES_TASK) if step.subject == "public.sales_1")
    for statement in old.statements[:2]:
        shop.sql(statement)
    task = {**SALES_TASK, "archive": {"folder": "archive"}, "lockTimeout": "50s"}
    with shop.holding("INSERT INTO sales_1 SELECT 9999, at FROM sales_1 LIMIT 1") as other:
        run = threading.Thread(target=shop.run, kwargs=task)
        run.start()
        wait_until(lambda: shop.sees("wait_event_type = 'Lock'"), "a wait for the writer")
        other.commit()
        run.join()
    assert 9999 in [row for row, _ in archived(shop)]
    assert shop.sql("SELECT to_regclass('sales_1') IS NULL") == "t"


@on_both
def test_a_default_partition_is_no_hindrance(shop: Shop) -> None:
    shop.sql(
        f"{SALES}; CREATE TABLE sales_rest PARTITION OF sales DEFAULT; INSERT INTO sales VALUES (-1, '2020-01-01')"
    )
    result = shop.run(**SALES_TASK)
    assert result.outcome is Outcome.DONE
    assert step_of(result, "public.sales_rest").rows == 1
    assert number(shop, "SELECT count(*) FROM sales") == 121 - OLD_SALES


def test_archived_files_go_when_they_are_old_themselves(orders: Shop) -> None:
    orders.run(**TO_FOLDER)
    task = {**RETAIN, "archive": {"folder": "archive", "keep": "365d"}}
    orders.run(**task, now=NOON + timedelta(days=200))
    assert len({path.name[:16] for _, path in archived(orders)}) == 2
    result = orders.run(**task, now=NOON + timedelta(days=300))
    assert {path.name[:16] for _, path in archived(orders)} == {"20260620T120000Z"}
    assert "5 files are older" in result.steps[-1].detail
    assert len(files(orders)) == 2 * len({path for _, path in archived(orders)})


@on_both
async def test_a_cancelled_run_says_what_it_had_deleted(orders: Shop) -> None:
    seen = asyncio.Event()

    def look(line: str) -> None:
        if line.endswith(" rows"):
            seen.set()

    running = asyncio.ensure_future(orders.run_async(beat=look, **{**TO_FOLDER, "pause": "1s"}))
    await asyncio.wait_for(seen.wait(), 30)
    running.cancel()
    result = await running
    assert result.outcome is Outcome.CANCELLED
    rows = result.steps[0].rows or 0
    assert 0 < rows < OLD
    assert number(orders, "SELECT count(*) FROM orders") == OLD + LEFT - rows


def test_a_run_that_is_not_done_in_its_time_stops_between_two_batches(orders: Shop) -> None:
    task = {**TO_FOLDER, "batch": 10, "pause": "200ms", "deadline": "3s"}
    step = orders.run(**task).steps[0]
    assert step.outcome is Outcome.DONE
    assert "more is left for the next run" in step.detail
    assert 0 < (step.rows or 0) < OLD
    assert len(archived(orders)) == step.rows


def test_nobody_else_may_read_what_was_archived(orders: Shop) -> None:
    orders.run(**TO_FOLDER)
    assert {path.stat().st_mode & 0o077 for _, path in archived(orders)} == {0}

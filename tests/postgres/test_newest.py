"""What only newer versions of PostgreSQL know neither ends a run nor is passed over."""

import csv
import gzip
import io
import re
import subprocess

from devnet.postgres import POSTGRES
from devnet.postgres_newest import POSTGRES_NEWEST_VERSION
from tests.postgres.shop import Shop, on_the_newest
from vaultmesh.domain.maintenance.outcomes import Outcome

pytestmark = on_the_newest
ALL = {"kind": "vacuum", "tables": "all"}
NEWEST_MAJOR = int(POSTGRES_NEWEST_VERSION.partition(".")[0])


def test_it_is_the_newest_version(shop: Shop) -> None:
    assert int(shop.sql("SHOW server_version_num")) // 10_000 == NEWEST_MAJOR


def test_a_limit_for_transactions_of_the_database_ends_no_long_statement(shop: Shop) -> None:
    """An owner sets it for an application; a VACUUM or a backup takes longer, and has limits of its own."""
    shop.sql("CREATE TABLE slow AS SELECT n FROM generate_series(1, 2) n")
    shop.sql(
        "CREATE FUNCTION wait(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(0.3); RETURN n; END'; CREATE STATISTICS slow_s ON (wait(n)) FROM slow"
    )
    shop.sql("ALTER DATABASE shop SET transaction_timeout = '200ms'")
    try:
        result = shop.run(**ALL)
    finally:
        shop.sql("ALTER DATABASE shop RESET transaction_timeout")
    assert result.outcome is Outcome.DONE, result


def test_a_table_s_own_most_of_dead_rows_counts_and_so_do_alerts(shop: Shop) -> None:
    shop.sql(
        "CREATE TABLE goods WITH (autovacuum_vacuum_max_threshold = 50) AS SELECT n FROM generate_series(1, 5000) n"
    )
    shop.run(**ALL)
    task = {**ALL, "minDead": 1_000}
    with shop.holding("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM goods"):
        shop.sql("DELETE FROM goods WHERE n <= 60")
        result = shop.run(**task)
    assert result.outcome is Outcome.DONE
    assert result.figures is not None
    assert result.figures.held_dead == 60
    assert shop.run(**task).outcome is Outcome.DONE
    shop.sql("DELETE FROM goods WHERE n <= 100")
    assert shop.run(**task).outcome is Outcome.NOT_NEEDED


def test_columns_that_are_computed_when_they_are_read_are_archived_without_harm(shop: Shop) -> None:
    shop.sql(
        "CREATE TABLE orders (id int PRIMARY KEY, at timestamptz, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL)"
    )
    shop.sql("INSERT INTO orders SELECT n, '2025-01-01' FROM generate_series(1, 3) n")
    shop.sql("CREATE SCHEMA archive; CREATE TABLE archive.orders (LIKE orders INCLUDING GENERATED)")
    task = {"kind": "retain", "table": "orders", "ageColumn": "at", "keep": "90d"}
    assert shop.run(**task, archive={"table": "archive.orders"}, maxRows=2).steps[0].rows == 2
    assert shop.sql("SELECT sum(twice) FROM archive.orders") == "6"
    assert shop.run(**task, archive={"folder": "archive"}).steps[0].rows == 1
    (path,) = (shop.root / "archive").glob("*.csv.gz")
    (row,) = csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode()))
    assert row["id"] == "3"


def test_a_pg_dump_that_is_older_than_the_server_is_told_and_keeps_no_backup(shop: Shop) -> None:
    programs = POSTGRES.obtain().resolve().parent
    said = subprocess.run(
        [programs / "pg_dump", "--version"], capture_output=True, text=True, check=True
    )
    (major,) = re.findall(r"\(PostgreSQL\) (\d+)", said.stdout)
    result = shop.run(kind="backup", folder="backups", programs=str(programs))
    if int(major) == NEWEST_MAJOR:
        assert result.outcome is Outcome.DONE
        return
    assert result.outcome is Outcome.FAILED
    assert "server version mismatch" in result.steps[0].detail
    assert list((shop.root / "backups").iterdir()) == []

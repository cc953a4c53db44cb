"""What somebody set for his server, database or role changes nothing of what maintenance does and says."""

import csv
import gzip
from pathlib import Path

from devnet.postgres import PostgresServer
from tests.postgres.shop import DATABASE, Shop, step_of
from vaultmesh.domain.maintenance.archived import DATA
from vaultmesh.domain.maintenance.outcomes import Outcome

TASK = {
    "kind": "retain", "table": "public.orders", "ageColumn": "at", "keep": "90d", "batch": 10, "pause": "0s",
    "archive": {"folder": "archive"},
}  # fmt: skip
TABLE = "CREATE TABLE orders (id serial PRIMARY KEY, at timestamptz); CREATE INDEX ON orders (at)"
OLD = 25
FILL = f"INSERT INTO orders (at) SELECT '2025-10-01' FROM generate_series(1, {OLD})"
MEASURES = """
CREATE TABLE orders (id int PRIMARY KEY, at timestamptz, price float8, took interval);
INSERT INTO orders VALUES (1, '2025-10-01', 0.1::float8 + 0.2, '-1 day -2 hours'); CREATE TABLE again (LIKE orders)
"""


def archived(shop: Shop) -> list[dict[str, str]]:
    """Return the rows in files with final names."""
    rows = []
    for path in (shop.root / "archive").glob(f"[!.]*{DATA}"):
        with gzip.open(path, "rt", newline="") as file:
            rows += list(csv.DictReader(file))
    return rows


def test_a_file_holds_values_that_are_read_back_as_they_were(shop: Shop) -> None:
    """The harm: the only copy of a row has other numbers than the row had, by a setting that somebody made for his reports."""
    shop.sql(MEASURES)
    look = "SELECT price - 0.3 > 0, extract(epoch FROM took) FROM {}"
    was = shop.sql(look.format("orders"))
    settings = {"extra_float_digits": "0", "intervalstyle": "sql_standard", "datestyle": "SQL, DMY"}
    for name, value in settings.items():
        shop.sql(f"ALTER DATABASE {DATABASE} SET {name} = {value}")
    try:
        assert shop.run(**TASK).outcome is Outcome.DONE
    finally:
        shop.sql(f"ALTER DATABASE {DATABASE} RESET ALL")
    [row] = archived(shop)
    values = ", ".join(f"'{value}'" for value in row.values())
    shop.sql(f"INSERT INTO again VALUES ({values})")
    assert shop.sql(look.format("again")) == was


def test_a_crash_of_a_server_that_commits_without_waiting_gives_no_archived_row_back(
    tmp_path: Path,
) -> None:
    """The harm: rows are in the table again and in files as well, and are archived twice."""
    lazy = {"synchronous_commit": "off", "wal_writer_delay": "10s", "autovacuum": "off"}
    with PostgresServer(lazy) as server:
        server.create(DATABASE)
        shop = Shop(server, tmp_path)
        shop.sql(TABLE)
        shop.sql(FILL)
        shop.sql("CHECKPOINT")
        assert shop.run(**TASK).outcome is Outcome.DONE
        server.kill()
        server.start()
        assert shop.sql("SELECT count(*) FROM orders") == "0"
        assert sorted(int(row["id"]) for row in archived(shop)) == list(range(1, OLD + 1))


def test_what_was_skipped_is_told_to_a_role_that_wants_to_hear_of_errors_alone(shop: Shop) -> None:
    """The harm: the server warns that it vacuumed nothing, nobody hears it, and the task says done."""
    shop.sql(
        "CREATE TABLE worn AS SELECT n FROM generate_series(1, 1000) n; DELETE FROM worn; "
        "DO $$ BEGIN IF to_regrole('deaf') IS NULL THEN CREATE ROLE deaf LOGIN; END IF; END $$; "
        "ALTER ROLE deaf SET client_min_messages = error; GRANT USAGE ON SCHEMA public TO deaf"
    )
    deaf = Shop(shop.server, shop.root, user="deaf")
    result = deaf.run(kind="vacuum", tables=["public.worn"], minDead=10)
    assert step_of(result, "public.worn").outcome is Outcome.DENIED

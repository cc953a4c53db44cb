"""What a plan prints is what the server hears, by the server's own log, and nothing else that changes anything."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from devnet.postgres import POSTGRES, PostgresServer
from devnet.postgres_newest import POSTGRES_NEWEST
from tests.postgres.shop import DATABASE, Shop

MARK = "@@"
TABLES = """
CREATE SCHEMA archive; CREATE TABLE orders (id int PRIMARY KEY, at timestamptz);
INSERT INTO orders SELECT n, '2025-01-01' FROM generate_series(1, 1900) n; DELETE FROM orders WHERE id % 2 = 0;
CREATE INDEX ON orders (at); CREATE TABLE archive.orders (LIKE orders);
CREATE TABLE sales (at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE sales_1 PARTITION OF sales FOR VALUES FROM ('2025-01-01') TO ('2025-02-01');
INSERT INTO sales VALUES ('2025-01-05'); CREATE TABLE archive.sales (LIKE sales);
CREATE MATERIALIZED VIEW ranking AS SELECT 1 AS n
"""
RETAIN = {"kind": "retain", "table": "orders", "ageColumn": "at", "keep": "90d", "batch": 1_000}
SALES = {**RETAIN, "table": "sales"}
TASKS: dict[str, dict[str, object]] = {
    "vacuum": {"kind": "vacuum", "tables": "all"},
    "retain": RETAIN,
    "retain, archived in a table": {**RETAIN, "archive": {"table": "archive.orders"}},
    "retain, archived in files": {**RETAIN, "archive": {"folder": "archive"}},
    "partitions": SALES,
    "partitions, archived in a table": {**SALES, "archive": {"table": "archive.sales"}},
    "partitions, archived in files": {**SALES, "archive": {"folder": "archive"}},
    "reindex": {"kind": "reindex", "indexes": ["orders_pkey"]},
    "refresh": {"kind": "refresh", "view": "ranking"},
    "check": {"kind": "check", "query": "SELECT count(*) FROM orders", "failAbove": 10_000},
}


@pytest.fixture(scope="module", params=(POSTGRES, POSTGRES_NEWEST), ids=lambda supply: supply.name)
def logging_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    options = {"autovacuum": "off", "log_statement": "all", "log_line_prefix": f"{MARK}%a{MARK}"}
    with PostgresServer(options, request.param) as server:
        server.create(DATABASE)
        yield server


def heard(server: PostgresServer) -> list[str]:
    """Return what our runs sent that is not only a question."""
    log = Path(server.sql(DATABASE, "SHOW data_directory")).parent / "postgres.log"
    entries = log.read_text(encoding="utf-8").split(MARK)
    ours = [
        re.sub(r"^LOG:  (statement|execute <unnamed>): ", "", said).strip()
        for application, said in zip(entries[1::2], entries[2::2], strict=True)
        if application.startswith("vmsh:") and said.startswith(("LOG:  statement", "LOG:  execute"))
    ]
    return [statement for statement in ours if not statement.startswith(("SELECT", "\n"))]


@pytest.mark.parametrize("name", TASKS)
def test_the_server_hears_what_the_plan_said(
    logging_server: PostgresServer, tmp_path: Path, name: str
) -> None:
    shop = Shop(logging_server, tmp_path)
    shop.empty()
    shop.sql(TABLES)
    task = TASKS[name]
    before = len(heard(logging_server))
    planned = [statement for step in shop.plan(**task) for statement in step.statements]
    assert heard(logging_server)[before:] == []
    assert planned
    assert shop.run(**task).is_good
    said = heard(logging_server)[before:]
    if "DELETE" in " ".join(planned):
        # a pass ends with a batch that is not full; passes go on until one deletes nothing
        repeated = [
            "ROLLBACK" if sent == "COMMIT" and "COPY" in planned[-2] else sent for sent in planned
        ]
        assert said == [*planned, *repeated]
    else:
        changing = [statement for statement in planned if not statement.startswith("SELECT")]
        assert said == changing

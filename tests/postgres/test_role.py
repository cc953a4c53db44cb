"""The role that the documents make may do what its tasks need; what it may not is denied, and said."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.postgres.shop import REPOSITORY, Shop, on_both
from vaultmesh.domain.maintenance.outcomes import Outcome, TaskResult

pytestmark = on_both
ROLE = "vmsh_maintenance"
TABLES = """
DROP ROLE IF EXISTS owner_of_shop; CREATE ROLE owner_of_shop;
CREATE TABLE orders (id int PRIMARY KEY, at timestamptz);
INSERT INTO orders SELECT n, '2025-01-01' FROM generate_series(1, 5000) n;
CREATE TABLE secrets AS SELECT * FROM orders;
CREATE MATERIALIZED VIEW ranking AS SELECT 1 AS n;
CREATE SCHEMA archive; CREATE TABLE archive.orders (LIKE orders);
ALTER TABLE orders OWNER TO owner_of_shop; ALTER TABLE secrets OWNER TO owner_of_shop;
ALTER MATERIALIZED VIEW ranking OWNER TO owner_of_shop; ALTER TABLE archive.orders OWNER TO owner_of_shop
"""
OLD = {"kind": "retain", "ageColumn": "at", "keep": "90d"}


def make_role(shop: Shop, **variables: str) -> None:
    """Run the documents' script as an administrator does, twice: it may be repeated."""
    psql = shop.server.programs / "psql"
    options = [part for name, value in variables.items() for part in ("-v", f"{name}={value}")]
    script = REPOSITORY / "docs" / "maintenance-role.sql"
    for _ in range(2):
        subprocess.run(
            [psql, "-X", "-q", *options, "-d", shop.server.url("shop"), "-f", script],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    shop.user = ROLE


@pytest.fixture
def tables(shop: Shop) -> Shop:
    shop.sql(f"DROP ROLE IF EXISTS {ROLE}")
    shop.sql(TABLES)
    return shop


@pytest.fixture(autouse=True)
def gone_afterwards(shop: Shop) -> Iterator[None]:
    yield
    shop.sql(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")
    shop.sql("DROP OWNED BY owner_of_shop CASCADE; DROP ROLE owner_of_shop")


def test_what_was_granted_is_done_and_the_rest_is_denied(tables: Shop) -> None:
    make_role(tables, retain="public.orders", archive="archive.orders")
    to_table = {**OLD, "table": "orders", "archive": {"table": "archive.orders"}, "maxRows": 100}
    assert tables.run(**to_table).outcome is Outcome.DONE
    to_files = {**OLD, "table": "orders", "archive": {"folder": "archive"}, "maxRows": 100}
    assert tables.run(**to_files).outcome is Outcome.DONE
    query = {"kind": "check", "query": "SELECT count(*) FROM orders", "failAbove": 9_999}
    assert tables.run(**query).outcome is Outcome.DONE

    denied: dict[str, TaskResult] = {
        "another table": tables.run(**OLD, table="secrets"),
        "statistics": tables.run(kind="vacuum", tables=["orders"]),
        "an index": tables.run(kind="reindex", indexes=["orders_pkey"]),
        "a view": tables.run(kind="refresh", view="ranking"),
    }
    maintains = int(tables.sql("SHOW server_version_num")) >= 170_000
    expected = {"another table"} if maintains else set(denied)
    for name, result in denied.items():
        wanted = Outcome.DENIED if name in expected else Outcome.DONE
        assert result.outcome is wanted, (name, result)
        assert result.is_good is (name not in expected)
    assert tables.sql("SELECT count(*) FROM secrets") == "5000"


def test_a_member_of_the_owner_may_vacuum(tables: Shop) -> None:
    make_role(tables, owner="owner_of_shop")
    assert tables.run(kind="vacuum", tables=["orders", "ranking"]).is_good
    assert tables.run(kind="reindex", indexes=["orders_pkey"]).outcome is Outcome.DONE


def test_a_backup_needs_no_more_than_to_read(tables: Shop) -> None:
    make_role(tables)
    make_role(tables, schema="archive")
    task = {
        "kind": "backup",
        "folder": "backups",
        "programs": str(tables.server.programs),
    }
    assert tables.run(**task).outcome is Outcome.DONE
    restored = tables.run(**task, verifyRestore=True)
    assert restored.outcome is Outcome.DENIED
    assert not list((tables.root / "backups").glob("*.part"))

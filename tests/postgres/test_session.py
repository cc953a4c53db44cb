"""Every setting of a connection holds on the server, and what the server says is understood in any language."""

import asyncio
import gzip
import threading
from pathlib import Path

import psycopg
import pytest

from devnet.postgres import PostgresServer
from tests.postgres.shop import DATABASE, NOON, Shop, on_both, wait_until
from vaultmesh.domain.maintenance.outcomes import Outcome, TaskResult
from vaultmesh.postgres import work
from vaultmesh.postgres.connection import Database, Notice, Order, Refused, Session, lock_key
from vaultmesh.postgres.work import skipped

SETTINGS = {
    "client_connection_check_interval": "1000",
    "lock_timeout": "2000",
    "statement_timeout": "50000",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "jit": "off",
    "idle_session_timeout": "0",
    "row_security": "off",
    "extra_float_digits": "3",
    "IntervalStyle": "postgres",
    "client_min_messages": "notice",
}


def session(shop: Shop, task: str = "it", run: str = "0123456789ab", url: str = "") -> Session:
    from pydantic import SecretStr

    settings = shop.config(kind="vacuum", tables="all").tasks[0].task
    order = Order(run=run, now=NOON, root=shop.root)
    return Session(Database(SecretStr(url or shop.url)), task, settings, order)


@on_both
def test_every_setting_holds_on_the_server(shop: Shop) -> None:
    async def look() -> tuple[dict[str, str], dict[str, str], int | None, bool]:
        async with session(shop) as opened:
            rows = await opened.rows("SELECT name, setting FROM pg_settings")
            connection = opened.connection
            parameters = connection.info.get_parameters()
            return dict(rows), parameters, connection.prepare_threshold, connection.autocommit  # type: ignore[arg-type]

    settings, parameters, prepared, autocommit = asyncio.run(look())
    assert {name: settings[name] for name in SETTINGS} == SETTINGS
    assert [parameters[f"keepalives_{name}"] for name in ("idle", "interval", "count")] == [
        "5",
        "2",
        "3",
    ]
    assert (prepared, autocommit) == (None, True)


@on_both
def test_options_of_the_url_are_kept_beside_ours(shop: Shop) -> None:
    async def look(url: str) -> list[str]:
        async with session(shop, url=url) as opened:
            [(path,)] = await opened.rows("SHOW search_path")
            [(timeout,)] = await opened.rows("SHOW lock_timeout")
            return [path, timeout]

    url = f"{shop.url}?options=-c%20search_path%3Darchive"
    assert asyncio.run(look(url)) == ["archive", "2s"]


@pytest.mark.parametrize("option", ["foo=1", "work_mem=blue"])
def test_an_option_of_the_url_that_the_server_refuses_is_not_taken_for_a_pooler(
    shop: Shop, option: str
) -> None:
    async def connect() -> None:
        async with session(shop, url=f"{shop.url}?options=-c%20{option.replace('=', '%3D')}"):
            pass

    with pytest.raises(Refused, match="correct options in DATABASE_URL"):
        asyncio.run(connect())


def test_the_name_of_a_run_keeps_its_id_whole(shop: Shop) -> None:
    run = "123e4567-e89b-12d3-a456-426614174000"
    long = session(shop, task="a-task-with-a-very-long-name-that-goes-on", run=run)
    assert len(long.application) <= 63
    assert long.application.endswith(f":{run}")
    assert long.application.startswith("vmsh:maintenance:a-task")


def test_the_lock_of_a_task_is_the_same_in_every_version() -> None:
    assert lock_key("statistics") == lock_key("statistics") != lock_key("statistic")
    assert -(2**31) <= lock_key("statistics") < 2**31
    assert lock_key("statistics") == 1_243_008_329


@pytest.mark.parametrize(
    ("notice", "outcome"),
    [
        (
            Notice(
                "WARNING", "01000", "überspringe »t« --- nur Eigentümer", "vacuum_is_relation_owner"
            ),
            Outcome.DENIED,
        ),
        (
            Notice("WARNING", "01000", "keine Berechtigung", "vacuum_is_permitted_for_relation"),
            Outcome.DENIED,
        ),
        (
            Notice("WARNING", "55P03", "Sperre nicht verfügbar", "vacuum_open_relation"),
            Outcome.LOCKED,
        ),
        (
            Notice("WARNING", "42P01", "existiert nicht mehr", "vacuum_open_relation"),
            Outcome.NOT_NEEDED,
        ),
        (Notice("WARNING", "0A000", "cannot reindex invalid index, skipping", "x"), Outcome.FAILED),
        (
            Notice("WARNING", "01000", "oldest xmin is far in the past", "vacuum_set_xid_limits"),
            None,
        ),
        (Notice("DEBUG", "55P03", "skipping", "x"), None),
    ],
)
def test_a_skip_is_known_in_any_language(notice: Notice, outcome: Outcome | None) -> None:
    result = skipped([notice])
    assert (result[0] if result else None) is outcome


def test_a_server_that_restarts_under_a_statement_is_waited_for(tmp_path: Path) -> None:
    with PostgresServer({"autovacuum": "off"}) as server:
        server.create(DATABASE)
        shop = Shop(server, tmp_path)
        shop.sql("CREATE TABLE slow AS SELECT 1 AS n; CREATE TABLE t AS SELECT 1 AS n")
        shop.sql(
            "CREATE FUNCTION wait(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_sleep(2); RETURN n; END'; CREATE STATISTICS slow_s ON (wait(n)) FROM slow"
        )
        results: list[TaskResult] = []
        running = threading.Thread(
            target=lambda: results.append(shop.run(kind="vacuum", tables="all"))
        )
        running.start()
        wait_until(lambda: shop.sees("query LIKE 'ANALYZE%' AND state = 'active'"), "the statement")
        server.stop()
        server.start()
        running.join()
        outcomes = {step.subject: step.outcome for step in results[0].steps}
        assert outcomes == {"public.slow": Outcome.DONE, "public.t": Outcome.DONE}, results


def test_two_processes_that_run_one_task_do_its_work_once(shop: Shop) -> None:
    shop.sql(
        "CREATE TABLE orders (id int, at timestamptz); "
        "INSERT INTO orders SELECT n, '2025-01-01' FROM generate_series(1, 3000) n"
    )
    task = {"kind": "retain", "table": "orders", "ageColumn": "at", "keep": "90d", "batch": 50, "pause": "100ms",
            "archive": {"folder": "archive"}}  # fmt: skip
    shop.write({"it": task})
    processes = [shop.start("run", "--once", "--json") for _ in range(2)]
    said = [process.communicate(timeout=240) for process in processes]
    outcomes = sorted(out.split('"outcome": "')[1].split('"')[0] for out, _ in said)
    assert outcomes == ["done", "skipped: running"]
    assert [process.returncode for process in processes] == [0, 0]
    assert shop.sql("SELECT count(*) FROM orders") == "0"


HOSTILE = ('we"ird; drop', "At; --", "it's a \\ column")


def test_no_name_of_a_table_or_column_becomes_sql_in_retention(shop: Shop) -> None:
    table, age, column = (name.replace('"', '""') for name in HOSTILE)
    shop.sql(
        f'CREATE TABLE "{table}" ("{age}" timestamptz, "{column}" text, PRIMARY KEY ("{age}", "{column}")); '
        f'CREATE SCHEMA "{age}"; CREATE TABLE "{age}"."{table}" (LIKE "{table}"); '
        f"INSERT INTO \"{table}\" VALUES ('2025-01-01', 'a'), ('2025-01-02', E'''; DROP TABLE x; --')"
    )
    task = {
        "kind": "retain",
        "table": f'public."{table}"',
        "ageColumn": f'"{age}"',
        "keep": "90d",
        "batch": 1,
    }
    to_table = shop.run(**task, archive={"table": f'"{age}"."{table}"'}, maxRows=1)
    assert to_table.steps[0].rows == 1
    assert shop.run(**task, archive={"folder": "archive; drop"}).steps[0].rows == 1
    assert shop.sql(f'SELECT count(*) FROM "{age}"."{table}"') == "1"
    assert len(list((shop.root / "archive; drop").glob("*.csv.gz"))) == 1


@on_both
def test_what_takes_long_tells_how_far_it_is(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_BEAT_SECONDS", 0.2)
    shop.sql("CREATE TABLE slow AS SELECT n FROM generate_series(1, 4) n")
    shop.sql(
        "CREATE FUNCTION wait(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(0.3); RETURN n; END'; CREATE STATISTICS slow_s ON (wait(n)) FROM slow"
    )
    said: list[str] = []
    result = asyncio.run(shop.run_async(beat=said.append, kind="vacuum", tables="all"))
    assert result.outcome is Outcome.DONE
    assert any("pages" in line for line in said), said
    assert not shop.sees("application_name LIKE 'vmsh:%'")


def test_names_and_rows_of_a_database_in_another_encoding_are_kept(shop: Shop) -> None:
    shop.server.sql("postgres", "DROP DATABASE IF EXISTS latin")
    shop.server.sql("postgres", "CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0")
    url = shop.server.url("latin")
    with psycopg.connect(url, autocommit=True, client_encoding="utf8") as other:
        other.execute("CREATE TABLE größe (id int, at timestamptz, wort text)")
        other.execute("INSERT INTO größe VALUES (1, '2025-01-01', 'süß')")
    shop.url_of_others = url
    assert shop.run(kind="vacuum", tables=["größe"]).outcome is Outcome.DONE
    task = {"kind": "retain", "table": "größe", "ageColumn": "at", "keep": "90d"}
    assert shop.run(**task, archive={"folder": "archive"}).steps[0].rows == 1
    [path] = (shop.root / "archive").glob("*.csv.gz")
    assert gzip.decompress(path.read_bytes()).decode().endswith(",süß\n")

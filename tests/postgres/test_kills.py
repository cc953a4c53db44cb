"""Whatever kills a run, at whatever point: no row is lost, none is archived twice, and the next run goes on."""

import csv
import gzip
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devnet.postgres import PostgresServer
from tests.postgres.shop import BY_TENS, DATABASE, REPOSITORY, Shop, run_as_a_process, wait_until
from vaultmesh.domain.maintenance.outcomes import Outcome
from vaultmesh.postgres.archive_files import PENDING

pytestmark = [pytest.mark.fault, pytest.mark.timeout(700)]
KILLS = 25
"""Of each kind of archive."""
MOST_ATTEMPTS = 3 * KILLS
"""A run that ended before it was killed does not count."""
SEED = 20_260_302
NEW = 120
"""Old rows that come before each attempt."""
TABLE = "CREATE TABLE orders (id serial PRIMARY KEY, at timestamptz, note text); CREATE INDEX ON orders (at); CREATE SCHEMA archive; CREATE TABLE archive.orders (LIKE orders)"
MORE = f"INSERT INTO orders (at, note) SELECT '2025-10-01', repeat('x', 100) FROM generate_series(1, {NEW})"
PLACES = {"table": {"table": "archive.orders"}, "folder": {"folder": "archive"}}


def archived(shop: Shop) -> list[int]:
    rows = []
    for path in (shop.root / "archive").glob("[!.]*.csv.gz"):
        with gzip.open(path, "rt", newline="") as file:
            rows += [int(row["id"]) for row in csv.DictReader(file)]
    return rows


def pending(shop: Shop) -> list[Path]:
    return sorted((shop.root / "archive").glob(f"{PENDING}*"))


def ids(shop: Shop, table: str) -> list[int]:
    return [int(line) for line in shop.sql(f"SELECT id FROM {table}").split()]


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., multiprocessing.Process]]:
    """Start a run as a process of its own; what it imports is loaded once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.postgres.shop"])
    os.environ["PYTHONPATH"] = str(REPOSITORY)

    def begin(shop: Shop, task: dict[str, object]) -> multiprocessing.Process:
        process = context.Process(
            target=run_as_a_process, args=(shop.url, shop.root, task), daemon=True
        )
        process.start()
        return process  # type: ignore[return-value] # of a context

    yield begin
    del os.environ["PYTHONPATH"]


@pytest.mark.parametrize("place", PLACES)
def test_kills_at_random_points_lose_no_row_and_archive_none_twice(
    shop: Shop,
    place: str,
    start: Callable[..., multiprocessing.Process],
    record_property: Callable[..., None],
) -> None:
    dice = random.Random(SEED)
    shop.sql(TABLE)
    task = {**BY_TENS, "archive": PLACES[place]}
    shop.sql(MORE)
    lasts = 0.0
    for _ in range(2):  # the first one loads what it needs
        begin = time.monotonic()
        start(shop, task).join(60)
        lasts = time.monotonic() - begin
        shop.sql(MORE)
    cut_off, left, attempts = 0, 0, 0
    while cut_off < KILLS and attempts < MOST_ATTEMPTS:
        attempts += 1
        shop.sql(MORE)
        begin = time.monotonic()
        process = start(shop, task)
        process.join(dice.uniform(0, lasts))
        if process.is_alive():
            cut_off += 1
        else:  # too late: the machine has become quicker
            lasts = min(lasts, time.monotonic() - begin)
        process.kill()
        process.join(10)
        left += bool(pending(shop)) if place == "folder" else 0
    result = shop.run(**task)
    assert result.is_good, result
    assert shop.run(**task).outcome is Outcome.NOT_NEEDED
    rows = archived(shop) if place == "folder" else ids(shop, "archive.orders")
    total = NEW * (attempts + 3)
    assert len(rows) == len(set(rows))
    assert sorted(rows + ids(shop, "orders")) == list(range(1, total + 1))
    assert [path.name for path in (shop.root / "archive").glob(".*")] == []
    assert cut_off == KILLS
    record_property(
        "said",
        f"{cut_off} runs were killed in {attempts} attempts, {left} left a file; {total} rows, none lost, none twice",
    )


PARTITIONED = """
CREATE TABLE orders (id serial, at timestamptz NOT NULL, note text) PARTITION BY RANGE (at);
CREATE SCHEMA archive; CREATE TABLE archive.orders (LIKE orders)
"""


def more_partitions(shop: Shop, number: int) -> None:
    """Add three old partitions of 30 rows each."""
    for day in range(3 * number, 3 * number + 3):
        begin, end = f"date '2000-01-01' + {day}", f"date '2000-01-01' + {day + 1}"
        shop.sql(
            f"DO $$ BEGIN EXECUTE format('CREATE TABLE day_{day} PARTITION OF orders FOR VALUES FROM (%L) TO (%L)', {begin}, {end}); END $$; "
            f"INSERT INTO orders (at, note) SELECT {begin}, 'x' FROM generate_series(1, 30)"
        )


@pytest.mark.parametrize("place", PLACES)
def test_kills_while_partitions_are_dropped_lose_no_row_and_leave_no_table(
    shop: Shop, place: str, start: Callable[..., multiprocessing.Process]
) -> None:
    dice = random.Random(SEED)
    shop.sql(PARTITIONED)
    task = {**BY_TENS, "archive": PLACES[place]}
    for number in range(2):
        more_partitions(shop, number)
        begin = time.monotonic()
        start(shop, task).join(60)
        lasts = time.monotonic() - begin
    kills, number = 0, 2
    while kills < 10 and number < 40:
        more_partitions(shop, number)
        number += 1
        process = start(shop, task)
        process.join(dice.uniform(0, lasts))
        kills += process.is_alive()
        process.kill()
        process.join(10)
    result = shop.run(**task)
    assert result.is_good, result
    rows = archived(shop) if place == "folder" else ids(shop, "archive.orders")
    assert sorted(rows + ids(shop, "orders")) == list(range(1, 90 * number + 1))
    assert shop.sql("SELECT count(*) FROM pg_class WHERE relname LIKE 'day_%'") == "0"
    assert kills == 10


def test_a_file_whose_transaction_was_committed_gets_its_name(shop: Shop) -> None:
    left_by_a_kill(shop, "committed")
    result = shop.run(**FOLDER)
    assert result.outcome is Outcome.DONE
    assert "interrupted run" in result.steps[0].detail
    assert sorted(archived(shop)) == list(range(1, NEW + 1))


def test_a_file_whose_transaction_was_undone_goes_and_its_rows_are_archived_anew(
    shop: Shop,
) -> None:
    left_by_a_kill(shop, "undone")
    assert shop.run(**FOLDER).outcome is Outcome.DONE
    assert sorted(archived(shop)) == list(range(1, NEW + 1))


FOLDER = {**BY_TENS, "batch": NEW, "archive": {"folder": "archive"}}


def left_by_a_kill(shop: Shop, how: str) -> Path:
    """Leave what a run leaves that is killed just after its commit, or just before."""
    shop.sql(TABLE)
    shop.sql(MORE)
    assert shop.run(**FOLDER).outcome is Outcome.DONE
    [data] = (shop.root / "archive").glob("*.csv.gz")
    stem = data.name.removesuffix(".csv.gz")
    if how == "undone":
        [xid] = shop.sql("BEGIN; SELECT pg_current_xact_id(); ROLLBACK").split()
        note = data.with_name(f"{stem}.json")
        note.write_text(note.read_text().replace(stem.split("-")[1], xid))
        shop.sql("TRUNCATE orders RESTART IDENTITY")
        shop.sql(MORE)
    else:
        xid = stem.split("-")[1]
    data.rename(data.with_name(f"{PENDING}{xid}.csv.gz"))
    data.with_name(f"{stem}.json").rename(data.with_name(f"{PENDING}{xid}.json"))
    return data.with_name(f"{PENDING}{xid}.csv.gz")


@pytest.mark.parametrize("case", ["other server", "older copy", "rows are there", "future"])
def test_a_restored_database_is_not_guessed_about(shop: Shop, case: str) -> None:
    data = left_by_a_kill(shop, "committed")
    note = data.with_name(data.name.replace(".csv.gz", ".json"))
    text = note.read_text()
    xid = data.name.removeprefix(PENDING).removesuffix(".csv.gz")
    match case:
        case "other server":
            system = shop.sql("SELECT system_identifier FROM pg_control_system()")
            note.write_text(text.replace(system, "7000000000000000001"))
        case "older copy":
            wal = text.split(
                '"wal_position": "' if '"wal_position": "' in text else '"wal_position":"'
            )[1].split('"')[0]
            note.write_text(text.replace(wal, "FF/0"))
        case "rows are there":
            shop.sql("TRUNCATE orders RESTART IDENTITY")
            shop.sql(MORE)
        case _:
            note.write_text(text.replace(xid, "99999999"))
            data = data.rename(data.with_name(f"{PENDING}99999999.csv.gz"))
            note.rename(data.with_name(f"{PENDING}99999999.json"))
    before = sorted(path.read_bytes() for path in pending(shop))
    rows = ids(shop, "orders")
    for _ in range(2):
        result = shop.run(**FOLDER)
        assert result.outcome is Outcome.FAILED
        assert "can't be told" in result.detail
        assert str(data) in result.detail
    assert sorted(path.read_bytes() for path in pending(shop)) == before
    assert ids(shop, "orders") == rows


def test_a_database_put_back_from_a_copy_of_its_files_is_noticed(tmp_path: Path) -> None:
    with PostgresServer({"autovacuum": "off"}) as server:
        server.create(DATABASE)
        shop = Shop(server, tmp_path)
        shop.sql(TABLE)
        shop.sql(MORE)
        folder = Path(shop.sql("SHOW data_directory"))
        server.stop()
        copy = folder.with_name("copy")
        subprocess.run(["cp", "-a", folder, copy], check=True)
        server.start()
        assert shop.run(**FOLDER).outcome is Outcome.DONE
        [data] = (shop.root / "archive").glob("*.csv.gz")
        stem = data.name.removesuffix(".csv.gz")
        for ending in (".csv.gz", ".json"):
            data.with_name(f"{stem}{ending}").rename(
                data.with_name(f"{PENDING}{stem.split('-')[1]}{ending}")
            )
        server.stop()
        shutil.rmtree(folder)
        copy.rename(folder)
        server.start()
        # other transactions take the same numbers, and are committed
        for _ in range(5):
            shop.sql("CREATE TABLE later AS SELECT generate_series(1, 9999); DROP TABLE later")
        result = shop.run(**FOLDER)
        assert result.outcome is Outcome.FAILED
        assert "can't be told" in result.detail
        assert len(ids(shop, "orders")) == NEW


def test_a_full_disk_deletes_nothing_and_the_next_run_goes_on(shop: Shop) -> None:
    shop.sql(TABLE)
    shop.sql(
        "INSERT INTO orders (at, note) SELECT '2025-10-01', "
        "(SELECT string_agg(md5(random()::text || m), '') FROM generate_series(1, 200) m WHERE m <> n) FROM generate_series(1, 200) n"
    )
    shop.write({"it": {**FOLDER, "batch": 200}})

    def little_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "starter.py"), "maintenance", "run", "--once"],
        env={"PATH": os.environ["PATH"], "VMSH_ROOT": str(shop.root), "DATABASE_URL": shop.url},
        preexec_fn=little_room,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "what this batch would have deleted stays" in done.stdout
    assert len(ids(shop, "orders")) == 200
    assert archived(shop) == []
    assert shop.command("run", "--once").code == 0
    assert len(archived(shop)) == 200


@pytest.mark.parametrize("where", ["gone", "a file", "not below the root"])
def test_an_archive_folder_that_is_not_there_deletes_nothing(
    shop: Shop, where: str, tmp_path: Path
) -> None:
    shop.sql(TABLE)
    shop.sql(MORE)
    task = {**FOLDER, "archive": {"folder": "archive"}}
    match where:
        case "a file":
            (shop.root / "archive").write_text("")
        case "not below the root":
            task["archive"] = {"folder": str(tmp_path.parent / "not-mounted")}
        case _:
            task["archive"] = {"folder": "/proc/archive"}
    result = shop.run(**task)
    assert result.outcome is Outcome.FAILED
    assert len(ids(shop, "orders")) == NEW


def test_a_folder_removed_in_the_middle_ends_the_run_and_keeps_the_rows(shop: Shop) -> None:
    import asyncio

    shop.sql(TABLE)
    shop.sql(MORE)

    def remove(line: str) -> None:
        if line.endswith(" rows"):
            shutil.rmtree(shop.root / "archive")
            (shop.root / "archive").write_text("")

    task = {**FOLDER, "batch": 50}
    result = asyncio.run(shop.run_async(beat=remove, **task))
    assert result.outcome is Outcome.FAILED
    assert len(ids(shop, "orders")) == NEW - 50


@pytest.mark.parametrize("how", ["one connection", "the whole server"])
def test_a_connection_cut_in_the_middle_is_had_again_and_the_work_goes_on(
    how: str, tmp_path: Path
) -> None:
    import asyncio

    with PostgresServer({"autovacuum": "off"}) as server:
        server.create(DATABASE)
        shop = Shop(server, tmp_path)
        shop.sql(TABLE)
        shop.sql(MORE)
        cuts: list[str] = []

        def cut(line: str) -> None:
            if line.endswith(": 50 rows") and not cuts:
                cuts.append(line)
                if how == "one connection":
                    shop.sql(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'vmsh:%'"
                    )
                else:
                    server.kill()
                    server.start()

        result = asyncio.run(shop.run_async(beat=cut, **{**FOLDER, "batch": 10}))
        assert cuts
        assert result.outcome is Outcome.DONE, result
        assert sorted(archived(shop)) == list(range(1, NEW + 1))
        assert ids(shop, "orders") == []


def test_a_server_that_stays_away_is_told_with_what_was_done(tmp_path: Path) -> None:
    import asyncio

    with PostgresServer({"autovacuum": "off"}) as server:
        server.create(DATABASE)
        shop = Shop(server, tmp_path)
        shop.sql(TABLE)
        shop.sql(MORE)

        def cut(line: str) -> None:
            if line.endswith(": 50 rows"):
                server.kill()

        result = asyncio.run(shop.run_async(beat=cut, **{**FOLDER, "batch": 50}))
        assert (result.outcome, result.reason) == (Outcome.FAILED, "connection")
        assert result.steps[0].rows == 50
        server.start()
        assert shop.run(**FOLDER).outcome is Outcome.DONE
        assert sorted(archived(shop)) == list(range(1, NEW + 1))


def test_a_killed_run_holds_up_the_next_for_no_more_than_seconds(shop: Shop) -> None:
    shop.sql("CREATE TABLE slow AS SELECT n FROM generate_series(1, 50) n")
    shop.sql(
        "CREATE FUNCTION wait(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(20); RETURN n; END'; CREATE STATISTICS slow_s ON (wait(n)) FROM slow"
    )
    shop.write({"it": {"kind": "vacuum", "tables": ["slow"]}})
    process = shop.start("run", "--once")
    active = "query LIKE 'ANALYZE%' AND state = 'active'"
    wait_until(lambda: shop.sees(active), "the statement")
    process.kill()
    process.wait()
    wait_until(lambda: not shop.sees(active), "its end on the server", 15)


def test_a_signal_ends_the_statement_and_the_process_in_order(shop: Shop) -> None:
    shop.sql("CREATE TABLE slow AS SELECT n FROM generate_series(1, 50) n")
    shop.sql(
        "CREATE FUNCTION wait(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(60); RETURN n; END'; CREATE STATISTICS slow_s ON (wait(n)) FROM slow"
    )
    shop.write(
        {"it": {"kind": "vacuum", "tables": ["slow"]}, "next": {"kind": "vacuum", "tables": "all"}}
    )
    process = shop.start("run", "--once")
    wait_until(lambda: shop.sees("query LIKE 'ANALYZE%' AND state = 'active'"), "the statement")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "it: cancelled" in out
    assert "next" not in out
    assert not shop.sees("query LIKE 'ANALYZE%' AND state = 'active'")

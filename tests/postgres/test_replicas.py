"""Work that writes waits while a replica is behind."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devnet.ports import LOOPBACK, free_port
from devnet.postgres import POSTGRES, USER, PostgresServer, libraries, unprivileged
from tests.postgres.shop import DATABASE, Shop, wait_until
from vaultmesh.domain.maintenance.outcomes import Outcome

ORDERS = "CREATE TABLE orders (id int, at timestamptz); INSERT INTO orders SELECT n, '2025-01-01' FROM generate_series(1, 60) n"
TASK = {
    "kind": "retain",
    "table": "orders",
    "ageColumn": "at",
    "keep": "90d",
    "batch": 10,
    "maxLag": "1s",
}


@pytest.fixture
def replicated(tmp_path: Path) -> Iterator[Shop]:
    """A server with a replica; what the replica replays can be paused."""
    with PostgresServer(
        {"autovacuum": "off", "wal_level": "replica", "max_wal_senders": "4"}
    ) as server:
        server.create(DATABASE)
        folder = Path(server.sql(DATABASE, "SHOW data_directory")).parent
        programs = POSTGRES.obtain().resolve().parent
        environment = {**os.environ, **libraries(programs)}
        copy = [*unprivileged(), str(programs / "pg_basebackup"), "-h", LOOPBACK, "-p", str(server.port), "-U", USER,
                "-D", str(folder / "replica"), "-R", "--checkpoint=fast", "--no-sync"]  # fmt: skip
        subprocess.run(copy, check=True, env=environment, cwd=folder, capture_output=True)
        start = [*unprivileged(), str(programs / "postgres"), "-D", str(folder / "replica"), f"--port={free_port()}",
                 "--listen_addresses=127.0.0.1", f"--unix_socket_directories={folder}", "--fsync=off", "--hot_standby=on"]  # fmt: skip
        replica = subprocess.Popen(
            start, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        port = next(part for part in start if part.startswith("--port=")).removeprefix("--port=")
        shop = Shop(server, tmp_path)
        shop.url_of_others = None
        try:
            wait_until(
                lambda: (
                    shop.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
                    == "1"
                ),
                "the replica",
            )
            shop.replica_port = int(port)  # type: ignore[attr-defined]
            yield shop
        finally:
            replica.kill()
            replica.wait()


def on_replica(shop: Shop, statement: str) -> None:
    import psycopg

    with psycopg.connect(
        f"postgresql://{USER}@{LOOPBACK}:{shop.replica_port}/{DATABASE}", autocommit=True
    ) as replica:  # type: ignore[attr-defined]
        replica.execute(statement.encode())


async def test_a_run_waits_for_a_replica_that_is_behind_and_goes_on_when_it_is_not(
    replicated: Shop,
) -> None:
    shop = replicated
    shop.sql(ORDERS)
    await asyncio.to_thread(on_replica, shop, "SELECT pg_wal_replay_pause()")
    shop.sql("CREATE TABLE other AS SELECT 1 AS n")
    behind = "SELECT count(*) FROM pg_stat_replication WHERE replay_lag > interval '1 second'"

    def is_behind() -> bool:
        shop.sql("SELECT pg_logical_emit_message(true, 'beat', '')")
        return shop.sql(behind) == "1"

    await asyncio.to_thread(wait_until, is_behind, "the lag")
    said: list[str] = []
    running = asyncio.ensure_future(shop.run_async(beat=said.append, **TASK))
    await asyncio.to_thread(
        wait_until, lambda: any("s behind" in line for line in said), "its wait"
    )
    assert shop.sql("SELECT count(*) FROM orders") == "60"
    await asyncio.to_thread(on_replica, shop, "SELECT pg_wal_replay_resume()")
    result = await running
    assert (result.outcome, result.steps[0].rows) == (Outcome.DONE, 60)


async def test_a_replica_that_stays_behind_ends_the_run_before_it_deletes(replicated: Shop) -> None:
    shop = replicated
    shop.sql(ORDERS)
    await asyncio.to_thread(on_replica, shop, "SELECT pg_wal_replay_pause()")

    def is_behind() -> bool:
        shop.sql("SELECT pg_logical_emit_message(true, 'beat', '')")
        return (
            shop.sql(
                "SELECT count(*) FROM pg_stat_replication WHERE replay_lag > interval '1 second'"
            )
            == "1"
        )

    await asyncio.to_thread(wait_until, is_behind, "the lag")
    result = await shop.run_async(**TASK, deadline="4s")
    assert (result.outcome, result.is_good) == (Outcome.LOCKED, True)
    assert "replicas were behind" in result.steps[0].detail
    assert shop.sql("SELECT count(*) FROM orders") == "60"
    without = await shop.run_async(**{**TASK, "maxLag": "0s"})
    assert without.steps[0].rows == 60

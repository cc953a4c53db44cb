"""A local PostgreSQL comes back with its rows after a crash, runs as no root, and leaves nothing behind."""

from pathlib import Path

import psutil
import psycopg
import pytest

from devnet.errors import PartError
from devnet.postgres import OLDEST, Pgbouncer, PostgresServer


def test_rows_survive_a_crash_and_nothing_is_left_at_the_end() -> None:
    with PostgresServer() as server:
        server.create("shop")
        server.sql("shop", "CREATE TABLE goods (name text); INSERT INTO goods VALUES ('tea')")
        assert psutil.Process(server.pid).uids().real != 0
        server.kill()
        with pytest.raises(PartError, match="psql failed"):
            server.sql("shop", "SELECT 1")
        server.start()
        assert server.sql("shop", "SELECT name FROM goods") == "tea"
        assert int(server.sql("shop", "SHOW server_version_num")) >= OLDEST * 10_000
        folder, pid = Path(server.sql("shop", "SHOW data_directory")), server.pid
    assert not folder.exists()
    assert not psutil.pid_exists(pid)


def test_a_pooler_lends_one_connection_to_several_clients_in_turn() -> None:
    with PostgresServer() as server, Pgbouncer(server) as pooler:
        server.create("shop")
        with connect(pooler.url("shop")) as one, connect(pooler.url("shop")) as other:
            backends = {
                client.execute("SELECT pg_backend_pid()").fetchone() for client in (one, other) * 3
            }
        assert len(backends) == 1


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url, autocommit=True, prepare_threshold=None)

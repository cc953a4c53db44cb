"""A local PostgreSQL comes back with its rows after a crash, runs as no root, and leaves nothing behind."""

from pathlib import Path

import psutil
import psycopg
import pytest

from devnet import postgres
from devnet.errors import PartError
from devnet.postgres import OLDEST, POSTGRES, Pgbouncer, PostgresServer
from devnet.postgres_newest import POSTGRES_NEWEST, POSTGRES_NEWEST_VERSION


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


def test_the_newest_version_runs_as_no_root_with_clients_of_its_own() -> None:
    with PostgresServer(supply=POSTGRES_NEWEST) as server:
        assert psutil.Process(server.pid).uids().real != 0
        number = int(server.sql("postgres", "SHOW server_version_num"))
        major, minor, _ = POSTGRES_NEWEST_VERSION.split(".")
        assert divmod(number, 10_000) == (int(major), int(minor))
        assert (server.programs / "pg_dump").exists()


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without PostgreSQL, but with the wheel at hand."""
    newest = POSTGRES_NEWEST.obtain().resolve()
    monkeypatch.setenv("POSTGRES_NEWEST", str(newest))
    monkeypatch.setenv("VMSH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("POSTGRES", "PG_BIN"):
        monkeypatch.delenv(name, raising=False)
    return newest


def test_the_host_s_own_comes_before_the_wheel(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "postgres").touch()
    monkeypatch.setattr(postgres, "host_programs", lambda: tmp_path / "own")
    assert POSTGRES.obtain().resolve() == tmp_path / "own" / "postgres" != bare


def test_a_host_without_one_gets_the_wheel_and_where_there_is_none_packages_of_debian(
    bare: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(postgres, "host_programs", lambda: None)
    assert POSTGRES.obtain().resolve() == bare
    monkeypatch.setenv("VMSH_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("POSTGRES_NEWEST", "/nowhere/postgres")
    monkeypatch.setattr(postgres, "_unpack_packages", lambda folder: (folder / "postgres").touch())
    assert POSTGRES.obtain() == tmp_path / "other" / "postgres-debian" / "postgres"
    assert "which does not exist" in capsys.readouterr().err


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url, autocommit=True, prepare_threshold=None)

"""The PostgreSQL of a local system keeps its data, lets nobody in without its password, and runs where only root may go."""

import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import psycopg
import pytest

from devnet.errors import PartError
from devnet.local_postgres import LocalPostgres
from devnet.ports import free_port
from devnet.postgres import COPY_PREFIX, POSTGRES, is_root
from devnet.sample_table import SampleTable
from tests.support.system import System


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that nobody but its owner may enter, as a temporary one is."""
    place = tmp_path / "system"
    place.mkdir(mode=0o700)
    return place


def _started(folder: Path, port: int = 0) -> LocalPostgres:
    server = LocalPostgres(folder, port=port)
    server.prepare()
    server.start()
    return server


def _rows(server: LocalPostgres, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.url, autocommit=True) as connection:
        return connection.execute(query).fetchall()


def test_a_second_start_goes_on_with_rows_and_password_of_the_first(folder: Path) -> None:
    first = _started(folder)
    try:
        with psycopg.connect(first.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE goods AS SELECT 'tea' AS name")
            assert psutil.Process(first.pid).uids().real != 0
            first.kill()
        first.start()
        assert _rows(first, "SELECT name FROM goods") == [("tea",)]
    finally:
        first.stop()
    second = _started(folder, first.port)
    try:
        assert second.url == first.url
        assert _rows(second, "SELECT name FROM goods") == [("tea",)]
    finally:
        second.stop()
    assert not psutil.pid_exists(second.pid)


def test_it_ends_at_once_although_a_client_stays(folder: Path) -> None:
    server = _started(folder)
    with psycopg.connect(server.url) as connection:
        server.grace_seconds = 60.0
        server.stop()
        assert server.process is not None
        assert server.process.returncode == 0
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_nobody_gets_in_without_the_password_which_is_on_no_command_line(folder: Path) -> None:
    server = _started(folder)
    try:
        password = (folder / "postgres" / "password").read_text()
        assert stat.S_IMODE((folder / "postgres" / "password").stat().st_mode) == 0o600
        assert password in server.url
        assert password not in server.address
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.url.replace(password, "guessed"))
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        assert len(family) > 1
        assert all(password not in " ".join(process.cmdline()) for process in family)
        assert all(password not in str(process.environ()) for process in family)
        listening = {socket.laddr.ip for socket in psutil.Process(server.pid).net_connections()}
        assert listening == {"127.0.0.1"}
    finally:
        server.stop()


def test_data_that_was_half_made_is_made_anew(folder: Path) -> None:
    half = folder / "postgres" / ".data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("15\n")
    server = _started(folder)
    try:
        assert _rows(server, "SELECT 1") == [(1,)]
        assert not half.exists()
    finally:
        server.stop()


def test_programs_that_only_root_may_reach_are_copied_and_the_copy_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container where nothing is installed: what was fetched lies in root's home."""
    monkeypatch.setenv("POSTGRES", str(_hidden_programs(folder)))
    left = Path(tempfile.mkdtemp(prefix=COPY_PREFIX))
    remembered = folder / "postgres" / "programs"
    remembered.parent.mkdir()
    remembered.write_text(str(left))
    server = _started(folder)
    try:
        assert _rows(server, "SELECT 1") == [(1,)]
        assert left.exists() != is_root()
        copy = Path(remembered.read_text())
    finally:
        server.stop()
    assert not copy.exists()


def _hidden_programs(folder: Path) -> Path:
    """Copy the programs to a place that nobody else may reach; return the server's."""
    program = POSTGRES.obtain().resolve()
    version, tree = program.parents[1], program.parents[4]
    of_host = (version, tree / "share" / "postgresql" / version.name)
    for place in of_host if tree == Path("/usr") else (tree,):
        shutil.copytree(place, folder / "usr" / place.relative_to(tree), symlinks=True)
    return folder / "usr" / program.relative_to(tree)


def test_a_folder_that_is_none_of_ours_is_never_removed(folder: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (folder / "postgres").mkdir()
    (folder / "postgres" / "programs").write_text(str(precious))
    LocalPostgres(folder).stop()
    assert precious.exists()


def test_a_port_that_is_taken_is_one_clear_line(folder: Path) -> None:
    server = _started(folder)
    try:
        other = LocalPostgres(folder / "other", port=server.port)
        other.prepare()
        with pytest.raises(PartError, match=f"port {server.port} of postgres is in use"):
            other.start()
    finally:
        server.stop()


def test_the_server_ends_with_the_process_that_started_it(folder: Path) -> None:
    port = free_port()
    script = (
        "import os, pathlib, sys, signal\n"
        "from devnet.local_postgres import LocalPostgres\n"
        "server = LocalPostgres(pathlib.Path(sys.argv[1]), port=int(sys.argv[2]))\n"
        "server.prepare(); server.start()\n"
        "print(server.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), str(port)],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    pid = int(done.stdout)
    System.wait(lambda: not psutil.pid_exists(pid), "the end of the server", 20)


# --- the sample table --------------------------------------------------------------------------


def test_the_sample_table_gets_dead_rows_and_old_rows_and_outlives_a_crash_of_the_server(
    folder: Path,
) -> None:
    server = _started(folder)
    table = SampleTable(server.url)
    table.start()
    try:
        System.wait(lambda: _newest(server) > 0, "rows", 30)
        server.kill()
        server.start()
        before = _newest(server)
        System.wait(lambda: _newest(server) > before, "more rows after the crash", 30)
        old = "SELECT count(*) FROM public.sample_events WHERE happened_at < now() - interval '10 minutes'"
        assert 0 < _number(server, old) < _newest(server)
        dead = "SELECT coalesce(max(n_dead_tup), 0) FROM pg_stat_user_tables WHERE relname = 'sample_events'"
        System.wait(lambda: _number(server, dead) > 0, "dead rows", 30)
    finally:
        table.close()
        server.stop()


def _newest(server: LocalPostgres) -> int:
    """Return the highest id; 0 if there is no table, or no row."""
    if _rows(server, "SELECT to_regclass('public.sample_events') IS NULL") == [(True,)]:
        return 0
    return _number(server, "SELECT coalesce(max(id), 0) FROM public.sample_events")


def _number(server: LocalPostgres, query: str) -> int:
    ((number,),) = _rows(server, query)
    assert isinstance(number, int)
    return number

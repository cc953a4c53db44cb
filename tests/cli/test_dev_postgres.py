"""`dev` as a process, with its PostgreSQL: its own and nobody else's, kept through restarts, and no condition for the rest."""

import asyncio
import fcntl
import json
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg
import pytest
import yaml
from rich.console import Console

from devnet.ports import free_port
from devnet.supervisor import Supervisor
from tests.support.running_dev import ENDS_WITHIN_SECONDS, Running
from tests.support.system import System
from vaultmesh.cli import dev_postgres
from vaultmesh.cli.dev_postgres import DevPostgres
from vaultmesh.process.settings import REPOSITORY

pytestmark = [pytest.mark.server, pytest.mark.evm, pytest.mark.slow, pytest.mark.timeout(700)]
PRODUCTION = f"postgresql://owner:secret@127.0.0.1:{free_port()}/shop"
"""What the shell is set up for; nothing listens there."""
MAINTENANCE = Path("vmsh/config/maintenance.yaml")


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(
        tmp_path_factory.mktemp("dev") / "root", environment={"DATABASE_URL": PRODUCTION}
    )
    running.announced()
    yield running
    if running.process.poll() is None:
        running.end()


def _number(url: str, query: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _newest(url: str) -> int:
    return _number(url, "SELECT coalesce(max(id), 0) FROM public.sample_events")


def _configured(running: Running) -> str:
    document = yaml.safe_load((running.root / MAINTENANCE).read_text())
    return str(document["database"])


def test_the_announced_database_has_a_table_in_motion(dev: Running) -> None:
    url = dev.announced()["postgres"]["url"]
    System.wait(lambda: _number(url, "SELECT count(*) FROM pg_class WHERE relname = 'sample_events'"), "the table", 60)  # fmt: skip
    before = _newest(url)
    System.wait(lambda: _newest(url) > before, "further rows", 60)


def test_tasks_are_about_this_database_whatever_the_shell_was_set_up_for(dev: Running) -> None:
    url = dev.announced()["postgres"]["url"]
    assert _configured(dev) == url
    worker = Path(f"/proc/{dev.announced()['pids']['worker']}/environ").read_bytes().split(b"\0")
    assert f"DATABASE_URL={url}".encode() in worker
    assert not any(PRODUCTION.encode() in variable for variable in worker)


def test_the_tasks_are_read_and_find_work_in_the_table(dev: Running) -> None:
    listed = dev.starter("maintenance", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert len(json.loads(listed.stdout)["tasks"]) == 3
    url = dev.announced()["postgres"]["url"]
    System.wait(lambda: _newest(url) > 100, "rows that are too old", 60)
    done = dev.starter("maintenance", "run", "--once", "sample-retention", "sample-vacuum")
    assert done.returncode == 0, done.stderr
    assert "public.sample_events: done" in done.stdout
    assert list((dev.root / "out/archive/sample-events").glob("*.csv.gz"))


def test_the_password_is_on_no_screen_and_no_command_line(dev: Running) -> None:
    password = (dev.root / "devnet/postgres/password").read_text()
    assert password in dev.announced()["postgres"]["url"]
    assert password not in dev.said()
    assert all(password not in " ".join(process.cmdline()) for process in dev.processes())
    for log in (dev.root / "logs").iterdir():
        assert password not in log.read_text(), log


def test_what_somebody_wrote_into_the_tasks_outlives_a_restart_as_rows_do(tmp_path: Path) -> None:
    root = tmp_path / "root"
    first = Running(root)
    url = first.announced()["postgres"]["url"]
    place = root / MAINTENANCE
    place.write_text(place.read_text().replace("keep: 10m", "keep: 20m"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
    first.end(signal.SIGKILL)
    System.wait(lambda: not first.processes(), "the end of every part", ENDS_WITHIN_SECONDS)
    first.place.unlink()
    port = int(url.rpartition(":")[2].partition("/")[0])
    second = Running(root)
    try:
        again = second.announced()["postgres"]["url"]
        assert _number(again, "SELECT number FROM kept") == 1
        assert _configured(second) == again
        assert "keep: 20m" in place.read_text()
        assert port == int(json.loads((root / "devnet/made.json").read_text())["ports"]["postgres"])
    finally:
        second.end()


def test_a_system_goes_on_without_it_and_says_why_in_one_line(tmp_path: Path) -> None:
    running = Running(
        tmp_path / "root", environment={"POSTGRES": "/nowhere/postgres", "DATABASE_URL": PRODUCTION}
    )
    document = running.announced()
    try:
        assert "postgres" not in document
        assert "postgres" not in document["pids"]
        worker = Path(f"/proc/{document['pids']['worker']}/environ").read_bytes()
        assert PRODUCTION.encode() not in worker
        assert not (running.root / MAINTENANCE).exists()
        assert running.starter("status").returncode == 0
    finally:
        assert running.end() == 0
    said = [line for line in running.said().splitlines() if line.startswith("postgres does not")]
    assert said == [
        "postgres does not run: POSTGRES names /nowhere/postgres, which does not exist; correct it, or unset it"
    ]
    assert "Traceback" not in running.said()


@pytest.fixture
async def fetching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[DevPostgres, Supervisor, Path]]:
    """A system whose machine has no PostgreSQL, and the cache that it fetches one into."""
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("VMSH_CACHE", str(cache))
    monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    for name in ("POSTGRES", "PG_BIN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(dev_postgres, "host_programs", lambda: None)
    supervisor = Supervisor()
    postgres = DevPostgres(tmp_path / "root", supervisor)
    yield postgres, supervisor, cache
    postgres.stop()
    supervisor.stop()


async def test_an_archive_that_does_not_answer_holds_up_nothing_and_no_process_is_left(
    fetching: tuple[DevPostgres, Supervisor, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres, supervisor, cache = fetching
    monkeypatch.setattr(dev_postgres, "FETCHED_WITHIN_SECONDS", 2.0)
    with (cache / ".postgres-debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        postgres.begin(free_port())
        await postgres.finish()
        assert "was not fetched within 2 s" in postgres.trouble
        assert postgres.introduction() == [f"postgres does not run: {postgres.trouble}"]
        assert postgres.url == ""
        assert await _shown(postgres, "does not run")
        assert supervisor.pids() == {}
        fetch = _fetching_process()
        postgres.stop()
        assert not fetch.is_running()


def _fetching_process() -> psutil.Process:
    """Return the child that fetches."""
    children = psutil.Process().children()
    (fetch,) = [process for process in children if "devnet.parts" in " ".join(process.cmdline())]
    return fetch


async def test_a_fetch_under_way_ends_with_the_system_and_leaves_nothing_half(
    fetching: tuple[DevPostgres, Supervisor, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    postgres, _, cache = fetching
    monkeypatch.setattr(dev_postgres, "FETCHED_WITHIN_SECONDS", 2.0)
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(_SLOW_FETCH)
    monkeypatch.setenv("PYTHONPATH", f"{slow}:{REPOSITORY}")
    postgres.begin(free_port())
    await postgres.finish()
    assert "was not fetched within 2 s" in postgres.trouble
    programs = await _with_its_sleeper(_fetching_process())
    postgres.stop()
    _, alive = psutil.wait_procs(programs, timeout=10)
    assert alive == []
    assert list(cache.glob(".fetching-*")) == []


async def _with_its_sleeper(fetch: psutil.Process) -> list[psutil.Process]:
    """Return the fetch and its children once it has got as far as the slow part; a busy machine takes a while."""
    while True:
        programs = [fetch, *fetch.children(recursive=True)]
        if any("600.25" in process.cmdline() for process in programs):
            return programs
        await asyncio.sleep(0.05)


_SLOW_FETCH = """
import subprocess
from devnet import postgres


def fetch(folder):
    (folder / "half").touch()
    subprocess.run(["sleep", "600.25"], check=True)


object.__setattr__(postgres.POSTGRES, "fetch", fetch)
"""
"""Stands in for an archive that is slow."""


async def test_a_program_that_is_fetched_in_time_is_used(
    fetching: tuple[DevPostgres, Supervisor, Path],
) -> None:
    postgres, supervisor, _ = fetching
    postgres.begin(free_port())
    await postgres.finish()
    assert postgres.trouble == ""
    assert list(supervisor.pids()) == ["postgres"]
    assert _number(postgres.url, "SELECT 1") == 1
    assert await _shown(postgres, "dead")


async def _shown(postgres: DevPostgres, word: str) -> bool:
    """Whether the demo shows a word of it, in 80 columns, once its table was looked at."""
    console = Console(width=80, highlight=False)
    for _ in range(600):
        with console.capture() as captured:
            console.print(*postgres.blocks(datetime.now(UTC)), sep="\n")
        lines = captured.get().splitlines()
        if any(word in line for line in lines):
            return max(map(len, lines)) <= 80 and len([line for line in lines if line]) <= 3
        await asyncio.sleep(0.1)
    return False

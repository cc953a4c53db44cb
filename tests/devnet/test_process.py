"""Parts start, end with us, and are brought back with their data."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from devnet.anvil import Anvil
from devnet.errors import PartError
from devnet.process import Part
from devnet.supervisor import Supervisor
from devnet.temporal import TemporalServer

DEADLINE_SECONDS = 60.0
RESTART_SECONDS = 2.0
PARENT = """
import sys, time
from pathlib import Path
from devnet.anvil import Anvil
from devnet.temporal import TemporalServer

folder = Path(sys.argv[1])
kept = Anvil(folder / "kept", block_seconds=1, state=folder / "kept" / "chain.json")
parts = [kept, Anvil(folder), TemporalServer(folder, database=folder / "temporal.db")]
for part in parts:
    part.start()
print(*(part.pid for part in parts), flush=True)
time.sleep(600)
"""


def _until(fact: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not fact():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


async def _eventually(fact: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(_until, fact, what)


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _sleeper(folder: Path, code: str, *, ready: bool = True) -> Part:
    return Part("sleeper", [sys.executable, "-c", code], folder / "logs" / "x.log", lambda: ready)


@asynccontextmanager
async def _supervised(*parts: Part) -> AsyncIterator[list[tuple[str, int]]]:
    """Run parts under a supervisor, and return the restarts that it tells."""
    restarts: list[tuple[str, int]] = []
    supervisor = Supervisor(lambda part: restarts.append((part.name, part.pid)))
    running: asyncio.Task[None] | None = None
    try:
        for part in parts:
            await supervisor.start(part)
        running = asyncio.create_task(supervisor.run())
        yield restarts
    finally:
        if running is not None:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
        supervisor.stop()
    assert not any(part.alive for part in parts)


@pytest.mark.evm
@pytest.mark.server
@pytest.mark.fault
async def test_a_killed_part_is_back_within_two_seconds_and_its_new_pid_is_told(
    tmp_path: Path,
) -> None:
    chain = Anvil(tmp_path, block_seconds=1, state=tmp_path / "chain.json")
    server = TemporalServer(tmp_path, headless=True, database=tmp_path / "temporal.db")
    async with _supervised(chain, server) as restarts:

        async def restarted(part: Part) -> float:
            old, began = part.pid, time.monotonic()
            os.kill(old, signal.SIGKILL)
            await _eventually(lambda: bool(restarts), "no restart was reported")
            took = time.monotonic() - began
            assert restarts.pop() == (part.name, part.pid)
            assert part.pid != old
            await _eventually(part.is_ready, f"{part.name} did not answer again")
            return took

        for part in (chain, server):
            took = await restarted(part)
            if took >= RESTART_SECONDS:  # a pause of the machine is not the supervisor's
                took = await restarted(part)
            assert took < RESTART_SECONDS


async def test_a_part_that_did_not_start_is_not_kept_and_another_takes_its_place(
    tmp_path: Path,
) -> None:
    supervisor = Supervisor()
    with pytest.raises(PartError, match="ended while starting"):
        await supervisor.start(Part("one", ["false"], tmp_path / "log", lambda: False))
    assert supervisor.pids() == {}
    other = Part("one", ["sleep", "600"], tmp_path / "log", lambda: True)
    await supervisor.start(other)
    assert supervisor.pids() == {"one": other.pid}
    supervisor.stop()
    assert not other.alive


@pytest.mark.fault
async def test_a_part_that_keeps_ending_ends_the_supervision_with_its_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devnet.supervisor.PAUSES_SECONDS", (0.0, 0.1))
    part = _sleeper(tmp_path, "import time; print('no luck', flush=True); time.sleep(0.3)")
    supervisor = Supervisor()
    await supervisor.start(part)
    with pytest.raises(PartError, match=r"sleeper keeps ending(.|\n)*no luck"):
        await asyncio.wait_for(supervisor.run(), DEADLINE_SECONDS)


async def test_a_part_that_others_kill_again_and_again_is_started_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devnet.supervisor.PAUSES_SECONDS", (0.0, 0.1))
    part = _sleeper(tmp_path, "import time; time.sleep(600)")
    async with _supervised(part) as restarts:
        for kill in range(1, 5):
            os.kill(part.pid, signal.SIGKILL)
            await _eventually(lambda kill=kill: len(restarts) == kill, "it was not started again")  # type: ignore[misc]
        assert part.alive


@pytest.mark.evm
@pytest.mark.server
@pytest.mark.fault
@pytest.mark.skipif(sys.platform != "linux", reason="other kernels know no parent-death signal")
def test_nothing_is_left_behind_when_the_parent_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            pids = [int(pid) for pid in parent.stdout.readline().split()]
            assert len(pids) == 3
            assert not any(_gone(pid) for pid in pids)
        finally:
            parent.kill()
    for pid in pids:
        _until(lambda pid=pid: _gone(pid), f"{pid} is still there")  # type: ignore[misc]


def test_a_part_leads_its_own_session_so_that_ctrl_c_does_not_reach_it(tmp_path: Path) -> None:
    with _sleeper(tmp_path, "import time; time.sleep(600)") as part:
        assert os.getsid(part.pid) == os.getpgid(part.pid) == part.pid
        assert os.getsid(part.pid) != os.getsid(0)


def test_a_part_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    part = _sleeper(tmp_path, code)
    part.grace_seconds = 0.2
    part.start()
    _until(lambda: "1" in part.last_lines(), "it never started")
    part.stop()
    assert part.process is not None
    assert part.process.returncode == -signal.SIGKILL


def test_a_part_that_ends_while_starting_is_told_with_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(PartError, match=r"sleeper ended while starting(.|\n)*out of luck"):
        _sleeper(tmp_path, "raise SystemExit('out of luck')", ready=False).start()


def test_a_program_that_does_not_exist_is_told(tmp_path: Path) -> None:
    part = Part("ghost", ["/nowhere/ghost"], tmp_path / "x.log", lambda: False)
    with pytest.raises(PartError, match="/nowhere/ghost: No such file"):
        part.start()


def test_a_part_that_is_not_ready_in_time_is_ended(tmp_path: Path) -> None:
    part = _sleeper(tmp_path, "import time; time.sleep(600)", ready=False)
    part.ready_seconds = 0.3
    with pytest.raises(PartError, match=r"not ready after 0\.3 s"):
        part.start()
    assert not part.alive


def test_a_part_is_not_started_on_a_thread_that_may_end_before_us(tmp_path: Path) -> None:
    part, caught = _sleeper(tmp_path, "pass"), []

    def start() -> None:
        try:
            part.launch()
        except RuntimeError as error:
            caught.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert caught == ["parts are started on the main thread"]


@pytest.mark.evm
def test_a_taken_port_is_told_before_another_program_is_mistaken_for_the_part(
    tmp_path: Path,
) -> None:
    with (
        Anvil(tmp_path / "one") as first,
        pytest.raises(PartError, match=f"port {first.port} of anvil is in use"),
    ):
        Anvil(tmp_path / "two", port=first.port).start()

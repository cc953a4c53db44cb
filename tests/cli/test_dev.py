"""`starter.py dev` and `demo` as their users run them: processes, ports, keys, restarts, and nothing left behind."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.system import REPOSITORY, System

pytestmark = [pytest.mark.server, pytest.mark.evm, pytest.mark.slow]

ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("TEMPORAL", "VMSH", "METRICS"))
}


@contextmanager
def dev(root: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "starter.py", "dev", "--root", str(root)]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        System.wait(
            lambda: (root / "devnet.json").exists() or process.poll() is not None, "devnet.json"
        )
        yield process
    finally:
        children = (
            psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        )
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive, alive


def announced(root: Path) -> dict[str, Any]:
    return json.loads((root / "devnet.json").read_text())


def test_dev_announces_what_runs_and_comes_back_with_its_data(tmp_path: Path) -> None:
    root = tmp_path / "dev"
    with dev(root) as process:
        first = announced(root)
        assert set(first) == {"temporal", "evm", "http", "pids"}
        assert set(first["pids"]) == {"worker", "temporal", "anvil"}
        assert all(psutil.pid_exists(pid) for pid in first["pids"].values())
        _keys_are_private(root)
        for part in ("worker", "anvil", "temporal"):
            _killed_part_is_announced_anew(root, part)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    with dev(root):
        second = announced(root)
        assert second["evm"] == first["evm"]
        assert second["temporal"] == first["temporal"]


def _keys_are_private(root: Path) -> None:
    keys = list((root / "keys").iterdir())
    assert [stat.S_IMODE(key.stat().st_mode) for key in keys] == [0o600]
    key = keys[0].read_text().strip().removeprefix("0x")
    elsewhere = [place for place in root.rglob("*") if place.is_file() and place not in keys]
    for place in elsewhere:
        with suppress(FileNotFoundError):
            assert key.encode() not in place.read_bytes(), place


def _killed_part_is_announced_anew(root: Path, part: str) -> None:
    pid = announced(root)["pids"][part]
    os.kill(pid, signal.SIGKILL)
    System.wait(lambda: announced(root)["pids"][part] != pid, f"a new {part}", 20)
    restarted = time.time() - psutil.Process(announced(root)["pids"][part]).create_time()
    assert restarted < 20


def test_dev_refuses_a_folder_that_lost_its_key(tmp_path: Path) -> None:
    root = tmp_path / "dev"
    with dev(root):
        pass
    (root / "keys" / "evm.key").unlink()
    with dev(root) as process:
        assert process.wait(30) == 1
        assert process.stdout is not None
        assert "keys/evm.key is missing" in process.stdout.read()


def test_nothing_is_left_when_dev_is_killed(tmp_path: Path) -> None:
    root = tmp_path / "dev"
    with dev(root) as process:
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.kill()
        _, alive = psutil.wait_procs(children, timeout=15)
        assert not alive, alive


def test_demo_once_ends_with_final_verified_anchors(tmp_path: Path) -> None:
    command = [sys.executable, "starter.py", "demo", "--once", "--root", str(tmp_path / "demo")]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "every cadence has a final, verified anchor" in done.stdout
    assert done.stdout.count("finalized") == 4

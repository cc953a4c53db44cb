"""A root that can't be made or written is one line and exit code 2, whatever the command and whatever is wrong with it."""

import argparse
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

import starter
from devnet.ports import LOOPBACK, free_port
from tests.cli.conftest import Command
from vaultmesh.process.settings import REPOSITORY

ROUND = "0" * 32
MAKING = ("dev", "demo", "demo --once")
"""Commands that make their root."""
USING = (
    "register", "register --prune", "diff", "status", "status a:b --json", "seal a:b /etc/hostname",
    "seal a:b --pending", "verify --batch 1", "verify --event x", "verify --offline --event x",
    "proof x", "proof x -o y.json", "unregister a:b",
)  # fmt: skip
"""Commands that need one."""
WITHIN_SECONDS = 120


def _a_file(folder: Path) -> Path:
    (folder / "file").write_text("x")
    return folder / "file"


def _below_a_file(folder: Path) -> Path:
    return _a_file(folder) / "below"


def _a_link_to_nothing(folder: Path) -> Path:
    (folder / "link").symlink_to(folder / "nowhere")
    return folder / "link"


def _a_link_to_itself(folder: Path) -> Path:
    (folder / "loop").symlink_to("loop")
    return folder / "loop"


def _a_name_too_long(folder: Path) -> Path:
    return folder / ("x" * 300)


def _a_device(folder: Path) -> Path:
    del folder
    return Path("/dev/full")


def _where_nobody_makes_folders(folder: Path) -> Path:
    del folder
    return Path("/proc/vaultmesh")


PLACES: tuple[Callable[[Path], Path], ...] = (
    _a_file, _below_a_file, _a_link_to_nothing, _a_link_to_itself, _a_name_too_long, _a_device,
    _where_nobody_makes_folders,
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__[1:])
@pytest.mark.parametrize("command", MAKING)
def test_a_root_that_cannot_be_made_is_one_line(
    command: str, place: Callable[[Path], Path], run: Command, tmp_path: Path
) -> None:
    outcome = run(*command.split(), "--root", place(tmp_path))
    assert (outcome.code, outcome.out) == (2, "")
    assert_one_line(outcome.err, "--root: ")


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__[1:])
@pytest.mark.parametrize("command", USING)
def test_a_root_that_cannot_be_used_is_one_line(
    command: str, place: Callable[[Path], Path], run: Command, tmp_path: Path
) -> None:
    root = place(tmp_path)
    outcome = run(*command.split(), VMSH_ROOT=str(root), TEMPORAL_ADDRESS=nowhere())
    assert (outcome.code, outcome.out) == (2, "")
    assert_one_line(outcome.err, f"VMSH_ROOT: {root} ")


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__[1:])
def test_commands_that_only_ask_temporal_show_no_traceback_either(
    place: Callable[[Path], Path], run: Command, tmp_path: Path
) -> None:
    root = str(place(tmp_path))
    for command in ("setup", "pause a:b", "resume a:b", "force a:b", "contract deploy", f"resolve eip155:1 --lost {ROUND}"):  # fmt: skip
        outcome = run(*command.split(), VMSH_ROOT=root, TEMPORAL_ADDRESS=nowhere())
        assert outcome.code in (1, 2)
        assert_one_line(outcome.err, "")


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__[1:])
def test_a_worker_without_a_root_ends_in_one_line(
    place: Callable[[Path], Path], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "worker.py"],
        cwd=REPOSITORY,
        env={**os.environ, "VMSH_ROOT": str(place(tmp_path)), "TEMPORAL_ADDRESS": nowhere()},
        capture_output=True,
        text=True,
        timeout=WITHIN_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "")
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["problems"][0].startswith("VMSH_ROOT: ")


# --- read-only: a file system as root, rights as anybody else --------------------------------------


@pytest.fixture
def read_only(tmp_path: Path) -> tuple[str, ...]:
    """Return what runs a command that finds `tmp_path/root` read-only: root may write whatever rights say."""
    (tmp_path / "root").mkdir()
    if os.geteuid() != 0:
        (tmp_path / "root").chmod(0o500)
        return ()
    mounting = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", mounting, str(tmp_path / "root"))


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("dev --root {root}", 2),
        ("dev --root {root}/below", 2),
        ("demo --once --root {root}", 2),
        ("seal a:b /etc/hostname", 2),
        ("status", 1),
        ("diff", 1),
        ("verify --event x", 1),
    ],
)
def test_a_root_that_is_read_only_is_one_line(
    command: str, code: int, read_only: tuple[str, ...], tmp_path: Path
) -> None:
    """What only reads gets as far as it can: a backup that is mounted read-only is verified too."""
    root = tmp_path / "root"
    done = subprocess.run(
        [*read_only, sys.executable, "starter.py", *command.format(root=root).split()],
        cwd=REPOSITORY,
        env={**os.environ, "VMSH_ROOT": str(root), "TEMPORAL_ADDRESS": nowhere()},
        capture_output=True,
        text=True,
        timeout=WITHIN_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.splitlines()[-1].startswith("starter.py: ")
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_a_failure_and_not_bad_usage(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Naming another place is not what mends it, and the command may be tried again."""

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "x"))

    monkeypatch.setattr(starter, "parse", lambda _: argparse.Namespace(run=full))
    outcome = run("status")
    assert (outcome.code, outcome.out) == (1, "")
    assert_one_line(outcome.err, f"{tmp_path}/x: No space left on device - ")


def nowhere() -> str:
    return f"{LOOPBACK}:{free_port()}"


def assert_one_line(said: str, beginning: str) -> None:
    (line,) = said.splitlines()
    assert line.startswith(f"starter.py: {beginning}")
    assert any(mend in line for mend in (" - ", "; "))

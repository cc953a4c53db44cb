"""Chromium is installed where root asks for it; anyone else is told what to type."""

import os
from pathlib import Path

import pytest

from devnet.chromium import CHROMIUM
from devnet.errors import PartError


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Take away the Chromium that is there; return a folder for programs."""
    monkeypatch.setenv("VMSH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CHROMIUM", raising=False)
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    return programs


def _write_installer(programs: Path, script: str) -> None:
    (programs / "apt-get").write_text(f"#!/bin/sh\n{script}\n")
    (programs / "apt-get").chmod(0o755)


def test_who_may_not_install_it_is_told_what_to_type(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_installer(bare_machine, "exit 1")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PartError, match=r"sudo apt-get install chromium.*CHROMIUM"):
        CHROMIUM.obtain()


def test_root_gets_it_installed_also_where_the_packages_list_is_old(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    updated, program = tmp_path / "updated", bare_machine / "chromium"
    _write_installer(
        bare_machine,
        f'case "$1" in update) : > {updated} ;; *) [ -e {updated} ] || exit 100; : > {program}; /bin/chmod +x {program} ;; esac',
    )
    assert CHROMIUM.obtain().resolve() == program
    assert CHROMIUM.obtain() == program


def test_a_package_that_brings_no_program_is_one_clear_line(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    _write_installer(bare_machine, "exit 0")
    with pytest.raises(PartError, match="holds no chromium"):
        CHROMIUM.obtain()

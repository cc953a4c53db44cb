"""What every command has in common: help with an example that means something, and exit codes."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import starter
from devnet.ports import LOOPBACK, free_port
from tests.cli.conftest import Command
from vaultmesh.process.settings import REPOSITORY

COMMANDS = (
    ("dev",), ("demo",), ("setup",), ("register",), ("status",), ("pause",), ("resume",), ("force",),
    ("unregister",), ("seal",), ("verify",), ("proof",), ("contract",), ("contract", "deploy"),
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_ends_with_an_example_that_can_be_parsed(
    command: tuple[str, ...], run: Command
) -> None:
    shown = run(*command, "--help")
    assert shown.code == 0
    example = " ".join(shown.out.split("example: ")[1].split())
    assert f"python starter.py {' '.join(command)}" in example
    words = shlex.split(example.split("python starter.py ")[1])
    assert starter.build_parser().parse_args(words).run is not None


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("status", "--nonsense"),
        ("seal", "dao:one"),
        ("seal", "dao:one", "file", "--pending"),
        ("verify",),
        ("verify", "--batch", ""),
        ("verify", "--offline", "--event", ""),
        ("verify", "receipt.json", "--batch", "1"),
        ("verify", "receipt.json", "--namespace", "dao:one"),
        ("verify", "receipt.json", "--offline", "--trust-block", "11"),
        ("contract",),
        ("contract", "deploy", "--target", "btc:regtest"),
        ("contract", "deploy", "--target", "nonsense"),
        ("register", "--prune", "--namespace", "dao:one"),
    ],
    ids=" ".join,
)
def test_bad_usage_is_told_on_standard_error_with_exit_code_2(
    arguments: tuple[str, ...], run: Command, tmp_path: Path
) -> None:
    outcome = run(*arguments, VMSH_ROOT=str(tmp_path))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    "arguments", [("status",), ("pause", "dao:one"), ("register",)], ids=" ".join
)
def test_a_bad_setting_stops_a_command_with_exit_code_2_and_its_name(
    arguments: tuple[str, ...], run: Command
) -> None:
    outcome = run(*arguments, VMSH_BASE_BACKOFF="-1")
    assert outcome.code == 2
    assert "VMSH_BASE_BACKOFF" in outcome.err


def test_a_broken_namespaces_file_is_named_with_line_and_key(run: Command, tmp_path: Path) -> None:
    place = tmp_path / "namespaces.yaml"
    place.write_text("namespaces:\n  dao:one:\n    cadences: {}\n")
    outcome = run("register", "--config", place)
    assert outcome.code == 2
    assert f"{place}:" in outcome.err
    assert "cadences" in outcome.err


def test_temporal_that_is_down_is_one_clear_line_with_exit_code_1() -> None:
    address = f"{LOOPBACK}:{free_port()}"
    ended = subprocess.run(
        [sys.executable, "starter.py", "pause", "dao:one"],
        cwd=REPOSITORY,
        env={"TEMPORAL_ADDRESS": address, "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert address in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_terminal_without_our_marks_and_a_name_without_text_end_in_no_traceback(
    tmp_path: Path,
) -> None:
    environment = {"PYTHONIOENCODING": "ascii", "VMSH_ROOT": str(tmp_path)}
    for arguments in (["--offline", b"no\xff"], ["--event", b"no\xff"], ["--batch", b"no\xff"]):
        outcome = subprocess.run(
            [sys.executable, "starter.py", "verify", *arguments],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            check=False,
        )
        assert outcome.returncode == 1
        assert b"Traceback" not in outcome.stderr
        assert b"no\\udcff" in outcome.stdout + outcome.stderr


@pytest.mark.parametrize("content", ["", "no pem", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_roots_that_can_t_be_read_are_bad_usage_and_say_nothing_of_the_receipt(
    content: str, run: Command, tmp_path: Path
) -> None:
    (tmp_path / "roots.pem").write_text(content)
    outcome = run("verify", "--offline", "a.json", "--trust-roots", tmp_path / "roots.pem")
    assert (outcome.code, outcome.out) == (2, "")
    assert "name a PEM file" in outcome.err

"""A failed test is asked once more where many run beside each other, and a finding about money or replays never is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
from pathlib import Path

import pytest


def fails_first(place: Path, message: str) -> None:
    before = place.exists()
    place.touch()
    assert before, message


def test_waits_for_a_busy_machine(request):
    fails_first(Path(request.config.invocation_params.dir) / "busy", "no answer within 5 s")


@pytest.mark.parametrize("finding", {findings!r})
def test_counts_payments(request, finding):
    place = Path(request.config.invocation_params.dir) / str(abs(hash(finding)))
    fails_first(place, finding)


class ReplayError(Exception):
    pass  # as the check of histories raises it


def test_replays(request):
    place = Path(request.config.invocation_params.dir) / "replays"
    if not place.exists():
        place.touch()
        raise ReplayError("run 7 does not replay: another command")


def test_is_slow_once(request):
    place = Path(request.config.invocation_params.dir) / "slow"
    if not place.exists():
        place.touch()
        raise ReplayError("a failed workflow task\\nTMPRL1101: did not yield within 2 seconds")


def test_fails_always():
    raise ValueError("wrong each time")


@pytest.fixture(scope="module")
def disk():
    files = []
    yield files


@pytest.fixture(scope="module")
def system(disk):
    disk.append("of its start")
    yield disk
    assert disk.pop() == "of its start", "somebody ended it before"


def test_counts_from_nothing(system, request):
    assert system == ["of its start"], "marks of another attempt"
    system.insert(0, "a mark")
    fails_first(Path(request.config.invocation_params.dir) / "marks", "no answer within 5 s")


def test_shares_what_the_second_attempt_made(system):
    assert system == ["a mark", "of its start"]
"""
FINDINGS = [
    "round 7f was paid for",
    "slot 12 was called twice",
    "batch b of dao:x on eip155:1: there is no receipt",
    "a nondeterminism error of the workflow",
]


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run them as `make test` does; returns what it printed."""
    folder = tmp_path_factory.mktemp("reruns")
    (folder / "test_some.py").write_text(TESTS.format(findings=FINDINGS))
    order = next(
        line.split(":=")[1].split()
        for line in (ROOT / "Makefile").read_text().splitlines()
        if line.startswith("ASK_AGAIN")
    )
    config = [
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(folder),
        "-p",
        "no:cacheprovider",
    ]
    plugin = ["-p", "tests.support.fresh_reruns", "-rfEp"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *config, *plugin, *order, "test_some.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return ran.stdout + ran.stderr


def test_a_test_that_a_busy_machine_failed_is_asked_again_and_named(summary: str) -> None:
    assert "RERUN test_some.py::test_waits_for_a_busy_machine" in summary
    assert "no answer within 5 s" in summary
    assert "4 passed" in summary.splitlines()[-1]
    assert "RERUN test_some.py::test_is_slow_once" in summary


def test_a_finding_about_money_is_never_asked_again(summary: str) -> None:
    """The harm: a payment made twice in one run of twenty went by as a hiccup."""
    assert "FAILED test_some.py::test_counts_payments" in summary
    assert "RERUN test_some.py::test_counts_payments" not in summary
    assert "RERUN test_some.py::test_replays" not in summary
    assert "6 failed, 4 passed, 4 rerun" in summary.splitlines()[-1]


def test_what_is_wrong_each_time_fails(summary: str) -> None:
    assert "FAILED test_some.py::test_fails_always" in summary


def test_a_second_attempt_gets_what_its_module_shares_anew(summary: str) -> None:
    """The harm: a hiccup of the machine became a failure, since the first attempt's marks were still there."""
    assert "RERUN test_some.py::test_counts_from_nothing" in summary
    assert "Error: marks of another attempt" not in summary
    assert "Error: somebody ended it before" not in summary
    assert "PASSED test_some.py::test_shares_what_the_second_attempt_made" in summary

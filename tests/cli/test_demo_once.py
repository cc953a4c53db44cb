"""`demo --once` as a process: what it says from its first word to its end. All tests here look at the same run."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.running_dev import Running
from tests.support.system import System

pytestmark = [pytest.mark.server, pytest.mark.evm, pytest.mark.slow, pytest.mark.timeout(700)]
ENDS_WITHIN_SECONDS = 110.0


@dataclass(frozen=True)
class Demo:
    """A run that has ended by itself."""

    running: Running
    code: int
    seconds: float
    said_first: str
    """What stood there as soon as anything did."""

    @property
    def said(self) -> str:
        return self.running.said()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    started = time.monotonic()
    running = Running(tmp_path_factory.mktemp("demo") / "root", ("demo", "--once"))
    try:
        System.wait(lambda: "local system in" in running.said(), "the first word", 60)
        said_first = running.said()
        code = running.wait(ENDS_WITHIN_SECONDS + 90)
        yield Demo(running, code, time.monotonic() - started, said_first)
    finally:
        if running.process.poll() is None:
            running.end()


def test_it_ends_when_every_cadence_has_a_final_verified_anchor(demo: Demo) -> None:
    assert demo.code == 0, demo.said
    assert demo.seconds < ENDS_WITHIN_SECONDS
    assert "\nevery cadence has a final, verified anchor" in demo.said
    lines = {line for line in demo.said.splitlines() if line.endswith(" finalized")}
    assert len(lines) == 6
    tokens = {line.partition(" cold: ")[2] for line in lines if " cold: serial:" in line}
    stamped = demo.running.root / "out/rounds/rfc3161_tsa"
    rounds = [place for place in stamped.iterdir() if place.is_dir()]
    assert 1 <= len(tokens) == len(rounds)  # one, where both namespaces ask within the window
    assert "\x1b" not in demo.said
    assert demo.running.processes() == []


def test_nobody_waits_in_silence_while_the_parts_start(demo: Demo) -> None:
    """It took eleven seconds to the first word; a start that hangs must say at what."""
    assert "starting worker:" not in demo.said_first
    steps = [
        "starting temporal", "starting anvil", "starting bitcoind", "starting tsa", "deploying the contract",
        "starting postgres", "starting worker", "sealing sample batches", "registering namespaces", "stopping everything",
    ]  # fmt: skip
    said = re.findall(r"^(\w[\w ]+)(?: …|: \d+\.\d s)$", demo.said, re.MULTILINE)
    assert [step for step in said if step in steps] == [step for step in steps for _ in range(2)]


def test_it_shows_one_job_that_works_one_that_is_slow_and_one_that_fails(demo: Demo) -> None:
    assert re.search(r"^sample-works: completed after .+, 3 items$", demo.said, re.MULTILINE)
    assert re.search(r"^sample-slow: completed after .+, 1 item$", demo.said, re.MULTILINE)
    assert re.search(r"^sample-slow: \d+ slots? skipped", demo.said, re.MULTILINE)
    assert re.search(
        r"^sample-fails: failed after .+, 2 items: 1 of 2 items failed", demo.said, re.MULTILINE
    )
    assert "could not be registered" not in demo.said

"""Every benchmark runs with small numbers and prints its table; what it measures then says nothing."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FACTS = {
    "job-faults": "worker killed in a call",
    "jobs": "APScheduler, jobs in SQLite, the same",
    "job-api": "PostgreSQL, list of",
    "job-idle": "memory of the worker",
    "footprint": "memory of a worker with the role workflows alone",
    "bare": "bare workflows per second",
    "lag": "due to start of the anchor, p99",
    "burst": "due in the same instant: all anchored",
    "history": "events of a namespace per anchor",
    "kill": "one of two workers killed",
    "demo": "demo --once",
    "maintenance": "client killed: its statement is gone after",
    "metrics": "longest standstill of the event loop",
    "orders": "orders that it met",
    "folder": "with one new file each",
    "verify": "read and follow one proof",
}
"""A row of each benchmark; the slowest first."""
AT_ONCE = 2
"""They mostly wait; with more of them, two cores serve a slot so late that its batch may fall to another one."""
WITHIN_SECONDS = 280

Runs = dict[str, "Future[subprocess.CompletedProcess[str]]"]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench.judged", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_SECONDS,
    )


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(bench, name, "--quick", "--within", "4") for name in FACTS}


@pytest.mark.server
@pytest.mark.evm
@pytest.mark.slow
@pytest.mark.timeout(WITHIN_SECONDS + 20)
@pytest.mark.parametrize("name", FACTS)
def test_a_quick_benchmark_prints_its_table(runs: Runs, name: str) -> None:
    done = runs[name].result()
    assert done.returncode == 0, done.stderr
    assert FACTS[name] in done.stdout
    assert "reach" in done.stdout
    assert "cores" in done.stdout


def test_every_benchmark_is_run_here() -> None:
    done = bench("--help")
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in FACTS)
    assert done.stdout.count(" needs ") == len(FACTS)


def test_an_unknown_benchmark_is_refused_with_the_names_that_there_are() -> None:
    done = bench("speed")
    assert done.returncode == 2
    assert "unknown speed" in done.stderr
    assert "verify, folder" in done.stderr

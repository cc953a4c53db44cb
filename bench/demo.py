"""Measures how long the demonstration takes once its programs are there."""

import subprocess
import sys
import time

from bench.figures import Row, at_most, median, spread
from bench.system import BenchError
from vaultmesh.process.settings import REPOSITORY

NEEDS = "server, chain and worker; about 2 minutes"
_LIMIT_SECONDS = 60.0
_GIVE_UP_SECONDS = 600.0


def measure(*, quick: bool) -> list[Row]:
    """Measure `demo --once` after one run that warms up; quickly, one run alone."""
    if not quick:
        _run()
    times = [_run() for _ in range(1 if quick else 3)]
    return [
        at_most(
            "warm `starter.py demo --once`",
            median(times),
            _LIMIT_SECONDS,
            "{:.1f} s",
            more=spread(times, "{:.1f}"),
        )
    ]


def _run() -> float:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "starter.py"), "demo", "--once"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=_GIVE_UP_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        message = f"the demonstration failed with {done.returncode}: {done.stderr[-500:]}"
        raise BenchError(message)
    return time.monotonic() - started

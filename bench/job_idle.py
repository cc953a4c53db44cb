"""Measures memory and processor time of many jobs between their slots."""

import asyncio
import time
from datetime import UTC, datetime

from bench.figures import Row, at_most, megabytes, unlimited
from bench.job_system import JobBench, all_started, definition, job_names
from bench.system import cpu_seconds, memory

NEEDS = "server and worker; about 6 minutes"
_WORKER_MB, _WORKER_PERCENT, _SERVER_PERCENT = 300.0, 2.0, 2.0
_REST_SECONDS, _SECONDS = 60.0, 60.0
_HALF_HOUR = 30


def measure(*, quick: bool) -> list[Row]:
    """Measure 2,000 jobs that fire once an hour; quickly, 20 for a moment."""
    return _measure(20, 1.0, 5.0) if quick else _measure(2_000, _REST_SECONDS, _SECONDS)


def _measure(count: int, rest_seconds: float, seconds: float) -> list[Row]:
    minute = (datetime.now(UTC).minute + _HALF_HOUR) % 60  # none fires while it is measured
    with JobBench() as system:
        jobs = [definition(name, f"{minute} * * * *") for name in job_names(count)]
        asyncio.run(system.fill(jobs))
        began = time.monotonic()
        worker = system.start_jobs_worker()
        empty = memory(worker)
        asyncio.run(all_started(system, count))
        started = time.monotonic() - began
        time.sleep(rest_seconds)
        parts = {"worker": worker, "server": system.temporal.part}
        before = {name: cpu_seconds(part) for name, part in parts.items()}
        time.sleep(seconds)
        percent = {
            name: 100 * (cpu_seconds(part) - before[name]) / seconds for name, part in parts.items()
        }
        sizes = {name: megabytes(memory(part)) for name, part in parts.items()}
    what = f"{count:,} jobs that fire once an hour"
    return [
        at_most(f"{what}: memory of the worker", sizes["worker"], _WORKER_MB, "{:.0f} MB"),
        unlimited(
            "  of the worker at its start, and of the server",
            f"{megabytes(empty):.0f} MB, {sizes['server']:.0f} MB",
        ),
        at_most(
            f"  CPU of the worker over {seconds:g} s, no slot due",
            percent["worker"],
            _WORKER_PERCENT,
            "{:.1f} %",
        ),
        at_most("  CPU of the server", percent["server"], _SERVER_PERCENT, "{:.1f} %"),
        unlimited("  from the worker's start until all workflows run", f"{started:.0f} s"),
    ]

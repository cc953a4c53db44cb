"""Runs benchmarks: `python -m bench [NAME…] [--quick]`.

Each one starts parts of its own, warms up, and prints a table. Nothing else must run on the machine meanwhile.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

from bench import (
    bare,
    burst,
    demo,
    folder,
    footprint,
    history,
    job_api,
    job_faults,
    job_idle,
    jobs,
    kill,
    lag,
    maintenance,
    metrics,
    orders,
    verify,
)
from bench.figures import Row, machine, print_table
from bench.system import BenchError
from devnet.errors import PartError

Measure = Callable[..., list[Row]]
BENCHMARKS: dict[str, tuple[Measure, str]] = {
    "verify": (verify.measure, verify.NEEDS),
    "folder": (folder.measure, folder.NEEDS),
    "history": (history.measure, history.NEEDS),
    "lag": (lag.measure, lag.NEEDS),
    "burst": (burst.measure, burst.NEEDS),
    "bare": (bare.measure, bare.NEEDS),
    "metrics": (metrics.measure, metrics.NEEDS),
    "orders": (orders.measure, orders.NEEDS),
    "footprint": (footprint.measure, footprint.NEEDS),
    "kill": (kill.measure, kill.NEEDS),
    "jobs": (jobs.measure, jobs.NEEDS),
    "job-api": (job_api.measure, job_api.NEEDS),
    "job-faults": (job_faults.measure, job_faults.NEEDS),
    "job-idle": (job_idle.measure, job_idle.NEEDS),
    "maintenance": (maintenance.measure, maintenance.NEEDS),
    "demo": (demo.measure, demo.NEEDS),
}
WITHIN_MINUTES = 90.0


class OutOfTimeError(BenchError):
    """All benchmarks together took longer than they may."""


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exit 2 if it means nothing."""
    lines = "\n".join(f"  {name:10} needs {needs}" for name, (_, needs) in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure what the design promises. Leave the machine alone meanwhile.",
        epilog=f"benchmarks:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all by default")
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it works")
    parser.add_argument(
        "--within", type=float, default=WITHIN_MINUTES, help="minutes for all together"
    )
    parsed = parser.parse_args(arguments)
    unknown = [name for name in parsed.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"unknown {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    return parsed


def main(arguments: Sequence[str]) -> int:
    """Run benchmarks; 1 if one could not measure. A missed reach is shown, and no failure."""
    parsed = parse_arguments(arguments)
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_REAL, 60 * parsed.within)
    failed = False
    for name in parsed.names or BENCHMARKS:
        under, started = machine(), time.monotonic()
        try:
            rows = BENCHMARKS[name][0](quick=parsed.quick)
        except OutOfTimeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        except (BenchError, PartError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
            continue
        took = f"{under}; took {time.monotonic() - started:.0f} s"
        title = f"{name}, quick: too little to judge by" if parsed.quick else name
        print_table(title, rows, took, judged=not parsed.quick)
    return 1 if failed else 0


def _out_of_time(_number: int, _frame: FrameType | None) -> None:
    message = "all benchmarks together took longer than --within"
    raise OutOfTimeError(message)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

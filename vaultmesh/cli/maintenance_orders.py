"""Adds to `maintenance` what works on the tasks that workers run: `status`, `pause`, `resume`, `history`, and `run` through Temporal.

What carries them out is loaded when it is needed: a run of tasks once needs neither Temporal nor the job store.
"""

import argparse

from vaultmesh.cli import output

MOST_RUNS = 1_000


def add_parsers(actions: output.Subparsers) -> None:
    """Add the commands."""
    _add(actions, "status", "show how tasks stand, and how they ran last", "statistics")
    what = "let no slot of a task run until resume"
    pause = _add(actions, "pause", what, "statistics --reason 'a migration'")
    pause.add_argument("--reason", metavar="R", default="", help="why; kept in the audit")
    _add(actions, "resume", "let slots of a task run again", "statistics")
    history = _add(actions, "history", "list runs, newest first", "statistics --limit 5")
    history.add_argument("--limit", type=output.whole(1, MOST_RUNS), default=20, metavar="N")


def _add(actions: output.Subparsers, verb: str, what: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        verb,
        help=what,
        description=f"{what[0].upper()}{what[1:]}. What workers with role jobs run is meant.",
        epilog=f"example: python starter.py maintenance {verb} {example}",
    )
    decides = verb in {"pause", "resume"}
    parser.add_argument(
        "task",
        metavar="TASK",
        nargs=None if decides else "?",
        help="the task" if decides else "the task; all if none",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_carry_out, action=verb)
    return parser


def run_tasks(arguments: argparse.Namespace) -> int:
    """Have workers run tasks now, and wait for their ends: `maintenance run TASK…` without `--once`."""
    if not arguments.tasks:
        message = (
            "name the tasks that workers are to run now, or add --once to run tasks in this process"
        )
        raise output.Usage(message)
    arguments.action = "run"
    return _carry_out(arguments)


def _carry_out(arguments: argparse.Namespace) -> int:
    from vaultmesh.cli.maintenance_tasks import carry_out  # noqa: PLC0415 - loads Temporal's client

    return carry_out(arguments)

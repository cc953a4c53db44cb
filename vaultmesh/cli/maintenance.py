"""Adds `maintenance`: lists tasks on a PostgreSQL database, says what they would do, and runs them once.

Nothing here needs Temporal: a CronJob's container runs `maintenance run --once`.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue, SecretStr

from vaultmesh.cli import maintenance_orders, maintenance_report, output
from vaultmesh.domain.errors import ConfigurationError, DomainError, InvalidValue
from vaultmesh.domain.log_events import LogEvent, log_event
from vaultmesh.domain.maintenance.config import BY_NEED, MaintenanceConfig, NamedTask, seal_to
from vaultmesh.domain.maintenance.outcomes import Beat, TaskResult
from vaultmesh.process import logs
from vaultmesh.process.config_files import (
    batches_folder,
    load_good_tasks,
    maintenance_path,
    namespaces_path,
)
from vaultmesh.process.locked_runs import LockedRuns
from vaultmesh.process.maintenance_settings import MaintenanceSettings
from vaultmesh.process.settings import Settings

if TYPE_CHECKING:
    from vaultmesh.cli.maintenance_progress import TaskLine
    from vaultmesh.postgres.connection import Database, Order
    from vaultmesh.storage.seal_archives import ArchiveSeals

_LOG = logging.getLogger("vaultmesh.maintenance")


def add_parser(subparsers: output.Subparsers) -> None:
    """Add the commands of `maintenance`."""
    parser = subparsers.add_parser(
        "maintenance",
        help="look after a PostgreSQL database",
        description="Look after the PostgreSQL database that DATABASE_URL names, by the tasks of maintenance.yaml. Times are UTC. "
        "Exit codes: 0 done, not needed or skipped; 1 a task failed; 2 bad usage or configuration, although other tasks were run.",
        epilog="example: python starter.py maintenance plan",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add(actions, "list", "list the tasks of maintenance.yaml, and when each runs", "", _list)
    _add(actions, "plan", "print what a run would send now; changes nothing", "statistics", _plan)
    run = _add(actions, "run", "run tasks now, one after another", "--once", _run)
    run.add_argument("--once", action="store_true", help="in this process, without Temporal")
    maintenance_orders.add_parsers(actions)
    verify = actions.add_parser(
        "verify",
        help="check a file of archived rows, or a backup, against what was noted of it",
        description="Check a file of archived rows against its manifest, or a backup against its hash, and say in which batch that is sealed.",
        epilog="example: python starter.py maintenance verify archive/orders/20260101T000000Z-1234.csv.gz",
    )
    verify.add_argument("archive", metavar="ARCHIVE", type=Path, help="a .csv.gz or .dump file")
    verify.add_argument("--json", action="store_true", help="print JSON")
    verify.set_defaults(run=_verify)


def _add(
    actions: output.Subparsers, verb: str, what: str, example: str, run: object
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        verb,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"example: python starter.py maintenance {verb} {example}".rstrip(),
    )
    parser.add_argument("tasks", metavar="TASK", nargs="*", help="names of tasks; all if none")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser


def _config(names: Sequence[str], *, connects: bool = True) -> tuple[MaintenanceConfig, int]:
    """Return the tasks that were asked for, and with which exit code a good end ends.

    What is wrong with one task stops no other: it is said at once, and is bad usage in the end.

    Raises:
        DomainError: no task can be used; the file, a variable or a name is wrong.
    """
    settings = Settings.from_environment(os.environ)
    config, wrong = load_good_tasks(maintenance_path(settings), connects=connects)
    if config.database is not None:
        logs.register_url(config.database.get_secret_value())
    lines = [line for task, lines in wrong.items() if not names or task in names for line in lines]
    good = tuple(name for name in names if name not in wrong)
    if lines and names and not good:
        raise ConfigurationError(lines)
    try:
        config = config.only(good) if names else config
    except InvalidValue as error:
        raise output.Usage(str(error)) from error
    for line in lines:
        output.note(f"starter.py: {line}")
    return config, output.BAD_USAGE if lines else output.SUCCESS


def _list(arguments: argparse.Namespace) -> int:
    config, good_end = _config(arguments.tasks, connects=False)
    rows = maintenance_report.listed(config, datetime.now(UTC))
    if arguments.json:
        output.print_json({"tasks": rows})
    else:
        output.console().print(maintenance_report.task_table(rows))
    return good_end


def _plan(arguments: argparse.Namespace) -> int:
    config, good_end = _config(arguments.tasks)
    plans = asyncio.run(_plans(config))
    if arguments.json:
        tasks: list[JsonValue] = [maintenance_report.planned(plan) for plan in plans]
        output.print_json({"tasks": tasks})
    else:
        for line in maintenance_report.plan_lines(plans):
            print(line)
    good = all(map(maintenance_report.is_good, plans))
    return good_end or (output.SUCCESS if good else output.FAILURE)


async def _plans(config: MaintenanceConfig) -> list[maintenance_report.Plan]:
    """Return what each task would do; one that can't say it stops no other, but without a log-in none can.

    Raises:
        Refused: the database does not let us in.
    """
    from vaultmesh.postgres.connection import Refused  # noqa: PLC0415 - as below
    from vaultmesh.postgres.runs import plan_task  # noqa: PLC0415 - what only lists needs no driver

    order = _order()
    plans: list[maintenance_report.Plan] = []
    for named in config.tasks:
        if named.task.enabled:
            try:
                plans.append((named, await plan_task(_database(config), named, order)))
            except Refused:
                raise
            except DomainError as error:
                plans.append((named, error))
    return plans


def _run(arguments: argparse.Namespace) -> int:
    if not arguments.once:
        return maintenance_orders.run_tasks(arguments)
    settings = Settings.from_environment(os.environ)
    logs.set_up(settings.log_level, sys.stderr)
    telemetry = MaintenanceSettings.from_environment(os.environ).telemetry
    config, good_end = _config(arguments.tasks)
    left_out = [] if arguments.tasks else _left_out(config)
    for why in left_out:
        output.note(why)
    tasks = [
        named
        for named in config.tasks
        if arguments.tasks or (named.task.enabled and named.task.kind in BY_NEED)
    ]
    pushing = None
    if telemetry is not None:
        from vaultmesh.process.run_metrics import Pushing  # noqa: PLC0415 - takes a second to load

        pushing = Pushing(telemetry)
    results = asyncio.run(_results(config, tasks, _line(len(tasks), settings.log_level)))
    if pushing is not None:
        pushing.push(results)
    if arguments.json:
        output.print_json({"tasks": [result.model_dump(mode="json") for result in results]})
    else:
        for line in maintenance_report.result_lines(results):
            print(logs.without_secrets(line))
    return good_end or _code(results)


def _left_out(config: MaintenanceConfig) -> list[str]:
    return [
        f"{named.name} is left out: {'it is not enabled' if not named.task.enabled else 'its work is done whenever it is asked for'} - name it to run it"
        for named in config.tasks
        if not named.task.enabled or named.task.kind not in BY_NEED
    ]


def _code(results: Sequence[TaskResult]) -> int:
    if any(result.is_setting for result in results):
        return output.BAD_USAGE
    return output.SUCCESS if all(result.is_good for result in results) else output.FAILURE


def _line(total: int, log_level: str) -> "TaskLine | None":
    """Return what shows progress in a terminal, and have log lines written above it; None elsewhere."""
    if not sys.stderr.isatty():
        return None
    from vaultmesh.cli.maintenance_progress import TaskLine  # noqa: PLC0415 - of terminals alone

    line = TaskLine(total)
    logs.set_up(log_level, line)
    return line


async def _results(
    config: MaintenanceConfig, tasks: Sequence[NamedTask], line: "TaskLine | None"
) -> list[TaskResult]:
    """Run tasks one after another; a signal ends the one that runs, and no other is begun."""
    from vaultmesh.postgres.runs import run_task  # noqa: PLC0415 - what only lists needs no driver

    stop = asyncio.Event()
    results: list[TaskResult] = []
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    order = _order()
    locked = LockedRuns(order.root)
    for named in tasks:
        if stop.is_set():
            break
        log_event(_LOG, LogEvent.TASK_STARTED, task=named.name, run=order.run)
        if line is not None:
            line.begin(named.name)
        running = asyncio.ensure_future(
            run_task(_database(config), named, order, _beat(named, line))
        )
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            running.cancel()
        result = _sealed(named, locked.judged(await running, named.task.locked_runs))
        stopping.cancel()
        results.append(result)
        maintenance_report.log(_LOG, result)
        if line is not None:
            line.clear()
    return results


def _sealed(named: NamedTask, result: TaskResult) -> TaskResult:
    """Seal what the task left, if its files are to be sealed."""
    if seal_to(named.task) is None:
        return result
    return _seals().sealed(named, result, int(time.time()))


def _seals() -> "ArchiveSeals":
    from vaultmesh.storage.seal_archives import ArchiveSeals  # noqa: PLC0415 - few tasks seal

    settings = Settings.from_environment(os.environ)
    return ArchiveSeals(settings.root, partial(batches_folder, path=namespaces_path(settings)))


def _beat(named: NamedTask, line: "TaskLine | None") -> Beat:
    def beat(said: str) -> None:
        _LOG.debug("maintenance task goes on", extra={"task": named.name, "progress": said})
        if line is not None:
            line.beat(said)

    return beat


def _order() -> "Order":
    from vaultmesh.postgres.connection import Order  # noqa: PLC0415 - what only lists needs no driver

    root = Settings.from_environment(os.environ).root
    return Order(run=uuid.uuid4().hex[:12], now=datetime.now(UTC), root=root)


def _database(config: MaintenanceConfig) -> "Database":
    from vaultmesh.postgres.connection import Database  # noqa: PLC0415 - what only lists needs no driver

    return Database(config.database or SecretStr(""))


def _verify(arguments: argparse.Namespace) -> int:
    from vaultmesh.postgres.archive_files import verify_archive  # noqa: PLC0415 - of one command

    try:
        report = verify_archive(arguments.archive)
        seal = _seals().seal_of(arguments.archive)
    except (DomainError, OSError) as error:
        if arguments.json:
            output.print_json({"archive": str(arguments.archive), "good": False, "why": str(error)})
        raise
    if arguments.json:
        sealed = None if seal is None else {"event": seal[0], "batch": seal[1]}
        facts = {"archive": str(arguments.archive), "good": True, **report, "sealed": sealed}
        output.print_json(facts)
    else:
        said = ", ".join(f"{name} {value}" for name, value in report.items())
        output.print_line(f"good: {said}; {_seal_words(seal)}")
    return output.SUCCESS


def _seal_words(seal: tuple[str, str] | None) -> str:
    if seal is None:
        return f"not sealed below {Settings.from_environment(os.environ).root}"
    event, batch = seal
    return f"sealed in batch {batch} as event {event}"

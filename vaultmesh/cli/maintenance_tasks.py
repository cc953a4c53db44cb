"""Carries out what `maintenance_orders` adds to `maintenance`: shows tasks that workers run, decides about them, has them run.

Everything but `run` is read from the job store, and decided there: that works while Temporal is away.
"""

import argparse
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import JsonValue

from vaultmesh.cli import job_orders, maintenance_tables, output, temporal
from vaultmesh.domain.complaints import did_you_mean
from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.domain.jobs.records import Change, RunRecord
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.jobs.tasks import TaskSchedule, task_name
from vaultmesh.domain.maintenance.listing import TaskReport
from vaultmesh.overview.maintenance import KnownTask, known_tasks, task_reports
from vaultmesh.process.maintenance_source import MaintenanceSource
from vaultmesh.process.settings import Settings

if TYPE_CHECKING:
    from vaultmesh.storage.job_store import JobStore

Command = Callable[["JobStore", argparse.Namespace], Awaitable[int]]
Known = Mapping[str, KnownTask]
"""Tasks by their names."""


def carry_out(arguments: argparse.Namespace) -> int:
    """Carry out the command that `arguments.action` names, on the store."""
    command = _COMMANDS[arguments.action]

    async def with_store() -> int:
        async with job_orders.opened() as store:
            return await command(store, arguments)

    return temporal.run(with_store())


# --- which tasks there are -----------------------------------------------------------------------------------------


def _in_file() -> tuple[Mapping[str, TaskSchedule], str]:
    """Return the tasks of maintenance.yaml; none, and why, where it can't be read here: workers may have another one."""
    try:
        source = MaintenanceSource(Settings.from_environment(os.environ))
        return source.schedules(), source.refused
    except ConfigurationError as error:
        return {}, str(error)


def _chosen(known: Known, name: str | None) -> Known:
    """Return the task of a name, or all.

    Raises:
        Usage: nobody knows a task of this name.
    """
    if name is None:
        return known
    if name in known:
        return {name: known[name]}
    mend = did_you_mean(name, known) or f"there are: {', '.join(known) or 'none'}"
    message = f"{name[:100]!r} is no task that maintenance.yaml or the job store names - {mend}"
    raise output.Usage(message)


async def _known(store: "JobStore") -> Known:
    """Return the tasks that the store or the file names; where neither does, say why the file does not."""
    in_file, refused = _in_file()
    known = await known_tasks(store, in_file)
    if not known:
        output.warn(refused.splitlines())
    return known


async def _reports(store: "JobStore", chosen: Known) -> list[TaskReport]:
    return await task_reports(store, chosen, datetime.now(UTC))


# --- looking -------------------------------------------------------------------------------------------------------


async def _status(store: "JobStore", arguments: argparse.Namespace) -> int:
    chosen = _chosen(await _known(store), arguments.task)
    reports = await _reports(store, chosen)
    if arguments.json:
        tasks: list[JsonValue] = [report.model_dump(mode="json") for report in reports]
        output.print_json({"tasks": tasks})
    elif not reports:
        output.note(f"no maintenance tasks in {store.place}")
    else:
        for block in maintenance_tables.status_table(reports, datetime.now(UTC)):
            output.console().print(block)
    running = [known.revision.name for known in chosen.values() if not known.why_no_run]
    await job_orders.warn_of_troubles(running)
    return output.SUCCESS


async def _history(store: "JobStore", arguments: argparse.Namespace) -> int:
    chosen = _chosen(await _known(store), arguments.task)
    total, runs = 0, list[RunRecord]()
    for known in chosen.values():
        page = await store.history(known.revision.name, arguments.limit, 0)
        total += page.total
        runs += page.executions
    runs.sort(key=maintenance_tables.newest_first)
    del runs[arguments.limit :]
    if arguments.json:
        rows: list[JsonValue] = [run.model_dump(mode="json") for run in runs]
        pagination: JsonValue = {"limit": arguments.limit, "total": total}
        output.print_json({"executions": rows, "pagination": pagination})
        return output.SUCCESS
    if runs:
        output.console().print(maintenance_tables.history_table(runs))
    output.note(f"{len(runs)} of {total} runs")
    return output.SUCCESS


# --- deciding ------------------------------------------------------------------------------------------------------


async def _pause(store: "JobStore", arguments: argparse.Namespace) -> int:
    (task,) = _chosen(await _known(store), arguments.task).values()
    name, by, now = task.revision.name, job_orders.operator(), datetime.now(UTC)
    return await _decided(store, arguments, await store.pause(name, arguments.reason, by, now))


async def _resume(store: "JobStore", arguments: argparse.Namespace) -> int:
    (task,) = _chosen(await _known(store), arguments.task).values()
    change = await store.resume(task.revision.name, job_orders.operator(), datetime.now(UTC))
    return await _decided(store, arguments, change)


async def _decided(store: "JobStore", arguments: argparse.Namespace, change: Change) -> int:
    """Tell the task's workflow what was decided, and say how the task stands."""
    silences = await job_orders.tell(store, [] if change.now.is_gone else [change])
    (report,) = await _reports(store, _chosen(await _known(store), arguments.task))
    if arguments.json:
        document = report.model_dump(mode="json")
        output.print_json(
            {"task": report.task, "changed": change.changed, "told": not silences, "now": document}
        )
    else:
        unchanged = "" if change.changed else " (nothing changed)"
        output.print_line(f"{maintenance_tables.state_line(report, datetime.now(UTC))}{unchanged}")
    job_orders.warn_of_silence(silences)
    return output.SUCCESS


# --- running -------------------------------------------------------------------------------------------------------


async def _trigger(store: "JobStore", arguments: argparse.Namespace) -> int:
    known = await _known(store)
    chosen = [_chosen(known, name) for name in arguments.tasks]
    records = [await _run_one(store, task) for tasks in chosen for task in tasks.values()]
    if arguments.json:
        runs: list[JsonValue] = [record.model_dump(mode="json") for record in records]
        output.print_json({"runs": runs})
    else:
        for record in records:
            output.print_line(maintenance_tables.run_line(record))
    return _code(records)


async def _run_one(store: "JobStore", task: KnownTask) -> RunRecord:
    job, schedule = task.revision.name, task.schedule
    name = task_name(job)
    if task.why_no_run or schedule is None:
        message = f"{name}: {task.why_no_run}, or add --once"
        raise output.Refusal(message)
    history = f"maintenance history {name}"
    run = await job_orders.ask_for(store, job, history)
    longest = schedule.catch_up + schedule.deadline + job_orders.CLOSING
    return await job_orders.end_of(store, job, run, longest, history)


def _code(records: Sequence[RunRecord]) -> int:
    good = all(record.status == RunStatus.COMPLETED for record in records)
    return output.SUCCESS if good else output.FAILURE


_COMMANDS: Mapping[str, Command] = {
    "status": _status,
    "pause": _pause,
    "resume": _resume,
    "history": _history,
    "run": _trigger,
}

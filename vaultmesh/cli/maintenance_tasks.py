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
from vaultmesh.domain.jobs.records import Change, JobRevision, RunRecord
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.jobs.tasks import TaskSchedule, task_job_name, task_name
from vaultmesh.domain.maintenance.listing import TaskReport, task_report
from vaultmesh.process.maintenance_source import MaintenanceSource, schedules_of
from vaultmesh.process.settings import Settings

if TYPE_CHECKING:
    from vaultmesh.storage.job_store import JobStore

_LOOKED_AT = 5
"""Newest runs that tell how a task stands: one that runs, and one that ended."""
Command = Callable[["JobStore", argparse.Namespace], Awaitable[int]]
Known = Mapping[str, tuple[JobRevision, TaskSchedule | None]]
"""Tasks by their names: what the store knows, and what was said of them last."""


def carry_out(arguments: argparse.Namespace) -> int:
    """Carry out the command that `arguments.action` names, on the store."""
    command = _COMMANDS[arguments.action]

    async def with_store() -> int:
        async with job_orders.opened() as store:
            return await command(store, arguments)

    return temporal.run(with_store())


# --- which tasks there are -----------------------------------------------------------------------------------------


async def _known(store: "JobStore") -> Known:
    """Return every task that the store or the file knows."""
    known: dict[str, tuple[JobRevision, TaskSchedule | None]] = {
        task_name(revision.name): (revision, revision.task) for revision in await store.tasks()
    }
    for name, schedule in _in_file().items():
        if name not in known:
            job = task_job_name(name)
            decisions = await store.decisions(job)
            paused = None if decisions is None else decisions.paused
            known[name] = (
                JobRevision(name=job, revision=0, definition=None, paused=paused),
                schedule,
            )
    return dict(sorted(known.items()))


def _in_file() -> dict[str, TaskSchedule]:
    """Return the tasks of maintenance.yaml; none where it can't be read here: workers may have another one."""
    try:
        config = MaintenanceSource(Settings.from_environment(os.environ)).look()
    except ConfigurationError:
        return {}
    return {} if config is None else schedules_of(config)


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


async def _reports(store: "JobStore", chosen: Known) -> list[TaskReport]:
    now = datetime.now(UTC)
    reports: list[TaskReport] = []
    for revision, schedule in chosen.values():
        page = await store.history(revision.name, _LOOKED_AT, 0)
        reports.append(task_report(revision, schedule, page.executions, now))
    return reports


# --- looking -------------------------------------------------------------------------------------------------------


async def _status(store: "JobStore", arguments: argparse.Namespace) -> int:
    reports = await _reports(store, _chosen(await _known(store), arguments.task))
    if arguments.json:
        tasks: list[JsonValue] = [report.model_dump(mode="json") for report in reports]
        output.print_json({"tasks": tasks})
    elif not reports:
        output.note(f"no maintenance tasks in {store.place}")
    else:
        for block in maintenance_tables.status_table(reports, datetime.now(UTC)):
            output.console().print(block)
    return output.SUCCESS


async def _history(store: "JobStore", arguments: argparse.Namespace) -> int:
    chosen = _chosen(await _known(store), arguments.task)
    total, runs = 0, list[RunRecord]()
    for revision, _ in chosen.values():
        page = await store.history(revision.name, arguments.limit, 0)
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
    (revision, _), *_rest = _chosen(await _known(store), arguments.task).values()
    by, now = job_orders.operator(), datetime.now(UTC)
    return await _decided(
        store, arguments, await store.pause(revision.name, arguments.reason, by, now)
    )


async def _resume(store: "JobStore", arguments: argparse.Namespace) -> int:
    (revision, _), *_rest = _chosen(await _known(store), arguments.task).values()
    change = await store.resume(revision.name, job_orders.operator(), datetime.now(UTC))
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
    records = [
        await _run_one(store, revision, schedule)
        for task in chosen
        for revision, schedule in task.values()
    ]
    if arguments.json:
        runs: list[JsonValue] = [record.model_dump(mode="json") for record in records]
        output.print_json({"runs": runs})
    else:
        for record in records:
            output.print_line(maintenance_tables.run_line(record))
    return _code(records)


async def _run_one(
    store: "JobStore", revision: JobRevision, schedule: TaskSchedule | None
) -> RunRecord:
    name = task_name(revision.name)
    if schedule is None or revision.is_gone:
        why = "no worker offers it" if schedule is not None else "no file names it any more"
        message = (
            f"{name}: {why}; workers with role jobs take it up from maintenance.yaml, or add --once"
        )
        raise output.Refusal(message)
    history = f"maintenance history {name}"
    run = await job_orders.ask_for(store, revision.name, history)
    longest = schedule.catch_up + schedule.deadline + job_orders.CLOSING
    return await job_orders.end_of(store, revision.name, run, longest, history)


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

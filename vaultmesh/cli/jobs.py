"""Adds `jobs`: shows HTTP cron jobs, decides about them, and runs them at once.

Everything is read from the store, and decided there: that works while Temporal is away.
"""

import argparse
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue
from pydantic_core import from_json

from vaultmesh.cli import job_import, job_orders, job_table, output, temporal
from vaultmesh.domain.errors import ConfigurationError, InvalidDocument, InvalidValue
from vaultmesh.domain.instants import write_time
from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.jobs.decisions import Action
from vaultmesh.domain.jobs.job import JobDefinition, read_registration
from vaultmesh.domain.jobs.listing import JobReport
from vaultmesh.domain.jobs.records import AuditLine, Change
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.names import MAINTENANCE_PREFIX

if TYPE_CHECKING:
    from vaultmesh.storage.job_store import JobStore

PREVIEWED = 5
"""Next times that are shown of a cron expression."""
MOST_RUNS, MOST_DAYS = 1_000, 3_650
LARGEST_FILE = 256_000
"""Bytes of a registration, as of the API."""
Command = Callable[["JobStore", argparse.Namespace], Awaitable[int]]


def add_parser(subparsers: output.Subparsers) -> None:
    """Add the commands of `jobs`."""
    parser = subparsers.add_parser(
        "jobs",
        help="show HTTP cron jobs, decide about them, run them at once",
        description="Show and operate HTTP cron jobs. Decisions are kept in the job store (JOBS_DATABASE_URL, else a file below "
        "VMSH_ROOT), also while Temporal is away: workers with role jobs tell it later. Times are UTC.",
        epilog="example: python starter.py jobs list",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add(actions, "list", "show every job, when it runs next, and why some do not", "", _list)
    _add(actions, "show", "show all there is to say of a job", "weekly-digest", _show)
    register = _add(
        actions, "register", "enter a job from a JSON file, as services do", "job.json", _register
    )
    register.add_argument("file", metavar="FILE", type=Path, help="the body of a registration")
    trigger = _add(actions, "trigger", "run a job now", "weekly-digest --wait", _trigger)
    trigger.add_argument(
        "--wait", action="store_true", help="until it has ended; exit code 1 if it failed"
    )
    _add(actions, "enable", "let a job run at its times, from now on", "weekly-digest", _enable)
    _add(actions, "disable", "keep a job from running at its times", "weekly-digest", _disable)
    cron = _add(
        actions, "cron", "give a job other times", "weekly-digest '0 9 * * 1' --check", _cron
    )
    cron.add_argument("expression", metavar="EXPRESSION", help="one argument: put it in quotes")
    cron.add_argument("--check", action="store_true", help="print its next times, change nothing")
    _add_looks_back(actions)
    _add(actions, "delete", "delete a job until it is allowed again", "weekly-digest", _delete)
    _add(actions, "reset", "take back cron and enabled decisions", "weekly-digest", _reset)
    what = "let a deleted job be registered again, or another service take its name over, once"
    _add(actions, "allow", what, "weekly-digest", _allow)
    _add_pauses(actions)
    job_import.add_parser(actions)


def _add(
    actions: output.Subparsers, verb: str, what: str, example: str, command: Command
) -> argparse.ArgumentParser:
    """Add a command; the name of a job is its first argument where the example has one."""
    parser: argparse.ArgumentParser = actions.add_parser(
        verb,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"example: python starter.py jobs {verb} {example}".rstrip(),
    )
    if verb not in ("list", "register"):
        many = verb in ("pause", "resume")
        parser.add_argument("name", metavar="NAME", nargs="?" if many else None, help="the job")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_jobs, command=command)
    return parser


def _add_looks_back(actions: output.Subparsers) -> None:
    history = _add(actions, "history", "list a job's runs, newest first", "weekly-digest", _history)
    history.add_argument("--limit", type=output.whole(1, MOST_RUNS), default=20, metavar="N")
    history.add_argument("--offset", type=output.whole(0, 10**9), default=0, metavar="N")
    stats = _add(actions, "stats", "sum up a job's runs", "weekly-digest --days 7", _stats)
    stats.add_argument("--days", type=output.whole(1, MOST_DAYS), default=30, metavar="N")


def _add_pauses(actions: output.Subparsers) -> None:
    pause = _add(
        actions, "pause", "let no slot run until resume", "--all --reason 'mail moves'", _pause
    )
    resume = _add(actions, "resume", "let slots run again", "weekly-digest", _resume)
    for parser in (pause, resume):
        parser.add_argument("--all", action="store_true", help="every job")
        parser.add_argument("--reason", metavar="R", default="", help="why; kept in the audit")


def run_jobs(arguments: argparse.Namespace) -> int:
    """Run a command on the store."""
    command: Command = arguments.command

    async def with_store() -> int:
        async with job_orders.opened() as store:
            return await command(store, arguments)

    return temporal.run(with_store())


# --- looking -------------------------------------------------------------------------------------------------------


async def _list(store: "JobStore", arguments: argparse.Namespace) -> int:
    jobs = await job_orders.reports(store, await store.list())
    deleted = await store.deleted()
    for notice in store.notices:
        output.note(f"{store.place}: {notice}")
    if arguments.json:
        reports: list[JsonValue] = [job.model_dump(mode="json", by_alias=True) for job in jobs]
        output.print_json({"jobs": reports, "deleted": list(deleted)})
    elif not jobs:
        output.note(f"no jobs in {store.place}")
    if (jobs or deleted) and not arguments.json:
        console = output.console()
        for block in job_table.jobs_table(jobs, deleted, datetime.now(UTC)):
            console.print(block)
    await job_orders.warn_of_troubles([job.name for job in jobs])
    return output.SUCCESS


async def _show(store: "JobStore", arguments: argparse.Namespace) -> int:
    job = await job_orders.existing(store, arguments.name)
    (report,) = await job_orders.reports(store, [job])
    now = datetime.now(UTC)
    definition = job.definition
    next_runs: list[datetime] = []
    if definition is not None and definition.enabled:
        next_runs = read_cron(definition.cron_expression).upcoming(now, PREVIEWED)
    if arguments.json:
        document = report.model_dump(mode="json", by_alias=True)
        document["nextRuns"] = [write_time(slot) for slot in next_runs]
        if definition is not None:
            document["policy"] = definition.policy.model_dump(mode="json", by_alias=True)
        output.print_json(document)
    else:
        for block in job_table.job_lines(report, next_runs, now):
            output.console().print(block)
    await job_orders.warn_of_troubles([report.name])
    return output.SUCCESS


async def _history(store: "JobStore", arguments: argparse.Namespace) -> int:
    limit, offset = arguments.limit, arguments.offset
    page = await store.history(arguments.name, limit, offset)
    if not page.total:
        await _require_known(store, arguments.name)
    if arguments.json:
        pagination: JsonValue = {
            "limit": limit,
            "offset": offset,
            "total": page.total,
            "hasMore": offset + limit < page.total,
        }
        runs = page.model_dump(mode="json")["executions"]
        output.print_json({"executions": runs, "pagination": pagination})
        return output.SUCCESS
    if page.executions:
        output.console().print(job_table.history_table(page.executions))
    counts = f"{len(page.executions)} of {page.total} runs"
    output.note(counts if page.total else f"{arguments.name} never ran")
    return output.SUCCESS


async def _stats(store: "JobStore", arguments: argparse.Namespace) -> int:
    now, days = datetime.now(UTC), arguments.days
    stats = await store.stats(arguments.name, days, now)
    if not stats.total_executions:
        await _require_known(store, arguments.name)
    if arguments.json:
        since = now - timedelta(days=days)
        period: JsonValue = {"days": days, "from": write_time(since), "to": write_time(now)}
        output.print_json({"stats": stats.model_dump(mode="json"), "period": period})
    else:
        print(job_table.stats_lines(arguments.name, days, stats))
    return output.SUCCESS


async def _require_known(store: "JobStore", name: str) -> None:
    """Refuse a name that nobody has: it would look like a job that never ran."""
    if await store.decisions(name) is None:
        await job_orders.existing(store, name)


# --- deciding ------------------------------------------------------------------------------------------------------


async def _register(store: "JobStore", arguments: argparse.Namespace) -> int:
    definition = _read_file(arguments.file)
    change = await store.register(definition, job_orders.operator(), datetime.now(UTC))
    return await _decided(store, arguments, change)


def _read_file(path: Path) -> JobDefinition:
    """Read a registration.

    Raises:
        ConfigurationError: with everything that is wrong in it.
    """
    body = job_orders.read_bounded(path, LARGEST_FILE, "name a file with one registration")
    try:
        return read_registration(from_json(body.removeprefix(BOM_UTF8), allow_inf_nan=False))
    except InvalidDocument as error:
        raise ConfigurationError(f"{path}: {problem}" for problem in error.problems) from error
    except (ValueError, RecursionError) as error:
        message = f"{path}: is not JSON ({error}) - write an object with the job's keys and values"
        raise ConfigurationError([message]) from error


async def _enable(store: "JobStore", arguments: argparse.Namespace) -> int:
    await job_orders.existing(store, arguments.name)
    change = await store.enable(arguments.name, job_orders.operator(), datetime.now(UTC))
    return await _decided(store, arguments, change)


async def _disable(store: "JobStore", arguments: argparse.Namespace) -> int:
    await job_orders.existing(store, arguments.name)
    change = await store.disable(arguments.name, job_orders.operator(), datetime.now(UTC))
    return await _decided(store, arguments, change)


async def _cron(store: "JobStore", arguments: argparse.Namespace) -> int:
    """Show the next times of an expression first: what was meant is seen before anything changes."""
    name, expression, now = arguments.name, arguments.expression, datetime.now(UTC)
    try:
        next_runs = read_cron(expression).upcoming(now, PREVIEWED)
    except InvalidValue as error:
        raise output.Usage(str(error)) from error
    await job_orders.existing(store, name)
    preview = job_table.preview(expression, next_runs, now)
    if not arguments.json:
        print(preview, flush=True)
    elif not arguments.check:
        output.note(preview)
    times: JsonValue = [write_time(slot) for slot in next_runs]
    if arguments.check:
        if arguments.json:
            output.print_json({"cronExpression": expression, "nextRuns": times})
        return output.SUCCESS
    change = await store.set_cron(name, expression, job_orders.operator(), now)
    return await _decided(store, arguments, change, nextRuns=times)


async def _delete(store: "JobStore", arguments: argparse.Namespace) -> int:
    name = arguments.name
    await job_orders.existing(store, name)
    change = await store.delete(name, job_orders.operator(), datetime.now(UTC))
    text = f"deleted; its history stays. `python starter.py jobs allow {name}` lets it be registered again"
    return await _decided(store, arguments, change, text)


async def _reset(store: "JobStore", arguments: argparse.Namespace) -> int:
    await job_orders.existing(store, arguments.name)
    change = await store.reset(arguments.name, job_orders.operator(), datetime.now(UTC))
    return await _decided(store, arguments, change)


async def _allow(store: "JobStore", arguments: argparse.Namespace) -> int:
    name = arguments.name
    if await store.get(name) is not None:
        text = "another service may register it once, and has its name from then on"
    else:
        text = "may be registered again"
        decisions = await store.decisions(name)
        if decisions is None or decisions.deleted is None:
            await job_orders.existing(store, name)
    change = await store.allow(name, job_orders.operator(), datetime.now(UTC))
    return await _decided(store, arguments, change, text)


async def _pause(store: "JobStore", arguments: argparse.Namespace) -> int:
    _check_names(arguments)
    by, now, reason = job_orders.operator(), datetime.now(UTC), arguments.reason
    if arguments.all:
        return await _decided_all(store, arguments, await store.pause_all(reason, by, now))
    await job_orders.existing(store, arguments.name)
    return await _decided(store, arguments, await store.pause(arguments.name, reason, by, now))


async def _resume(store: "JobStore", arguments: argparse.Namespace) -> int:
    _check_names(arguments)
    by, now = job_orders.operator(), datetime.now(UTC)
    if arguments.all:
        changes = await store.resume_all(by, now)
    else:
        await job_orders.existing(store, arguments.name)
        changes = (await store.resume(arguments.name, by, now),)
    if arguments.reason:
        for change in changes:
            detail: JsonValue = {"reason": arguments.reason}
            line = AuditLine(
                at=now, actor=by.name, action=Action.RESUME, job_name=change.now.name, detail=detail
            )
            await store.note(line)
    if arguments.all:
        return await _decided_all(store, arguments, changes)
    return await _decided(store, arguments, changes[0])


def _check_names(arguments: argparse.Namespace) -> None:
    """Refuse what names no job, or both one and all."""
    if arguments.all is (arguments.name is not None):
        message = "name a job, or give --all: one of the two"
        raise output.Usage(message)
    if arguments.name is not None and arguments.name.startswith(MAINTENANCE_PREFIX):
        message = f"{arguments.name!r} is a maintenance task, and no job"
        raise output.Usage(message)


async def _decided(
    store: "JobStore",
    arguments: argparse.Namespace,
    change: Change,
    text: str = "",
    **more: JsonValue,
) -> int:
    """Tell a job's workflow what was decided, and say how the job stands; `text` instead, if there is one."""
    silences = await job_orders.tell(store, [change])
    (outcome,) = await _outcomes(store, [change], silences)
    if arguments.json:
        output.print_json({**outcome.as_json(), **more})
    else:
        output.print_line(f"{change.now.name}: {text}" if text else outcome.line())
    job_orders.warn_of_silence(silences)
    return output.SUCCESS


async def _decided_all(
    store: "JobStore", arguments: argparse.Namespace, changes: Sequence[Change]
) -> int:
    silences = await job_orders.tell(store, changes)
    outcomes = await _outcomes(store, changes, silences)
    if arguments.json:
        output.print_json({"changes": [outcome.as_json() for outcome in outcomes]})
    elif not outcomes:
        output.note("there is no job that this would change")
    else:
        for outcome in outcomes:
            output.print_line(outcome.line())
    job_orders.warn_of_silence(silences)
    return output.SUCCESS


@dataclass(frozen=True, slots=True)
class _Changed:
    """What came of a decision about a job."""

    name: str
    is_new: bool
    """Whether the decision changed anything."""
    is_told: bool
    """Whether the job's workflow has heard of it."""
    job: JobReport | None
    """As it stands now; None if it is gone."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return what programs read of it."""
        job = None if self.job is None else self.job.model_dump(mode="json", by_alias=True)
        return {"name": self.name, "changed": self.is_new, "told": self.is_told, "job": job}

    def line(self) -> str:
        """Return it in one line."""
        if self.job is None:
            return f"{self.name}: gone"
        unchanged = "" if self.is_new else " (nothing changed)"
        return f"{job_table.state_line(self.job, datetime.now(UTC))}{unchanged}"


async def _outcomes(
    store: "JobStore", changes: Sequence[Change], silences: Mapping[str, str]
) -> list[_Changed]:
    """Return what came of decisions, with the jobs as they stand now."""
    names = {change.now.name for change in changes}
    jobs = [job for job in await store.list() if job.name in names]
    reports = {report.name: report for report in await job_orders.reports(store, jobs)}
    return [
        _Changed(name, change.changed, name not in silences, reports.get(name))
        for change in changes
        for name in [change.now.name]
    ]


# --- running -------------------------------------------------------------------------------------------------------


async def _trigger(store: "JobStore", arguments: argparse.Namespace) -> int:
    job = await job_orders.existing(store, arguments.name)
    run = await job_orders.trigger(store, job)
    if not arguments.wait:
        if arguments.json:
            output.print_json({"name": job.name, "executionId": str(run), "run": None})
        else:
            output.print_line(f"{job.name}: triggered, run {run}")
        return output.SUCCESS
    record = await job_orders.ended(store, job, run)
    if arguments.json:
        document = record.model_dump(mode="json")
        output.print_json({"name": job.name, "executionId": str(run), "run": document})
    else:
        output.print_line(job_table.run_line(record))
    return output.SUCCESS if record.status == RunStatus.COMPLETED else output.FAILURE

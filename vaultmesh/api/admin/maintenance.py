"""Shows the maintenance tasks that workers run, and decides about them: pause, resume, run now.

What there is, and how it stands, is known as by `starter.py maintenance status`; a decision stands in the store first.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vaultmesh.api import runs as run_api
from vaultmesh.api.admin.job import DAYS, RUNS_SHOWN, is_awaited
from vaultmesh.api.admin.job_rows import STUCK, TONES, UNHEARD, cron_words
from vaultmesh.api.admin.jobs import WAIT_SECONDS
from vaultmesh.api.admin.pages import Page, Redirect, View, Visit, to
from vaultmesh.api.answers import Refused
from vaultmesh.api.calls import Parts
from vaultmesh.api.models import PauseBody
from vaultmesh.domain.jobs.records import Change, RunStats
from vaultmesh.domain.jobs.refusals import NotTold
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.jobs.tasks import TaskSchedule, task_job_name
from vaultmesh.domain.maintenance.listing import (
    TaskReport,
    TaskState,
    outcome_of,
    parts_of,
    steps_of,
)
from vaultmesh.domain.maintenance.outcomes import Outcome
from vaultmesh.overview.maintenance import KnownTask, known_tasks, task_reports

TASK_TONES: Mapping[str, str] = {
    **TONES,
    TaskState.GONE: "calm",
    TaskState.NOT_OFFERED: "bad",
    Outcome.DONE: "good",
    Outcome.NOT_NEEDED: "good",
    Outcome.RUNNING: "calm",
    Outcome.LOCKED: "warn",
    Outcome.DENIED: "bad",
    Outcome.TIMED_OUT: "bad",
    Outcome.CANCELLED: "warn",
    Outcome.FAILED: "bad",
}
"""Class of the stylesheet for each state and outcome."""
_NOT_OFFERED = "no worker with role jobs has taken it up yet"
_WITHOUT_WORKFLOW = (TaskState.GONE, TaskState.NOT_OFFERED)


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task as pages show it."""

    report: TaskReport
    stats: RunStats
    """Of the last days."""
    reasons: tuple[str, ...] = ()
    """Why it does not run, or might not, that nobody decided."""
    can_run: bool = False
    """Whether a worker can be asked for a run."""

    @property
    def name(self) -> str:
        """The task's name, as the file has it."""
        return self.report.task

    @property
    def state(self) -> str:
        """What it does, in a word."""
        is_stuck = self.reasons and self.report.state is TaskState.WAITING
        return STUCK if is_stuck else str(self.report.state)

    @property
    def words(self) -> str:
        """When it is due, in words."""
        return cron_words(self.report.cron) or self.report.cron

    @property
    def ended(self) -> int:
        """How many runs ended."""
        return self.stats.successful_executions + self.stats.failed_executions

    @property
    def success_percent(self) -> int | None:
        """Share of the runs that ended which completed; None if none ended."""
        return 100 * self.stats.successful_executions // self.ended if self.ended else None


# --- looking -------------------------------------------------------------------------------------------------------


async def maintenance(visit: Visit) -> View:
    """Show all maintenance tasks, by name."""
    rows, unknown = await _rows(visit, await _known(visit))
    return View("maintenance.html", "Maintenance", _shared(visit, rows=rows, unknown=unknown))


async def task(visit: Visit) -> View:
    """Show one task, with its runs."""
    name = visit.argument("name")
    known = await _existing(visit, name)
    (row,), unknown = await _rows(visit, {name: known})
    offset = visit.argument("offset") or "0"
    call = visit.call(task_job_name(name), limit=RUNS_SHOWN, offset=offset)
    history = await run_api.history(call)
    runs = [(run, outcome_of(run) or run.status, parts_of(run)) for run in history.executions]
    last = row.report.last_run
    newest = next((run for run in history.executions if last and run.id == last.execution_id), None)
    values = _shared(
        visit,
        row=row,
        unknown=unknown,
        schedule=known.schedule,
        runs=runs,
        paging=history.pagination,
        steps=() if newest is None else steps_of(newest),
    )
    return View("task.html", name, values)


async def task_run(visit: Visit) -> View:
    """Show one run of a task, also one that no worker has begun yet."""
    name, wanted = visit.argument("name"), visit.argument("id")
    values = _shared(visit, name=name, id=wanted, run=None, is_new=False)
    title = f"Run of {name}"
    try:
        run = await run_api.show_run(visit.call(task_job_name(name), run=wanted))
    except Refused:
        await _existing(visit, name)
        is_new = is_awaited(visit)
        view = View("task-run.html", title, {**values, "is_new": is_new})
        return replace(view, status=200 if is_new else 404, refresh_seconds=2 if is_new else 0)
    watches = run.status == RunStatus.RUNNING and visit.argument("watch") != "no"
    values |= {
        "run": run,
        "outcome": outcome_of(run) or run.status,
        "parts_ended": parts_of(run),
        "steps": steps_of(run),
        "watches": watches,
    }
    return View("task-run.html", title, values, refresh_seconds=2 if watches else 0)


def _shared(visit: Visit, **values: object) -> dict[str, Any]:
    """Return what all these pages know, and their own values."""
    source = visit.parts.maintenance
    refused = "" if source is None else source.refused
    return {"tones": TASK_TONES, "days": DAYS, "refused": refused.splitlines(), **values}


async def _known(visit: Visit) -> dict[str, KnownTask]:
    return await known_tasks(visit.parts.store, await asyncio.to_thread(_in_file, visit.parts))


def _in_file(parts: Parts) -> Mapping[str, TaskSchedule]:
    """Return the tasks of the file of this process; those that we ship are offered by workers, or not at all."""
    source = parts.maintenance
    if source is None:
        return {}
    schedules = source.schedules()
    return {} if source.is_stand_in else schedules


async def _existing(visit: Visit, name: str) -> KnownTask:
    """Return a task; raises `Refused` (404) if neither the store nor the file knows it."""
    visit.call(task_job_name(name))  # refuses a name that no database takes
    known = (await _known(visit)).get(name)
    if known is None:
        message = f"Neither the job store nor maintenance.yaml has a task {name}"
        raise Refused(404, "There is no such task", message)
    return known


async def _rows(visit: Visit, tasks: Mapping[str, KnownTask]) -> tuple[list[TaskRow], str]:
    """Return tasks as pages show them, and what could not be learned about their workflows; raises `StoreError`."""
    store, now = visit.parts.store, visit.now
    reports = await task_reports(store, tasks, now)
    untold = {revision.name for revision in await store.untold()}
    troubles, unknown = await _troubles(visit.parts, reports)
    rows: list[TaskRow] = []
    for report in reports:
        job, known = task_job_name(report.task), tasks[report.task]
        reasons = [_NOT_OFFERED] if report.state is TaskState.NOT_OFFERED else []
        trouble = troubles.get(job, UNHEARD if job in untold else "")
        reasons += [trouble] if trouble and report.state not in _WITHOUT_WORKFLOW else []
        stats = await store.stats(job, DAYS, now)
        rows.append(TaskRow(report, stats, tuple(reasons), can_run=not known.why_no_run))
    return rows, unknown


async def _troubles(parts: Parts, reports: Sequence[TaskReport]) -> tuple[Mapping[str, str], str]:
    """Return what keeps workflows from going on; of a Temporal that is away the frame of the page says enough."""
    names = [
        task_job_name(report.task) for report in reports if report.state not in _WITHOUT_WORKFLOW
    ]
    if not names or parts.temporal_silent():
        return {}, ""
    try:
        return await parts.workflows.troubles(names), ""
    except NotTold as error:
        return {}, f"{error}: a task below may be stuck without this page saying so."


# --- deciding ------------------------------------------------------------------------------------------------------


async def pause_task(visit: Visit) -> Redirect:
    """Let no slot of a task run."""
    name = visit.field("name")
    await _existing(visit, name)
    call = visit.call(task_job_name(name), {"reason": visit.field("reason")})
    reason = call.read(PauseBody).reason
    change = await visit.parts.store.pause(call.name, reason, call.actor, visit.now)
    return await _decided(visit, change, f"{name} is paused. A run under way goes on.")


async def resume_task(visit: Visit) -> Redirect:
    """Let slots of a task run again."""
    name = visit.field("name")
    await _existing(visit, name)
    call = visit.call(task_job_name(name))
    change = await visit.parts.store.resume(call.name, call.actor, visit.now)
    return await _decided(visit, change, f"{name} is resumed. It runs at its times from now on.")


async def run_task(visit: Visit) -> Redirect:
    """Have a worker run a task now, and show its run."""
    name = visit.field("name")
    known = await _existing(visit, name)
    if known.why_no_run:
        raise Refused(409, "Nobody can run it", f"{name}: {known.why_no_run}")
    call = visit.call(task_job_name(name))
    run = await run_api.ask_for(call, call.caller.user or None)
    await run_api.ended_within(call, run, WAIT_SECONDS)
    asked = int(visit.now.timestamp())
    return Redirect(to("task-run", name=name, id=run, asked=asked), f"{name} was asked to run.")


async def _decided(visit: Visit, change: Change, notice: str) -> Redirect:
    """Tell the task's workflow what was decided; what is not heard now the reconciler tells."""
    is_heard = change.now.is_gone or await visit.parts.tell(change.now)
    later = "" if is_heard else " Its workflow will hear of it when Temporal answers."
    place = "maintenance" if visit.fields.get("from") == "maintenance" else ""
    return Redirect(place or to("task", name=visit.field("name")), f"{notice}{later}")


PAGES = (
    Page("maintenance", maintenance, heading="Maintenance"),
    Page("task", task),
    Page("task-run", task_run),
    Page("pause-task", pause_task, "POST"),
    Page("resume-task", resume_task, "POST"),
    Page("run-task", run_task, "POST"),
)

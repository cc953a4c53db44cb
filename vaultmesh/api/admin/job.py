"""Shows one job: what it is, when it runs, why it does not, its runs; and decides about it."""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf
from typing import Any

from vaultmesh.api import jobs as job_api
from vaultmesh.api import runs as run_api
from vaultmesh.api.admin.job_rows import TONES, cron_words, job_rows
from vaultmesh.api.admin.jobs import back
from vaultmesh.api.admin.pages import Page, Redirect, View, Visit, to
from vaultmesh.api.answers import Refused
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.jobs.records import StoredJob
from vaultmesh.domain.jobs.run import RunStatus

RUNS_SHOWN, DAYS = 20, 30
BEGINS_WITHIN_SECONDS = 120.0
"""A run that was asked for and has no row by then was not begun, and its page looks no more."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a cron expression would mean, before it is saved."""

    expression: str
    problem: str = ""
    """Why it can't be taken; empty if it can."""
    words: str = ""
    times: tuple[datetime, ...] = ()


async def job(visit: Visit) -> View:
    """Show a job, or what is left of one that was deleted."""
    name = visit.argument("name")
    call = visit.call(name)
    decisions = await visit.parts.store.decisions(name)
    if decisions is not None and decisions.deleted is not None:
        values = {"deleted": decisions.deleted, **await _runs(visit, name)}
        return View("deleted-job.html", name, values)
    stored = await job_api.existing(call)
    expression = visit.request.query.get("cron")
    preview = None if expression is None else await _preview(visit, expression)
    return await _page(visit, stored, preview)


async def _page(
    visit: Visit, stored: StoredJob, preview: Preview | None, status: int = 200
) -> View:
    name = stored.name
    (row,), unknown = await job_rows(visit.parts, [stored])
    stats = await run_api.stats(visit.call(name, days=DAYS))
    values: dict[str, Any] = {
        "job": stored,
        "row": row,
        "report": row.report,
        "next_runs": await _next_runs(visit, stored),
        "preview": preview,
        "stats": stats.stats,
        "days": DAYS,
        "unknown": unknown,
        **await _runs(visit, name),
    }
    return View("job.html", name, values, status)


async def _runs(visit: Visit, name: str) -> dict[str, Any]:
    """Return some runs of a job, as far back as the query says."""
    offset = visit.argument("offset") or "0"
    history = await run_api.history(visit.call(name, limit=RUNS_SHOWN, offset=offset))
    return {
        "name": name,
        "runs": history.executions,
        "paging": history.pagination,
        "tones": TONES,
    }


async def _next_runs(visit: Visit, stored: StoredJob) -> tuple[datetime, ...]:
    if stored.definition is None or not stored.definition.enabled:
        return ()
    return (await _preview(visit, stored.definition.cron_expression)).times


async def _preview(visit: Visit, expression: str) -> Preview:
    """Return what the job API says of an expression."""
    expression = expression.strip()
    try:
        answer = await job_api.preview_cron(visit.call(expression=expression))
    except InvalidValue as error:
        return Preview(expression, str(error))
    return Preview(expression, words=cron_words(expression), times=answer.next_runs)


async def set_cron(visit: Visit) -> Redirect | View:
    """Give a job another cron expression; one that can't be read is shown with what is wrong."""
    name, expression = visit.field("name"), visit.field("cron")
    call = visit.call(name, {"cronExpression": expression})
    try:
        await job_api.set_cron(call)
    except InvalidValue as error:
        stored = await job_api.existing(call)
        return await _page(visit, stored, Preview(expression, str(error)), 400)
    return Redirect(to("job", name=name), f"{name} runs {cron_words(expression)} from now on.")


async def reset(visit: Visit) -> Redirect:
    """Give a job back what its service registered."""
    name = visit.field("name")
    await job_api.reset(visit.call(name))
    return Redirect(back(visit, name), f"{name} is as its service registered it.")


async def pause_job(visit: Visit) -> Redirect:
    """Pause a job."""
    name = visit.field("name")
    await job_api.pause(visit.call(name, {"reason": visit.field("reason")}))
    return Redirect(back(visit, name), f"{name} is paused. A run under way goes on.")


async def resume_job(visit: Visit) -> Redirect:
    """Resume a job."""
    name = visit.field("name")
    await job_api.resume(visit.call(name))
    return Redirect(back(visit, name), f"{name} is resumed. It runs at its times from now on.")


async def delete(visit: Visit) -> View:
    """Ask whether a job is to be deleted."""
    name = visit.argument("name")
    stored = await job_api.existing(visit.call(name))
    return View("delete-job.html", f"Delete {name}", {"job": stored})


async def delete_job(visit: Visit) -> Redirect:
    """Delete a job."""
    name = visit.field("name")
    await job_api.delete(visit.call(name))
    return Redirect("jobs", f"{name} is deleted. Its history stays.")


async def run(visit: Visit) -> View:
    """Show one run, also one that no worker has begun yet."""
    name, wanted = visit.argument("name"), visit.argument("id")
    call = visit.call(name, run=wanted)
    values: dict[str, Any] = {"name": name, "id": wanted, "run": None, "tones": TONES}
    try:
        record = await run_api.show_run(call)
    except Refused:
        await job_api.existing(call)
        is_new = is_awaited(visit)
        view = View("run.html", f"Run of {name}", {**values, "is_new": is_new})
        return replace(view, status=200 if is_new else 404, refresh_seconds=2 if is_new else 0)
    is_open = record.status == RunStatus.RUNNING
    watches = is_open and visit.argument("watch") != "no"
    metadata = json.dumps(record.metadata, indent=2, ensure_ascii=False) if record.metadata else ""
    values |= {"run": record, "watches": watches, "metadata": metadata}
    return View("run.html", f"Run of {name}", values, refresh_seconds=2 if watches else 0)


def is_awaited(visit: Visit) -> bool:
    """Whether a run that has no row yet was asked for just now, by what the link says."""
    return _seconds_since(visit, visit.argument("asked")) < BEGINS_WITHIN_SECONDS


def _seconds_since(visit: Visit, asked: str) -> float:
    """Return how long ago a run was asked for, by what the link says."""
    is_whole = asked.isascii() and asked.isdigit()
    return visit.now.timestamp() - int(asked[:12]) if is_whole else inf


PAGES = (
    Page("job", job),
    Page("set-cron", set_cron, "POST"),
    Page("reset", reset, "POST"),
    Page("pause-job", pause_job, "POST"),
    Page("resume-job", resume_job, "POST"),
    Page("delete", delete),
    Page("delete-job", delete_job, "POST"),
    Page("run", run),
)

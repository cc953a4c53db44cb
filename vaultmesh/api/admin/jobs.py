"""Shows all jobs with why some do not run, and decides about them from there."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil

from vaultmesh.api import jobs as job_api
from vaultmesh.api import runs as run_api
from vaultmesh.api.admin.job_rows import TONES, JobRow, job_rows, pause_groups
from vaultmesh.api.admin.pages import Page, Redirect, View, Visit, page_number, to
from vaultmesh.domain.jobs.listing import JobReportState
from vaultmesh.domain.jobs.records import Decision
from vaultmesh.domain.jobs.refusals import StoreError

SHOWN = 100
"""Jobs of one page: it is made in some 30 ms, in which the worker does nothing else."""
MOST_DELETED = 100
"""Deleted jobs that are listed with who deleted them."""
WAIT_SECONDS = 2.0
"""So long a trigger waits for its run, so that the end of a short one shows at once."""
_IDLE = (JobReportState.DISABLED, JobReportState.PAUSED, JobReportState.LEFT)
_FILTERS: Mapping[str, tuple[str, Callable[[JobRow], bool]]] = {
    "": ("All", lambda _: True),
    "failed": ("Last run failed", lambda row: row.has_failed),
    "stuck": ("Stuck", lambda row: row.is_troubled or row.state in (JobReportState.NEVER, JobReportState.UNUSABLE)),
    "idle": ("Disabled or paused", lambda row: row.report.state in _IDLE),
    "running": ("Running", lambda row: row.report.state is JobReportState.RUNNING),
}  # fmt: skip
"""By what the query says: heading, and which jobs are meant."""


async def jobs(visit: Visit) -> View:
    """Show all jobs, or those that are looked for."""
    problem, unknown = "", ""
    deleted: Mapping[str, Decision | None] = {}
    try:
        rows, unknown = await job_rows(visit.parts, await visit.parts.store.list())
        deleted = await _deleted(visit)
        visit.last_seen.keep(rows, visit.now)
    except StoreError as error:
        problem, rows = str(error), list(visit.last_seen.rows)
    chosen = visit.argument("show") if visit.argument("show") in _FILTERS else ""
    wanted = visit.argument("find").strip()
    meant = [row for row in rows if _FILTERS[chosen][1](row) and _matches(row, wanted)]
    pages = max(1, ceil(len(meant) / SHOWN))
    page = min(page_number(visit), pages)
    values = {
        "rows": meant[(page - 1) * SHOWN : page * SHOWN],
        "number": page,
        "pages": pages,
        "groups": pause_groups(rows),
        "filters": _counted(rows),
        "chosen": chosen,
        "wanted": wanted,
        "deleted": deleted,
        "problem": problem,
        "seen_at": visit.last_seen.at,
        "unknown": unknown,
        "tones": TONES,
    }
    return View("jobs.html", "Jobs", values, 503 if problem else 200)


def _counted(rows: Sequence[JobRow]) -> list[tuple[str, str, int]]:
    """Return each filter that has jobs: its word, its heading, and how many."""
    counted = [
        (word, heading, sum(map(is_meant, rows))) for word, (heading, is_meant) in _FILTERS.items()
    ]
    return [(word, heading, count) for word, heading, count in counted if count or not word]


def _matches(row: JobRow, wanted: str) -> bool:
    job = row.report
    texts = (job.name, job.display_name, job.service, job.cron_expression)
    return any(wanted.lower() in text.lower() for text in texts)


async def _deleted(visit: Visit) -> Mapping[str, Decision | None]:
    store = visit.parts.store
    decided = {}
    for name in (await store.deleted())[:MOST_DELETED]:
        decisions = await store.decisions(name)
        decided[name] = None if decisions is None else decisions.deleted
    return decided


# --- what can be decided -------------------------------------------------------------------------------------------


def back(visit: Visit, name: str) -> str:
    """Return where a form of a job was: the list, or the job's own page."""
    return "jobs" if visit.fields.get("from") == "jobs" else to("job", name=name)


async def enable(visit: Visit) -> Redirect:
    """Let a job run at its times."""
    name = visit.field("name")
    await job_api.enable(visit.call(name))
    return Redirect(back(visit, name), f"{name} is enabled. It runs at its times from now on.")


async def disable(visit: Visit) -> Redirect:
    """Keep a job from running at its times."""
    name = visit.field("name")
    await job_api.disable(visit.call(name))
    return Redirect(back(visit, name), f"{name} is disabled. A run under way goes on.")


async def trigger(visit: Visit) -> Redirect:
    """Run a job now, and show its run."""
    name = visit.field("name")
    call = visit.call(name, {})
    run = await run_api.begin(call)
    await run_api.ended_within(call, run, WAIT_SECONDS)
    asked = int(visit.now.timestamp())
    return Redirect(to("run", name=name, id=run, asked=asked), f"{name} was triggered.")


async def allow(visit: Visit) -> Redirect:
    """Let a deleted job be registered again, or another service take its name over."""
    name = visit.field("name")
    await job_api.allow(visit.call(name))
    return Redirect(back(visit, name), f"{name} is allowed: its service may register it.")


async def pause(visit: Visit) -> View:
    """Show what pausing all jobs does, and ask why."""
    rows, _ = await job_rows(visit.parts, await visit.parts.store.list())
    running = [row for row in rows if row.report.state is JobReportState.RUNNING]
    to_pause = [row for row in rows if row.report.paused is None]
    values = {"to_pause": to_pause, "already": len(rows) - len(to_pause), "running": running}
    return View("pause.html", "Pause all jobs", values)


async def pause_all(visit: Visit) -> Redirect:
    """Pause all jobs."""
    answer = await job_api.pause_all(visit.call(body={"reason": visit.field("reason")}))
    return Redirect("jobs", f"{_many(answer.jobs)} paused.{_unheard(answer.unheard)}")


async def resume_all(visit: Visit) -> Redirect:
    """Resume the jobs that were paused together."""
    answer = await job_api.resume_all(visit.call(body={"pausedAt": visit.field("paused_at")}))
    return Redirect("jobs", f"{_many(answer.jobs)} resumed.{_unheard(answer.unheard)}")


def _many(names: Sequence[str]) -> str:
    match names:
        case []:
            return "No job was"
        case [name]:
            return f"{name} is"
        case _:
            return f"{len(names)} jobs are"


def _unheard(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f" {len(names)} of their workflows will hear of it when Temporal answers."


PAGES = (
    Page("jobs", jobs, heading="Jobs"),
    Page("enable", enable, "POST"),
    Page("disable", disable, "POST"),
    Page("trigger", trigger, "POST"),
    Page("allow", allow, "POST"),
    Page("pause", pause),
    Page("pause-all", pause_all, "POST"),
    Page("resume-all", resume_all, "POST"),
)

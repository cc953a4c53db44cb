"""Shows who did what to which job, and when."""

import json

from pydantic import JsonValue

from vaultmesh.api.admin.pages import Page, View, Visit, page_number
from vaultmesh.domain.jobs.tasks import is_task, task_name

SHOWN = 50
"""Lines of one page."""


async def audit(visit: Visit) -> View:
    """Show lines of audit, newest first: of one job, or of all."""
    name = visit.argument("name").strip()
    page = page_number(visit)
    lines = await visit.parts.store.audit(name or None, SHOWN + 1, (page - 1) * SHOWN)
    detailed = [(line, detail_words(line.detail), _pages(line.job_name)) for line in lines[:SHOWN]]
    values = {"lines": detailed, "name": name, "number": page, "has_more": len(lines) > SHOWN}
    return View("audit.html", "Audit", values)


def _pages(job: str) -> tuple[str, str, str]:
    """Return which page shows a job or a task, which one a run of it, and by which name."""
    return ("task", "task-run", task_name(job)) if is_task(job) else ("job", "run", job)


def detail_words(detail: JsonValue) -> list[str]:
    """Return what a line says beside its action, a text for each thing: a change as `from → to`."""
    if not isinstance(detail, dict):
        return [] if detail is None else [_text(detail)]
    return [f"{key.replace('_', ' ')}: {_change(value)}" for key, value in detail.items()]


def _change(value: JsonValue) -> str:
    if isinstance(value, dict) and set(value) == {"was", "is"}:
        if value["was"] is None:
            return _text(value["is"])
        return f"{_text(value['was'])} → {_text(value['is'])}"
    return _text(value)


def _text(value: JsonValue) -> str:
    match value:
        case None:
            return "–"
        case True | False:
            return "yes" if value else "no"
        case str():
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)


PAGES = (Page("audit", audit, heading="Audit"),)

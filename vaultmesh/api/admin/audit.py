"""Shows who did what to which job, namespace or target, and when."""

from vaultmesh.api.admin.pages import Page, View, Visit, page_number
from vaultmesh.domain.deployment import DEPLOYMENTS
from vaultmesh.domain.jobs.audit_words import detail_words
from vaultmesh.domain.jobs.tasks import is_task, task_name
from vaultmesh.domain.names import aggregator_workflow_id, namespace_workflow_id

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


_OF_ANCHORING = {"namespace": namespace_workflow_id(""), "target": aggregator_workflow_id("")}
"""How the names begin under which the audit has what these pages show."""


def _pages(about: str) -> tuple[str, str, str]:
    """Return which page shows what a line is about, which one a run of it, and by which name; no page of what has none."""
    for page, prefix in _OF_ANCHORING.items():
        if about.startswith(prefix):
            return (page, "", about.removeprefix(prefix))
    if about.startswith(DEPLOYMENTS):
        return ("", "", about)
    return ("task", "task-run", task_name(about)) if is_task(about) else ("job", "run", about)


PAGES = (Page("audit", audit, heading="Audit"),)

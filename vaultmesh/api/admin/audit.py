"""Shows who did what, and when."""

from vaultmesh.api.admin.pages import Page, View, Visit


async def audit(visit: Visit) -> View:
    """Show the newest lines of audit."""
    lines = await visit.parts.store.audit()
    return View("audit.html", "Audit", {"lines": lines})


PAGES = (Page("audit", audit, heading="Audit"),)

"""Shows all jobs."""

from vaultmesh.api.admin.pages import Page, View, Visit


async def jobs(visit: Visit) -> View:
    """Show all jobs."""
    return View("jobs.html", "Jobs", {"jobs": await visit.parts.store.list()})


PAGES = (Page("jobs", jobs, heading="Jobs"),)

"""Shows targets: what each aggregator does, what holds it, and how that is mended."""

from vaultmesh.api.admin.anchoring import anchoring_of, shared
from vaultmesh.api.admin.pages import Page, View, Visit


async def targets(visit: Visit) -> View:
    """Show all targets."""
    source, overview = await anchoring_of(visit).targets()
    known = shared(source, overview.silence)
    return View("targets.html", "Targets", {**known, "section": "targets", "overview": overview})


PAGES = (Page("targets", targets, heading="Targets", of_anchoring=True),)

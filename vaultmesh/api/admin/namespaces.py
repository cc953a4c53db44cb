"""Shows namespaces."""

from vaultmesh.api.admin.pages import Page

PAGES: tuple[Page, ...] = ()

"""Gives tests of the admin page a whole local system, and a browser."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from devnet.chromium import chromium
from tests.admin_page.anchoring.anchored import AnchoredSystem, Visitor


@pytest.fixture(scope="module")
def anchored() -> Iterator[AnchoredSystem]:
    """Start a system of three namespaces and two ledgers, whose worker serves the page."""
    with (
        tempfile.TemporaryDirectory(prefix="vaultmesh-page-") as folder,
        AnchoredSystem(Path(folder)) as system,
    ):
        system.begin()
        yield system


@pytest.fixture(scope="module")
def chromium_of(anchored: AnchoredSystem) -> Iterator[Browser]:
    """Start a Chromium; it ends before the system, which runs an event loop of its own then."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), timeout=120_000)
        yield browser
        browser.close()


@pytest.fixture
def visitor(
    anchored: AnchoredSystem, chromium_of: Browser, request: pytest.FixtureRequest
) -> Iterator[Visitor]:
    """Log in; parameters are width and colour scheme. The test fails if the page reports an error."""
    width, scheme = getattr(request, "param", (1440, "light"))
    visitor = Visitor(chromium_of, anchored.url, width=width, scheme=scheme)
    yield visitor
    visitor.leave()

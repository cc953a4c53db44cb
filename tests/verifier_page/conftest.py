"""Builds the page as auditors get it, and opens it from disk in a Chromium without a network."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from devnet.chromium import chromium
from tests.verifier_page.build import build_page
from tests.verifier_page.opened import Opened


@pytest.fixture(scope="session")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page, built from this working tree."""
    return build_page(tmp_path_factory.mktemp("page") / "vaultmesh-verify.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start a Chromium; one for each module, since its event loop is in the way of asynchronous tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), timeout=120_000)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser, page_file: Path, request: pytest.FixtureRequest) -> Iterator[Opened]:
    """Open the page; its tests end by looking for requests and errors. Parameters are width and colour scheme."""
    width, scheme = getattr(request, "param", (1440, "light"))
    context = browser.new_context(
        offline=True,
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        accept_downloads=True,
    )
    opened = Opened(context, page_file)
    yield opened
    context.close()
    opened.assert_quiet()

"""Gives tests of the admin page one that runs, with jobs of every kind, and a browser."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from devnet.chromium import chromium
from tests.admin_page.visitor import Visitor
from tests.api.running import RunningApi, running


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RunningApi]:
    async with running(tmp_path) as started:
        yield started


@pytest.fixture
async def visitor(api: RunningApi) -> AsyncIterator[Visitor]:
    """Return somebody who is logged in, without a browser."""
    async with Visitor.of(api) as visitor:
        await visitor.log_in()
        yield visitor


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), timeout=120_000)
        yield browser
        await browser.close()

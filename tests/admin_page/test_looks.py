"""How pages look in Chromium: nothing sticks out, everything can be read, and what others wrote stays text."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.admin_page.samples import LONG, SCRIPT, fill
from tests.api.running import ADMIN_TOKEN, RunningApi
from vaultmesh.api.admin.pages import to
from vaultmesh.api.admin.site import PAGES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CONTRASTS = (Path(__file__).parents[1] / "verifier_page" / "contrasts.js").read_text()
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
WRAPPED = """
[...document.querySelectorAll(".label")].filter(label => label.getClientRects().length > 1).map(label => label.textContent)
"""
UNNAMED = """
[...document.querySelectorAll("a, button, input:not([type=hidden]):not([hidden])")]
  .filter(part => !(part.textContent.trim() || part.labels?.length || part.getAttribute("aria-label")))
  .map(part => part.outerHTML)
"""
LEAST_CONTRAST = 4.5
SCREENS = [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]


@pytest.fixture
async def filled(api: RunningApi) -> RunningApi:
    await fill(api)
    return api


async def places(api: RunningApi) -> list[str]:
    """Return every page, with jobs and runs of every kind; those of other rooms as they are without anything."""
    (failed,) = (await api.store.history(SCRIPT, 1, 0)).executions
    (running,) = (await api.store.history("weekly-digest", 1, 0)).executions
    known = [
        "jobs", to("jobs", show="stuck"), to("jobs", find="nobody"), "pause", "audit", to("audit", name="x"),
        *(to("job", name=name) for name in ("nightly-report", "deletion-cleanup", "queue-cleanup", LONG, SCRIPT)),
        to("job", name="weekly-digest", cron="0 7 * * 6"), to("job", name="weekly-digest", cron="61 * * * *"),
        to("job", name="nightly-report", offset=20), to("job", name="old-job"), to("delete", name=SCRIPT), to("delete", name=LONG),
        to("run", name=SCRIPT, id=failed.id), to("run", name="weekly-digest", id=running.id),
        to("run", name=LONG, id="nothing"), "nowhere", to("job", name="<i>nobody"),
    ]  # fmt: skip
    named = {place.partition("?")[0] for place in known}
    return [*known, *sorted({page.name for page in PAGES if page.method == "GET"} - named)]


class Watched:
    """A page in a browser; what it complains of, asks for and opens is kept."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: self.asked.append(request.url))

    async def log_in(self, url: str) -> None:
        await self.page.goto(f"{url}/admin")
        await self.page.keyboard.type(ADMIN_TOKEN)
        await self.page.keyboard.press("Enter")
        await self.page.wait_for_url("**/jobs")


async def watched(browser: Browser, url: str, width: int, scheme: Any) -> AsyncIterator[Watched]:
    context = await browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    page = Watched(await context.new_page())
    await page.log_in(url)
    yield page
    await context.close()


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
async def test_every_page_fits_and_can_be_read(
    width: int, scheme: str, browser: Browser, filled: RunningApi
) -> None:
    findings: list[str] = []
    async for watcher in watched(browser, filled.url, width, scheme):
        for place in await places(filled):
            page = watcher.page
            await page.goto(f"{filled.url}/admin/{place}")
            overflow = await page.evaluate(OVERFLOW)
            findings += [f"{place}: {overflow} px too wide"] if overflow > 0 else []
            findings += [
                f"{place}: weak {text}" for text in await page.evaluate(CONTRASTS, LEAST_CONTRAST)
            ]
            findings += [f"{place}: wrapped {text}" for text in await page.evaluate(WRAPPED)]
            findings += [f"{place}: without a name {text}" for text in await page.evaluate(UNNAMED)]
            if await page.locator("h1").count() != 1:
                findings.append(f"{place}: not one heading")
    assert findings == []


async def test_what_others_wrote_is_text_and_nothing_else_is_asked_for(
    browser: Browser, filled: RunningApi
) -> None:
    async for watcher in watched(browser, filled.url, 1440, "light"):
        visited = await places(filled)
        for place in visited:
            await watcher.page.goto(f"{filled.url}/admin/{place}")
            foreign = "script, img, iframe, [onerror], [style]"
            assert await watcher.page.locator(foreign).count() == 0, place
        assert {line for line in watcher.complaints if "404" not in line} == set()
        assert [url for url in watcher.asked if not url.startswith(f"{filled.url}/admin")] == []
        await watcher.page.goto(f"{filled.url}/admin/{to('job', name=SCRIPT)}")
        assert SCRIPT in await watcher.page.locator("h1").inner_text()


async def test_every_link_of_every_page_leads_to_a_page(
    browser: Browser, filled: RunningApi
) -> None:
    async for watcher in watched(browser, filled.url, 1440, "light"):
        page, wrong = watcher.page, set()
        seen: set[str] = set()
        for place in await places(filled):
            await page.goto(f"{filled.url}/admin/{place}")
            links = await page.eval_on_selector_all(
                "a[href]", "links => links.map(link => link.href)"
            )
            for link in {link.partition("#")[0] for link in links} - seen - {page.url}:
                seen.add(link)
                answer = await page.context.request.get(link)
                if answer.status != 200:
                    wrong.add((place, link, answer.status))
        assert wrong == set()
        assert len(seen) > 40

"""A real small system, a real browser without scripts, and a keyboard alone."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Error, Page, sync_playwright

from devnet.chromium import chromium
from devnet.ports import LOOPBACK
from devnet.sample_service import FAILS, WHY, WORKS, SampleService
from tests.jobs.job_system import ADMIN, NEVER, JobSystem

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(600)]
PATIENCE_MS = 60_000
MOST_TABS = 120
MOST_PAGES = 10
FOCUSED = """
() => {
  const part = document.activeElement;
  return part.getAttribute("aria-label") || part.labels?.[0]?.textContent.trim() || part.textContent.trim();
}
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobSystem]:
    sample = SampleService()
    sample.start()
    with JobSystem(tmp_path_factory.mktemp("system")) as system:
        system.start_worker(environment={"SAMPLE_SERVICE_URL": sample.url})
        for name, endpoint in (("fails", FAILS), ("works", WORKS)):
            system.register(name, NEVER, service="sample-service", endpoint=endpoint)
        yield system
    sample.close()


@pytest.fixture
def page(system: JobSystem) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), timeout=120_000)
        page = browser.new_context(java_script_enabled=False).new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"http://{LOOPBACK}:{system.api_port}/admin")
        yield page
        browser.close()


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what has this name has the focus."""
    passed = []
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        passed.append(_focused(page))
        if passed[-1] == name:
            return
    raise AssertionError(f"no way by Tab to {name!r}, only to {passed}")


def _focused(page: Page) -> str:
    """Return the name of what has the focus; a page that is about to come is waited for."""
    for _ in range(MOST_PAGES):
        page.wait_for_load_state()
        try:
            return str(page.evaluate(FOCUSED))
        except Error as error:
            if "context was destroyed" not in error.message:
                raise
    raise AssertionError("one page follows another without end")


def enter(page: Page, name: str, then: str) -> None:
    """Go to what has this name, press Enter, and wait for a text."""
    tab_to(page, name)
    page.keyboard.press("Enter")
    page.get_by_text(then).first.wait_for()


def test_by_keyboard_alone_somebody_logs_in_decides_previews_triggers_and_reads_the_error(
    page: Page, system: JobSystem
) -> None:
    system.ask("POST", "/api/jobs/works/enable", {})
    system.ask("POST", "/api/jobs/fails/reset", {})
    page.keyboard.type(ADMIN)  # the field has the focus
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs")
    enter(page, "Disable works", "works is disabled.")
    assert system.ask("GET", "/api/jobs/works")[1]["enabled"] is False
    assert "disabled by admin token" in page.inner_text("main")
    enter(page, "fails", "When it runs")
    tab_to(page, "Cron expression, in UTC")
    page.keyboard.press("Control+a")
    page.keyboard.type("30 8 * * 1-5")
    page.keyboard.press("Enter")
    page.get_by_text("It would run at 08:30 on Monday to Friday").wait_for()
    assert system.ask("GET", "/api/jobs/fails")[1]["cronExpression"] == NEVER
    assert page.locator("[aria-label=Preview] li").count() == 5
    enter(page, "Save", "fails runs at 08:30 on Monday to Friday from now on.")
    assert system.ask("GET", "/api/jobs/fails")[1]["cronExpression"] == "30 8 * * 1-5"
    enter(page, "Trigger now", WHY)
    assert page.locator("h1 .label").inner_text() == "failed"
    page.get_by_role("link", name="Jobs", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs")
    enter(page, "failed", WHY)  # the first click: the job's page, at its runs
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("What the service answered").wait_for()  # the second: the run


def test_a_job_that_is_disabled_runs_when_it_is_asked_to_and_its_run_is_watched(
    page: Page, system: JobSystem
) -> None:
    system.register("slow", NEVER, service="mail-service")
    system.handler.shut("slow")
    page.keyboard.type(ADMIN)
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs")
    enter(page, "Trigger slow", "It is under way since")
    enter(page, "Jobs", "running for")
    enter(page, "slow", "A run is under way since")
    enter(page, "Trigger now", "Job is already running")
    page.go_back()
    enter(page, "Look at it", "This page looks again every two seconds.")
    system.handler.open("slow")
    page.locator("h1 .label", has_text="completed").wait_for()  # the page looked by itself

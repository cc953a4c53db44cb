"""Takes the pictures of the admin page that docs/admin.md shows, from a real small system in a real browser.

`python -m docs.pictures` starts Temporal, a worker and a service, has jobs run, and writes docs/pictures/*.png. Nothing in them is
drawn by hand. They change with every page's look, and with the times that they show.
"""

import json
import os
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

from devnet.chromium import chromium
from devnet.ports import LOOPBACK, free_port
from devnet.sample_service import FAILS, SLOW, WAIT_KEY, WORKS, SampleService
from devnet.temporal import TemporalServer
from vaultmesh.cli.worker_process import WorkerProcess

FOLDER = Path(__file__).with_name("pictures")
LARGEST_BYTES = 150_000
"""Of one picture."""
TOKEN = "token-of-pictures-and-of-nothing-else"  # noqa: S105 - of a system that lives for some seconds
RUNS = 4
"""Of each job, before the pictures are taken."""
SLOW_SECONDS = 50
_PATIENCE_MS = 60_000
Scheme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, by the page that it shows."""

    name: str
    place: str
    """Page below `/admin/`, with its query."""
    width: int
    height: int
    scheme: Scheme


PICTURES = (
    Picture("jobs-light", "jobs", 1440, 800, "light"),
    Picture("jobs-dark", "jobs", 390, 1000, "dark"),
    Picture("job-light", "job?name=weekly-digest&cron=30+8+*+*+1-5", 1440, 1000, "light"),
    Picture("job-dark", "job?name=weekly-digest&cron=30+8+*+*+1-5", 390, 1000, "dark"),
)
JOBS = (
    ("weekly-digest", "Weekly digest", "Mails what happened in the week", "0 9 * * 1", WORKS),
    ("queue-cleanup", "Queue cleanup", "Removes mails that were sent", "0 2 * * *", WORKS),
    ("nightly-report", "Nightly report", "Mails the report", "0 3 * * *", FAILS),
    ("re-engagement", "Re-engagement", "Asks people back", "0 10 * * *", WORKS),
    ("deletion-cleanup", "Deletions", "Deletes accounts when their grace is over", "0 2 * * *", WORKS),
    ("link-check", "Link check", "Visits all links", "*/15 9-17 * * 1-5", SLOW),
)  # fmt: skip
"""Name, title, what it does, expression, and what the sample service does."""


class Api:
    """The job API of the small system."""

    def __init__(self, port: int) -> None:
        """Ask at a port of this machine."""
        self.url = f"http://{LOOPBACK}:{port}"

    def ask(self, method: str, path: str, body: object = None) -> object:
        """Return what the API answers; raises `HTTPError` for a refusal."""
        headers = {"Authorization": f"Bearer {TOKEN}", "X-Service-Token": TOKEN}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310 - our own
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own
            return json.load(answer)


@contextmanager
def small_system(folder: Path) -> Iterator[Api]:
    """Run Temporal, a worker with the roles of jobs, and the sample service."""
    config = folder / "vmsh/config"
    config.mkdir(parents=True)
    (config / "namespaces.yaml").write_text("namespaces: {}\n")
    (config / "anchors.yaml").write_text("{}\n")
    temporal, service, port = TemporalServer(folder, headless=True), SampleService(), free_port()
    service.start()
    temporal.start()
    settings = {
        **os.environ,  # noqa: TID251 - the worker runs in the same shell
        "TEMPORAL_ADDRESS": temporal.address,
        "VMSH_ROOT": str(folder),
        "METRICS_PORT": str(free_port()),
        "API_HOST": LOOPBACK,
        "API_PORT": str(port),
        "ADMIN_TOKEN": TOKEN,
        "SERVICE_TOKEN": TOKEN,
        "SAMPLE_SERVICE_URL": service.url,
        "JOBS_DRAIN": "1",
    }
    roles = ("--roles", "workflows,jobs,api")
    worker = WorkerProcess("worker", folder / "worker.log", settings, *roles)
    try:
        worker.start()
        yield Api(port)
    finally:
        service.close()
        worker.kill()
        temporal.kill()


def fill(api: Api) -> None:
    """Register jobs, have them run, and decide about some of them."""
    for name, title, text, cron, endpoint in JOBS:
        body = {
            "name": name, "displayName": title, "description": text, "cronExpression": cron, "enabled": True,
            "jobType": "other", "service": "sample-service", "endpoint": endpoint,
            "config": {WAIT_KEY: SLOW_SECONDS} if endpoint == SLOW else {"batchSize": 100},
        }  # fmt: skip
        api.ask("POST", "/api/jobs/register", body)
    for name, *_, endpoint in JOBS:
        for _ in range(0 if endpoint == SLOW else RUNS):
            api.ask("POST", f"/api/jobs/{name}/trigger", {})
    api.ask("POST", "/api/jobs/re-engagement/disable")
    api.ask("POST", "/api/jobs/deletion-cleanup/pause", {"reason": "the database moves"})


def take(browser: Browser, api: Api, pictures: Sequence[Picture], folder: Path) -> list[Path]:
    """Take pictures as somebody who is logged in; returns the files."""
    files = []
    for picture in pictures:
        context = browser.new_context(
            viewport={"width": picture.width, "height": picture.height},
            color_scheme=picture.scheme,
        )
        page = context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.goto(f"{api.url}/admin")
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_url("**/jobs")
        page.goto(f"{api.url}/admin/{picture.place}")
        files.append(folder / f"{picture.name}.png")
        page.screenshot(path=files[-1])
        context.close()
    return files


def main() -> int:
    """Take all pictures; 1 if one is too large for a document."""
    with tempfile.TemporaryDirectory() as folder, small_system(Path(folder)) as api:
        fill(api)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium())
            _begin_slow(browser, api)
            files = take(browser, api, PICTURES, FOLDER)
            browser.close()
    large = [file.name for file in files if file.stat().st_size > LARGEST_BYTES]
    for file in files:
        sys.stdout.write(f"{file}: {file.stat().st_size} bytes\n")
    return 1 if large else 0


def _begin_slow(browser: Browser, api: Api) -> None:
    """Have the slow job run, so that pictures show a run under way."""
    page = browser.new_page()
    page.goto(f"{api.url}/admin")
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Trigger link-check").click()
    page.get_by_text("It is under way since").wait_for(timeout=_PATIENCE_MS)
    page.close()


if __name__ == "__main__":
    sys.exit(main())

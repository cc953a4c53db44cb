"""A whole local system with its admin page, and a browser that works it by keyboard: Temporal, anvil, an authority, a worker."""

import json
import re
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Download, Locator, Page

from bench.local_system import EvmLedger
from devnet.ports import LOOPBACK, free_port
from devnet.tsa import Tsa
from tests.support.system import System, authority
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.seal_batch import seal_files

ADMIN_TOKEN = "an-admin-token-of-these-tests"
NAMESPACE = "dao:vaultmesh"
HOSTILE = "fin:<script>alert(1)<i>&amp;\"'"
LONG = "x:" + "ü" * 99
NEVER = "1000d"
"""A period of which no slot falls into a test: anchors are forced."""
AUTHORITY = "rfc3161:tsa"
PATIENCE_MS = 90_000
MOST_TABS = 200


class AnchoredSystem(System):
    """Temporal, anvil, a time-stamp authority; one worker with all roles serves the page."""

    def __init__(self, folder: Path) -> None:
        self.evm = EvmLedger(folder)
        self.tsa = Tsa(folder / "root")
        self.port = free_port()
        self._second = 0
        super().__init__(folder, self.evm, authority(self.tsa), database=False)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/admin/"

    def begin(self) -> None:
        """Write the configuration and start the worker."""
        cadences = {
            "fast": {"target": self.target, "every": NEVER, "confirmations": 2},
            "cold": {"target": AUTHORITY, "every": NEVER},
        }
        names = (NAMESPACE, HOSTILE, LONG)
        document = {"namespaces": {name: {"cadence": cadences} for name in names}}
        place = self.root / "vmsh/config/namespaces.yaml"
        place.write_text(json.dumps(document))
        self.start_worker(
            "--roles", "workflows,anchors,jobs,api",
            API_PORT=str(self.port), API_HOST=LOOPBACK, ADMIN_TOKEN=ADMIN_TOKEN,
            RATE_LIMIT_MAX="100000", JOBS_DATABASE_URL="sqlite",
        )  # fmt: skip

    def seal_events(self, namespace: str, name: str) -> tuple[str, list[str]]:
        """Seal three files; returns the batch's id and its events'."""
        files = [self.folder / f"{name}-{place}.txt" for place in range(3)]
        for place, file in enumerate(files):
            file.write_text(f"{name} {place}")
        self._second = max(self._second + 1, int(time.time()))
        batch = seal_files(LocalStore(self.root), namespace, files, now=self._second).batch
        return batch.id, list(batch.events)

    def shown(self, namespace: str) -> dict[str, Any]:
        """Return what `status` says of a namespace."""
        said = self.command("status", namespace, "--json")
        (view,) = json.loads(said.stdout)["namespaces"]
        return dict(view)

    def is_anchored(self, namespace: str, batch_id: str) -> bool:
        """Tell whether both ledgers have a batch for good."""
        states = {self.state(namespace, batch_id, target) for target in (self.target, AUTHORITY)}
        return states == {"finalized"}


class Visitor:
    """Somebody who is logged in, and has a keyboard and no mouse."""

    def __init__(
        self, browser: Browser, url: str, *, width: int = 1440, scheme: Any = "light"
    ) -> None:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        self.context, self.url = context, url
        self.errors: list[str] = []
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._note)
        self.page.on("dialog", lambda dialog: self.errors.append(dialog.message))
        self.open("namespaces")
        self.page.wait_for_function("document.activeElement.id === 'token'")  # the page's own doing
        self.page.keyboard.type(ADMIN_TOKEN)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(f"{url}namespaces")

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def open(self, place: str) -> None:
        """Go to a page by its address."""
        self.page.goto(self.url + place)

    def press(self, wanted: Locator) -> None:
        """Walk to something with the tab key, and press Enter."""
        self.walk(wanted)
        self.page.keyboard.press("Enter")

    def walk(self, wanted: Locator) -> None:
        """Walk to something with the tab key: what can't be reached so fails."""
        wanted.wait_for()
        assert wanted.count() == 1
        for _ in range(MOST_TABS):
            self.page.keyboard.press("Tab")
            if wanted.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError(f"the tab key does not lead to {wanted}")

    def download(self, wanted: Locator) -> Download:
        """Take a file with the keyboard."""
        with self.page.expect_download() as download:
            self.press(wanted)
        return download.value

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def link(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("link", name=name, exact=True)

    def notice(self) -> str:
        """Return what the page says that was done."""
        return self.page.get_by_role("status").inner_text()

    def text(self) -> str:
        return self.page.locator("main").inner_text()

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        script = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(script))

    def leave(self) -> None:
        self.context.close()
        assert self.errors == []

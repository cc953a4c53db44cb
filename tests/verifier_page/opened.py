"""The page in a browser, as its user sees it and works with it."""

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Locator, Page

FILES = Path(__file__).parent / "files"
PROOF, DOCUMENT, ROOT = FILES / "sample.proof.json", FILES / "sample.txt", FILES / "root.pem"
PATIENCE_MS = 60_000
"""A busy machine takes its time to compile the program in the page."""


def proof() -> dict[str, Any]:
    """Return the sample proof, to be changed."""
    document: dict[str, Any] = json.loads(PROOF.read_text())
    return document


def anchor(document: dict[str, Any], scheme: str) -> dict[str, Any]:
    """Return the anchor of a proof in a ledger of a scheme."""
    (only,) = [each for each in document["anchors"] if each["network"].startswith(f"{scheme}:")]
    return dict(only)


OTHER_ROOT = FILES.parents[1] / "vectors" / "receipts" / "tsa-roots.pem"
"""Of another authority."""
EVM_BLOCK = anchor(proof(), "eip155")["evidence"]["evm"]["blockHash"]
BITCOIN_BLOCK = anchor(proof(), "btc")["evidence"]["btc"]["blockHash"]
EVM, BITCOIN, AUTHORITY = "EVM chain 31337", "Bitcoin regtest", "Time-stamp authority tsa"


class Opened:
    """The page, opened from disk; every request and error is kept."""

    def __init__(self, context: BrowserContext, file: Path) -> None:
        """Open it, and wait for the verifier in it."""
        self.address = file.as_uri()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("filechooser", lambda _: None)  # asks for choosers early: later is a race
        self.page.goto(self.address)
        self.page.wait_for_selector("body.ready")

    def assert_quiet(self) -> None:
        """Nothing but the page itself was asked for, and nothing failed inside it."""
        asked = [url for url in self.requests if not url.startswith(("blob:", "data:"))]
        assert asked == [self.address]
        assert self.errors == []

    def choose(self, *files: Path) -> None:
        """Choose files with the chooser of the page."""
        self.page.set_input_files("#choose", files)

    def load(self, file: Path = PROOF) -> str:
        """Choose a proof, and return the word of its verdict."""
        self.choose(file)
        is_shown = "name => document.title.endsWith(`: ${name}`)"
        self.page.wait_for_function(is_shown, arg=file.name)
        return self.word()

    def trust_root(self, file: Path = ROOT) -> None:
        """Choose an authority's root certificate, and wait until it is listed."""
        self.choose(file)
        self.page.locator(".authority").first.wait_for()

    def load_document(self, document: object, folder: Path) -> str:
        """Choose a proof that was changed, and return the word of its verdict."""
        place = folder / "changed.proof.json"
        place.write_text(json.dumps(document), encoding="utf-8")
        return self.load(place)

    def word(self) -> str:
        """Return the word of the verdict."""
        return self.page.locator("#verdict .word").inner_text()

    def verdict(self) -> str:
        """Return all that the verdict says."""
        return self.page.locator("#verdict").inner_text().replace("\xa0", " ")

    def card(self, ledger: str) -> Locator:
        """Return the card of a ledger."""
        return self.page.locator(".ledger").filter(
            has=self.page.get_by_role("heading", name=ledger)
        )

    def box(self, ledger: str) -> Locator:
        """Return the box that confirms a ledger's block."""
        return self.card(ledger).get_by_role("checkbox").first

    def problem(self) -> str:
        """Return what is said of a file that is not verified."""
        place = self.page.locator("#problem")
        place.wait_for(state="visible")
        return place.inner_text()

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        return int(
            self.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
        )

    def unfold(self) -> None:
        """Fold all lists out."""
        self.page.evaluate(
            "for (const part of document.querySelectorAll('details')) part.open = true"
        )

"""The page itself: one file, no network, usable by anyone, in both widths and both colour schemes."""

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.second_verifier.binary import MODULE
from tests.verifier_page.build import build_page
from tests.verifier_page.opened import EVM, PROOF, Opened, proof

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

VIEWS = [(width, scheme) for width in (390, 1440) for scheme in ("light", "dark")]
MOST_KEYS = 80
LEAST_CONTRAST = 4.5
CONTRASTS = (Path(__file__).parent / "contrasts.js").read_text(encoding="utf-8")


def test_the_same_sources_give_the_same_page_wherever_it_is_built(
    page_file: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "another place" / "verifier"
    shutil.copytree(MODULE, elsewhere, ignore=shutil.ignore_patterns("dist"))
    assert build_page(tmp_path / "again.html", elsewhere).read_bytes() == page_file.read_bytes()


def test_its_policy_lets_nothing_reach_a_network(page_file: Path) -> None:
    text = page_file.read_text(encoding="utf-8")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules.keys() == {
        "default-src",
        "script-src",
        "style-src",
        "base-uri",
        "form-action",
        "require-trusted-types-for",
        "trusted-types",
    }
    assert re.fullmatch(r"('sha256-[\w+/=]+' ){2}'wasm-unsafe-eval'", rules["script-src"])
    assert not re.search(r"(?:src|href)=[\"']?(?!#)", text.split("<script")[0])


def test_whatever_ran_in_it_could_neither_ask_the_network_nor_make_markup(opened: Opened) -> None:
    tries = """async () => {
        const said = [];
        document.addEventListener("securitypolicyviolation", (event) => said.push(event.effectiveDirective));
        await fetch("https://example.org/").catch(() => said.push("fetch"));
        try { document.body.innerHTML = "<p>"; } catch { said.push("markup"); }
        document.body.append(Object.assign(new Image(), { src: "https://example.org/x.png" }));
        await new Promise((done) => setTimeout(done, 500));
        return said;
    }"""
    said = opened.page.evaluate(tries)
    assert {"fetch", "connect-src", "markup", "img-src"} <= set(said)
    opened.errors.clear()  # the browser reports each refusal
    opened.requests[1:] = []


def _focus_is_seen(page: Page) -> bool:
    return bool(
        page.evaluate(
            """() => {
            const focused = document.activeElement;
            const label = focused.matches(".file") ? focused.previousElementSibling : focused;
            const style = getComputedStyle(label);
            return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
        }"""
        )
    )


def _tab_to(page: Page, selector: str) -> None:
    """Press Tab until an element has the focus; every stop on the way can be seen."""
    for _ in range(MOST_KEYS):
        page.keyboard.press("Tab")
        assert _focus_is_seen(page), page.evaluate("document.activeElement.outerHTML")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    pytest.fail(f"{selector} is not reached with the keyboard")


def test_the_keyboard_alone_is_enough(opened: Opened) -> None:
    page = opened.page
    _tab_to(page, "#choose")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(PROOF)
    assert opened.word() == "Consistent, not proven"
    assert page.evaluate("document.activeElement.id") == "verdict"
    _tab_to(page, "input[type=checkbox]")
    page.keyboard.press("Space")
    assert opened.word() == "Proven"
    assert page.evaluate("document.activeElement.matches('input[type=checkbox]:checked')")
    _tab_to(page, "summary")
    page.keyboard.press("Enter")
    _tab_to(page, "#save")
    with page.expect_download():
        page.keyboard.press("Enter")


def test_the_keyboard_is_enough_to_paste_a_text(opened: Opened) -> None:
    page = opened.page
    _tab_to(page, "#paste-open")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "pasted"
    page.keyboard.insert_text(PROOF.read_text())
    _tab_to(page, "#paste-verify")
    page.keyboard.press("Enter")
    assert opened.word() == "Consistent, not proven"


def test_a_change_of_the_verdict_is_announced(opened: Opened) -> None:
    opened.load()
    live = opened.page.locator("#verdict")
    assert live.get_attribute("aria-live") == "polite"
    handle = live.element_handle()
    opened.box(EVM).check()
    assert "Proven" in handle.inner_text()  # the same element: only then is its change announced


def _views(opened: Opened, folder: Path) -> list[str]:
    """Show all that the page can show, one after the other; return what was looked at."""
    yielded = ["start"]
    changed = proof()
    changed["event"]["eventHash"] = "sha256:" + "11" * 32
    (folder / "broken.json").write_text('{"format":')
    steps = {
        "unproven": lambda: opened.load(),
        "proven": lambda: (opened.box(EVM).check(), opened.trust_root()),
        "wrong": lambda: opened.load_document(changed, folder),
        "problem": lambda: (opened.choose(folder / "broken.json"), opened.problem()),
    }
    for name, step in steps.items():
        step()
        opened.unfold()
        yielded.append(name)
        assert opened.overflow() <= 0, name
        assert opened.page.evaluate(CONTRASTS, LEAST_CONTRAST) == [], name
    return yielded


@pytest.mark.parametrize("opened", VIEWS, indirect=True, ids=lambda view: f"{view[0]}-{view[1]}")
def test_all_can_be_read_in_every_width_and_scheme(opened: Opened, tmp_path: Path) -> None:
    assert opened.overflow() <= 0
    assert opened.page.evaluate(CONTRASTS, LEAST_CONTRAST) == []
    opened.page.get_by_role("button", name="Paste its text").click()
    assert _views(opened, tmp_path)[-1] == "problem"


@pytest.mark.parametrize("opened", [(390, "light")], indirect=True)
def test_a_text_without_contrast_is_noticed(opened: Opened) -> None:
    opened.page.evaluate("document.querySelector('.lead').style.color = '#aaa'")
    assert opened.page.evaluate(CONTRASTS, LEAST_CONTRAST) != []


@pytest.mark.parametrize("opened", [(390, "light"), (390, "dark")], indirect=True)
def test_a_verdict_is_told_by_word_and_form_and_not_by_colour_alone(
    opened: Opened, tmp_path: Path
) -> None:
    forms, words = set(), set()
    changed = proof()
    changed["event"]["eventHash"] = "sha256:" + "11" * 32
    for step in (
        lambda: opened.load_document(changed, tmp_path),
        lambda: opened.load(),
        lambda: opened.box(EVM).check(),
    ):
        step()
        words.add(opened.word())
        forms.add(opened.page.locator("#verdict path").get_attribute("d"))
    assert len(forms) == len(words) == 3


def test_what_is_printed_has_every_check_and_trusted_certificate_and_no_buttons(
    opened: Opened,
) -> None:
    opened.load()
    opened.trust_root()
    opened.page.emulate_media(media="print")
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.card(EVM).get_by_text("transaction receipt").first.is_visible()
    assert opened.page.locator("#authorities").get_by_text("CN=tsa root").is_visible()
    assert not opened.page.get_by_role("button", name="Save the report").is_visible()
    assert not opened.page.locator(".copy").first.is_visible()
    opened.page.evaluate("dispatchEvent(new Event('afterprint'))")
    opened.page.emulate_media(media="screen")
    assert not opened.card(EVM).get_by_text("transaction receipt").first.is_visible()

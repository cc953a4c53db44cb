"""What the page says of files that it can't verify, and the ways by which files come to it."""

import json
from pathlib import Path

import pytest

from tests.verifier_page.opened import EVM, FILES, PROOF, ROOT, Opened, proof

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PRIVATE_KEY = b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"
TEXT = PROOF.read_bytes()
BROKEN = {
    "empty": (b"", ["empty"]),
    "blank": (b" \n", ["empty"]),
    "cut off": (TEXT[: len(TEXT) // 2], ["cut off", "breaks off at line", "downloaded as a whole"]),
    "damaged": (TEXT.replace(b",", b";", 1), ["damaged", "line 2, column"]),
    "other text": (b"Dear auditor,\nhere you are.", ["not JSON", "line 1, column 1", "command"]),
    "other JSON": (b'{"format": "other"}', ["no proof file", "format"]),
    "a list": (b"[1, 2]", ["no proof file"]),
    "an event receipt": ((FILES / "event.json").read_bytes(), ["event’s receipt"]),
    "a report": (b'{"report": {}}', ["report that was saved here"]),
    "a proof with another key": (
        json.dumps({**proof(), "further": 1}).encode(),
        ["not as such files are written", "further"],
    ),
    "a PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", ["PDF document", "25 50 44 46", "The event"]),
    "an archive": (b"PK\x03\x04" + bytes(60), ["ZIP archive", "unpack"]),
    "bytes": (bytes(range(256)), ["not text", "00 01 02 03"]),
    "UTF-16": ("{}".encode("utf-16"), ["UTF-16"]),
    "no UTF-8": (b'{"format": "\xff"}', ["not text"]),
    "deep": (b"[" * 100_000, ["no proof file"]),
    "deep and complete": (b"[" * 100_000 + b"]" * 100_000, ["no proof file"]),
    "a private key": (PRIVATE_KEY, ["private key", "Keep it to yourself"]),
    "no certificate": (
        b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        ["certificate can’t be read", "The file holds"],
    ),
    "half a certificate": (ROOT.read_bytes()[:300], ["no certificate in PEM form"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_file_is_said_to_be_wrong_where_and_how_to_mend_it(
    name: str, opened: Opened, tmp_path: Path
) -> None:
    content, said = BROKEN[name]
    (tmp_path / "minutes.json").write_bytes(content)
    opened.choose(tmp_path / "minutes.json")
    text = opened.problem()
    assert [part for part in said if part not in text] == []
    assert "minutes.json" in text
    assert all(f"\n{heading}\n" in text for heading in ("Where", "What to do"))
    assert not opened.page.locator("#result").is_visible()


def test_a_file_of_50_mb_is_not_even_read(opened: Opened, tmp_path: Path) -> None:
    with (tmp_path / "scan.tiff").open("wb") as scan:
        scan.truncate(50_000_000)
    opened.choose(tmp_path / "scan.tiff")
    assert "no proof file: it has 50 MB" in opened.problem()


def test_a_wrong_file_leaves_the_result_that_was_there_and_a_good_one_clears_the_problem(
    opened: Opened, tmp_path: Path
) -> None:
    opened.load()
    (tmp_path / "wrong.json").write_text("{")
    opened.choose(tmp_path / "wrong.json")
    assert "Below is still the result for sample.proof.json" in opened.problem()
    opened.load()
    opened.page.locator("#problem").wait_for(state="hidden")


def _drop(opened: Opened, selector: str, *files: Path) -> None:
    """Drop files as a file manager does."""
    place = opened.page.locator(selector)
    place.scroll_into_view_if_needed()
    bounds = place.bounding_box()
    assert bounds is not None
    devtools = opened.page.context.new_cdp_session(opened.page)
    data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        where = {"x": bounds["x"] + bounds["width"] / 2, "y": bounds["y"] + bounds["height"] / 2}
        devtools.send("Input.dispatchDragEvent", {"type": kind, "data": data, **where})
    devtools.detach()


def test_a_proof_is_dropped_and_then_a_certificate_anywhere(opened: Opened) -> None:
    _drop(opened, "#drop", PROOF)
    assert opened.word() == "Consistent, not proven"
    _drop(opened, "#verdict", ROOT)
    opened.page.locator(".authority").get_by_text("CN=tsa root").wait_for()


def test_a_document_is_dropped_where_it_is_asked_for(opened: Opened) -> None:
    opened.load()
    _drop(opened, ".document", FILES / "sample.txt")
    opened.page.get_by_text("is the recorded document").first.wait_for()


def test_a_root_that_comes_together_with_a_proof_makes_nothing_proven(opened: Opened) -> None:
    _drop(opened, "#drop", ROOT, PROOF)
    opened.page.locator("#note", has_text="Not trusted").wait_for()
    assert opened.word() == "Consistent, not proven"
    assert opened.page.locator(".authority").count() == 0
    opened.trust_root()
    assert opened.word() == "Proven"


def test_a_pasted_text_is_verified_wherever_it_is_pasted(opened: Opened) -> None:
    page = opened.page
    page.get_by_role("button", name="Paste its text").click()
    field = page.get_by_label("The text of the proof file")
    field.fill(PROOF.read_text())
    page.get_by_role("button", name="Verify the text").click()
    assert opened.word() == "Consistent, not proven"
    field.press("Control+a")
    field.press("Control+x")
    page.locator("#verdict").focus()
    opened.box(EVM).check()
    page.locator("#verdict").focus()
    page.keyboard.press("Control+v")
    page.wait_for_function("document.querySelector('#pasted').value.length > 10000")
    assert opened.word() == "Proven"  # what was compared stays compared
    assert "pasted text" in page.locator("#source").inner_text()


def test_a_copied_hash_is_the_hash(opened: Opened) -> None:
    opened.load()
    copy = opened.card(EVM).get_by_role("button", name="Copy").first
    value = str(copy.get_attribute("aria-label")).removeprefix("Copy ")
    copy.click()
    opened.page.get_by_text("Copied", exact=True).first.wait_for()
    field = opened.card(EVM).get_by_label("Or paste the hash")
    field.focus()
    opened.page.keyboard.press("Control+v")
    assert opened.word() == "Proven"
    assert value in opened.card(EVM).inner_text()

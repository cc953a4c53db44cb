"""What an auditor sees of a proof: proven only by what he confirmed, and wrong whatever he confirms."""

import hashlib
import json
import shutil
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.verifier_page.opened import (
    AUTHORITY,
    BITCOIN,
    BITCOIN_BLOCK,
    DOCUMENT,
    EVM,
    EVM_BLOCK,
    FILES,
    OTHER_ROOT,
    PROOF,
    ROOT,
    Opened,
    anchor,
    proof,
)
from vaultmesh.domain.checks import Trust
from vaultmesh.verification.offline import verify_event_offline
from vaultmesh.verification.proof_file import parse_proof

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # go builds its library first
PROOFS = FILES.parents[1] / "vectors" / "proofs"
WORDS = {"proven": "Proven", "consistent": "Consistent, not proven", "refuted": "Wrong"}
BLOCK_TIME = "28 November 2026, 17:27:50 UTC"


def test_without_a_trust_a_proof_is_consistent_and_rests_on_something_unconfirmed(
    opened: Opened,
) -> None:
    assert opened.load() == "Consistent, not proven"
    assert "rests on something that you have not confirmed" in opened.verdict()
    for ledger in (EVM, BITCOIN):
        assert "Consistent, not confirmed" in opened.card(ledger).inner_text()
        assert "For you to confirm" in opened.card(ledger).inner_text()


def test_a_compared_block_proves_by_its_time_and_taking_it_back_proves_nothing(
    opened: Opened,
) -> None:
    opened.load()
    opened.box(EVM).check()
    assert opened.word() == "Proven"
    assert f"This event was recorded by {BLOCK_TIME}" in opened.verdict().replace("\n", " ")
    assert "Confirmed by you" in opened.card(EVM).inner_text()
    assert "Consistent, not confirmed" in opened.card(BITCOIN).inner_text()
    opened.box(EVM).uncheck()
    assert opened.word() == "Consistent, not proven"


def test_a_card_says_what_by_when_where_and_what_it_rests_on(opened: Opened) -> None:
    opened.load()
    opened.box(EVM).check()
    card = opened.card(EVM).inner_text().replace("\xa0", " ")
    said = ("was in this ledger by then", BLOCK_TIME, "block 7", EVM_BLOCK, "trust in block")
    assert [part for part in said if part not in card] == []
    assert "A test network" in card


@pytest.mark.parametrize("later", [False, True], ids=["the anchor's", "one on top"])
def test_any_block_from_the_anchors_on_confirms_bitcoin(opened: Opened, later: bool) -> None:
    opened.load()
    opened.unfold()
    boxes = opened.card(BITCOIN).get_by_role("checkbox")
    (boxes.last if later else boxes.first).check()
    assert opened.word() == "Proven"
    assert f"block {anchor(proof(), 'btc')['blockNumber']}" in opened.card(BITCOIN).inner_text()
    assert BITCOIN_BLOCK in opened.card(BITCOIN).inner_text()


def test_a_pasted_hash_is_compared_by_the_page(opened: Opened) -> None:
    opened.load()
    field = opened.card(EVM).get_by_label("Or paste the hash")
    field.fill("0x" + "11" * 32)
    assert "another hash" in opened.card(EVM).inner_text()
    assert opened.word() == "Consistent, not proven"
    field.fill(f" {EVM_BLOCK[2:].upper()} ")
    assert opened.word() == "Proven"
    assert opened.box(EVM).is_checked()


def test_a_root_certificate_is_shown_with_its_fingerprint_and_can_be_taken_back(
    opened: Opened, tmp_path: Path
) -> None:
    opened.load()
    opened.trust_root()
    opened.choose(ROOT)
    opened.load(shutil.copy(PROOF, tmp_path / "later.json"))
    assert opened.page.locator(".authority").count() == 1  # the same one counts once
    listed = opened.page.locator("#authorities")
    assert "CN=tsa root" in listed.inner_text()
    assert _fingerprint(ROOT.read_text()) in listed.inner_text()
    listed.get_by_role("button", name="Trust it no longer").click()
    assert "None." in listed.inner_text()


def test_a_certificate_that_comes_first_or_as_bare_bytes_is_taken_as_well(
    opened: Opened, tmp_path: Path
) -> None:
    (tmp_path / "root.cer").write_bytes(ssl.PEM_cert_to_DER_cert(ROOT.read_text()))
    opened.choose(tmp_path / "root.cer")
    opened.page.get_by_text("You added CN=tsa root").first.wait_for()
    opened.load()
    assert _fingerprint(ROOT.read_text()) in opened.page.locator("#authorities").inner_text()


def test_the_root_of_an_authority_proves_its_time_stamp(opened: Opened) -> None:
    opened.load()
    assert "the root certificate CN=tsa root" in opened.card(AUTHORITY).inner_text()
    opened.trust_root()
    assert "Confirmed by you" in opened.card(AUTHORITY).inner_text()
    assert opened.word() == "Proven"
    assert "28 November 2026, 17:27:49 UTC" in opened.verdict()


def test_another_authoritys_root_confirms_nothing_and_the_card_says_so(opened: Opened) -> None:
    opened.load()
    opened.choose(OTHER_ROOT)
    opened.card(AUTHORITY).get_by_text("do not confirm it").wait_for()
    assert opened.word() == "Consistent, not proven"


def test_the_clock_that_binds_most_says_by_when(opened: Opened) -> None:
    opened.load()
    opened.box(BITCOIN).check()
    assert "UTC ± 2 h" in opened.verdict()
    opened.box(EVM).check()
    assert BLOCK_TIME in opened.verdict()


def _flip(document: dict[str, Any], key: str) -> None:
    evidence = next(each for each in document["anchors"] if each["chain"] == "EVM")["evidence"]
    text = evidence["evm"][key]
    evidence["evm"][key] = text[:-1] + ("0" if text[-1] != "0" else "1")


@pytest.mark.parametrize("key", ["header", "rawTransaction", "blockHash"])
def test_a_tampered_proof_is_wrong_and_no_trust_mends_it(
    key: str, opened: Opened, tmp_path: Path
) -> None:
    document = proof()
    _flip(document, key)
    assert opened.load_document(document, tmp_path) == "Wrong"
    assert "contradicts itself" in opened.verdict()
    assert "eip155:31337" in opened.verdict()
    assert opened.card(EVM).get_by_role("checkbox").count() == 0
    opened.box(BITCOIN).check()
    assert opened.word() == "Wrong"


def test_an_event_of_another_batch_is_wrong(opened: Opened, tmp_path: Path) -> None:
    document = proof()
    document["event"]["eventHash"] = "sha256:" + "11" * 32
    assert opened.load_document(document, tmp_path) == "Wrong"
    assert "event path" in opened.verdict()


def _ours(file: Path, trust: Trust) -> tuple[str, list[str]]:
    """Return what the command says of a proof: of all, and of each ledger."""
    ours = parse_proof(file.read_bytes())
    verdict = verify_event_offline(ours.event, ours.anchors, trust, event_id=ours.event_id)
    ledgers = [ledger.verdict.standing for ledger in verdict.ledgers]
    return WORDS[verdict.standing], [WORDS[standing].split(",")[0] for standing in ledgers]


def _theirs(opened: Opened) -> tuple[str, list[str]]:
    """Return what the page says of it."""
    badges = opened.page.locator(".ledger .badge").all_inner_texts()
    return opened.word(), [badge.split(",")[0] for badge in badges]


@pytest.mark.parametrize("name", sorted(file.name for file in PROOFS.glob("*.json")))
def test_the_page_says_of_real_proofs_what_the_command_does(name: str, opened: Opened) -> None:
    opened.load(PROOFS / name)
    assert _theirs(opened) == _ours(PROOFS / name, Trust())
    for box in opened.page.get_by_role("checkbox").all():
        if box.is_visible():
            box.check()
    document = json.loads((PROOFS / name).read_text())
    evidence = [each["evidence"] for each in document["anchors"]]
    trust = Trust(
        blocks=frozenset(each["evm"]["blockHash"] for each in evidence if "evm" in each),
        headers=frozenset(each["btc"]["blockHash"] for each in evidence if "btc" in each),
    )
    assert _theirs(opened) == _ours(PROOFS / name, trust)
    opened.trust_root(PROOFS / "tsa-roots.pem")
    pem = (PROOFS / "tsa-roots.pem").read_bytes()
    assert _theirs(opened) == _ours(PROOFS / name, replace(trust, authorities=(pem,)))


@pytest.mark.parametrize("change", ["header", "event"])
def test_the_page_says_of_tampered_proofs_what_the_command_does(
    change: str, opened: Opened, tmp_path: Path
) -> None:
    document = proof()
    if change == "header":
        _flip(document, "header")
    else:
        document["event"]["eventHash"] = "sha256:" + "11" * 32
    opened.load_document(document, tmp_path)
    assert _theirs(opened) == _ours(tmp_path / "changed.proof.json", Trust())


def test_what_no_trust_mends_is_not_asked_for(opened: Opened) -> None:
    opened.load(PROOFS / "not-final.json")
    card = opened.card(BITCOIN)
    assert "Consistent, evidence is missing" in card.inner_text()
    assert "whatever you confirm: 1 of 6 headers" in card.inner_text()
    assert card.get_by_role("checkbox").count() == 0


def test_each_check_can_be_folded_out_and_stays_so_when_something_is_confirmed(
    opened: Opened,
) -> None:
    opened.load()
    checks = opened.card(EVM).locator("details").last
    assert not checks.locator("li").first.is_visible()
    checks.locator("summary").click()
    assert checks.locator("li").filter(has_text="transaction receipt").is_visible()
    opened.box(EVM).check()
    assert opened.card(EVM).locator("details").last.locator("li").first.is_visible()
    assert "In one sentence" in opened.card(EVM).inner_text()


def test_the_recorded_document_is_told_from_another(opened: Opened, tmp_path: Path) -> None:
    opened.load()
    opened.page.set_input_files("#document", DOCUMENT)
    opened.page.get_by_text("is the recorded document, to the last byte").first.wait_for()
    (tmp_path / "sample.txt").write_bytes(DOCUMENT.read_bytes() + b" ")
    opened.page.set_input_files("#document", tmp_path / "sample.txt")
    opened.page.locator("#event .bad").wait_for()
    assert "is another document, or was changed" in opened.page.locator("#event").inner_text()


def test_what_a_file_says_is_never_taken_for_markup(opened: Opened, tmp_path: Path) -> None:
    document = proof()
    document["eventId"] = (
        '<img src="x" onerror="document.title=1"><script>document.title=2</script>'
    )
    assert opened.load_document(document, tmp_path) == "Wrong"
    assert "<img src=" in opened.page.locator("#event").inner_html().replace("&lt;", "<")
    assert opened.page.locator("img").count() == 0
    assert opened.page.title() == "Wrong: changed.proof.json"


def test_a_saved_report_names_file_trust_and_every_check(opened: Opened) -> None:
    opened.load()
    opened.box(EVM).check()
    with opened.page.expect_download() as download:
        opened.page.get_by_role("button", name="Save the report").click()
    assert download.value.suggested_filename == "sample.report.json"
    saved = json.loads(Path(download.value.path()).read_text())
    assert saved["proof"]["sha256"] == hashlib.sha256(PROOF.read_bytes()).hexdigest()
    assert saved["trust"] == {"blocks": [EVM_BLOCK], "headers": [], "authorities": []}
    assert saved["report"]["overall"]["standing"] == "proven"
    assert {ledger["network"] for ledger in saved["report"]["ledgers"]} == {
        each["network"] for each in proof()["anchors"]
    }
    assert saved["verifier"]["wasm"].startswith("sha256:")


def test_an_anchor_receipt_alone_is_verified_as_well(opened: Opened, tmp_path: Path) -> None:
    assert opened.load_document(anchor(proof(), "eip155"), tmp_path) == "Consistent, not proven"
    opened.box(EVM).check()
    assert opened.word() == "Proven"
    assert "This root was recorded by" in opened.verdict()
    assert not opened.page.locator("#event").is_visible()


def _fingerprint(pem: str) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()

"""The pages about anchoring in a real browser, by keyboard alone, on a real local system."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from devnet.ports import LOOPBACK
from tests.admin_page.anchoring.anchored import (
    ADMIN_TOKEN,
    AUTHORITY,
    HOSTILE,
    LONG,
    NAMESPACE,
    AnchoredSystem,
    Visitor,
)
from tests.admin_page.anchoring.contrast import low_contrasts
from vaultmesh.domain.checks import Trust
from vaultmesh.domain.names import aggregator_workflow_id
from vaultmesh.verification import verify

pytestmark = [pytest.mark.server, pytest.mark.evm, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def batch(anchored: AnchoredSystem) -> tuple[str, list[str]]:
    """Return a batch that both ledgers have for good, and its events."""
    return anchored_batch(anchored, NAMESPACE, "first")


def anchored_batch(system: AnchoredSystem, namespace: str, name: str) -> tuple[str, list[str]]:
    batch_id, events = system.seal_events(namespace, name)
    system.wait(lambda: system.command("force", namespace).returncode == 0, "a forced anchor")
    system.wait(lambda: system.is_anchored(namespace, batch_id), "both anchors", 120)
    return batch_id, events


def page_of(namespace: str) -> str:
    return f"namespace?{urlencode({'name': namespace})}"


def test_a_cadence_is_paused_with_a_reason_that_names_who_and_resumed(
    anchored: AnchoredSystem, visitor: Visitor
) -> None:
    visitor.press(visitor.link(NAMESPACE))
    visitor.walk(visitor.page.get_by_label("Reason to pause fast"))
    visitor.page.keyboard.type("upgrade of the node")
    visitor.press(visitor.button("Pause fast"))
    assert visitor.notice() == f"Cadence fast of {NAMESPACE} is paused."
    assert "upgrade of the node (by admin token)" in visitor.text()
    paused = anchored.shown(NAMESPACE)["paused"]
    assert set(paused) == {"fast"}
    assert paused["fast"]["reason"] == "upgrade of the node (by admin token)"
    visitor.press(visitor.button("Resume fast"))
    assert visitor.notice() == f"Cadence fast of {NAMESPACE} goes on."
    assert anchored.shown(NAMESPACE)["paused"] == {}


def test_a_whole_namespace_is_paused_and_resumed(
    anchored: AnchoredSystem, visitor: Visitor
) -> None:
    visitor.open(page_of(NAMESPACE))
    visitor.press(visitor.button("Pause all"))
    view = anchored.shown(NAMESPACE)
    assert (view["state"], set(view["paused"])) == ("paused", {"fast", "cold"})
    assert {paused["reason"] for paused in view["paused"].values()} == {"by admin token"}
    visitor.press(visitor.button("Resume all"))
    assert anchored.shown(NAMESPACE)["state"] == "running"
    # The history says that this process ordered it; the line says who, and there is no second one.
    entered = json.loads(anchored.command("audit", NAMESPACE, "--json").stdout)
    ordered = [line for line in entered if line["action"] in {"pause", "resume"}]
    assert [line["action"] for line in ordered[:2]] == ["resume", "pause"]
    assert {line["actor"] for line in ordered} == {"admin token"}
    visitor.open(f"audit?{urlencode({'name': NAMESPACE})}")
    assert "by admin token" in visitor.text()
    link = visitor.link(f"namespace:{NAMESPACE}").first
    assert str(link.get_attribute("href")).endswith(page_of(NAMESPACE))


def test_who_ordered_stands_in_the_log(anchored: AnchoredSystem, visitor: Visitor) -> None:
    visitor.open(page_of(LONG))
    visitor.press(visitor.button("Resume all"))
    assert visitor.notice()
    log = anchored.log("worker-0").read_text().splitlines()
    lines = [json.loads(line) for line in log if "administrator's order taken" in line]
    assert any(
        (line["namespace"], line["order"], line["by"]) == (LONG, "resume", "admin token")
        for line in lines
    )


def test_force_anchors_what_is_owed(anchored: AnchoredSystem, visitor: Visitor) -> None:
    batch_id, _ = anchored.seal_events(HOSTILE, "forced")
    visitor.open(page_of(HOSTILE))
    visitor.press(visitor.button("Anchor all now"))
    assert "anchors now whatever is owed" in visitor.notice()
    anchored.wait(lambda: anchored.is_anchored(HOSTILE, batch_id), "both anchors", 120)


def test_a_batch_is_opened_and_a_proof_taken_that_holds_offline(
    anchored: AnchoredSystem, batch: tuple[str, list[str]], visitor: Visitor, tmp_path: Path
) -> None:
    batch_id, events = batch
    visitor.press(visitor.link(NAMESPACE))
    visitor.press(visitor.link("Batches"))
    visitor.press(visitor.link(batch_id))
    download = visitor.download(visitor.link(f"Download the proof of {events[1]}"))
    assert re.fullmatch(r"[A-Za-z0-9._~-]+\.proof\.json", download.suggested_filename)
    place = tmp_path / "proof.json"
    download.save_as(place)
    receipt = anchored.receipt(NAMESPACE, batch_id)
    assert receipt is not None
    block = receipt["evidence"]["evm"]["blockHash"]
    roots = anchored.root / "tsa/roots.pem"
    said = anchored.command(
        "verify", "--offline", str(place), "--trust-block", block, "--trust-roots", str(roots)
    )
    assert said.returncode == 0, said.stdout
    trust = Trust(blocks=frozenset({block}), authorities=(roots.read_bytes(),))
    verdict = verify(place.read_bytes(), trust)
    assert [part.verdict.proven for part in verdict.ledgers] == [True, True]


def test_a_receipt_is_taken_as_it_lies_in_the_storage(
    anchored: AnchoredSystem, batch: tuple[str, list[str]], visitor: Visitor, tmp_path: Path
) -> None:
    batch_id, _ = batch
    visitor.open(f"batch?{urlencode({'namespace': NAMESPACE, 'id': batch_id})}")
    download = visitor.download(visitor.link(f"Download the receipt of {AUTHORITY}"))
    download.save_as(tmp_path / "receipt.json")
    stored = anchored.receipt_file(NAMESPACE, batch_id, AUTHORITY).read_bytes()
    assert (tmp_path / "receipt.json").read_bytes() == stored
    assert download.suggested_filename == f"{batch_id}.rfc3161_tsa.receipt.json"


def test_the_picture_shows_what_happened_in_its_order_and_says_it_in_words(
    batch: tuple[str, list[str]], visitor: Visitor
) -> None:
    batch_id, _ = batch
    visitor.open(f"batch?{urlencode({'namespace': NAMESPACE, 'id': batch_id})}")
    picture = visitor.page.get_by_role("img")
    assert batch_id in str(picture.evaluate("svg => svg.querySelector('title').textContent"))
    marks = picture.evaluate(
        """svg => [...svg.querySelectorAll('.mark')].map(mark => ({
            sign: mark.querySelector('text').textContent,
            x: mark.querySelector('circle').getBoundingClientRect().x,
            y: mark.querySelector('circle').getBoundingClientRect().y,
        }))"""
    )
    rows = {y: [mark for mark in marks if mark["y"] == y] for y in {mark["y"] for mark in marks}}
    assert sorted("".join(mark["sign"] for mark in row) for row in rows.values()) == ["123", "1234"]
    for row in rows.values():
        places = [mark["x"] for mark in row]
        assert places == sorted(places)
    table = visitor.page.get_by_role("table", name="The same in words")
    words = table.inner_text()
    assert all(step in words for step in ("sealed", "sent", "included", "stamped", "final"))
    described = str(picture.evaluate("svg => svg.querySelector('desc').textContent"))
    assert "eip155:31337: sealed at" in described


@pytest.mark.parametrize(
    "visitor", [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")], indirect=True
)
def test_no_page_scrolls_sideways_breaks_a_label_or_is_hard_to_read(
    batch: tuple[str, list[str]], visitor: Visitor
) -> None:
    batch_id, _ = batch
    places = [
        "namespaces",
        page_of(NAMESPACE),
        page_of(HOSTILE),
        page_of(LONG),
        "targets",
        f"batches?{urlencode({'namespace': NAMESPACE})}",
        f"batch?{urlencode({'namespace': NAMESPACE, 'id': batch_id})}",
        f"batch?{urlencode({'namespace': NAMESPACE, 'id': '<script>' * 40})}",
    ]
    for place in places:
        visitor.open(place)
        visitor.page.evaluate(
            "document.querySelectorAll('details').forEach(each => each.open = true)"
        )
        assert visitor.overflow() <= 0, place
        broken = visitor.page.evaluate(
            """() => [...document.querySelectorAll('.label, th, button, .button')]
                .filter(each => each.offsetParent && each.scrollWidth > each.clientWidth + 1)
                .map(each => each.textContent)"""
        )
        assert broken == [], place
        assert low_contrasts(visitor.page) == [], place
    visitor.errors.clear()  # the browser reports the 404 that was asked for


def test_hostile_names_are_texts_and_nothing_else(
    anchored: AnchoredSystem, visitor: Visitor
) -> None:
    leaf = "sha256:" + "11" * 32
    for name in ("<img src=x onerror=alert(1)>", "..", "ü" * 80, "a b&c=d?e#f"):
        document = {"id": name, "root": leaf, "leaves": [leaf], "namespace": LONG}
        place = anchored.root / "out/batches" / f"{name}.json"
        place.write_text(json.dumps({**document, "events": ["../../<script>alert(1)</script>"]}))
    visitor.open(f"batches?{urlencode({'namespace': LONG})}")
    for name in ("<img src=x onerror=alert(1)>", "ü" * 80, "a b&c=d?e#f"):
        visitor.press(visitor.link(name))
        visitor.page.wait_for_url(re.compile(r"/batch\?"))
        assert visitor.page.get_by_role("heading", level=1).inner_text() == f"Batch {name}"
        assert "../../<script>alert(1)</script>" in visitor.text()
        assert visitor.page.locator("script, main img").count() == 0
        visitor.page.go_back()
    visitor.open(f"proof?{urlencode({'event': '../../<script>alert(1)</script>'})}")
    assert "There is no proof yet" in visitor.text()
    visitor.errors.clear()  # the browser reports the 404 that was asked for


def test_a_target_that_rests_says_why_and_how_it_is_mended(
    anchored: AnchoredSystem, visitor: Visitor
) -> None:
    workflow_id = aggregator_workflow_id(anchored.target)
    signal_beside(anchored, workflow_id, "pause", "the node is replaced")
    try:
        batch_id, _ = anchored.seal_events(NAMESPACE, "waits")
        visitor.open(page_of(NAMESPACE))
        visitor.press(visitor.button("Anchor fast now"))
        assert "eip155:31337 is paused" in visitor.text()
        visitor.press(visitor.link(anchored.target))
        card = visitor.page.get_by_role("region", name=anchored.target)
        said = card.inner_text()
        assert "the node is replaced" in said
        assert f"temporal workflow signal --workflow-id {workflow_id} --name resume" in said
    finally:
        signal_beside(anchored, workflow_id, "resume")
    anchored.wait(lambda: anchored.is_final(NAMESPACE, batch_id), "the anchor", 120)


def signal_beside(system: AnchoredSystem, *signal: str) -> None:
    """Send a signal from a thread of its own: the browser's event loop runs in this one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(system.signal, *signal).result()


def ask(
    system: AnchoredSystem, method: str, place: str, body: str = "", **headers: str
) -> tuple[int, dict[str, str], str]:
    """Ask for a page as a program does."""
    connection = HTTPConnection(LOOPBACK, system.port, timeout=60)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, f"/admin/{place}", body or None, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, text
    finally:
        connection.close()


FORM = {"Content_Type": "application/x-www-form-urlencoded"}


def session(system: AnchoredSystem) -> str:
    body = urlencode({"token": ADMIN_TOKEN})
    status, headers, _ = ask(system, "POST", "log-in", body, Sec_Fetch_Site="same-origin", **FORM)
    assert status == 303
    return headers["set-cookie"].partition(";")[0]


@pytest.mark.parametrize(
    "forged",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {},
    ],
)
@pytest.mark.parametrize("order", ["pause-namespace", "resume-namespace", "force-namespace"])
def test_a_form_of_another_site_changes_nothing(
    anchored: AnchoredSystem, order: str, forged: dict[str, str]
) -> None:
    body = urlencode({"name": LONG, "cadence": "", "reason": "forged"})
    before = anchored.shown(LONG) if order == "pause-namespace" else None
    status, _, text = ask(anchored, "POST", order, body, Cookie=session(anchored), **FORM, **forged)
    assert (status, "Nothing was changed" in text) == (403, True)
    if before is not None:
        assert anchored.shown(LONG)["paused"] == before["paused"] == {}


@pytest.mark.parametrize("order", ["pause-namespace", "resume-namespace", "force-namespace"])
def test_nobody_orders_without_a_session_or_by_a_link(anchored: AnchoredSystem, order: str) -> None:
    body = urlencode({"name": LONG, "cadence": ""})
    status, headers, _ = ask(anchored, "POST", order, body, Sec_Fetch_Site="same-origin", **FORM)
    assert (status, headers["location"]) == (303, "log-in")
    status, _, _ = ask(anchored, "GET", f"{order}?{body}", Cookie=session(anchored))
    assert status == 404
    assert anchored.shown(LONG)["paused"] == {}


@pytest.mark.parametrize(
    ("name", "cadence", "status"),
    [("no:body", "", 404), (LONG, "hourly", 400), ("../x", "", 404), ("", "", 404)],
)
def test_an_order_that_means_nothing_is_refused_in_words(
    anchored: AnchoredSystem, name: str, cadence: str, status: int
) -> None:
    body = urlencode({"name": name, "cadence": cadence, "reason": ""})
    said, _, text = ask(
        anchored, "POST", "pause-namespace", body, Cookie=session(anchored), Origin=origin(anchored), **FORM
    )  # fmt: skip
    assert said == status
    assert "Nothing was changed" in text


def origin(system: AnchoredSystem) -> str:
    return f"http://{LOOPBACK}:{system.port}"


@pytest.mark.parametrize(
    "place",
    [
        "namespace?name=" + quote("no:body"),
        "namespace",
        "batches?namespace=..%2F..",
        f"batch?namespace={quote(NAMESPACE)}&id=..%2F..%2Fetc%2Fpasswd",
        f"batch?namespace={quote(NAMESPACE)}&id=" + "x" * 3_000,
        f"receipt?namespace={quote(NAMESPACE)}&id=1&target=eip155%3A31337",
        "proof?event=..%2F..%2Fvmsh%2Fconfig%2Fanchors",
        "proof?event=%00",
        "proof",
    ],
)
def test_what_is_not_there_is_404_in_words(anchored: AnchoredSystem, place: str) -> None:
    status, headers, text = ask(anchored, "GET", place, Cookie=session(anchored))
    assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert 'role="alert"' in text


def test_a_download_can_be_nothing_but_a_file(
    anchored: AnchoredSystem, batch: tuple[str, list[str]]
) -> None:
    batch_id, (event, *_) = batch
    query = urlencode({"namespace": NAMESPACE, "id": batch_id, "target": AUTHORITY})
    for place in (f"receipt?{query}", f"proof?{urlencode({'event': event})}"):
        status, headers, _ = ask(anchored, "GET", place, Cookie=session(anchored))
        assert status == 200
        assert headers["content-disposition"].startswith('attachment; filename="')
        assert headers["x-content-type-options"] == "nosniff"
        status, headers, _ = ask(anchored, "GET", place)
        assert (status, headers["location"].partition("?")[0]) == (303, "log-in")

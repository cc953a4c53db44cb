"""Reports of a batch, from real receipts: what they prove, when what happened, and what is wrong with them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.overview.recorded import (
    BATCH_ID,
    NAMESPACE,
    SEALED_AT,
    receipts,
    recorded,
    settings,
    write,
    write_batch,
    write_sent,
)
from vaultmesh.domain.checks import Standing
from vaultmesh.domain.rounds.manifest import OwedLeaf, RoundRequest, compose
from vaultmesh.domain.status import RoundStatus, TargetState, TargetView
from vaultmesh.overview.batch_reports import BatchReport, BatchReports, ReceiptReport, Step
from vaultmesh.storage.batch_files import BatchFiles


def report(root: Path, batch_id: str = BATCH_ID, *targets: TargetView) -> BatchReport:
    reports = BatchReports(settings(root), BatchFiles(root))
    return reports.report(NAMESPACE, "", batch_id, targets)


def of_scheme(reported: BatchReport, scheme: str) -> ReceiptReport:
    (only,) = [each for each in reported.receipts if f"/{scheme}_" in each.file]
    return only


def test_real_receipts_are_consistent_and_say_under_which_trust_they_prove(tmp_path: Path) -> None:
    recorded(tmp_path)
    reported = report(tmp_path)
    assert [each.problem for each in reported.receipts] == ["", "", ""]
    for each in reported.receipts:
        assert each.verdict is not None
        assert each.verdict.standing is Standing.CONSISTENT
        assert not each.is_refuted
        assert each.trust
        assert each.when
    assert reported.levels.levels.awaited == []


def test_what_happened_is_told_in_its_order_with_the_clock_that_says_so(tmp_path: Path) -> None:
    recorded(tmp_path)
    bitcoin = receipts()["btc"]
    write_sent(tmp_path, bitcoin, 0, SEALED_AT + timedelta(seconds=3), tx_ref="ab" * 32)
    write_sent(tmp_path, bitcoin, 1, SEALED_AT + timedelta(seconds=9))
    moments = of_scheme(report(tmp_path), "btc").moments
    assert [moment.step for moment in moments] == [
        Step.SENT, Step.SENT_AGAIN, Step.INCLUDED, Step.FINAL
    ]  # fmt: skip
    assert [moment.at for moment in moments] == [
        SEALED_AT + timedelta(seconds=3),
        SEALED_AT + timedelta(seconds=9),
        bitcoin.anchor_ts,
        bitcoin.observed_at,
    ]
    assert len({moment.clock for moment in moments}) == 3


def test_an_authority_s_token_is_never_called_final(tmp_path: Path) -> None:
    recorded(tmp_path)
    moments = of_scheme(report(tmp_path), "rfc3161").moments
    assert [moment.step for moment in moments] == [Step.STAMPED]


def test_a_receipt_whose_evidence_was_changed_is_refuted(tmp_path: Path) -> None:
    recorded(tmp_path)
    place = tmp_path / receipts()["eip155"].path
    document = json.loads(place.read_text())
    document["evidence"]["evm"]["blockHash"] = "0x" + "00" * 32
    place.write_text(json.dumps(document))
    reported = report(tmp_path)
    assert of_scheme(reported, "eip155").is_refuted
    assert not of_scheme(reported, "btc").is_refuted
    proven = {proof.target.scheme for proof in reported.levels.levels.proven}
    assert proven == {"btc", "rfc3161"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": "1"}'])
def test_a_receipt_that_cannot_be_read_hides_no_other(tmp_path: Path, content: str) -> None:
    recorded(tmp_path)
    (tmp_path / receipts()["eip155"].path).write_text(content)
    reported = report(tmp_path)
    assert of_scheme(reported, "eip155").problem
    assert of_scheme(reported, "btc").receipt is not None
    assert [level.target.scheme for level in reported.levels.levels.awaited] == ["eip155"]


def test_a_receipt_that_lies_in_another_one_s_place_proves_nothing_here(tmp_path: Path) -> None:
    recorded(tmp_path)
    content = (tmp_path / receipts()["eip155"].path).read_text()
    write(tmp_path / f"out/anchors/fin_clearing/{BATCH_ID}/eip155_1.json", content)
    (misplaced,) = [
        each for each in report(tmp_path).receipts if each.file.endswith("/eip155_1.json")
    ]
    assert "restore it" in misplaced.problem


def test_a_batch_that_was_changed_after_its_anchor_refutes_its_receipts(tmp_path: Path) -> None:
    recorded(tmp_path)
    write_batch(tmp_path, BATCH_ID, namespace=NAMESPACE)  # another root
    assert all(each.is_refuted for each in report(tmp_path).receipts)


def test_a_batch_without_its_file_is_shown_by_its_receipts(tmp_path: Path) -> None:
    recorded(tmp_path)
    (tmp_path / f"out/batches/{BATCH_ID}.json").unlink()
    reported = report(tmp_path)
    assert (reported.batch, reported.problem, reported.sealed) == (None, "", [])
    assert len(reported.receipts) == 3
    assert not reported.is_unknown


@pytest.mark.parametrize(
    "batch_id",
    ["", "..", "../secret", "/etc/passwd", "a/b", "\0", ".hidden", "x" * 5_000, "ü" * 101],
)
def test_an_id_that_is_no_file_s_name_is_unknown(tmp_path: Path, batch_id: str) -> None:
    recorded(tmp_path)
    write(
        tmp_path / "out/secret.json", json.dumps({"id": "../secret", "root": "sha256:" + "00" * 32})
    )
    assert report(tmp_path, batch_id).is_unknown


def test_another_namespace_s_batch_is_unknown(tmp_path: Path) -> None:
    recorded(tmp_path)
    write_batch(tmp_path, "7", namespace="dao:other")
    assert report(tmp_path, "7").is_unknown


def test_a_round_that_holds_the_batch_is_under_way_until_there_is_a_receipt(tmp_path: Path) -> None:
    recorded(tmp_path)
    receipt = receipts()["eip155"]
    batch = write_batch(tmp_path, "8", namespace=NAMESPACE)
    folder = tmp_path / "out/rounds" / receipt.network.path
    request = RoundRequest(namespace=NAMESPACE, cadence="fast", slot="1", required_depth=2)
    owed = OwedLeaf(namespace=NAMESPACE, batch_id="8", root=batch.root, requests=(request,))
    manifest = compose(receipt.network, [owed], "off", lambda: b"")
    write(folder / manifest.round_id / "manifest.json", manifest.document())
    status = RoundStatus(
        round_id=manifest.round_id, state="pending", account="a", since=datetime.now(UTC)
    )
    target = TargetView(target=str(receipt.network), state=TargetState.RUNNING, rounds=[status])
    (under_way,) = report(tmp_path, "8", target).under_way
    assert under_way.round.round_id == manifest.round_id
    assert report(tmp_path, BATCH_ID, target).under_way == []

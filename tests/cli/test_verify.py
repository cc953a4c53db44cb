"""`verify` on receipts of a real run, and on copies that were changed in every way that must be told apart."""

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.artifact import load_artifact
from tests.cli.conftest import (
    Command,
    Outcome,
    anchored_directly,
    anchored_in_a_tree,
    cadences,
    write_namespaces,
)
from tests.support.evm_system import EvmSystem
from vaultmesh.process.settings import Settings
from vaultmesh.verification.batch_levels import batch_levels

pytestmark = [pytest.mark.server, pytest.mark.evm]
STRANGER = "0x00000000000000000000000000000000000de911"
"""Account without a key; the local chain lends it."""
NAMESPACE, SHARING = "ver:one", "ver:two"
Receipt = dict[str, Any]


@pytest.fixture(scope="module")
def direct(system: EvmSystem) -> Path:
    """Return the final receipt of a batch that was sealed from files and committed directly."""
    return anchored_directly(system, NAMESPACE, "minutes", 1_761_200_000)


@pytest.fixture(scope="module")
def in_a_tree(system: EvmSystem, direct: Path) -> Path:
    """Return the final receipt of a batch that shares its transaction with another."""
    return anchored_in_a_tree(system, SHARING)


def _failed(operate: Command, *what: object) -> dict[str, str]:
    """Return name and detail of each check that failed."""
    outcome = operate("verify", *what, "--json")
    document = outcome.json()
    failed = {
        check["name"]: check["detail"]
        for receipt in document["receipts"]
        for check in receipt["checks"]
        if not check["passed"]
    }
    assert outcome.code == (1 if failed else 0)
    assert document["verified"] is not bool(failed)
    return failed


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Path, Callable[[Receipt], object]], Path]:
    """Return a copy of a receipt with a change."""

    def change(original: Path, edit: Callable[[Receipt], object]) -> Path:
        document = json.loads(original.read_text())
        before = copy.deepcopy(document)
        edit(document)
        assert document != before
        place = tmp_path / "changed.json"
        place.write_text(json.dumps(document))
        return place

    return change


Changed = Callable[[Path, Callable[[Receipt], object]], Path]


def test_a_receipt_of_a_real_run_verifies_with_a_line_per_check(
    operate: Command, direct: Path
) -> None:
    outcome = operate("verify", direct)
    assert outcome.code == 0
    path, *lines, conclusion = outcome.out.splitlines()
    assert path == str(direct)
    assert all(line.startswith("✓ ") and ": " in line for line in lines)
    assert "(finalized)" in conclusion


def test_a_receipt_of_a_tree_verifies_through_its_inclusion_proof(
    operate: Command, in_a_tree: Path
) -> None:
    assert json.loads(in_a_tree.read_text())["evidence"]["aggregation"]["treeSize"] == 2
    outcome = operate("verify", in_a_tree)
    assert (outcome.code, "of 2 leads to" in outcome.out) == (0, True)


def test_every_receipt_of_a_batch_is_found_by_its_id(operate: Command, direct: Path) -> None:
    batch_id = direct.parent.name
    assert _failed(operate, "--batch", batch_id) == {}
    assert _failed(operate, "--batch", batch_id, "--namespace", NAMESPACE) == {}
    assert operate("verify", "--batch", batch_id, "--namespace", SHARING).code == 1
    assert operate("verify", "--batch", "none").code == 1


def _levels(outcome: Outcome) -> Any:
    assert outcome.code == 0
    return outcome.json()["levels"]


def test_a_batch_s_levels_say_what_is_proven_and_what_is_awaited_without_temporal(
    operate: Command, direct: Path, tmp_path: Path
) -> None:
    batch_id, receipt = direct.parent.name, json.loads(direct.read_text())
    configured = {**cadences(fast="1h"), "cold": {"target": "rfc3161:tsa", "every": "1d"}}
    place = write_namespaces(
        tmp_path / "namespaces.yaml", {NAMESPACE: configured, SHARING: configured}
    )
    what = {"VMSH_NAMESPACES": str(place), "TEMPORAL_ADDRESS": "127.0.0.1:1"}
    (proven,), (awaited,), unknown = _levels(
        operate("verify", "--batch", batch_id, "--json", **what)
    ).values()
    assert (proven["namespace"], proven["target"]) == (NAMESPACE, receipt["network"])
    assert (proven["level"], proven["at"]) == ("final", receipt["anchorTs"])
    assert proven["since"] == receipt["observedAt"][:19] + "Z"
    assert (awaited["namespace"], awaited["target"], awaited["level"]) == (
        NAMESPACE, "rfc3161:tsa", "token",
    )  # fmt: skip
    assert awaited["since"] == "2025-10-23T06:13:20Z"
    assert unknown == []
    outcome = operate("verify", "--batch", batch_id)
    assert outcome.code == 0, "what is awaited is no failure"
    assert outcome.out.splitlines()[-2:] == [
        f"  {NAMESPACE} {receipt['network']}: final since {proven['since']}, in its block since {proven['at']}",
        f"  {NAMESPACE} rfc3161:tsa: awaiting: token, since 2025-10-23T06:13:20Z",
    ]


def test_an_anchor_that_is_not_final_is_awaited_since_its_block(
    operate: Command, direct: Path
) -> None:
    original = direct.read_text()
    document = json.loads(original)
    document["finality"] |= {"state": "observed", "observedDepth": 2, "requiredDepth": 1_000_000}
    try:
        direct.write_text(json.dumps(document))
        levels = _levels(operate("verify", "--batch", direct.parent.name, "--json"))
        outcome = operate("verify", "--batch", direct.parent.name)
    finally:
        direct.write_text(original)
    assert [one["level"] for one in levels["proven"]] == ["included"]
    assert [(one["level"], one["since"]) for one in levels["awaited"]] == [
        ("final", document["anchorTs"])
    ]
    assert f"awaiting: final, 2 of 1000000, since {document['anchorTs']}" in outcome.out


def test_what_is_awaited_of_a_namespace_that_is_not_configured_is_said_to_be_unknown(
    operate: Command, direct: Path, tmp_path: Path
) -> None:
    batch_id = direct.parent.name
    levels = _levels(operate("verify", "--batch", batch_id, "--json"))
    assert (len(levels["proven"]), levels["awaited"]) == (1, [])
    assert NAMESPACE in levels["unknown"][0]
    broken = tmp_path / "namespaces.yaml"
    broken.write_text("namespaces: nonsense\n")
    outcome = operate("verify", "--batch", batch_id, "--json", VMSH_NAMESPACES=str(broken))
    levels = _levels(outcome)
    assert len(levels["proven"]) == 1
    assert str(broken) in levels["unknown"][0]


def test_a_receipt_that_is_not_verified_proves_nothing(operate: Command, direct: Path) -> None:
    original = direct.read_text()
    document = {**json.loads(original), "anchorTs": "2020-01-01T00:00:00Z"}
    try:
        direct.write_text(json.dumps(document))
        outcome = operate("verify", "--batch", direct.parent.name, "--json")
    finally:
        direct.write_text(original)
    assert outcome.code == 1
    levels = outcome.json()["levels"]
    assert levels["proven"] == []
    assert [(one["level"], one["reason"]) for one in levels["awaited"]] == [
        ("included", "its receipt was not verified")
    ]


def test_a_batch_is_awaited_for_each_namespace_whose_folder_holds_it(tmp_path: Path) -> None:
    def seal(folder: str, batch_id: str, **more: object) -> None:
        place = tmp_path / folder / f"{batch_id}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps({"id": batch_id, "root": OTHER, "createdAt": 0, **more}))

    namespaces = {
        name: {"cadence": cadences(), **more}
        for name, more in (("a:one", {}), ("a:two", {}), ("a:own", {"batches": "own"}))
    }
    place = tmp_path / "namespaces.yaml"
    place.write_text(json.dumps({"namespaces": namespaces}))
    settings = Settings.from_environment(
        {"VMSH_ROOT": str(tmp_path), "VMSH_NAMESPACES": str(place)}
    )

    def awaited(batch_id: str, namespace: str = "") -> list[str]:
        found = batch_levels(settings, batch_id, (), namespace)
        assert not found.levels.proven
        return [one.namespace for one in found.levels.awaited]

    seal("out/batches", "1")
    seal("out/batches", "2", namespace="a:two")
    seal("own", "3")
    assert awaited("1") == ["a:one", "a:two"]
    assert awaited("1", "a:two") == awaited("2") == ["a:two"]
    assert awaited("3") == ["a:own"]
    assert awaited("2", "a:one") == awaited("4") == awaited("../own/3") == []


def test_levels_are_there_with_a_batch_only(operate: Command, direct: Path) -> None:
    assert set(operate("verify", direct, "--json").json()) == {"verified", "receipts"}


def _set(*keys: str, to: object) -> Callable[[Receipt], object]:
    def edit(document: Receipt) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = to

    return edit


ZEROS, ONES = "0x" + "00" * 32, "0x" + "11" * 32


@pytest.mark.parametrize(
    ("edit", "names"),
    [
        (_set("root", to=ONES), {"batch root", "root", "batch id", "round"}),
        (
            _set("blockNumber", to=1),
            {"block", "canonical", "timestamp", "depth", "finality"},
        ),
        (_set("anchorTs", to="2020-01-01T00:00:00Z"), {"timestamp"}),
        (
            _set("evidence", "evm", "blockHash", to=ONES),
            {"block", "canonical", "depth", "finality"},
        ),
        (_set("evidence", "evm", "contract", to="0x" + "12" * 20), {"contract"}),
        (_set("evidence", "evm", "batchId", to=ONES), {"batch id"}),
        (_set("evidence", "evm", "rawTransaction", to="0x02"), {"raw transaction"}),
        (_set("metadata", "round", to="0" * 32), {"round"}),
        (_set("metadata", "batchId", to="1761299999"), {"batch file"}),
        (_set("metadata", "namespace", to="ver:thief"), {"batch namespace"}),
        (_set("finality", "requiredDepth", to=1_000_000), {"receipt"}),
        (_set("network", to="eip155:1"), {"round", "ledger"}),
        (_set("surplus", to=1), {"receipt"}),
    ],
)
def test_each_change_of_a_receipt_is_told_apart(
    edit: Callable[[Receipt], object],
    names: set[str],
    operate: Command,
    direct: Path,
    changed: Changed,
) -> None:
    assert set(_failed(operate, changed(direct, edit))) - {"carried proof"} == names


@pytest.mark.parametrize(
    ("key", "value"),
    [("header", "0x00"), ("transactionIndex", 7), ("receiptProof", []), ("transactionProof", [])],
)
def test_a_receipt_whose_portable_proof_is_broken_is_not_verified_though_the_ledger_agrees(
    key: str, value: object, operate: Command, direct: Path, changed: Changed
) -> None:
    failed = _failed(operate, changed(direct, _set("evidence", "evm", key, to=value)))
    assert set(failed) == {"carried proof"}


def test_a_block_that_is_not_of_the_chain_is_called_reorganised(
    operate: Command, direct: Path, changed: Changed
) -> None:
    failed = _failed(operate, changed(direct, _set("evidence", "evm", "blockHash", to=ONES)))
    assert "reorganised" in failed["canonical"]


def test_a_wrong_leaf_of_a_tree_fails_at_the_inclusion_proof(
    operate: Command, in_a_tree: Path, changed: Changed
) -> None:
    for key, value in (("root", ONES), ("salt", ZEROS), ("batchId", "1"), ("namespace", "x")):
        edit = _set("evidence", "aggregation", "leaf", key, to=value)
        assert "inclusion proof" in _failed(operate, changed(in_a_tree, edit))
    assert "inclusion proof" in _failed(
        operate, changed(in_a_tree, _set("evidence", "aggregation", "path", to=[ONES]))
    )
    assert "inclusion proof" in _failed(
        operate, changed(in_a_tree, _set("evidence", "aggregation", "root", to=ONES))
    )


def _sent(system: EvmSystem, transaction: dict[str, str]) -> Receipt:
    system.anvil.fund(STRANGER)
    system.rpc("anvil_impersonateAccount", STRANGER)
    sent = system.rpc("eth_sendTransaction", {"from": STRANGER, "gas": hex(100_000), **transaction})
    found: Receipt = system.wait(lambda: system.rpc("eth_getTransactionReceipt", sent), "a block")
    return found


def _as_if_in(found: Receipt) -> Callable[[Receipt], object]:
    def edit(document: Receipt) -> None:
        document["txRef"] = document["txHash"] = found["transactionHash"]
        document["blockNumber"] = int(found["blockNumber"], 16)
        document["evidence"]["evm"]["blockHash"] = found["blockHash"]

    return edit


def test_a_reverted_transaction_is_called_reverted(
    operate: Command, system: EvmSystem, direct: Path, changed: Changed
) -> None:
    found = _sent(system, {"to": system.evm.contract, "data": "0xdeadbeef"})
    failed = _failed(operate, changed(direct, _as_if_in(found)))
    assert "reverted" in failed["status"]
    assert "contract" not in failed


def test_the_same_log_by_another_contract_is_called_the_wrong_contract(
    operate: Command, system: EvmSystem, direct: Path, changed: Changed
) -> None:
    original = json.loads(direct.read_text())
    call = system.rpc("eth_getTransactionByHash", original["txRef"])["input"]
    other = system.anvil.deploy(str(load_artifact()["bytecode"])).lower()
    failed = _failed(
        operate, changed(direct, _as_if_in(_sent(system, {"to": other, "data": call})))
    )
    assert other in failed["contract"]
    assert "status" not in failed


def test_an_unknown_transaction_is_in_no_block(
    operate: Command, direct: Path, changed: Changed
) -> None:
    def edit(document: Receipt) -> None:
        document["txRef"] = document["txHash"] = ONES

    assert "in no block" in _failed(operate, changed(direct, edit))["transaction"]


def test_what_is_not_deep_enough_yet_is_information_when_the_receipt_says_observed(
    operate: Command, direct: Path, changed: Changed
) -> None:
    def edit(document: Receipt) -> None:
        document["finality"] |= {"state": "observed", "requiredDepth": 1_000_000}

    outcome = operate("verify", changed(direct, edit))
    assert outcome.code == 0
    assert "of 1000000 (not final yet" in outcome.out


def test_a_receipt_that_says_reorged_is_not_verified(
    operate: Command, direct: Path, changed: Changed
) -> None:
    def edit(document: Receipt) -> None:
        document["status"] = document["finality"]["state"] = "reorged"

    assert set(_failed(operate, changed(direct, edit))) == {"receipt status"}


def test_a_changed_batch_file_is_told_from_a_changed_receipt(
    operate: Command, system: EvmSystem, direct: Path
) -> None:
    place = system.root / "out/batches" / f"{direct.parent.name}.json"
    original = place.read_text()
    batch = json.loads(original)
    other = "sha256:" + hashlib.sha256(b"other").hexdigest()
    try:
        place.write_text(json.dumps({**batch, "leaves": [other, *batch["leaves"][1:]]}))
        assert set(_failed(operate, direct)) == {"batch file"}
        bare = {key: batch[key] for key in ("id", "createdAt", "namespace")}
        place.write_text(json.dumps({**bare, "root": other}))
        assert set(_failed(operate, direct)) == {"batch root"}
        place.unlink()
        assert "missing" in _failed(operate, direct)["batch file"]
    finally:
        place.write_text(original)


def test_files_that_are_no_receipts_fail_each_by_itself(
    operate: Command, direct: Path, tmp_path: Path
) -> None:
    place = tmp_path / "nonsense.json"
    place.write_text("{")
    outcome = operate("verify", direct, place, tmp_path / "absent.json", "--json")
    assert outcome.code == 1
    assert [receipt["passed"] for receipt in outcome.json()["receipts"]] == [True, False, False]


# --- events ------------------------------------------------------------------------------------


@pytest.fixture
def event(system: EvmSystem, direct: Path) -> Path:
    """Return the event receipt of a leaf of the direct batch, once it has its anchor."""
    (place,) = (system.root / "out/receipts").glob("minutes-1*.json")
    system.wait(
        lambda: json.loads(place.read_text())["anchor"]["chain"] != "vm:internal", "its anchor"
    )
    return place


def test_an_event_verifies_by_id_and_by_file_with_a_word_on_its_legacy_path(
    operate: Command, event: Path
) -> None:
    assert _failed(operate, event) == {}
    outcome = operate("verify", "--event", event.stem)
    assert outcome.code == 0
    assert "legacy" in outcome.out


def test_an_unknown_event_is_a_clear_failure(operate: Command) -> None:
    outcome = operate("verify", "--event", "nothing")
    assert (outcome.code, outcome.out) == (1, "")
    assert "'nothing'" in outcome.err


OTHER = "sha256:" + "22" * 32


@pytest.mark.parametrize(
    ("edit", "names"),
    [
        (_set("eventHash", to=OTHER), {"event path", "event leaf"}),
        (_set("path", to=[OTHER]), {"event path"}),
        (_set("path", to=[OTHER] * 21), {"event path"}),
        (_set("anchor", "tx", to=ONES), {"transaction", "event anchor"}),
        (_set("anchor", "ts", to=1), {"timestamp", "event anchor"}),
        (_set("anchor", "block", to=1), {"block", "event anchor"}),
        (_set("anchor", "contract", to="0x" + "12" * 20), {"contract", "event anchor"}),
        (_set("integrity", to="vmr1-1761200000-other"), {"event id"}),
    ],
)
def test_each_change_of_an_event_receipt_is_told_apart(
    edit: Callable[[Receipt], object],
    names: set[str],
    operate: Command,
    event: Path,
    changed: Changed,
) -> None:
    assert names <= set(_failed(operate, changed(event, edit)))


def test_a_legacy_receipt_without_anchor_receipts_is_checked_against_the_ledger_alone(
    operate: Command, direct: Path, event: Path, tmp_path: Path
) -> None:
    aside = tmp_path / "aside.json"
    direct.rename(aside)
    try:
        assert _failed(operate, event) == {}
    finally:
        aside.rename(direct)


def test_an_event_of_a_batch_in_a_tree_is_verified_by_the_batch_s_anchors(
    operate: Command, system: EvmSystem, in_a_tree: Path, tmp_path: Path
) -> None:
    batch_id = in_a_tree.parent.name
    batch = json.loads((system.root / "out/batches" / f"{batch_id}.json").read_text())
    first, second, third = (bytes.fromhex(leaf[7:]) for leaf in batch["leaves"])
    sibling = hashlib.sha256(third + third).hexdigest()
    place = tmp_path / "event.json"
    receipt = {
        "eventHash": batch["leaves"][0],
        "batchRoot": batch["root"],
        "path": [f"sha256:{second.hex()}", f"sha256:{sibling}"],
        "anchor": {"chain": "vm:internal", "tx": f"batch:{batch_id}", "block": 0, "ts": 1},
        "verifier": "did:vm:arbiter:local-sealer",
        "integrity": f"vmr1-{batch_id}-event-{first.hex()[:4]}",
    }
    place.write_text(json.dumps(receipt))
    outcome = operate("verify", place)
    assert outcome.code == 0
    assert "of 2 leads to" in outcome.out


def test_an_event_of_a_batch_that_is_only_sealed_is_not_verified(
    operate: Command, system: EvmSystem, tmp_path: Path
) -> None:
    file = tmp_path / "fresh.txt"
    file.write_text("fresh")
    assert operate("seal", "ver:nobody", file).code == 0
    (place,) = (system.root / "out/receipts").glob("fresh*.json")
    assert "not anchored" in _failed(operate, place)["anchor"]

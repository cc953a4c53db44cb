"""`verify --offline` and `proof` on a real run: proven by files and a stated trust, without ledger, server or settings."""

import hashlib
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from devnet.anvil import CHAIN_ID
from tests.cli.conftest import Command, anchored_directly, anchored_in_a_tree
from tests.support.evm_system import EvmSystem
from vaultmesh.process.settings import REPOSITORY

pytestmark = [pytest.mark.server, pytest.mark.evm]
NAMESPACE, SHARING = "off:one", "off:two"
TARGET = f"eip155:{CHAIN_ID}"


@pytest.fixture(scope="module")
def direct(system: EvmSystem) -> Path:
    """Return the final receipt of a batch of files that was committed directly."""
    return anchored_directly(system, NAMESPACE, "ledger", 1_761_100_000)


@pytest.fixture(scope="module")
def in_a_tree(system: EvmSystem, direct: Path) -> Path:
    """Return the final receipt of a batch that shares its transaction with another."""
    return anchored_in_a_tree(system, SHARING)


@pytest.fixture
def event(system: EvmSystem, direct: Path) -> Path:
    """Return the event receipt of a leaf of the direct batch, once it has its anchor."""
    (place,) = (system.root / "out/receipts").glob("ledger-1*.json")
    system.wait(
        lambda: json.loads(place.read_text())["anchor"]["chain"] != "vm:internal", "its anchor"
    )
    return place


@pytest.fixture
def tree_event(system: EvmSystem, in_a_tree: Path) -> str:
    """Return the id of an event of a batch in a tree; its sealer wrote receipts as the original does."""
    batch_id = in_a_tree.parent.name
    batch = json.loads((system.root / "out/batches" / f"{batch_id}.json").read_text())
    _, second, third = (bytes.fromhex(leaf[7:]) for leaf in batch["leaves"])
    event_id = f"shared-{batch_id}"
    receipt = {
        "eventHash": batch["leaves"][0],
        "batchRoot": batch["root"],
        "path": [f"sha256:{second.hex()}", f"sha256:{hashlib.sha256(third + third).hexdigest()}"],
        "anchor": {"chain": "vm:internal", "tx": f"batch:{batch_id}", "block": 0, "ts": 1},
        "verifier": "did:vm:arbiter:local-sealer",
        "integrity": f"vmr1-{batch_id}-{event_id}",
    }
    (system.root / "out/receipts" / f"{event_id}.json").write_text(json.dumps(receipt))
    return event_id


def _block(receipt: Path) -> str:
    return str(json.loads(receipt.read_text())["evidence"]["evm"]["blockHash"])


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, in_a_tree: Path, event: Path) -> None:
    """Refuse every connection, once the receipts are there."""

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("the network was used")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)


@pytest.fixture
def bare(run: Command, monkeypatch: pytest.MonkeyPatch, no_network: None) -> Command:
    """Run a command without settings and without a network."""
    for name in ("TEMPORAL_ADDRESS", "VMSH_ROOT", "VMSH_NAMESPACES"):
        monkeypatch.delenv(name, raising=False)
    return run


# --- receipts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["direct", "in_a_tree"])
def test_a_final_receipt_is_proven_by_itself_under_trust_in_its_block(
    which: str, bare: Command, request: pytest.FixtureRequest
) -> None:
    receipt: Path = request.getfixturevalue(which)
    outcome = bare(
        "verify", "--offline", receipt, "--trust-block", _block(receipt).upper().replace("X", "x")
    )
    assert outcome.code == 0
    path, *lines, conclusion = outcome.out.splitlines()
    assert path == str(receipt)
    assert len(lines) > 5
    assert all(line.startswith("✓ ") and ": " in line for line in lines)
    assert conclusion.startswith("proven: root ")
    assert f"trust in block {_block(receipt)}" in conclusion


def test_a_receipt_of_a_real_run_is_small(direct: Path, in_a_tree: Path) -> None:
    assert max(direct.stat().st_size, in_a_tree.stat().st_size) < 12_000


@pytest.mark.parametrize("trust", [[], ["--trust-block", "0x" + "11" * 32]])
def test_without_trust_in_its_block_it_is_consistent_and_not_proven(
    bare: Command, direct: Path, trust: list[str]
) -> None:
    outcome = bare("verify", "--offline", direct, *trust)
    assert outcome.code == 1
    assert "? trusted block: " in outcome.out
    assert outcome.out.splitlines()[-1].startswith("consistent, not proven")


def _changed(original: Path, folder: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    document = json.loads(original.read_text())
    edit(document)
    place = folder / "changed.json"
    place.write_text(json.dumps(document))
    return place


def test_what_is_wrong_is_named(bare: Command, direct: Path, tmp_path: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["root"] = "0x" + "11" * 32

    outcome = bare(
        "verify", "--offline", _changed(direct, tmp_path, edit), "--trust-block", _block(direct)
    )
    assert outcome.code == 1
    assert "✗ root: " in outcome.out
    assert "not verified: round, root failed" in outcome.out


def test_json_tells_standing_and_checks(bare: Command, direct: Path, tmp_path: Path) -> None:
    outcome = bare("verify", "--offline", direct, tmp_path / "absent.json", "--json")
    assert outcome.code == 1
    document = outcome.json()
    assert document["verified"] is False
    assert [one["standing"] for one in document["receipts"]] == ["consistent", "refuted"]
    assert document["receipts"][0]["statement"].startswith("consistent, not proven")
    (trusted,) = [c for c in document["receipts"][0]["checks"] if c["name"] == "trusted block"]
    assert (trusted["passed"], trusted["found"]) == (False, "open")
    (part,) = document["receipts"][0]["ledgers"]
    assert (part["network"], part["standing"], part["caveat"]) == (TARGET, "consistent", "")
    assert part["trust"] == f"trust in block {_block(direct)}"
    assert _block(direct) in part["place"]
    assert part["checks"] == document["receipts"][0]["checks"]
    assert document["receipts"][1]["ledgers"] == []
    outcome = bare("verify", "--offline", direct, "--trust-block", _block(direct), "--json")
    assert (outcome.code, outcome.json()["verified"]) == (0, True)


def test_nonsense_fails_each_by_itself(bare: Command, direct: Path, tmp_path: Path) -> None:
    place = tmp_path / "nonsense.json"
    for text in ("{", "[]", "[" * 100_000, '{"format": "vaultmesh-proof"}', '{"eventHash": 1}'):
        place.write_text(text)
        outcome = bare(
            "verify", "--offline", place, direct, "--trust-block", _block(direct), "--json"
        )
        assert outcome.code == 1
        assert [one["passed"] for one in outcome.json()["receipts"]] == [False, True]


def test_a_file_writes_no_verdict_of_its_own_into_the_output(
    bare: Command, direct: Path, tmp_path: Path
) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["metadata"]["round"] = "\nproven: root 0x11\x1b[2J\u202e"

    outcome = bare(
        "verify", "--offline", _changed(direct, tmp_path, edit), "--trust-block", _block(direct)
    )
    assert outcome.code == 1
    assert [line for line in outcome.out.splitlines() if line.startswith("proven")] == []
    assert not {"\x1b", "\u202e"} & set(outcome.out)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--offline"],
        ["--offline", "a.json", "--batch", "1"],
        ["--offline", "a.json", "--trust-block", "11"],
        ["--offline", "a.json", "--trust-block", "0x" + "1g" * 32],
        ["a.json", "--trust-block", "0x" + "11" * 32],
    ],
)
def test_bad_usage_is_told(bare: Command, arguments: list[str]) -> None:
    assert bare("verify", *arguments).code == 2


# --- batches and events ---------------------------------------------------------------------------


def test_every_receipt_of_a_batch_is_verified(
    run: Command, no_network: None, system: EvmSystem, direct: Path
) -> None:
    outcome = run(
        "verify", "--offline", "--batch", direct.parent.name, "--trust-block", _block(direct),
        VMSH_ROOT=str(system.root),
    )  # fmt: skip
    assert outcome.code == 0
    assert "✓ batch root: " in outcome.out
    assert run("verify", "--offline", "--batch", "none", VMSH_ROOT=str(system.root)).code == 1


def test_an_event_is_verified_by_id_and_by_file(
    run: Command, no_network: None, system: EvmSystem, event: Path, direct: Path
) -> None:
    trust = ("--trust-block", _block(direct))
    outcome = run("verify", "--offline", "--event", event.stem, *trust, VMSH_ROOT=str(system.root))
    assert outcome.code == 0
    for said in (
        "✓ event path: ",
        f"✓ {TARGET} event id: ",
        "✓ event leaf: ",
        f"✓ {TARGET} root: ",
    ):
        assert said in outcome.out
    assert run("verify", "--offline", event, *trust).code == 0
    assert run("verify", "--offline", event).code == 1
    assert run("verify", "--offline", "--event", "nothing").code == 1


# --- proof files ----------------------------------------------------------------------------------


def _proof(run: Command, system: EvmSystem, event_id: str, place: Path) -> Path:
    outcome = run("proof", event_id, "-o", place, VMSH_ROOT=str(system.root))
    assert (outcome.code, outcome.out) == (0, "")
    assert TARGET in outcome.err
    assert " to whoever has trust in block 0x" in outcome.err
    return place


def test_a_proof_file_is_verified_where_nothing_else_is(
    run: Command, system: EvmSystem, event: Path, direct: Path, tmp_path: Path
) -> None:
    place = _proof(run, system, event.stem, tmp_path / "event.proof.json")
    starter = str(REPOSITORY / "starter.py")
    trust = ("--trust-block", _block(direct))
    done = subprocess.run(
        [sys.executable, starter, "verify", "--offline", place.name, *trust],
        cwd=tmp_path, env={}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "proven: event sha256:" in done.stdout
    assert "legacy path" in done.stdout


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_without_offline_a_proof_file_is_told_from_a_receipt(
    run: Command, system: EvmSystem, event: Path, tmp_path: Path, options: list[str]
) -> None:
    place = _proof(run, system, event.stem, tmp_path / "event.proof.json")
    outcome = run("verify", event, place, *options, VMSH_ROOT=str(system.root))
    assert (outcome.code, outcome.out) == (2, "")
    assert f"{place} is a proof file" in outcome.err
    assert "--offline" in outcome.err


def test_a_proof_goes_through_a_tree_as_well(
    run: Command, system: EvmSystem, tree_event: str, in_a_tree: Path, tmp_path: Path
) -> None:
    place = _proof(run, system, tree_event, tmp_path / "proof.json")
    outcome = run("verify", "--offline", place, "--trust-block", _block(in_a_tree))
    assert outcome.code == 0
    assert f"✓ {TARGET} inclusion proof: leaf " in outcome.out
    assert run("verify", "--offline", place).code == 1


def test_without_a_file_the_proof_is_printed(
    run: Command, no_network: None, system: EvmSystem, event: Path
) -> None:
    outcome = run("proof", event.stem, VMSH_ROOT=str(system.root))
    assert outcome.code == 0
    assert outcome.json()["eventId"] == event.stem
    assert [one["network"] for one in outcome.json()["anchors"]] == [TARGET]


@pytest.mark.usefixtures("no_network")
def test_a_changed_proof_file_is_refused(
    run: Command, system: EvmSystem, event: Path, direct: Path, tmp_path: Path
) -> None:
    place = _proof(run, system, event.stem, tmp_path / "event.proof.json")
    trust = ("--trust-block", _block(direct))
    other = "sha256:" + "22" * 32

    def exchange_event(document: dict[str, Any]) -> None:
        document["event"]["eventHash"] = other

    def rename(document: dict[str, Any]) -> None:
        document["eventId"] = "another"

    def move(document: dict[str, Any]) -> None:
        document["anchors"][0]["network"] = "eip155:1"

    def shorten(document: dict[str, Any]) -> None:
        document["anchors"][0]["evidence"]["evm"]["receiptProof"].pop()

    for edit in (exchange_event, rename, move, shorten):
        assert run("verify", "--offline", _changed(place, tmp_path, edit), *trust).code == 1


def test_an_event_that_no_ledger_holds_has_no_proof(
    run: Command, system: EvmSystem, tmp_path: Path
) -> None:
    root = {"VMSH_ROOT": str(system.root)}
    outcome = run("proof", "nothing", **root)
    assert (outcome.code, outcome.out) == (1, "")
    assert "'nothing'" in outcome.err
    file = tmp_path / "unanchored.txt"
    file.write_text("unanchored")
    assert run("seal", "off:nobody", file, **root).code == 0
    (place,) = (system.root / "out/receipts").glob("unanchored*.json")
    outcome = run("proof", place.stem, **root)
    assert (outcome.code, outcome.out) == (1, "")
    assert "no ledger holds" in outcome.err


def test_a_proof_that_would_not_hold_is_not_written(
    run: Command, system: EvmSystem, event: Path, tmp_path: Path
) -> None:
    original = event.read_text()
    broken = json.loads(original) | {"path": []}
    try:
        event.write_text(json.dumps(broken))
        outcome = run(
            "proof", event.stem, "-o", tmp_path / "proof.json", VMSH_ROOT=str(system.root)
        )
    finally:
        event.write_text(original)
    assert outcome.code == 1
    assert "event path" in outcome.err
    assert not (tmp_path / "proof.json").exists()


def test_what_is_not_final_yet_is_said(
    run: Command, system: EvmSystem, event: Path, direct: Path, tmp_path: Path
) -> None:
    original = direct.read_text()
    document = json.loads(original)
    document["finality"] |= {"state": "observed", "requiredDepth": 1_000_000}
    for key in ("header", "transactionIndex", "receiptProof", "transactionProof"):
        del document["evidence"]["evm"][key]
    place = tmp_path / "proof.json"
    try:
        direct.write_text(json.dumps(document))
        outcome = run("proof", event.stem, "-o", place, VMSH_ROOT=str(system.root))
    finally:
        direct.write_text(original)
    assert outcome.code == 0
    assert "not final yet" in outcome.err
    assert "to whoever has" not in outcome.err
    outcome = run("verify", "--offline", place, "--trust-block", _block(direct))
    assert outcome.code == 1
    assert f"\n{TARGET}: consistent, not proven: open is block header; " in outcome.out
    assert f"? {TARGET} block header: " in outcome.out

"""Event receipts take the strongest final direct anchor, whatever came first; every level stays in out/anchors (X9)."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.domain.batches.test_event_receipt import FILE, OBSERVED, ROOT
from tests.domain.receipts.test_receipt import BTC, EVM, TSA, in_a_tree, read
from vaultmesh.domain.receipts.receipt import AnchorReceipt, receipt_document
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.receipts import ReceiptStore, Written

BATCH, EVENT = "1761300000", "evt-0001"
BATCH_ROOT = MerkleRoot.parse(ROOT)
REORGED = {"observedDepth": 0, "requiredDepth": 6, "state": "reorged"}
PLACEHOLDER = {"chain": "vm:internal", "tx": f"batch:{BATCH}", "block": 0, "ts": 1761300000}
STRENGTH = ["btc:regtest", "eip155:31337", "rfc3161:tsa"]
"""Strongest first."""
FINAL = {"btc:regtest": BTC, "eip155:31337": EVM, "rfc3161:tsa": TSA}
POLICY = "1.3.6.1.4.1.55555.1"
TOKEN = "MIIBase64OfTheWholeReply=="


class SealedBatch:
    """One sealed batch with one event receipt, whose anchor receipts arrive one by one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = LocalStore(root)
        self.receipts = ReceiptStore(self.store)
        self.place = f"out/receipts/{EVENT}.json"
        self.revision = 0
        event = {**FILE, "anchor": PLACEHOLDER, "integrity": f"vmr1-{BATCH}-{EVENT}"}
        self.store.write(self.place, json.dumps(event, indent=2).encode())

    def arrive(self, document: dict[str, Any], **changes: object) -> None:
        """Write an anchor receipt as the worker does: receipt first, then what is derived."""
        self.revision += 1
        metadata = {**BTC["metadata"], "batchId": BATCH, "revision": self.revision}
        receipt = read(document, **{"metadata": metadata, **changes})
        assert self.receipts.write(receipt) is Written.WRITTEN
        assert self.receipts.derive_event_receipts(BATCH, BATCH_ROOT) == []

    @property
    def anchor(self) -> dict[str, Any]:
        """What the event receipt's file says."""
        event = json.loads((self.root / self.place).read_text())
        assert {key: event[key] for key in FILE if key != "anchor"} == {
            key: FILE[key] for key in FILE if key != "anchor"
        }
        found: dict[str, Any] = event["anchor"]
        return found


@pytest.fixture
def sealed(tmp_path: Path) -> SealedBatch:
    return SealedBatch(tmp_path)


@pytest.mark.parametrize("order", list(itertools.permutations(STRENGTH)))
def test_the_strongest_of_those_that_came_wins_in_every_order(
    sealed: SealedBatch, order: tuple[str, ...]
) -> None:
    for count, target in enumerate(order, start=1):
        sealed.arrive(FINAL[target])
        assert sealed.anchor["chain"] == min(order[:count], key=STRENGTH.index)
    places = sorted(one.name for one in (sealed.root / "out/anchors").rglob("*.json"))
    assert places == ["btc_regtest.json", "eip155_31337.json", "rfc3161_tsa.json"]
    assert {str(one.network) for one in sealed.receipts.of_batch(BATCH)} == set(STRENGTH)


@pytest.mark.parametrize("weaker", ["eip155:31337", "rfc3161:tsa"])
def test_a_weaker_anchor_that_is_older_does_not_replace_a_stronger_one(
    sealed: SealedBatch, weaker: str
) -> None:
    sealed.arrive(BTC)
    before = (sealed.root / sealed.place).read_bytes()
    sealed.arrive(FINAL[weaker], anchorTs="2020-01-01T00:00:00Z")
    assert (sealed.root / sealed.place).read_bytes() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"finality": OBSERVED},
        {"status": "reorged", "finality": REORGED},
        {"status": "failed", "finality": OBSERVED},
    ],
)
def test_an_anchor_on_bitcoin_that_is_not_final_takes_nothing(
    sealed: SealedBatch, changes: dict[str, object]
) -> None:
    sealed.arrive(BTC, **changes)
    assert sealed.anchor == PLACEHOLDER
    sealed.arrive(TSA)
    assert sealed.anchor["chain"] == "rfc3161:tsa"
    sealed.arrive(EVM)
    assert sealed.anchor["chain"] == "eip155:31337"
    sealed.arrive(BTC)
    assert sealed.anchor["chain"] == "btc:regtest"


def test_a_stronger_anchor_that_is_reorganised_away_gives_its_place_back(
    sealed: SealedBatch,
) -> None:
    sealed.arrive(EVM)
    sealed.arrive(BTC)
    sealed.arrive(BTC, status="reorged", finality=REORGED)
    assert sealed.anchor["chain"] == "eip155:31337"


def test_an_anchor_through_a_tree_is_no_legacy_anchor_and_stays_in_out_anchors(
    sealed: SealedBatch,
) -> None:
    tree = in_a_tree()
    assert tree.is_final
    assert tree.network.scheme == "btc"
    batch_id, root = tree.metadata.batch_id, MerkleRoot(tree.root.digest)
    event = {
        **FILE,
        "batchRoot": root.batch_form,
        "anchor": PLACEHOLDER,
        "integrity": f"vmr1-{batch_id}-in-a-tree",
    }
    sealed.store.write("out/receipts/in-a-tree.json", json.dumps(event).encode())

    def chain() -> object:
        text = (sealed.root / "out/receipts/in-a-tree.json").read_text()
        return json.loads(text)["anchor"]["chain"]

    sealed.receipts.write(tree)
    sealed.receipts.derive_event_receipts(batch_id, root)
    assert chain() == "vm:internal"
    metadata = {**BTC["metadata"], "batchId": batch_id, "namespace": tree.metadata.namespace}
    sealed.receipts.write(read(TSA, root=root.receipt_form, metadata=metadata))
    sealed.receipts.derive_event_receipts(batch_id, root)
    assert chain() == "rfc3161:tsa"
    assert len(sealed.receipts.of_batch(batch_id)) == 2


def test_the_legacy_anchor_of_bitcoin_has_its_exact_form(sealed: SealedBatch) -> None:
    sealed.arrive(BTC)
    assert sealed.anchor == {
        "chain": "btc:regtest",
        "tx": BTC["txRef"],
        "block": 104,
        "ts": 1768471200,
        "memo": "OP_RETURN:RV+sha256",
    }


def test_the_legacy_anchor_of_an_evm_chain_has_its_exact_form(sealed: SealedBatch) -> None:
    sealed.arrive(EVM)
    assert sealed.anchor == {
        "chain": "eip155:31337",
        "contract": "0x5F",
        "tx": EVM["txRef"],
        "block": 104,
        "ts": 1768471200,
        "memo": "",
    }


@pytest.mark.parametrize(
    ("policy", "memo"), [({"policyOID": POLICY}, f"tsaPolicyOID={POLICY}"), ({}, "")]
)
def test_the_legacy_anchor_of_an_authority_carries_the_token_and_its_policy(
    sealed: SealedBatch, policy: dict[str, str], memo: str
) -> None:
    evidence = {"aggregation": None, "rfc3161": {"token": TOKEN, "tokens": [], **policy}}
    sealed.arrive(TSA, evidence=evidence)
    assert sealed.anchor == {
        "chain": "rfc3161:tsa",
        "tx": "serial:0a1b",
        "block": 0,
        "ts": 1768471200,
        "memo": memo,
        "sig": TOKEN,
    }


def test_receipts_of_all_levels_are_kept_as_they_were_written(sealed: SealedBatch) -> None:
    written: dict[str, AnchorReceipt] = {}
    for document in (TSA, EVM, BTC):
        sealed.arrive(document)
        (last,) = sealed.receipts.of_batch(BATCH, read(document).network)
        written[last.path] = last
        for path, receipt in written.items():
            assert (sealed.root / path).read_text() == receipt_document(receipt)
    assert len(written) == 3

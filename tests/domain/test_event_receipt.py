"""VaultMesh's event receipts and their derived anchor."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.test_receipt import ALL, BTC, EVM, TSA, in_a_tree, read
from vaultmesh.domain.batch import Batch
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.event_receipt import (
    derive_anchor,
    event_receipt_document,
    integrity,
    parse_event_receipt,
    placeholder,
)
from vaultmesh.domain.receipt import AnchorReceipt
from vaultmesh.domain.roots import MerkleRoot

ROOT = "sha256:50298939464ed02cbf2b587250a55746b3422e133ac4f09b7e2b07869023bc9e"
FILE: dict[str, Any] = {
    "eventHash": "sha256:8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8",
    "batchRoot": ROOT,
    "path": [
        "sha256:f44e64e75f3948e9f73f8dfa94721c4ce8cbb4f265c4790c702b2d41cfbf2753",
        "sha256:8c84e4f2d27ecb9bd6db03cdff169c1a28cee1fab5973ff5eecebe149c8bda92",
    ],
    "anchor": {
        "chain": "eip155:31337",
        "contract": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
        "tx": "0x4d1f0000000000000000000000000000000000000000000000000000000000aa",
        "block": 79,
        "ts": 1761300097,
        "memo": "",
    },
    "verifier": "did:vm:arbiter:local-sealer",
    "integrity": "vmr1-1761300000-evt-0001",
}
BATCH = Batch(id="1761300000", root=MerkleRoot.parse(ROOT))
OBSERVED = {"observedDepth": 1, "requiredDepth": 6, "state": "observed"}


def test_a_file_of_vaultmesh_is_written_back_as_it_was() -> None:
    text = json.dumps(FILE, indent=2)
    assert event_receipt_document(parse_event_receipt(text)) == text


def test_unknown_keys_are_kept() -> None:
    more = {**FILE, "more": None, "anchor": {**FILE["anchor"], "also": [1]}}
    text = event_receipt_document(parse_event_receipt(json.dumps(more)))
    assert json.loads(text) == more


@pytest.mark.parametrize("key", FILE)
def test_a_file_without_one_of_its_keys_is_refused(key: str) -> None:
    with pytest.raises(InvalidValue, match=key):
        parse_event_receipt(json.dumps({k: v for k, v in FILE.items() if k != key}))


@pytest.mark.parametrize("seconds", [-1, 253_402_300_800, 10**18, 10**30])
def test_a_time_that_no_calendar_has_is_refused_when_it_is_read(seconds: int) -> None:
    anchor = {**FILE["anchor"], "ts": seconds}
    with pytest.raises(InvalidValue, match="ts"):
        parse_event_receipt(json.dumps({**FILE, "anchor": anchor}))


def test_a_receipt_belongs_to_its_batch_by_prefix_and_root() -> None:
    receipt = parse_event_receipt(json.dumps(FILE))
    assert receipt.event_id_in(BATCH) == "evt-0001"
    assert receipt.event_id_in(Batch("176130000", BATCH.root)) is None
    assert receipt.event_id_in(Batch("1300000", BATCH.root)) is None
    assert receipt.event_id_in(Batch("1761300000", MerkleRoot(bytes(32)))) is None


@given(st.text("ab-", min_size=1), st.text("ab-", min_size=1))
def test_dashes_in_batch_and_event_ids_are_no_obstacle(batch_id: str, event_id: str) -> None:
    receipt = parse_event_receipt(json.dumps({**FILE, "integrity": integrity(batch_id, event_id)}))
    assert receipt.event_id_in(Batch(batch_id, BATCH.root)) == event_id


def test_the_placeholder_says_sealed_only() -> None:
    receipt = parse_event_receipt(json.dumps(FILE))
    sealed = receipt.model_copy(update={"anchor": placeholder("17", 1761300000)})
    assert json.loads(event_receipt_document(sealed))["anchor"] == {
        "chain": "vm:internal",
        "tx": "batch:17",
        "block": 0,
        "ts": 1761300000,
    }


def derived(*receipts: AnchorReceipt) -> dict[str, Any]:
    anchor = derive_anchor(receipts)
    assert anchor is not None
    return anchor.model_dump(exclude_none=True)


def test_each_scheme_has_its_legacy_anchor() -> None:
    assert derived(read(BTC)) == {
        "chain": "btc:regtest",
        "tx": "9b" * 32,
        "block": 104,
        "ts": 1768471200,
        "memo": "OP_RETURN:RV+sha256",
    }
    assert derived(read(EVM))["contract"] == "0x5F"
    assert derived(read(EVM))["memo"] == ""
    assert derived(read(TSA)) == {
        "chain": "rfc3161:tsa",
        "tx": "serial:0a1b",
        "block": 0,
        "ts": 1768471200,
        "memo": "",
        "sig": "AA==",
    }
    evidence = {"aggregation": None, "rfc3161": {"token": "AA==", "policyOID": "1.2.3"}}
    assert derived(read(TSA, evidence=evidence))["memo"] == "tsaPolicyOID=1.2.3"


@given(st.permutations(sorted(ALL)))
def test_bitcoin_wins_over_evm_over_time_stamps_in_any_order(schemes: list[str]) -> None:
    receipts = [read(ALL[scheme]) for scheme in schemes]
    assert derived(*receipts)["chain"] == "btc:regtest"
    rest = [receipt for receipt in receipts if receipt.chain != "BTC"]
    assert derived(*rest)["chain"] == "eip155:31337"


def test_only_direct_final_receipts_count() -> None:
    reorged = {"observedDepth": 0, "requiredDepth": 6, "state": "reorged"}
    nothing = [
        in_a_tree(),
        read(BTC, finality=OBSERVED),
        read(BTC, status="reorged", finality=reorged),
        read(BTC, status="failed", finality=OBSERVED),
    ]
    assert derive_anchor(nothing) is None
    assert derive_anchor([]) is None
    assert derived(*nothing, read(TSA))["chain"] == "rfc3161:tsa"

"""Anchor receipts in their exact form."""

import json
from copy import deepcopy
from typing import Any

import pytest

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.receipts.receipt import (
    ALLOWED,
    AnchorReceipt,
    Finality,
    Status,
    parse_receipt,
    receipt_document,
    receipt_path,
)
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.leaf import Aggregation
from vaultmesh.domain.rounds.manifest import OwedLeaf, aggregation_evidence, compose
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.domain.target import Target

BTC: dict[str, Any] = {
    "version": "1",
    "root": "0x50298939464ed02cbf2b587250a55746b3422e133ac4f09b7e2b07869023bc9e",
    "chain": "BTC",
    "network": "btc:regtest",
    "txScheme": "btc",
    "txRef": "9b" * 32,
    "txHash": "9b" * 32,
    "blockNumber": 104,
    "anchorTs": "2026-01-15T10:00:00Z",
    "observedAt": "2026-01-15T11:02:00.25Z",
    "status": "verified",
    "finality": {"observedDepth": 6, "requiredDepth": 6, "state": "finalized"},
    "verifier": "vaultmesh-scheduler/2.0.0",
    "evidence": {"aggregation": None, "btc": {"rawTransaction": "00", "blockHash": "ab"}},
    "metadata": {
        "namespace": "dao:example",
        "batchId": "1761300000",
        "cadence": "strong",
        "slot": "1768471200",
        "round": "ab" * 16,
        "revision": 3,
        "more": {"a": None, "b": [1.5]},
    },
}
EVM: dict[str, Any] = {
    **BTC,
    "chain": "EVM",
    "network": "eip155:31337",
    "txScheme": "evm",
    "txRef": "0x" + "4d" * 32,
    "txHash": "0x" + "4d" * 32,
    "evidence": {"aggregation": None, "evm": {"contract": "0x5F"}},
}
TSA: dict[str, Any] = {
    **{key: value for key, value in BTC.items() if key != "txHash"},
    "chain": "TSA",
    "network": "rfc3161:tsa",
    "txScheme": "tsa",
    "txRef": "serial:0a1b",
    "blockNumber": 0,
    "finality": {"observedDepth": 0, "requiredDepth": 0, "state": "finalized"},
    "evidence": {"aggregation": None, "rfc3161": {"token": "AA=="}},
}
ALL = {"btc": BTC, "eip155": EVM, "rfc3161": TSA}


def read(document: dict[str, Any], **changes: object) -> AnchorReceipt:
    return parse_receipt(json.dumps({**document, **changes}))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_writing_what_was_read_gives_the_same_document(scheme: str) -> None:
    receipt = read(ALL[scheme])
    text = receipt_document(receipt)
    assert json.loads(text) == ALL[scheme]
    assert parse_receipt(text) == receipt
    assert receipt_document(parse_receipt(text)) == text
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False)


def test_the_order_of_evidence_and_metadata_does_not_change_the_text() -> None:
    backwards = deepcopy(BTC)
    for part in (backwards["metadata"], backwards["evidence"], backwards["evidence"]["btc"]):
        for key in list(part)[::-1]:
            part[key] = part.pop(key)
    assert receipt_document(read(backwards)) == receipt_document(read(BTC))


@pytest.mark.parametrize("status", ["pending", "submitted", *Status])
@pytest.mark.parametrize("state", Finality)
def test_only_the_pairs_of_the_state_table_exist(status: str, state: Finality) -> None:
    finality = {"observedDepth": 6, "requiredDepth": 6, "state": state}
    if (status, state) in ALLOWED:
        assert read(BTC, status=status, finality=finality).status == status
    else:
        with pytest.raises(InvalidValue):
            read(BTC, status=status, finality=finality)


@pytest.mark.parametrize("key", [key for key in BTC if key not in ("version", "txHash")])
def test_every_field_is_required(key: str) -> None:
    with pytest.raises(InvalidValue):
        parse_receipt(json.dumps({k: v for k, v in BTC.items() if k != key}))


@pytest.mark.parametrize("key", ["namespace", "batchId", "cadence", "slot", "round", "revision"])
def test_metadata_says_whose_receipt_it_is(key: str) -> None:
    with pytest.raises(InvalidValue, match=f"metadata.{key}"):
        read(BTC, metadata={k: v for k, v in BTC["metadata"].items() if k != key})


@pytest.mark.parametrize(
    ("document", "changes"),
    [
        (BTC, {"version": "2"}),
        (BTC, {"root": "0x" + "AB" * 32}),
        (BTC, {"root": "sha256:" + "ab" * 32}),
        (BTC, {"chain": "EVM"}),
        (BTC, {"network": "btc"}),
        (BTC, {"network": "other:net"}),
        (BTC, {"txRef": "0x" + "9b" * 32}),
        (BTC, {"txHash": "aa" * 32}),
        (BTC, {"txHash": None}),
        (BTC, {"blockNumber": -1}),
        (BTC, {"blockNumber": "104"}),
        (BTC, {"blockNumber": None}),
        (BTC, {"anchorTs": "2026-01-15T10:00:00+00:00"}),
        (BTC, {"anchorTs": "2026-13-15T10:00:00Z"}),
        (BTC, {"anchorTs": 1768471200}),
        (BTC, {"verifier": ""}),
        (BTC, {"finality": {"observedDepth": 5, "requiredDepth": 6, "state": "finalized"}}),
        (BTC, {"finality": {**BTC["finality"], "more": 1}}),
        (BTC, {"rfc3161Ts": "2026-01-15T10:00:00Z"}),
        (BTC, {"evidence": {"btc": {}}}),
        (BTC, {"evidence": {"aggregation": None}}),
        (BTC, {"evidence": {"aggregation": None, "evm": {}}}),
        (BTC, {"evidence": {**BTC["evidence"], "more": {}}}),
        (BTC, {"evidence": {"aggregation": {"index": 0}, "btc": {}}}),
        (BTC, {"evidence": {"aggregation": None, "btc": "x"}}),
        (EVM, {"txRef": "4d" * 32, "txHash": "4d" * 32}),
        (EVM, {"evidence": {"aggregation": None, "eip155": {}}}),
        (TSA, {"blockNumber": 1}),
        (TSA, {"txHash": "serial:0a1b"}),
        (TSA, {"status": "verified", "finality": {**TSA["finality"], "state": "observed"}}),
    ],
)
def test_an_edited_receipt_is_told_apart(document: dict[str, Any], changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        read(document, **changes)


def in_a_tree(namespace: str = "dao:example") -> AnchorReceipt:
    target = Target.parse("btc:regtest")
    leaves = [
        OwedLeaf(namespace=namespace, batch_id="1761300000", root=MerkleRoot.parse(BTC["root"])),
        OwedLeaf(namespace="fin:y", batch_id="2", root=MerkleRoot(bytes(32))),
    ]
    manifest = compose(target, leaves, "auto", lambda: bytes(32))
    evidence = aggregation_evidence(manifest, manifest.positions[leaves[0].leaf])
    assert evidence is not None
    document = evidence.model_dump(mode="json", by_alias=True)
    return read(BTC, evidence={"aggregation": document, "btc": {}})


def test_a_receipt_of_a_tree_proves_its_commitment() -> None:
    receipt = in_a_tree()
    aggregation = receipt.aggregation
    assert isinstance(aggregation, Aggregation)
    assert receipt.proven_commitment() == aggregation.root != receipt.root
    assert not receipt.is_direct
    shared = in_a_tree(namespace="")
    assert shared.proven_commitment() != shared.root
    assert parse_receipt(receipt_document(receipt)) == receipt


def test_a_proof_for_another_root_batch_or_namespace_proves_nothing() -> None:
    receipt = in_a_tree()
    other_root = receipt.model_copy(update={"root": MerkleRoot(bytes(32))})
    metadata = receipt.metadata.model_copy(update={"batch_id": "2"})
    other_batch = receipt.model_copy(update={"metadata": metadata})
    for wrong in (other_root, other_batch, in_a_tree(namespace="fin:z")):
        with pytest.raises(InvalidValue, match="proof is for"):
            wrong.proven_commitment()


def test_a_receipt_lies_in_folders_of_path_form() -> None:
    path = receipt_path("dao:example", "Q1_2026", Target.parse("btc:mainnet"))
    assert path == "out/anchors/dao_example/~511~5f2026/btc_mainnet.json"
    assert read(EVM).path == "out/anchors/dao_example/1761300000/eip155_31337.json"

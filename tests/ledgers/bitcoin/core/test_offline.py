"""A Bitcoin receipt is verified offline: by its own bytes and a header that the user trusts, and by nothing else."""

import json
from typing import Any

import pytest

from tests.ledgers.bitcoin.core.test_transaction import ROOT, bitcoin_evidence
from vaultmesh.domain.checks import Found, SchemeFindings, Standing, Trust, standing_of
from vaultmesh.domain.instants import write_time
from vaultmesh.domain.receipts.receipt import parse_receipt
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.manifest import round_id
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.bitcoin.core import offline
from vaultmesh.ledgers.bitcoin.core.blocks import Network
from vaultmesh.ledgers.bitcoin.core.proof import BitcoinEvidence, Proven, prove

TARGET = Target("btc", "regtest")
COMMITMENT = MerkleRoot(ROOT)


def _document() -> tuple[dict[str, Any], Proven]:
    """Return a final receipt, and what it proves."""
    evidence = bitcoin_evidence().document()
    (evidence["genesis"],) = Network.REGTEST.geneses.values()
    proven = prove(BitcoinEvidence.read(evidence))
    txid = proven.transaction.txid
    return {
        "version": "1",
        "root": COMMITMENT.receipt_form,
        "chain": "BTC",
        "network": str(TARGET),
        "txScheme": "btc",
        "txRef": txid,
        "txHash": txid,
        "blockNumber": proven.height,
        "anchorTs": write_time(proven.header.time),
        "observedAt": "2026-01-15T11:00:00Z",
        "status": "verified",
        "finality": {"observedDepth": 3, "requiredDepth": 3, "state": "finalized"},
        "verifier": "vaultmesh-scheduler/1.0.0",
        "evidence": {"aggregation": None, "btc": evidence},
        "metadata": {
            "namespace": "dao:example",
            "batchId": "1761300000",
            "cadence": "strong",
            "slot": "1761300000",
            "round": round_id(TARGET, ROOT),
            "revision": 1,
        },
    }, proven


def _find(document: dict[str, Any], *trusted: str) -> SchemeFindings:
    receipt = parse_receipt(json.dumps(document).encode())
    return offline.find(receipt, COMMITMENT, Trust(headers=frozenset(trusted)))


def test_a_trusted_header_makes_it_a_proof_with_a_bound_of_two_hours() -> None:
    document, proven = _document()
    for trusted in proven.hashes:
        findings = _find(document, trusted)
        assert standing_of(findings.checks) is Standing.PROVEN
    assert "± 2 h" in findings.when


def test_without_a_trusted_header_nothing_is_proven() -> None:
    document, _ = _document()
    for trusted in ([], ["11" * 32]):
        findings = _find(document, *trusted)
        assert standing_of(findings.checks) is Standing.CONSISTENT
        assert [one.name for one in findings.checks if one.found is Found.OPEN] == [
            "trusted header"
        ]


def test_too_few_headers_leave_it_open() -> None:
    document, proven = _document()
    document["finality"] |= {"observedDepth": 6, "requiredDepth": 6}
    checks = _find(document, proven.hashes[0]).checks
    assert [one.name for one in checks if one.found is not Found.HOLDS] == ["depth"]


@pytest.mark.parametrize(
    ("key", "value", "failed"),
    [
        ("txRef", "11" * 32, "transaction"),
        ("blockNumber", 70_001, "block number"),
        ("anchorTs", "2026-01-15T10:00:00Z", "timestamp"),
        ("network", "btc:mainnet", "network"),
    ],
)
def test_each_changed_field_is_wrong(key: str, value: object, failed: str) -> None:
    document, proven = _document()
    document[key] = value
    if key == "txRef":
        document["txHash"] = value
    checks = _find(document, proven.hashes[0]).checks
    assert [one.name for one in checks if one.found is Found.WRONG] == [failed]


@pytest.mark.parametrize("key", ["genesis", "network"])
def test_evidence_of_another_network_is_wrong(key: str) -> None:
    document, proven = _document()
    document["evidence"]["btc"][key] = "22" * 32
    checks = _find(document, proven.hashes[0]).checks
    assert [one.name for one in checks if one.found is Found.WRONG] == ["network"]


@pytest.mark.parametrize("key", ["rawTransaction", "blockHash", "merkleBranch", "coinbaseBranch"])
def test_evidence_by_names_that_only_our_code_has_is_none(key: str) -> None:
    document, proven = _document()
    evidence = document["evidence"]["btc"]
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in key)
    evidence[snake] = evidence.pop(key)
    (check,) = _find(document, proven.hashes[0]).checks
    assert (check.found, check.name) == (Found.WRONG, "block proof")


@pytest.mark.parametrize(
    "key", ["rawTransaction", "header", "merkleBranch", "position", "coinbase", "blockHash"]
)
def test_evidence_that_lacks_something_is_wrong(key: str) -> None:
    document, proven = _document()
    del document["evidence"]["btc"][key]
    (check,) = _find(document, proven.hashes[0]).checks
    assert (check.found, check.name) == (Found.WRONG, "block proof")
    assert key in check.detail


def test_another_commitment_is_wrong() -> None:
    document, proven = _document()
    receipt = parse_receipt(json.dumps(document).encode())
    trust = Trust(headers=frozenset(proven.hashes))
    checks = offline.find(receipt, MerkleRoot(b"\x07" * 32), trust).checks
    assert [one.name for one in checks if one.found is Found.WRONG] == ["root"]


def test_headers_of_a_private_chain_prove_nothing_of_a_network_where_blocks_take_work() -> None:
    document, proven = _document()
    for network in (Network.MAINNET, Network.TESTNET, Network.SIGNET):
        document["network"] = f"btc:{network}"
        document["evidence"]["btc"] |= {
            "network": str(network),
            "genesis": next(iter(network.geneses.values())),
        }
        checks = _find(document, proven.hashes[0]).checks
        assert [one.name for one in checks if one.found is Found.WRONG] == ["network"]


@pytest.mark.parametrize("position", ["1", 1.0, True])
def test_a_position_is_a_number_and_nothing_that_could_be_taken_for_one(position: object) -> None:
    document, proven = _document()
    document["evidence"]["btc"]["position"] = position
    (check,) = _find(document, proven.hashes[0]).checks
    assert (check.found, check.name) == (Found.WRONG, "block proof")


def test_a_block_of_a_test_network_can_not_be_passed_off_as_one_of_mainnet() -> None:
    easiest_since_2018 = 0x91C1 << 168
    assert (
        easiest_since_2018 < Network.MAINNET.easiest_target < Network.TESTNET.easiest_target >> 39
    )

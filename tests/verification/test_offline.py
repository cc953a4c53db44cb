"""Offline verification: from event to ledger by what is carried and trusted alone; every change of it is refused."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.ledgers.evm.core.block import CHAIN_ID, Anchored
from vaultmesh.domain.batches import tree as legacy_tree
from vaultmesh.domain.batches.batch import Batch
from vaultmesh.domain.batches.event_receipt import (
    EventReceipt,
    derive_anchor,
    integrity,
    parse_event_receipt,
    placeholder,
)
from vaultmesh.domain.checks import Found, Standing, Trust, Verdict
from vaultmesh.domain.errors import InvalidValue, problems_of
from vaultmesh.domain.receipts.receipt import (
    AnchorReceipt,
    parse_receipt,
    receipt_document,
    write_time,
)
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds import tree as merkle
from vaultmesh.domain.rounds.leaf import Aggregation, AggregationLeaf
from vaultmesh.domain.rounds.manifest import round_id
from vaultmesh.domain.target import Target
from vaultmesh.verification.offline import verify_event_offline, verify_offline
from vaultmesh.verification.proof_file import ProofFile, gathered, parse_proof, proof_document

BATCH_ID, EVENT_ID, NAMESPACE = "1761300000", "evt-0001", "dao:example"
LEAVES = [bytes([place]) * 32 for place in range(1, 6)]
ROOT = MerkleRoot(legacy_tree.root(LEAVES))
TARGET = Target("eip155", str(CHAIN_ID))


def anchor_receipt(aggregation: Aggregation | None = None) -> AnchorReceipt:
    """Return the final receipt of a batch that was committed directly, or in a tree."""
    commitment = (aggregation.root if aggregation else ROOT).digest
    claim, proof = Anchored(commitment=commitment).prove()
    tx_ref = "0x" + claim.tx_hash.hex()
    document = {
        "version": "1",
        "root": ROOT.receipt_form,
        "chain": "EVM",
        "network": str(TARGET),
        "txScheme": "evm",
        "txRef": tx_ref,
        "txHash": tx_ref,
        "blockNumber": claim.block_number,
        "anchorTs": write_time(claim.block_time),
        "observedAt": "2026-01-15T11:00:00Z",
        "status": "verified",
        "finality": {"observedDepth": 12, "requiredDepth": 12, "state": "finalized"},
        "verifier": "vaultmesh-scheduler/1.0.0",
        "evidence": {
            "aggregation": json.loads(aggregation.document()) if aggregation else None,
            "evm": {
                "contract": "0x" + claim.contract.hex(),
                "batchId": "0x" + claim.batch_id.hex(),
                "blockHash": "0x" + claim.block_hash.hex(),
                "rawTransaction": "0x" + claim.raw_transaction.hex(),
                **proof.document(),
            },
        },
        "metadata": {
            "namespace": NAMESPACE,
            "batchId": BATCH_ID,
            "cadence": "fast",
            "slot": "2026-01-15T10:00:00Z",
            "round": round_id(TARGET, commitment),
            "revision": 1,
        },
    }
    return parse_receipt(json.dumps(document))


def aggregation() -> Aggregation:
    """Return the way from the batch root to a tree of several."""
    leaf = AggregationLeaf(batch_id=BATCH_ID, namespace="", root=ROOT, salt="0x" + "5a" * 32)
    hashes = [bytes(32), leaf.hashed(), bytes([1]) * 32]
    return Aggregation(
        algorithm=merkle.ALGORITHM,
        leaf=leaf,
        index=1,
        tree_size=3,
        path=tuple("0x" + node.hex() for node in merkle.inclusion_paths(hashes)[1]),
        root=MerkleRoot(merkle.root_of_hashes(hashes)),
    )


DIRECT, IN_A_TREE = anchor_receipt(), anchor_receipt(aggregation())
EVENT = EventReceipt(
    event_hash=MerkleRoot(LEAVES[0]),
    batch_root=ROOT,
    path=tuple(MerkleRoot(node) for node in legacy_tree.paths(LEAVES)[0]),
    anchor=placeholder(BATCH_ID, 1_761_300_000),
    verifier="did:vm:arbiter:local-sealer",
    integrity=integrity(BATCH_ID, EVENT_ID),
)


def trust_in(*receipts: AnchorReceipt) -> Trust:
    return Trust(blocks=frozenset(str(one.scheme_evidence["blockHash"]) for one in receipts))


TRUST = trust_in(DIRECT, IN_A_TREE)


def failed(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.checks if check.found is Found.WRONG}


def still_open(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.checks if check.found is Found.OPEN}


# --- receipts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("receipt", [DIRECT, IN_A_TREE], ids=["direct", "in a tree"])
def test_a_receipt_is_proven_under_trust_in_its_block(receipt: AnchorReceipt) -> None:
    verdict = verify_offline(receipt, TRUST)
    assert {check.found for check in verdict.checks} == {Found.HOLDS}
    assert verdict.proven
    block_hash = str(receipt.scheme_evidence["blockHash"])
    for said in (
        ROOT.receipt_form,
        "2026-01-15T10:00:03Z",
        "clock",
        f"trust in block {block_hash}",
    ):
        assert said in verdict.statement


@pytest.mark.parametrize("trust", [Trust(), Trust(blocks=frozenset({"0x" + "11" * 32}))])
def test_without_trust_in_its_block_it_is_consistent_and_not_proven(trust: Trust) -> None:
    verdict = verify_offline(DIRECT, trust)
    assert (verdict.standing, failed(verdict)) == (Standing.CONSISTENT, set())
    assert still_open(verdict) == {"trusted block"}
    assert verdict.statement.startswith("consistent, not proven")


def changed(receipt: AnchorReceipt, *keys: str, to: object) -> AnchorReceipt:
    document: dict[str, Any] = json.loads(receipt_document(receipt))
    place = document
    for key in keys[:-1]:
        place = place[key]
    if to is None:
        del place[keys[-1]]
    else:
        assert place[keys[-1]] != to
        place[keys[-1]] = to
    return parse_receipt(json.dumps(document))


def without_proof(receipt: AnchorReceipt) -> AnchorReceipt:
    for key in ("header", "transactionIndex", "receiptProof", "transactionProof"):
        receipt = changed(receipt, "evidence", "evm", key, to=None)
    return receipt


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("the node shows no block", "carries no block proof: the node shows no block"),
        ("\x1b[2J\nproven: " + "x" * 999, "carries no block proof: [2Jproven: xxx"),
        (7, "not final yet"),
    ],
)
def test_a_receipt_without_block_proof_says_why_and_proves_nothing(
    reason: object, told: str
) -> None:
    document: dict[str, Any] = json.loads(receipt_document(without_proof(DIRECT)))
    document["evidence"]["evm"]["proofMissing"] = reason
    verdict = verify_offline(parse_receipt(json.dumps(document)), TRUST)
    assert (verdict.standing, still_open(verdict)) == (Standing.CONSISTENT, {"block header"})
    (detail,) = (check.detail for check in verdict.checks if check.name == "block header")
    assert told in detail
    assert len(detail) < 400


def test_each_ledger_s_part_says_what_it_proves_and_why_it_does_not() -> None:
    document: dict[str, Any] = json.loads(receipt_document(without_proof(IN_A_TREE)))
    document["evidence"]["evm"]["proofMissing"] = "the receipts do not have the header's root"
    bare = parse_receipt(json.dumps(document))
    broken = changed(IN_A_TREE, "evidence", "evm", "contract", to="0x" + "12" * 20)
    verdict = verify_event_offline(EVENT, [DIRECT, bare, IN_A_TREE, broken], trust_in(DIRECT))
    proven, missing, open_part, wrong_part = verdict.ledgers
    block_hash = str(DIRECT.scheme_evidence["blockHash"])
    assert {part.network for part in verdict.ledgers} == {str(TARGET)}
    assert proven.summary.startswith("proven: root ")
    assert (proven.trust, block_hash in proven.place) == (f"trust in block {block_hash}", True)
    assert "the receipts do not have the header's root" in missing.summary
    assert "proves it under" not in missing.summary
    assert f"proves it under {open_part.trust}" in open_part.summary
    assert wrong_part.summary == wrong_part.verdict.statement == "not verified: contract failed"


def test_a_wrong_way_to_the_commitment_leaves_a_part_that_says_so() -> None:
    document = json.loads(receipt_document(IN_A_TREE))
    document["evidence"]["aggregation"]["index"] = 2
    (part,) = verify_offline(parse_receipt(json.dumps(document)), TRUST).ledgers
    assert (part.when, part.trust, part.place) == ("", "", IN_A_TREE.tx_ref)
    assert part.summary == "not verified: inclusion proof failed"


@pytest.mark.parametrize("key", ["anchorTs", "observedAt"])
def test_a_time_that_can_not_be_ends_no_verification_with_an_error_of_its_own(key: str) -> None:
    for time in ("1969-12-31T23:59:59Z", "9999-12-31T23:59:59.999999Z"):
        with pytest.raises(InvalidValue, match="since 1970"):
            changed(DIRECT, key, to=time)


def test_a_receipt_without_block_proof_is_not_proven_even_in_a_trusted_block() -> None:
    bare = without_proof(DIRECT)
    verdict = verify_offline(bare, TRUST)
    assert (verdict.standing, still_open(verdict)) == (Standing.CONSISTENT, {"block header"})


@pytest.mark.parametrize("key", ["header", "transactionIndex", "receiptProof", "transactionProof"])
def test_half_a_block_proof_is_wrong(key: str) -> None:
    verdict = verify_offline(changed(DIRECT, "evidence", "evm", key, to=None), TRUST)
    assert failed(verdict) == {"block proof"}


ONES = "0x" + "11" * 32


@pytest.mark.parametrize(
    ("keys", "to", "name"),
    [
        (("root",), ONES, "root"),
        (("blockNumber",), 1, "block header"),
        (("anchorTs",), "2026-01-15T10:00:04Z", "block time"),
        (("network",), "eip155:1", "contract"),
        (("network",), "eip155:one", "evidence"),
        (("evidence", "evm", "blockHash"), ONES, "block header"),
        (("evidence", "evm", "contract"), "0x" + "12" * 20, "contract"),
        (("evidence", "evm", "batchId"), ONES, "root"),
        (("evidence", "evm", "rawTransaction"), "0x02", "transaction"),
        (("evidence", "evm", "transactionIndex"), 4, "transaction"),
        (("metadata", "round"), "0" * 32, "round"),
    ],
)
def test_each_change_of_a_receipt_is_told_apart(
    keys: tuple[str, ...], to: object, name: str
) -> None:
    verdict = verify_offline(changed(DIRECT, *keys, to=to), TRUST)
    assert name in failed(verdict)


def test_a_reorged_receipt_proves_nothing() -> None:
    document = json.loads(receipt_document(DIRECT))
    document["status"] = document["finality"]["state"] = "reorged"
    assert failed(verify_offline(parse_receipt(json.dumps(document)), TRUST)) == {"receipt status"}


def test_the_batch_file_counts_where_it_is_at_hand() -> None:
    batch = Batch(id=BATCH_ID, root=ROOT, leaves=tuple(map(MerkleRoot, LEAVES)))
    assert verify_offline(IN_A_TREE, TRUST, batch).proven
    other = Batch(id=BATCH_ID, root=MerkleRoot(bytes(32)))
    assert failed(verify_offline(DIRECT, TRUST, other)) == {"batch root"}
    foreign = Batch(id=BATCH_ID, root=ROOT, namespace="fin:other")
    assert failed(verify_offline(DIRECT, TRUST, foreign)) == {"batch namespace"}


# --- every bit of what is proven ------------------------------------------------------------------

COVERED = ("root", "txRef", "blockNumber", "anchorTs", "network", "evidence")


def places(value: object, *keys: object) -> Iterator[tuple[object, ...]]:
    """Yield the way to every text and number of a document; an empty text has no bit."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, *keys, key)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from places(item, *keys, position)
    elif value not in (None, ""):
        yield keys


def flip(document: Any, way: tuple[Any, ...], bit: int) -> None:
    """Change one bit of a text or number in place."""
    for key in way[:-1]:
        document = document[key]
    value = document[way[-1]]
    if isinstance(value, int):
        document[way[-1]] = value ^ 1 << bit % 8
        return
    position = bit // 7 % len(value)
    character = chr(ord(value[position]) ^ 1 << bit % 7)
    document[way[-1]] = value[:position] + character + value[position + 1 :]


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_no_bit_of_what_a_receipt_proves_can_change(data: st.DataObject) -> None:
    original = json.loads(receipt_document(data.draw(st.sampled_from([DIRECT, IN_A_TREE]))))
    ways = [way for way in places(original) if way[0] in COVERED]
    document = copy.deepcopy(original)
    flip(document, data.draw(st.sampled_from(ways)), data.draw(st.integers(0, 2**14)))
    try:
        receipt = parse_receipt(json.dumps(document))
    except InvalidValue:
        return
    assert not verify_offline(receipt, TRUST).proven


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_no_bit_of_an_event_s_way_to_its_batch_can_change(data: st.DataObject) -> None:
    document = json.loads(EVENT.document())
    ways = [
        way for way in places(document) if way[0] in ("eventHash", "batchRoot", "path", "integrity")
    ]
    flip(document, data.draw(st.sampled_from(ways)), data.draw(st.integers(0, 2**10)))
    try:
        event = parse_event_receipt(json.dumps(document))
    except InvalidValue:
        return
    same = event == EVENT  # hashes of event receipts are read in any case
    proven = verify_event_offline(event, [DIRECT], TRUST, event_id=EVENT_ID).proven
    assert proven is same


# --- events and proof files -----------------------------------------------------------------------


@pytest.mark.parametrize("receipt", [DIRECT, IN_A_TREE], ids=["direct", "in a tree"])
def test_an_event_is_proven_by_one_ledger(receipt: AnchorReceipt) -> None:
    verdict = verify_event_offline(EVENT, [receipt], TRUST, event_id=EVENT_ID)
    assert verdict.proven
    assert EVENT.event_hash.batch_form in verdict.statement
    assert "legacy path" in verdict.statement


def test_a_ledger_without_trust_takes_nothing_from_one_that_proves_it() -> None:
    assert verify_event_offline(EVENT, [DIRECT, IN_A_TREE], trust_in(DIRECT)).proven
    assert verify_event_offline(EVENT, [DIRECT], Trust()).standing is Standing.CONSISTENT
    assert verify_event_offline(EVENT, [], TRUST).standing is Standing.CONSISTENT


def test_one_wrong_ledger_refutes_the_whole() -> None:
    broken = changed(IN_A_TREE, "evidence", "evm", "contract", to="0x" + "12" * 20)
    verdict = verify_event_offline(EVENT, [DIRECT, broken], TRUST)
    assert (verdict.standing, failed(verdict)) == (Standing.REFUTED, {f"{TARGET} contract"})


def test_an_anchor_of_another_batch_proves_nothing_of_an_event() -> None:
    other = EVENT.model_copy(
        update={
            "event_hash": MerkleRoot(bytes(32)),
            "batch_root": MerkleRoot(bytes(32)),
            "path": (),
        }
    )
    assert failed(verify_event_offline(other, [DIRECT], TRUST)) == {f"{TARGET} batch"}
    renamed = EVENT.model_copy(update={"integrity": integrity("176130000", EVENT_ID)})
    assert f"{TARGET} batch" in failed(verify_event_offline(renamed, [DIRECT], TRUST))


def test_the_anchor_that_an_event_receipt_names_agrees_with_the_proof() -> None:
    derived = derive_anchor([DIRECT])
    assert derived is not None
    anchored = EVENT.model_copy(update={"anchor": derived})
    assert verify_event_offline(anchored, [DIRECT], TRUST).proven
    later = derived.model_copy(update={"ts": derived.ts + 1})
    verdict = verify_event_offline(EVENT.model_copy(update={"anchor": later}), [DIRECT], TRUST)
    assert failed(verdict) == {"event anchor"}
    assert still_open(verify_event_offline(anchored, [IN_A_TREE], TRUST)) == {"event anchor"}


def test_an_event_that_is_no_leaf_of_the_batch_file_is_refused() -> None:
    batch = Batch(id=BATCH_ID, root=ROOT, leaves=tuple(map(MerkleRoot, LEAVES[1:])))
    assert failed(verify_event_offline(EVENT, [DIRECT], TRUST, batch=batch)) == {"event leaf"}


def test_a_proof_file_is_read_as_it_was_written() -> None:
    proof = ProofFile(event_id=EVENT_ID, event=EVENT, anchors=(DIRECT, IN_A_TREE))
    text = proof_document(proof)
    assert parse_proof(text) == proof
    assert proof_document(parse_proof(text)) == text


def test_a_proof_file_without_anchors_or_of_another_version_is_refused() -> None:
    document = json.loads(
        proof_document(ProofFile(event_id=EVENT_ID, event=EVENT, anchors=(DIRECT,)))
    )
    for change in ({"anchors": []}, {"version": "2"}, {"eventId": ""}, {"surplus": 1}):
        with pytest.raises(InvalidValue):
            parse_proof(json.dumps(document | change))


def test_a_proof_carries_each_ledger_entry_once_and_only_what_is_verified() -> None:
    shared = changed(DIRECT, "metadata", "namespace", to="dao:other")
    gone = json.loads(receipt_document(IN_A_TREE))
    gone["status"] = gone["finality"]["state"] = "reorged"
    found = gathered([shared, parse_receipt(json.dumps(gone)), DIRECT])
    assert [one.tx_ref for one in found] == [DIRECT.tx_ref]


def test_one_ledger_s_part_of_a_proof_is_small() -> None:
    claim, proof = Anchored(index=599, transactions=600).prove()
    del claim
    assert len(json.dumps(proof.document())) < 12_000
    assert len(receipt_document(IN_A_TREE)) < 12_000


def test_the_placeholder_of_an_event_receipt_names_its_batch() -> None:
    for change in ({"tx": "batch:1761300001"}, {"block": 1}):
        elsewhere = EVENT.model_copy(update={"anchor": EVENT.anchor.model_copy(update=change)})
        assert failed(verify_event_offline(elsewhere, [DIRECT], TRUST)) == {"event anchor"}


def test_a_batch_id_can_not_pass_for_a_part_of_the_sentence() -> None:
    receipt = anchor_receipt()
    spoof = (
        "7) was in btc:mainnet by 2015-01-01T00:00:00Z, under trust in nobody; root 0x11 (batch 8"
    )
    renamed = changed(receipt, "metadata", "batchId", to=spoof)
    verdict = verify_offline(renamed, trust_in(renamed))
    assert verdict.proven
    assert f'(the receipt calls it batch "{spoof}")' in verdict.statement


def test_a_chain_has_one_name() -> None:
    receipt = anchor_receipt()
    scheme, reference = str(receipt.network).split(":")
    renamed = changed(receipt, "network", to=f"{scheme}:0{reference}")
    assert "evidence" in failed(verify_offline(renamed, trust_in(receipt)))


def test_a_file_of_very_many_unknown_keys_is_told_by_the_first_of_them() -> None:
    with pytest.raises(ValidationError) as refused:
        ProofFile.model_validate_json(json.dumps({f"key {n}": 1 for n in range(2_000)}))
    assert len(problems_of(refused.value, ProofFile)) == 1_000

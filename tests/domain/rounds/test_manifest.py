"""Rounds: identity, composition, evidence (X1, M4, M5)."""

import json
from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds import tree
from vaultmesh.domain.rounds.leaf import Leaf, leaf_bytes, read_document
from vaultmesh.domain.rounds.manifest import (
    Candidate,
    Closed,
    Manifest,
    Mode,
    OwedLeaf,
    RoundOutcome,
    RoundRequest,
    aggregation_evidence,
    anchor_batch_id,
    compose,
    parse_manifest,
    round_id,
)
from vaultmesh.domain.target import Target

TARGET = Target.parse("eip155:31337")
REQUEST = RoundRequest(namespace="dao:x", cadence="fast", slot="89", required_depth=3)


def salts() -> Callable[[], bytes]:
    count = iter(range(10_000))
    return lambda: sha256(b"salt %d" % next(count)).digest()


def owed(batch_id: str, content: bytes | None = None, namespace: str = "") -> OwedLeaf:
    root = MerkleRoot(sha256(content or batch_id.encode()).digest())
    return OwedLeaf(namespace=namespace, batch_id=batch_id, root=root, requests=(REQUEST,))


def composed(*leaves: OwedLeaf, mode: Mode = "auto") -> Manifest:
    return compose(TARGET, leaves, mode, salts())


def test_a_round_id_hashes_tag_target_and_commitment_each_after_its_length() -> None:
    commitment = bytes(range(32))
    hashed = sha256(
        b"\x00\x00\x00\x09anchor/v1\x00\x00\x00\x0ceip155:31337\x00\x00\x00\x20" + commitment
    )
    assert round_id(TARGET, commitment) == hashed.hexdigest()[:32]
    assert round_id(TARGET, commitment) == "f500403371b8e65da6a470a0b7632ea8"


def test_one_root_is_committed_itself_for_every_leaf_that_has_it() -> None:
    manifest = composed(owed("1", b"same"), owed("2", b"same"))
    assert manifest.aggregation is None
    assert manifest.commitment.digest == sha256(b"same").digest()
    assert [leaf.batch_id for leaf in manifest.leaves] == ["1", "2"]
    assert all(leaf.salt is None for leaf in manifest.leaves)
    assert anchor_batch_id(manifest) == manifest.label == "1"
    assert aggregation_evidence(manifest, 0) is None


def test_several_roots_build_a_tree_ordered_by_leaf_hash() -> None:
    manifest = composed(*(owed(str(n)) for n in range(7)))
    hashed = [tree.leaf_hash(leaf_bytes(leaf.leaf, leaf.salt or "")) for leaf in manifest.leaves]
    assert hashed == sorted(hashed)
    assert manifest.commitment.digest == tree.root_of_hashes(hashed)
    assert anchor_batch_id(manifest) is None
    assert manifest.label == manifest.round_id
    assert len({leaf.salt for leaf in manifest.leaves}) == 7


def test_always_builds_a_tree_for_one_leaf_too() -> None:
    manifest = composed(owed("1"), mode="always")
    assert manifest.aggregation is not None
    assert manifest.commitment.digest != sha256(b"1").digest()


def test_off_takes_the_first_root_and_leaves_the_others_owed() -> None:
    manifest = composed(owed("1", b"a"), owed("2", b"b"), owed("3", b"a"), mode="off")
    assert [leaf.batch_id for leaf in manifest.leaves] == ["1", "3"]


def test_the_same_leaf_is_committed_once_and_answers_the_requests_of_all() -> None:
    other = REQUEST.model_copy(update={"namespace": "fin:y", "required_depth": 12})
    leaf = owed("1")
    manifest = composed(leaf, leaf.model_copy(update={"requests": (other, REQUEST)}), mode="always")
    assert len(manifest.leaves) == 1
    assert manifest.leaves[0].requests == (REQUEST, other)
    assert manifest.required_depths == [3, 12]


def test_namespaces_can_not_be_swapped() -> None:
    root, salt = MerkleRoot(bytes(32)), "0x" + "00" * 32
    assert leaf_bytes(Leaf("a", "b", root), salt) != leaf_bytes(Leaf("b", "a", root), salt)
    expected = f'{{"batchId":"b","namespace":"a","root":"{root.receipt_form}","salt":"{salt}"}}'
    assert leaf_bytes(Leaf("a", "b", root), salt) == expected.encode()


def test_nothing_owed_is_no_round() -> None:
    with pytest.raises(InvalidValue, match="at least one leaf"):
        composed()


@given(st.integers(1, 40), st.sampled_from(["auto", "always", "off"]))
def test_parsing_what_was_written_gives_the_same_manifest_and_proofs(size: int, mode: Mode) -> None:
    manifest = composed(*(owed(str(n), namespace="dao:é") for n in range(size)), mode=mode)
    read = parse_manifest(manifest.document())
    assert read == manifest
    assert read.document() == manifest.document()
    for index, leaf in enumerate(read.leaves):
        evidence = aggregation_evidence(read, index)
        assert read.positions[leaf.leaf] == index
        if evidence is not None:
            assert evidence.proven_root() == manifest.commitment
            assert set(evidence.model_dump(by_alias=True)) == {
                "algorithm",
                "leaf",
                "index",
                "treeSize",
                "path",
                "root",
            }


def test_a_manifest_has_the_documented_keys() -> None:
    document = json.loads(composed(owed("1"), owed("2")).document())
    assert list(document) == ["version", "target", "commitment", "aggregation", "leaves"]
    assert document["aggregation"] == {"algorithm": "rfc9162-sha256", "treeSize": 2}
    assert set(document["leaves"][0]) == {"namespace", "batchId", "root", "salt", "requests"}
    assert document["leaves"][0]["requests"] == [
        {"namespace": "dao:x", "cadence": "fast", "slot": "89", "requiredDepth": 3}
    ]


def change_salt(document: dict[str, list[dict[str, str]]]) -> None:
    document["leaves"][0]["salt"] = "0x" + "ab" * 32


def change_batch(document: dict[str, list[dict[str, str]]]) -> None:
    document["leaves"][1]["batchId"] = "99"


def swap_leaves(document: dict[str, list[dict[str, str]]]) -> None:
    document["leaves"].reverse()


def drop_leaf(document: dict[str, list[dict[str, str]]]) -> None:
    document["leaves"].pop()


def add_key(document: dict[str, object]) -> None:
    document["more"] = 1


@pytest.mark.parametrize("change", [change_salt, change_batch, swap_leaves, drop_leaf, add_key])
def test_an_edited_manifest_is_refused(change: Callable[[object], None]) -> None:
    document = json.loads(composed(*(owed(str(n)) for n in range(5))).document())
    change(document)
    with pytest.raises(InvalidValue):
        parse_manifest(json.dumps(document))


@given(st.integers(1, 20), st.data())
def test_any_flipped_bit_of_a_proof_fails(size: int, data: st.DataObject) -> None:
    manifest = composed(*(owed(str(n)) for n in range(size)), mode="always")
    evidence = aggregation_evidence(manifest, data.draw(st.integers(0, size - 1)))
    assert evidence is not None
    nodes = [evidence.leaf.root.receipt_form, evidence.leaf.salt, *evidence.path]
    chosen = data.draw(st.integers(0, len(nodes) - 1))
    bit = data.draw(st.integers(0, 255))
    nodes[chosen] = f"0x{int(nodes[chosen], 16) ^ 1 << bit:064x}"
    leaf = evidence.leaf.model_copy(update={"root": MerkleRoot.parse(nodes[0]), "salt": nodes[1]})
    changed = evidence.model_copy(update={"leaf": leaf, "path": tuple(nodes[2:])})
    with pytest.raises(InvalidValue, match="leads to"):
        changed.proven_root()


def test_a_candidate_keeps_what_it_does_not_know() -> None:
    text = (
        '{"n": 0, "reservation": {"account": "a", "sequence": 7, "fields": {"x": [1, null]}},'
        ' "terms": {"fee": "1"}, "raw": "0x00", "hash": "0xab", "number": 4, "roundId": "", "later": {"k": 1}}'
    )
    candidate = read_document(Candidate, text)
    assert candidate.tx_ref == "0xab"
    assert json.loads(candidate.document()) == json.loads(text)


def test_an_end_is_read_back_and_may_say_more_than_we_know() -> None:
    closed = Closed(outcome=RoundOutcome.FINAL, tx_ref="0xab", block=7, revision=3, candidates=2)
    assert read_document(Closed, closed.document()) == closed
    more = json.dumps({**json.loads(closed.document()), "later": 1})
    assert read_document(Closed, more) == closed

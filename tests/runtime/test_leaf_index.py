"""Which rounds may hold a leaf, also after the storage failed."""

import json
from hashlib import sha256
from pathlib import Path

import pytest
from typing_extensions import override

from vaultmesh.domain.aggregation import Leaf
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds import round_id
from vaultmesh.domain.target import Target
from vaultmesh.runtime.leaf_index import MOST_RECENT, LeafIndex
from vaultmesh.runtime.storage import LocalStore

FOLDER, MANIFEST = "rounds", "manifest.json"
TARGET = Target.parse("eip155:31337")
COMMITMENTS = [MerkleRoot(sha256(bytes([n])).digest()) for n in range(6)]
ROUNDS = [round_id(TARGET, one.digest) for one in COMMITMENTS]
ONE, TWO = ROUNDS[:2]


class Failing(LocalStore):
    """A store of which one read fails."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads_left: int | None = None

    @override
    def read(self, path: str) -> bytes | None:
        if self.reads_left is not None:
            self.reads_left -= 1
            if self.reads_left < 0:
                self.reads_left = None
                message = f"could not read {path}: Stale file handle"
                raise NetworkFailure(message)
        return super().read(path)


@pytest.fixture
def store(tmp_path: Path) -> Failing:
    return Failing(tmp_path)


def leaf(batch_id: str) -> Leaf:
    return Leaf("dao:x", batch_id, MerkleRoot(sha256(batch_id.encode()).digest()))


def put(store: Failing, identity: str, leaves: list[Leaf]) -> None:
    document = {
        "commitment": COMMITMENTS[ROUNDS.index(identity)].receipt_form,
        "aggregation": {"treeSize": len(leaves)},
        "leaves": [
            {"namespace": one.namespace, "batchId": one.batch_id, "root": one.root.receipt_form}
            for one in leaves
        ],
    }
    store.write(f"{FOLDER}/{identity}/{MANIFEST}", json.dumps(document).encode())


@pytest.mark.parametrize("reads", range(len(ROUNDS)))
def test_no_leaf_is_lost_when_the_storage_fails_at_one_of_the_manifests(
    store: Failing, reads: int
) -> None:
    for identity in ROUNDS:
        put(store, identity, [leaf(identity), leaf("shared")])
    index = LeafIndex(store, TARGET, FOLDER, MANIFEST)
    index.note(ROUNDS)
    store.reads_left = reads
    with pytest.raises(NetworkFailure):
        index.rounds_with(leaf("shared"))
    assert [index.rounds_with(leaf(identity)) for identity in ROUNDS] == [[one] for one in ROUNDS]
    assert sorted(index.rounds_with(leaf("shared"))) == sorted(ROUNDS)


def test_what_is_merged_after_a_failure_is_found(store: Failing) -> None:
    many = [leaf(str(n)) for n in range(MOST_RECENT + 1)]
    put(store, ONE, many)
    put(store, TWO, many)
    index = LeafIndex(store, TARGET, FOLDER, MANIFEST)
    index.note([ONE, TWO])
    store.reads_left = 1
    with pytest.raises(NetworkFailure):
        index.rounds_with(many[0])
    found = [sorted(index.rounds_with(one)) for one in (many[0], many[-1])]
    assert found == [sorted([ONE, TWO])] * 2
    assert index.rounds_with(leaf("other")) == []


def test_a_malformed_manifest_is_reported_until_it_is_mended(store: Failing) -> None:
    put(store, ONE, [leaf("1")])
    store.write(f"{FOLDER}/{TWO}/{MANIFEST}", b"{")
    index = LeafIndex(store, TARGET, FOLDER, MANIFEST)
    index.note([ONE, TWO])
    assert index.rounds_with(leaf("1")) == [ONE]
    assert list(index.unread(0)) == [TWO]
    put(store, TWO, [leaf("1"), leaf("2")])
    assert sorted(index.rounds_with(leaf("1"))) == sorted([ONE, TWO])
    assert index.rounds_with(leaf("2")) == [TWO]
    assert index.unread(0) == {}


def test_a_manifest_that_is_damaged_later_is_found_in_its_turn_and_its_leaves_stay_known(
    store: Failing,
) -> None:
    put(store, ONE, [leaf("1")])
    put(store, TWO, [leaf("2")])
    index = LeafIndex(store, TARGET, FOLDER, MANIFEST)
    index.note([ONE, TWO])
    assert index.unread(2) == {}
    store.write(f"{FOLDER}/{TWO}/{MANIFEST}", b'{"leaves": [')
    store.delete(f"{FOLDER}/{ONE}/{MANIFEST}")
    assert sorted(index.unread(2)) == sorted([ONE, TWO])
    assert index.rounds_with(leaf("2")) == [TWO]
    put(store, ONE, [leaf("1")])
    assert list(index.unread(2)) == [TWO]


@pytest.mark.parametrize("changed", ["another round's", "short", "empty"])
def test_a_manifest_that_holds_other_leaves_than_its_round_is_not_taken_for_it(
    store: Failing, changed: str
) -> None:
    put(store, ONE, [leaf("1"), leaf("2")])
    put(store, TWO, [leaf("3")])
    place = f"{FOLDER}/{ONE}/{MANIFEST}"
    document = json.loads(store.read(place) or b"")
    kept = {"short": document["leaves"][:1], "empty": []}
    if changed in kept:
        store.write(place, json.dumps({**document, "leaves": kept[changed]}).encode())
    else:
        store.write(place, store.read(f"{FOLDER}/{TWO}/{MANIFEST}") or b"")
    index = LeafIndex(store, TARGET, FOLDER, MANIFEST)
    index.note([ONE, TWO])
    assert list(index.unread(0)) == [ONE]
    assert index.rounds_with(leaf("3")) == [TWO]
    store.write(place, json.dumps(document).encode())
    assert index.unread(0) == {}
    assert index.rounds_with(leaf("1")) == [ONE]

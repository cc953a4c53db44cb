"""Which rounds may hold a leaf, also after the storage failed."""

import json
from hashlib import sha256
from pathlib import Path

import pytest
from typing_extensions import override

from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.leaf import Leaf
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.leaf_index import MOST_RECENT, LeafIndex

FOLDER, MANIFEST = "rounds", "manifest.json"
ROUNDS = [f"round-{n}" for n in range(6)]


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
        "leaves": [
            {"namespace": one.namespace, "batchId": one.batch_id, "root": one.root.receipt_form}
            for one in leaves
        ]
    }
    store.write(f"{FOLDER}/{identity}/{MANIFEST}", json.dumps(document).encode())


@pytest.mark.parametrize("reads", range(len(ROUNDS)))
def test_no_leaf_is_lost_when_the_storage_fails_at_one_of_the_manifests(
    store: Failing, reads: int
) -> None:
    for identity in ROUNDS:
        put(store, identity, [leaf(identity), leaf("shared")])
    index = LeafIndex(store, FOLDER, MANIFEST)
    index.note(ROUNDS)
    store.reads_left = reads
    with pytest.raises(NetworkFailure):
        index.rounds_with(leaf("shared"))
    assert [index.rounds_with(leaf(identity)) for identity in ROUNDS] == [[one] for one in ROUNDS]
    assert sorted(index.rounds_with(leaf("shared"))) == ROUNDS


def test_what_is_merged_after_a_failure_is_found(store: Failing) -> None:
    many = [leaf(str(n)) for n in range(MOST_RECENT + 1)]
    put(store, "first", many)
    put(store, "second", many)
    index = LeafIndex(store, FOLDER, MANIFEST)
    index.note(["first", "second"])
    store.reads_left = 1
    with pytest.raises(NetworkFailure):
        index.rounds_with(many[0])
    found = [sorted(index.rounds_with(one)) for one in (many[0], many[-1])]
    assert found == [["first", "second"]] * 2
    assert index.rounds_with(leaf("other")) == []


def test_a_malformed_manifest_is_reported_until_it_is_mended(store: Failing) -> None:
    put(store, "good", [leaf("1")])
    store.write(f"{FOLDER}/bad/{MANIFEST}", b"{")
    index = LeafIndex(store, FOLDER, MANIFEST)
    index.note(["good", "bad"])
    assert index.rounds_with(leaf("1")) == ["good"]
    assert list(index.unread(0)) == ["bad"]
    put(store, "bad", [leaf("1"), leaf("2")])
    assert sorted(index.rounds_with(leaf("1"))) == ["bad", "good"]
    assert index.rounds_with(leaf("2")) == ["bad"]
    assert index.unread(0) == {}


def test_a_manifest_that_is_damaged_later_is_found_in_its_turn_and_its_leaves_stay_known(
    store: Failing,
) -> None:
    put(store, "one", [leaf("1")])
    put(store, "two", [leaf("2")])
    index = LeafIndex(store, FOLDER, MANIFEST)
    index.note(["one", "two"])
    assert index.unread(2) == {}
    store.write(f"{FOLDER}/two/{MANIFEST}", b'{"leaves": [')
    store.delete(f"{FOLDER}/one/{MANIFEST}")
    assert sorted(index.unread(2)) == ["one", "two"]
    assert index.rounds_with(leaf("2")) == ["two"]
    put(store, "one", [leaf("1")])
    assert list(index.unread(2)) == ["two"]

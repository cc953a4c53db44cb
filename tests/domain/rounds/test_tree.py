"""Aggregation trees and inclusion proofs (M1, M2, M3)."""

import json
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.rounds import tree as merkle

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "merkle_roots.json").read_text())
LARGEST_COMPARED = 257


def hashes(size: int) -> list[bytes]:
    return [merkle.leaf_hash(bytes([n % 256, n // 256])) for n in range(size)]


def tree_root(leaves: list[bytes]) -> bytes:
    return merkle.root_of_hashes([merkle.leaf_hash(leaf) for leaf in leaves])


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_shared_vectors(size: int) -> None:
    leaves = [bytes.fromhex(leaf) for leaf in VECTORS["leaves"][:size]]
    assert tree_root(leaves).hex() == VECTORS["roots"][size]


def test_roots_and_paths_agree_with_an_independent_library_up_to_257_leaves() -> None:
    tree = InmemoryTree(algorithm="sha256")
    leaves: list[bytes] = []
    for size in range(1, LARGEST_COMPARED + 1):
        leaves.append(size.to_bytes(2, "big"))
        tree.append_entry(leaves[-1])
        own = [merkle.leaf_hash(leaf) for leaf in leaves]
        root = merkle.root_of_hashes(own)
        assert root == tree.get_root()
        paths = merkle.inclusion_paths(own)
        assert all(
            merkle.root_from_path(own[i], i, size, path) == root for i, path in enumerate(paths)
        )


def test_the_empty_tree_is_the_hash_of_nothing() -> None:
    assert tree_root([]) == sha256(b"").digest()
    assert merkle.inclusion_paths([]) == []


def test_a_doubled_last_leaf_changes_the_root() -> None:
    a, b, c = b"a", b"b", b"c"
    assert tree_root([a, b, c]) != tree_root([a, b, c, c])


def test_an_inner_node_does_not_verify_as_a_leaf() -> None:
    own = hashes(4)
    inner = own[0] + own[1]
    root = merkle.root_of_hashes(own)
    sibling = merkle.node_hash(own[2], own[3])
    assert merkle.root_from_path(merkle.leaf_hash(inner), 0, 2, [sibling]) != root


@given(st.integers(1, 70), st.data())
def test_any_flipped_bit_fails(size: int, data: st.DataObject) -> None:
    own = hashes(size)
    index = data.draw(st.integers(0, size - 1))
    path = merkle.inclusion_paths(own)[index]
    proof = b"".join([own[index], *path])
    bit = data.draw(st.integers(0, len(proof) * 8 - 1))
    changed = bytearray(proof)
    changed[bit // 8] ^= 1 << bit % 8
    nodes = [bytes(changed[at : at + 32]) for at in range(0, len(changed), 32)]
    root = merkle.root_of_hashes(own)
    assert merkle.root_from_path(nodes[0], index, size, nodes[1:]) != root


@given(st.integers(2, 70), st.data())
def test_another_index_or_size_never_gives_the_root(size: int, data: st.DataObject) -> None:
    own = hashes(size)
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1).filter(lambda n: n != index))
    path = merkle.inclusion_paths(own)[index]
    with suppress(InvalidValue):
        assert merkle.root_from_path(own[index], other, size, path) != merkle.root_of_hashes(own)


@given(st.integers(1, 70), st.data())
def test_a_path_of_another_length_is_refused(size: int, data: st.DataObject) -> None:
    own = hashes(size)
    index = data.draw(st.integers(0, size - 1))
    path = merkle.inclusion_paths(own)[index]
    with pytest.raises(InvalidValue):
        merkle.root_from_path(own[index], index, size, [*path, own[0]])
    if path:
        with pytest.raises(InvalidValue):
            merkle.root_from_path(own[index], index, size, path[:-1])


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (0, -1)])
def test_an_index_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(InvalidValue, match="no leaf"):
        merkle.root_from_path(hashes(1)[0], index, size, [])


def test_a_path_deeper_than_64_or_with_odd_nodes_is_refused() -> None:
    leaf = hashes(1)[0]
    with pytest.raises(InvalidValue, match="deeper"):
        merkle.root_from_path(leaf, 0, 2**65, [leaf] * 65)
    with pytest.raises(InvalidValue, match="bytes"):
        merkle.root_from_path(leaf, 0, 2, [b"short"])

"""VaultMesh's own batch tree (M7)."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.batches import tree
from vaultmesh.domain.errors import InvalidValue

LEAVES = [
    bytes.fromhex("8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"),
    bytes.fromhex("f44e64e75f3948e9f73f8dfa94721c4ce8cbb4f265c4790c702b2d41cfbf2753"),
    bytes.fromhex("be9d587defa1f0c09ef49eb17e206983a5f8f8289e4281860bd0ee5a19592c67"),
]
ROOT = bytes.fromhex("50298939464ed02cbf2b587250a55746b3422e133ac4f09b7e2b07869023bc9e")


def leaves_of(size: int) -> list[bytes]:
    return [sha256(n.to_bytes(4, "big")).digest() for n in range(size)]


def test_the_documented_batch_has_its_root_and_path() -> None:
    assert tree.root(LEAVES) == ROOT
    first = tree.paths(LEAVES)[0]
    assert [node.hex() for node in first] == [
        "f44e64e75f3948e9f73f8dfa94721c4ce8cbb4f265c4790c702b2d41cfbf2753",
        "8c84e4f2d27ecb9bd6db03cdff169c1a28cee1fab5973ff5eecebe149c8bda92",
    ]


def test_a_single_leaf_is_its_own_root() -> None:
    assert tree.root(LEAVES[:1]) == LEAVES[0]
    assert tree.paths(LEAVES[:1]) == [[]]


def test_a_node_paired_with_itself_lists_itself() -> None:
    assert tree.paths(LEAVES)[2][0] == LEAVES[2]


def test_the_weakness_that_new_trees_do_not_have_is_real() -> None:
    assert tree.root(LEAVES) == tree.root([*LEAVES, LEAVES[2]])


def test_no_leaves_are_refused() -> None:
    with pytest.raises(InvalidValue, match="at least one"):
        tree.root([])
    with pytest.raises(InvalidValue, match="at least one"):
        tree.paths([])


@given(st.integers(1, 80))
def test_every_path_leads_to_the_root(size: int) -> None:
    leaves = leaves_of(size)
    root, paths = tree.root(leaves), tree.paths(leaves)
    assert all(tree.leads_to(leaf, path, root) for leaf, path in zip(leaves, paths, strict=True))


@given(st.integers(2, 80), st.data())
def test_a_flipped_bit_leads_elsewhere(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    bit = data.draw(st.integers(0, 255))
    changed = bytearray(leaves[index])
    changed[bit // 8] ^= 1 << bit % 8
    path = tree.paths(leaves)[index]
    assert not tree.leads_to(bytes(changed), path, tree.root(leaves))


def test_a_path_longer_than_the_bound_is_refused() -> None:
    with pytest.raises(InvalidValue, match="longer"):
        tree.leads_to(LEAVES[0], [LEAVES[1]] * (tree.LONGEST_PATH + 1), ROOT)

"""Builds aggregation trees and checks inclusion proofs: RFC 9162, SHA-256.

1. Leaf hash = SHA-256(00 ‖ data), node = SHA-256(01 ‖ left ‖ right), nothing is duplicated,
   the empty tree's root is SHA-256 of nothing (M1).
2. A proof says index and tree size; the verifier derives the sides, and refuses a path of any
   other length (M2).
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from vaultmesh.domain.errors import InvalidValue

ALGORITHM: Final = "rfc9162-sha256"
"""Name of this kind of tree in manifests and receipts."""
DEEPEST = 64
"""Longest path that is looked at; a tree of that depth could hold 2^64 leaves."""

_HASH_BYTES = 32


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf's data."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def root_of_hashes(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaves that are hashed already."""
    if not leaf_hashes:
        return sha256(b"").digest()
    return _levels(leaf_hashes)[-1][0]


def inclusion_paths(leaf_hashes: Sequence[bytes]) -> list[list[bytes]]:
    """Return every leaf's path, nodes from the leaf upward, in one pass over the tree."""
    levels = _levels(leaf_hashes) if leaf_hashes else []
    return [_path(index, levels) for index in range(len(leaf_hashes))]


def root_from_path(hashed_leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root of the tree of `size` leaves with `hashed_leaf` at `index`, as `path` says.

    Raises:
        InvalidValue: no tree of that size has such a path at that index.
    """
    _require_form(hashed_leaf, index, size, path)
    position, last, node = index, size - 1, hashed_leaf
    for sibling in path:
        if last == 0:
            message = f"the path has nodes above the root of a tree of {size}"
            raise InvalidValue(message)
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        message = f"a path of {len(path)} nodes is too short for leaf {index} of {size}"
        raise InvalidValue(message)
    return node


def _require_form(hashed_leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> None:
    if not 0 <= index < size:
        message = f"there is no leaf {index} in a tree of {size}"
        raise InvalidValue(message)
    if len(path) > DEEPEST:
        message = f"a path of {len(path)} nodes is deeper than {DEEPEST}"
        raise InvalidValue(message)
    if any(len(node) != _HASH_BYTES for node in (hashed_leaf, *path)):
        message = f"every node of a path has {_HASH_BYTES} bytes"
        raise InvalidValue(message)


def _levels(leaf_hashes: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Return the levels from the leaves up; a node without sibling rises unchanged (RFC 9162)."""
    levels: list[Sequence[bytes]] = [leaf_hashes]
    while len(levels[-1]) > 1:
        below = levels[-1]
        level = [
            sha256(b"\x01" + below[i] + below[i + 1]).digest() for i in range(0, len(below) - 1, 2)
        ]
        if len(below) % 2:
            level.append(below[-1])
        levels.append(level)
    return levels


def _path(index: int, levels: Sequence[Sequence[bytes]]) -> list[bytes]:
    path: list[bytes] = []
    for level in levels[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        index >>= 1
    return path

"""Builds VaultMesh's own batch tree, and checks it as its verifier does.

1. Leaf = the 32 bytes of the event hash, node = SHA-256(left ‖ right); an odd node is paired
   with itself.
2. A path says no sides, so the verifier tries both: this proves less than RFC 9162 does (M7),
   and is never taken for it.
"""

from collections.abc import Sequence
from hashlib import sha256

from vaultmesh.domain.errors import InvalidValue

LONGEST_PATH = 20
"""Siblings that are tried: a million events, and about a second of work at most."""


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root of a batch.

    Raises:
        InvalidValue: there are no leaves.
    """
    return _levels(leaves)[-1][0]


def paths(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Return each leaf's siblings, from the leaf upward; none for a single leaf.

    Raises:
        InvalidValue: there are no leaves.
    """
    levels = _levels(leaves)
    return [_path(index, levels) for index in range(len(leaves))]


def leads_to(leaf: bytes, path: Sequence[bytes], expected: bytes) -> bool:
    """Tell whether some choice of sides leads from the leaf to the expected root.

    Raises:
        InvalidValue: the path is longer than `LONGEST_PATH`.
    """
    if len(path) > LONGEST_PATH:
        message = f"a path of {len(path)} siblings is longer than {LONGEST_PATH}"
        raise InvalidValue(message)
    candidates = {leaf}
    for sibling in path:
        candidates = {
            sha256(pair).digest()
            for node in candidates
            for pair in (node + sibling, sibling + node)
        }
    return expected in candidates


def _levels(leaves: Sequence[bytes]) -> list[Sequence[bytes]]:
    if not leaves:
        message = "a batch has at least one leaf"
        raise InvalidValue(message)
    levels: list[Sequence[bytes]] = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append(
            [
                sha256(below[i] + below[min(i + 1, len(below) - 1)]).digest()
                for i in range(0, len(below), 2)
            ]
        )
    return levels


def _path(index: int, levels: Sequence[Sequence[bytes]]) -> list[bytes]:
    path: list[bytes] = []
    for level in levels[:-1]:
        path.append(level[min(index ^ 1, len(level) - 1)])
        index >>= 1
    return path

"""Checks proofs of Ethereum's Merkle-Patricia tries.

1. A proof is the list of nodes from the root to the value, each the RLP that its parent names by Keccak-256; a node
   below 32 bytes lies inside its parent and is not listed.
2. Every listed node MUST be used, in order; nothing may be left over.
3. RLP is read strictly: one value has one encoding.
"""

from collections.abc import Sequence

import rlp
from eth_utils.crypto import keccak

from vaultmesh.domain.errors import InvalidValue

HASH_BYTES = 32
LARGEST_ITEM = 1 << 20
"""Bytes of one RLP item that is looked at; far above any header, transaction or receipt of ours."""
DEEPEST_ITEM = 64
"""Lists in each other in what is looked at; the logs of an anchor are four deep. Stacks do not bear the same everywhere."""

Item = bytes | Sequence["Item"]
"""What RLP holds: bytes, or a list of items."""

_BRANCH, _SHORT = 17, 2
"""Items of a node with 16 children and a value, and of one with a path and what follows it."""
_ODD, _LEAF = 1, 2
"""Flags in the first nibble of a compact path."""


def decode(data: bytes, what: str) -> Item:
    """Read one RLP item; `what` names it in errors.

    Raises:
        InvalidValue: not the one encoding of anything.
    """
    if len(data) > LARGEST_ITEM:
        message = f"{what} has {len(data)} bytes; at most {LARGEST_ITEM} are read"
        raise InvalidValue(message)
    try:
        item: Item = rlp.decode(data)
    except (rlp.exceptions.RLPException, RecursionError) as error:
        message = f"{what} is not RLP"
        raise InvalidValue(message) from error
    if _is_deeper(item, DEEPEST_ITEM):
        message = f"{what} is not RLP of ours: more than {DEEPEST_ITEM} lists lie in each other"
        raise InvalidValue(message)
    return item


def index_key(index: int) -> bytes:
    """Return the key of a block's n-th transaction or receipt in its trie."""
    key: bytes = rlp.encode(index)
    return key


def proven_value(root: bytes, key: bytes, nodes: Sequence[bytes], what: str) -> bytes:
    """Return the value that a trie holds at a key; `what` names the trie in errors.

    Raises:
        InvalidValue: the nodes do not lead from the root to a value at the key.
    """
    walk = _Walk(nodes, what)
    node = walk.named(root)
    path = _nibbles(key)
    while True:
        if len(node) == _BRANCH:
            if not path:
                return walk.value(node[-1])
            following, path = node[path[0]], path[1:]
        else:
            flags, stretch = _compact(node[0], what)
            if flags & _LEAF:
                walk.require("leads to another key", holds=path == stretch)
                return walk.value(node[1])
            onward = bool(stretch) and path[: len(stretch)] == stretch
            walk.require("leads to another key", holds=onward)
            following, path = node[1], path[len(stretch) :]
        node = walk.inner(following)


class _Walk:
    """The listed nodes, of which each is used once."""

    def __init__(self, nodes: Sequence[bytes], what: str) -> None:
        self._nodes = nodes
        self._used = 0
        self._what = what

    def named(self, digest: bytes) -> Sequence[Item]:
        """Take the next listed node; it MUST have this hash."""
        self.require("ends before the value", holds=self._used < len(self._nodes))
        data = self._nodes[self._used]
        name = f"node {self._used}"
        self.require(
            f"{name} has another hash than its parent or root says", holds=keccak(data) == digest
        )
        large = not self._used or len(data) >= HASH_BYTES
        self.require(f"{name} belongs inside its parent", holds=large)
        self._used += 1
        return self._node(decode(data, f"{self._what}'s {name}"))

    def inner(self, item: Item) -> Sequence[Item]:
        """Go on to a child: named by its hash, or lying in its parent."""
        if isinstance(item, bytes):
            self.require("holds nothing at this key", holds=len(item) == HASH_BYTES)
            return self.named(item)
        self.require("has a large node inside another", holds=_is_small(item))
        return self._node(item)

    def value(self, item: Item) -> bytes:
        """Return the value at the end; nothing may be left over."""
        data = item if isinstance(item, bytes) else b""
        self.require("holds nothing at this key", holds=bool(data))
        self.require("has nodes beyond the value", holds=self._used == len(self._nodes))
        return data

    def require(self, reason: str, *, holds: bool) -> None:
        """Raise `InvalidValue` unless it holds."""
        if not holds:
            message = f"{self._what} {reason}"
            raise InvalidValue(message)

    def _node(self, item: Item) -> Sequence[Item]:
        items = () if isinstance(item, bytes) else item
        self.require("holds something that is no node", holds=len(items) in (_BRANCH, _SHORT))
        return items


def _is_deeper(item: Item, levels: int) -> bool:
    """Say whether more lists than that lie in each other."""
    level: list[Item] = [item]
    for _ in range(levels):
        level = [inner for outer in level if not isinstance(outer, bytes) for inner in outer]
    return any(not isinstance(inner, bytes) for inner in level)


def _is_small(item: Item) -> bool:
    """Say whether a node's RLP is shorter than a hash."""
    return len(rlp.encode(item)) < HASH_BYTES


def _compact(item: Item, what: str) -> tuple[int, list[int]]:
    """Return flags and nibbles of a compact path."""
    nibbles = _nibbles(item) if isinstance(item, bytes) else []
    odd = bool(nibbles) and bool(nibbles[0] & _ODD)
    if not nibbles or nibbles[0] > (_ODD | _LEAF) or (not odd and nibbles[1]):
        message = f"{what} holds a path of no known form"
        raise InvalidValue(message)
    return nibbles[0], nibbles[1:] if odd else nibbles[2:]


def _nibbles(data: bytes) -> list[int]:
    return [nibble for byte in data for nibble in divmod(byte, 16)]

"""Makes fuzzed proofs: trees by RFC 9162's definitions, built without the product's code."""

import json
from hashlib import sha256
from random import Random
from typing import Any

ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz0123456789:-_.",
    'äßçéøñΩжק中文日本語한국어😀🎉\U0010ffff"\\/<>&\u2028\u2029\ufeff\ufffd\uffff',
    "\x00\x01\x07\b\t\n\x0b\f\r\x1b\x1f \x7f\x80\x9f\xa0\u200d\u0301",
)
LONGEST_TEXT = 24
"""Characters of a fuzzed batch id or namespace."""


def fuzzed_text(rng: Random) -> str:
    """Return a text: an ordinary one mostly, else one that is hard to write canonically; may be empty."""
    alphabet = rng.choice((ALPHABETS[0], ALPHABETS[0], *ALPHABETS, "".join(ALPHABETS)))
    return "".join(rng.choices(alphabet, k=rng.randrange(LONGEST_TEXT)))


def hex32(rng: Random) -> str:
    """Return 32 random bytes as the format writes them."""
    return f"0x{rng.randbytes(32).hex()}"


def hashed(leaf: dict[str, str]) -> bytes:
    """Return a leaf's hash; of texts alone, Python's own JSON is canonical."""
    text = json.dumps(leaf, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return sha256(b"\0" + text.encode()).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Return an inner node."""
    return sha256(b"\1" + left + right).digest()


class Tree:
    """A tree over fuzzed leaves: RFC 9162, 2.1.1 and 2.1.3.1, as they are written."""

    def __init__(self, rng: Random, size: int) -> None:
        """Make up so many leaves."""
        self.leaves = [
            {
                "batchId": fuzzed_text(rng),
                "namespace": fuzzed_text(rng),
                "root": hex32(rng),
                "salt": hex32(rng),
            }
            for _ in range(size)
        ]
        self._hashes = [hashed(one) for one in self.leaves]
        self._known: dict[tuple[int, int], bytes] = {}

    def proof(self, index: int) -> dict[str, Any]:
        """Return a leaf's proof, as receipts carry it."""
        size = len(self.leaves)
        return {
            "algorithm": "rfc9162-sha256",
            "leaf": dict(self.leaves[index]),
            "index": index,
            "treeSize": size,
            "path": [f"0x{one.hex()}" for one in self._path(index, 0, size)],
            "root": f"0x{self._root(0, size).hex()}",
        }

    def _root(self, start: int, end: int) -> bytes:
        if end - start == 1:
            return self._hashes[start]
        if (start, end) not in self._known:
            middle = start + _split(end - start)
            self._known[start, end] = node(self._root(start, middle), self._root(middle, end))
        return self._known[start, end]

    def _path(self, index: int, start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        middle = start + _split(end - start)
        if index < middle:
            return [*self._path(index, start, middle), self._root(middle, end)]
        return [*self._path(index, middle, end), self._root(start, middle)]


def _split(size: int) -> int:
    """Return the largest power of two below a size."""
    return 1 << ((size - 1).bit_length() - 1)

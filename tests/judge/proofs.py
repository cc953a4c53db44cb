"""Follows an inclusion proof from a batch's root to what was committed (RFC 9162, RFC 8785)."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical(leaf: Mapping[str, str]) -> bytes:
    """Return an object of texts as RFC 8785 writes it: sorted keys, no white space, UTF-8."""
    text = json.dumps(leaf, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def proven_root(proof: Mapping[str, Any]) -> str:
    """Return the root that an inclusion proof leads to, by the algorithm of RFC 9162 section 2.1.3.2.

    Raises:
        ValueError: the path fits no tree of that size.
    """
    digest = hashlib.sha256(b"\0" + canonical(proof["leaf"])).digest()
    first, second = proof["index"], proof["treeSize"] - 1
    fits = 0 <= first <= second
    for node in (bytes.fromhex(entry[2:]) for entry in proof["path"]):
        fits = fits and second > 0
        if first & 1 or first == second:
            digest = hashlib.sha256(b"\1" + node + digest).digest()
            while not first & 1 and first:
                first, second = first >> 1, second >> 1
        else:
            digest = hashlib.sha256(b"\1" + digest + node).digest()
        first, second = first >> 1, second >> 1
    if not fits or second != 0:
        message = "the path fits no tree of that size"
        raise ValueError(message)
    return "0x" + digest.hex()

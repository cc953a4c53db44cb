"""Changes a proof's values: another leaf, place, path or size, in the form that they belong in.

Each function changes a proof and returns it; nothing where it does not apply.
"""

import unicodedata
from random import Random
from typing import Any

from tests.second_verifier.trees import fuzzed_text, hashed, hex32, node

Proof = dict[str, Any]
LEAF_TEXTS, LEAF_HEX = ("batchId", "namespace"), ("root", "salt")
DEEPEST = 64
"""Nodes of the longest path that is looked at."""


def in_full_tree(rng: Random, proof: Proof, depth: int) -> Proof:
    """Put the leaf, whatever it holds by now, into a full tree of that depth: then every hash is right."""
    path = [rng.randbytes(32) for _ in range(depth)]
    index = rng.randrange(1 << depth)
    above = hashed(proof["leaf"])
    for level, sibling in enumerate(path):
        above = node(sibling, above) if index >> level & 1 else node(above, sibling)
    proof |= {"index": index, "treeSize": 1 << depth, "path": [f"0x{one.hex()}" for one in path]}
    return proof | {"root": f"0x{above.hex()}"}


def flipped_bit(rng: Random, proof: Proof) -> Proof | None:
    """In any of the 32 bytes that stand as hex."""
    places: list[tuple[Any, Any]] = [(proof, "root"), *((proof["leaf"], key) for key in LEAF_HEX)]
    places += [(proof["path"], at) for at in range(len(proof["path"]))]
    holder, key = rng.choice(places)
    value = int(holder[key], 16) ^ 1 << rng.randrange(256)
    holder[key] = f"0x{value:064x}"
    return proof


def other_letter(rng: Random, proof: Proof) -> Proof | None:
    leaf, key = proof["leaf"], rng.choice(LEAF_TEXTS)
    letters = list(leaf[key])
    if not letters:
        return None
    at = rng.randrange(len(letters))
    letters[at] = chr(ord(letters[at]) ^ 1)
    leaf[key] = "".join(letters)
    return proof


def longer_text(rng: Random, proof: Proof) -> Proof | None:
    key = rng.choice(LEAF_TEXTS)
    proof["leaf"][key] += rng.choice(("\0", " ", "\n", "a", "\u0301", "\ufeff"))
    return proof


def moved_letter(rng: Random, proof: Proof) -> Proof | None:
    """The leaf's encoding must be unambiguous: what ends one text must not begin the next."""
    leaf = proof["leaf"]
    if not leaf["batchId"]:
        return None
    leaf["namespace"] = leaf["batchId"][-1] + leaf["namespace"]
    leaf["batchId"] = leaf["batchId"][:-1]
    return proof


def swapped_texts(rng: Random, proof: Proof) -> Proof | None:
    return _swapped(proof["leaf"], LEAF_TEXTS, proof)


def swapped_hex(rng: Random, proof: Proof) -> Proof | None:
    return _swapped(proof["leaf"], LEAF_HEX, proof)


def normalised(rng: Random, proof: Proof) -> Proof | None:
    """Texts are compared as they are: one that only looks the same is another."""
    leaf, key = proof["leaf"], rng.choice(LEAF_TEXTS)
    before = leaf[key]
    leaf[key] = unicodedata.normalize("NFC" if rng.random() < 0.5 else "NFD", before)
    return proof if leaf[key] != before else None


def other_index(rng: Random, proof: Proof) -> Proof | None:
    proof["index"] += rng.choice((-1, 1))
    return proof


def index_outside(rng: Random, proof: Proof) -> Proof | None:
    size = proof["treeSize"]
    proof["index"] = rng.choice((-1, size, size + 1, -size, 2**31, 2**63, 2**64 + proof["index"]))
    return proof


def no_tree(rng: Random, proof: Proof) -> Proof | None:
    proof["treeSize"] = rng.choice((0, -1, -proof["treeSize"]))
    return proof


def shorter_path(rng: Random, proof: Proof) -> Proof | None:
    path = proof["path"]
    if not path:
        return None
    del path[rng.randrange(len(path))]
    return proof


def longer_path(rng: Random, proof: Proof) -> Proof | None:
    path = proof["path"]
    extra = [rng.choice(path) if path and rng.random() < 0.5 else hex32(rng)]
    path[rng.randrange(len(path) + 1) : 0] = extra * rng.choice((1, 1, 1, 64, 65))
    return proof


def swapped_nodes(rng: Random, proof: Proof) -> Proof | None:
    path = proof["path"]
    if len(path) < 2:
        return None
    first, second = rng.sample(range(len(path)), 2)
    path[first], path[second] = path[second], path[first]
    return proof


def level_left_out(rng: Random, proof: Proof) -> Proof | None:
    if not proof["path"]:
        return None
    proof["path"] = proof["path"][1:]
    proof["treeSize"] = (proof["treeSize"] + 1) // 2
    proof["index"] //= 2
    return proof


def deepest_tree(rng: Random, proof: Proof) -> Proof | None:
    proof["leaf"]["namespace"] = fuzzed_text(rng)
    return in_full_tree(rng, proof, DEEPEST)


def too_deep_a_tree(rng: Random, proof: Proof) -> Proof | None:
    """Every hash is right, and the path a node too long."""
    return in_full_tree(rng, proof, DEEPEST + 1)


def other_size(rng: Random, proof: Proof) -> Proof | None:
    """A path may fit several sizes: its shape depends on the sides alone."""
    size: int = proof["treeSize"]
    powers = (2**32, 2**53 + 1, 2**63, 2**64, 2**64 + 1, 2**100 + 1)
    proof["treeSize"] = rng.choice((size - 1, size + 1, size + 2, size * 2, size // 2, *powers))
    return proof


def lopsided_tree(rng: Random, proof: Proof) -> Proof | None:
    """The last leaf of a tree of 2^n + 1 has a path of one node, however large the tree."""
    height, sibling = rng.randrange(1, 130), rng.randbytes(32)
    root = node(sibling, hashed(proof["leaf"]))
    proof |= {"index": 2**height, "treeSize": 2**height + 1, "path": [f"0x{sibling.hex()}"]}
    return proof | {"root": f"0x{root.hex()}"}


def _swapped(holder: dict[str, Any], keys: tuple[str, str], proof: Proof) -> Proof | None:
    first, second = keys
    if holder[first] == holder[second]:
        return None
    holder[first], holder[second] = holder[second], holder[first]
    return proof

"""The place where it is measured how long one inclusion proof takes to be read and followed."""

import secrets
import time

from bench.figures import Row, at_most, median, quantile, shown
from vaultmesh.domain import merkle
from vaultmesh.domain.aggregation import (
    SALT_BYTES,
    Aggregation,
    AggregationLeaf,
    Leaf,
    leaf_bytes,
    read_document,
)
from vaultmesh.domain.roots import MerkleRoot

NEEDS = "nothing; seconds"
_LIMIT_MS, _LIMIT_KB = 5.0, 12.0
_LEAVES = 1_000


def measure(*, quick: bool) -> list[Row]:
    """Measure proofs of a tree of 1,000 leaves; quickly, fewer times."""
    documents, root = _proofs()
    times = []
    for text in documents[:100] if quick else documents * 10:
        started = time.perf_counter()
        proven = read_document(Aggregation, text).proven_root()
        times.append(1_000 * (time.perf_counter() - started))
        assert proven == root
    size = max(map(len, documents)) / 1_000
    return [
        at_most(
            f"read and follow one proof in a tree of {_LEAVES:,}, p50",
            median(times),
            _LIMIT_MS,
            "{:.3f} ms",
        ),
        shown("  p99", f"{quantile(times, 0.99):.3f} ms"),
        at_most("  size of a proof", size, _LIMIT_KB, "{:.1f} kB"),
    ]


def _proofs() -> tuple[list[str], MerkleRoot]:
    """Return every proof of one tree as text, and the root."""
    leaves = [
        Leaf(f"dao:bench-{number:05}", str(1_700_000_000 + number), _random_root())
        for number in range(_LEAVES)
    ]
    salts = [f"0x{secrets.token_hex(SALT_BYTES)}" for _ in leaves]
    hashes = [
        merkle.leaf_hash(leaf_bytes(leaf, salt)) for leaf, salt in zip(leaves, salts, strict=True)
    ]
    root = MerkleRoot(merkle.root_of_hashes(hashes))
    paths = merkle.inclusion_paths(hashes)
    found = []
    for index, (leaf, salt) in enumerate(zip(leaves, salts, strict=True)):
        proof = Aggregation(
            leaf=AggregationLeaf(
                batch_id=leaf.batch_id, namespace=leaf.namespace, root=leaf.root, salt=salt
            ),
            index=index,
            tree_size=len(leaves),
            path=tuple(f"0x{node.hex()}" for node in paths[index]),
            root=root,
        )
        found.append(proof.document())
    return found, root


def _random_root() -> MerkleRoot:
    return MerkleRoot(secrets.token_bytes(32))

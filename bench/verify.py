"""Measures how long one proof takes to be read and followed: in a tree, and in each ledger."""

import secrets
import time

from pydantic_core import from_json

from bench.figures import Row, at_most, median, quantile, unlimited
from vaultmesh.domain.checks import Trust
from vaultmesh.domain.receipts.receipt import parse_receipt
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds import tree
from vaultmesh.domain.rounds.leaf import (
    SALT_BYTES,
    Aggregation,
    AggregationLeaf,
    Leaf,
    leaf_bytes,
    read_document,
)
from vaultmesh.process.settings import REPOSITORY
from vaultmesh.verification.offline import verify_offline

NEEDS = "nothing; seconds"
_LIMIT_MS, _LIMIT_KB = 5.0, 12.0
_LEAVES = 1_000
_SAMPLES = REPOSITORY / "tests" / "vectors" / "receipts"
"""Final receipts of real ledgers."""


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
        unlimited("  p99", f"{quantile(times, 0.99):.3f} ms"),
        at_most("  size of a proof", size, _LIMIT_KB, "{:.1f} kB"),
        *(row for ledger in _trusts() for row in _ledger(ledger, 20 if quick else 500)),
    ]


def _trusts() -> dict[str, Trust]:
    """Return what proves each saved receipt, by its file's name."""
    evm = from_json((_SAMPLES / "eip155_31337.json").read_bytes())["evidence"]["evm"]
    btc = from_json((_SAMPLES / "btc_regtest.json").read_bytes())["evidence"]["btc"]
    return {
        "eip155_31337": Trust(blocks=frozenset({evm["blockHash"]})),
        "btc_regtest": Trust(headers=frozenset({btc["blockHash"]})),
        "rfc3161_tsa": Trust(authorities=((_SAMPLES / "tsa-roots.pem").read_bytes(),)),
    }


def _ledger(name: str, runs: int) -> list[Row]:
    """Measure how long a whole receipt takes to be read and proven."""
    text, trust, times = (_SAMPLES / f"{name}.json").read_bytes(), _trusts()[name], []
    for _ in range(runs):
        started = time.perf_counter()
        verdict = verify_offline(parse_receipt(text), trust)
        times.append(1_000 * (time.perf_counter() - started))
        assert verdict.proven, verdict.statement
    what = f"read and prove a receipt of {name} offline, p50"
    return [
        at_most(what, median(times), _LIMIT_MS, "{:.2f} ms"),
        at_most("  size of the receipt", len(text) / 1_000, _LIMIT_KB, "{:.1f} kB"),
    ]


def _proofs() -> tuple[list[str], MerkleRoot]:
    """Return every proof of one tree as text, and the root."""
    leaves = [
        Leaf(f"dao:bench-{number:05}", str(1_700_000_000 + number), _random_root())
        for number in range(_LEAVES)
    ]
    salts = [f"0x{secrets.token_hex(SALT_BYTES)}" for _ in leaves]
    hashes = [
        tree.leaf_hash(leaf_bytes(leaf, salt)) for leaf, salt in zip(leaves, salts, strict=True)
    ]
    root = MerkleRoot(tree.root_of_hashes(hashes))
    paths = tree.inclusion_paths(hashes)
    documents = []
    for index, (leaf, salt) in enumerate(zip(leaves, salts, strict=True)):
        proof = Aggregation(
            algorithm=tree.ALGORITHM,
            leaf=AggregationLeaf(
                batch_id=leaf.batch_id, namespace=leaf.namespace, root=leaf.root, salt=salt
            ),
            index=index,
            tree_size=len(leaves),
            path=tuple(f"0x{node.hex()}" for node in paths[index]),
            root=root,
        )
        documents.append(proof.document())
    return documents, root


def _random_root() -> MerkleRoot:
    return MerkleRoot(secrets.token_bytes(32))

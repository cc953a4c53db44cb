"""Composes and names a round, and writes its manifest.

1. A round's id is a hash of its target and commitment, so a manifest never changes (X1).
2. One distinct root is committed itself; several build a tree, ordered by leaf hash (M5).
3. A manifest without a candidate means nothing: the bytes of a candidate are what was signed.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from typing import Literal, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.roots import MerkleRoot, ReceiptRoot
from vaultmesh.domain.rounds import tree
from vaultmesh.domain.rounds.leaf import (
    Aggregation,
    AggregationLeaf,
    Document,
    Leaf,
    Salt,
    leaf_bytes,
    read_document,
)
from vaultmesh.domain.target import Target

ROUND_ID_TAG = b"anchor/v1"
ROUND_ID_DIGITS = 32
"""Hex digits of a round id: 128 bits."""

Mode = Literal["auto", "always", "off"]


class RoundRequest(Document):
    """One request that a leaf answers."""

    namespace: str
    cadence: str
    slot: str
    required_depth: int = Field(ge=0)


class OwedLeaf(Document):
    """A leaf that is owed, and the requests that owe it."""

    namespace: str
    """The leaf namespace: what the batch file names, empty if it names none."""
    batch_id: str = Field(min_length=1)
    root: ReceiptRoot
    requests: tuple[RoundRequest, ...] = Field(default=(), strict=False)

    @property
    def leaf(self) -> Leaf:
        """What is committed at most once."""
        return Leaf(self.namespace, self.batch_id, self.root)


class ManifestLeaf(OwedLeaf):
    """A leaf in a manifest."""

    salt: Salt | None
    """None for a direct commitment."""

    def hashed(self) -> bytes:
        """Return the leaf hash.

        Raises:
            InvalidValue: it has no salt.
        """
        return self._hashed

    @cached_property
    def _hashed(self) -> bytes:
        if self.salt is None:
            message = "a leaf of a tree has a salt"
            raise InvalidValue(message)
        return tree.leaf_hash(leaf_bytes(self.leaf, self.salt))


class TreeShape(Document):
    """How the leaves of a round form a tree."""

    algorithm: Literal["rfc9162-sha256"] = "rfc9162-sha256"
    tree_size: int = Field(ge=1)


class Manifest(Document):
    """What one round commits to, and for whom."""

    version: Literal["1"] = "1"
    target: Target
    commitment: ReceiptRoot
    aggregation: TreeShape | None
    leaves: tuple[ManifestLeaf, ...] = Field(min_length=1, strict=False)
    """In tree order."""

    @model_validator(mode="after")
    def _commits_to_its_leaves(self) -> Self:
        actual = self._tree_root() if self.aggregation else self._direct_root()
        if actual != self.commitment:
            message = f"the leaves give {actual.receipt_form}, not the commitment"
            raise InvalidValue(message)
        return self

    def _direct_root(self) -> MerkleRoot:
        first = self.leaves[0].root
        if any(leaf.root != first or leaf.salt is not None for leaf in self.leaves):
            message = "a direct commitment has leaves of one root, and no salts"
            raise InvalidValue(message)
        return first

    def _tree_root(self) -> MerkleRoot:
        if self.aggregation and self.aggregation.tree_size != len(self.leaves):
            message = f"treeSize is not {len(self.leaves)}, the number of leaves"
            raise InvalidValue(message)
        hashes = self._hashes
        if any(low >= high for low, high in pairwise(hashes)):
            message = "the leaves are not in the order of their hashes"
            raise InvalidValue(message)
        return MerkleRoot(tree.root_of_hashes(hashes))

    @cached_property
    def _hashes(self) -> list[bytes]:
        return [leaf.hashed() for leaf in self.leaves]

    @cached_property
    def _paths(self) -> list[list[bytes]]:
        return tree.inclusion_paths(self._hashes)

    def path(self, index: int) -> list[bytes]:
        """Return a leaf's path in the tree."""
        return self._paths[index]

    @cached_property
    def round_id(self) -> str:
        """The round's id."""
        return round_id(self.target, self.commitment.digest)

    @cached_property
    def positions(self) -> dict[Leaf, int]:
        """Where each leaf is."""
        return {leaf.leaf: index for index, leaf in enumerate(self.leaves)}

    @property
    def required_depths(self) -> list[int]:
        """The distinct required depths of its requests, ascending."""
        return sorted({r.required_depth for leaf in self.leaves for r in leaf.requests})

    @property
    def label(self) -> str:
        """What the ledger's entry is labelled with: the first batch id, or a tree's round id."""
        return anchor_batch_id(self) or self.round_id


def parse_manifest(text: str | bytes) -> Manifest:
    """Read a manifest and check that it commits to its leaves.

    Raises:
        InvalidValue: it is malformed, or was changed.
    """
    return read_document(Manifest, text)


def round_id(target: Target, commitment: bytes) -> str:
    """Return the id: 32 hex of SHA-256 over tag, target, commitment, each after its length."""
    digest = sha256()
    for part in (ROUND_ID_TAG, str(target).encode(), commitment):
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()[:ROUND_ID_DIGITS]


def compose(
    target: Target, owed: Sequence[OwedLeaf], aggregation: Mode, salts: Callable[[], bytes]
) -> Manifest:
    """Decide what goes into one round; `salts` gives 32 fresh random bytes at each call.

    Equal leaves become one that answers the requests of all. `off` takes the first leaf's root and
    the leaves that share it; what is left out is owed at once again.

    Raises:
        InvalidValue: nothing is owed.
    """
    leaves = _merged(owed)
    if not leaves:
        message = "a round has at least one leaf"
        raise InvalidValue(message)
    first = leaves[0].root
    if aggregation == "off":
        leaves = [leaf for leaf in leaves if leaf.root == first]
    if aggregation != "always" and all(leaf.root == first for leaf in leaves):
        direct = tuple(_in_manifest(leaf, None) for leaf in leaves)
        return Manifest(target=target, commitment=first, aggregation=None, leaves=direct)
    salted = sorted(
        (_in_manifest(leaf, f"0x{salts().hex()}") for leaf in leaves), key=ManifestLeaf.hashed
    )
    return Manifest(
        target=target,
        commitment=MerkleRoot(tree.root_of_hashes([leaf.hashed() for leaf in salted])),
        aggregation=TreeShape(tree_size=len(salted)),
        leaves=tuple(salted),
    )


def _merged(owed: Sequence[OwedLeaf]) -> list[OwedLeaf]:
    merged: dict[Leaf, OwedLeaf] = {}
    for leaf in owed:
        known = merged.get(leaf.leaf)
        requests = dict.fromkeys((*(known.requests if known else ()), *leaf.requests))
        merged[leaf.leaf] = leaf.model_copy(update={"requests": tuple(requests)})
    return list(merged.values())


def _in_manifest(leaf: OwedLeaf, salt: str | None) -> ManifestLeaf:
    return ManifestLeaf(
        namespace=leaf.namespace,
        batch_id=leaf.batch_id,
        root=leaf.root,
        requests=leaf.requests,
        salt=salt,
    )


def anchor_batch_id(manifest: Manifest) -> str | None:
    """Return the batch id that a direct commitment is labelled with; None for a tree."""
    return None if manifest.aggregation else manifest.leaves[0].batch_id


def aggregation_evidence(manifest: Manifest, index: int) -> Aggregation | None:
    """Return a leaf's inclusion proof for its receipts; None for a direct commitment."""
    if manifest.aggregation is None:
        return None
    leaf = manifest.leaves[index]
    return Aggregation(
        algorithm=tree.ALGORITHM,
        leaf=AggregationLeaf(
            batch_id=leaf.batch_id, namespace=leaf.namespace, root=leaf.root, salt=leaf.salt or ""
        ),
        index=index,
        tree_size=manifest.aggregation.tree_size,
        path=tuple(f"0x{node.hex()}" for node in manifest.path(index)),
        root=manifest.commitment,
    )


class Candidate(Document):
    """One signed version of a round's transaction, written before its first broadcast (X3)."""

    model_config = ConfigDict(extra="allow")

    n: int = Field(ge=0)
    """Its number in the round, over all of the round's reservations."""
    reservation: dict[str, JsonValue]
    """What the signature covers apart from the fee; read by the target's module only."""
    terms: dict[str, JsonValue] = Field(default_factory=dict)
    """The fee fields; read by the target's module only."""
    raw: str = Field(min_length=1)
    """The signed bytes, in the ledger's usual text form."""
    tx_ref: str = Field(alias="hash")
    """What the ledger will know it by."""
    number: int = Field(default=0, ge=0)
    """Place of its round among all signed rounds of the target, from 1 on: a number that is missing is a round that is
    gone. 0 where nobody counted."""
    round_id: str = ""
    """Whose file it is; empty in files that were written before this was kept."""


class RoundOutcome(StrEnum):
    """How a round ended."""

    FINAL = "final"
    """In the ledger, for good."""
    LOST = "lost"
    """Its reservation was consumed without its commitment, for good; its leaves are owed again."""


class Closed(Document):
    """The end of a round: it need not be observed any more."""

    model_config = ConfigDict(extra="ignore")

    outcome: RoundOutcome
    tx_ref: str = ""
    """The winner; empty for a lost round."""
    block: int = Field(default=0, ge=0)
    block_hash: str = ""
    """Of a final round: while another block is at that height, the round is not in the ledger."""
    block_time: datetime | None = None
    revision: int = Field(default=0, ge=0)
    """Revision of the last receipts written for it."""
    sequence: int | None = None
    """Place of its last reservation in the account's order, where the ledger has one."""
    account: str = ""
    """Whose reservation it was; empty in ends that were written before this was kept."""
    candidates: int = Field(default=0, ge=0)
    """Candidates it had when it was closed: a later one opens a lost round again."""
    closed_at: datetime | None = None
    number: int = Field(default=0, ge=0)
    """As in its candidates."""
    round_id: str = ""
    """Whose file it is; empty in files that were written before this was kept."""


class LateJoiner(Document):
    """One receipt that a round gives beyond those that its manifest names."""

    namespace: str
    """Whose receipt it is."""
    cadence: str
    slot: str
    required_depth: int = Field(ge=0)
    leaf_namespace: str
    """What the batch's file names, empty if it names none."""
    batch_id: str = Field(min_length=1)
    """Under a direct commitment it may be another batch with the same root."""
    index: int = Field(ge=0)
    """Position of the manifest's leaf that proves it."""

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and batch: each has one receipt."""
        return self.namespace, self.batch_id


class LateJoiners(Document):
    """All late joiners of a round."""

    version: Literal["1"] = "1"
    late_joiners: tuple[LateJoiner, ...] = Field(default=(), strict=False)
    round_id: str = ""
    """Whose file it is; empty in files that were written before this was kept."""

    def with_more(self, more: Iterable[LateJoiner]) -> "LateJoiners":
        """Return these with more; a late joiner that is known stays as it is."""
        known = {joiner.key: joiner for joiner in (*more, *self.late_joiners)}
        return self.model_copy(update={"late_joiners": tuple(known[key] for key in sorted(known))})

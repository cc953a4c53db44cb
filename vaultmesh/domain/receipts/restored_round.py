"""Builds a round's manifest from the receipts that it gave, when the manifest itself can't be read.

Only a whole one counts: each leaf's proof leads to the commitment that names the round, and none is missing.
"""

from collections.abc import Iterable

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.rounds.manifest import (
    Manifest,
    ManifestLeaf,
    RoundRequest,
    TreeShape,
    round_id,
)
from vaultmesh.domain.target import Target


def restored_manifest(
    target: Target, named: str, receipts: Iterable[AnchorReceipt]
) -> Manifest | None:
    """Return a round's manifest as its receipts prove it; None if they don't name every leaf."""
    sound = [receipt for receipt in receipts if _commits_to(target, named, receipt)]
    if not sound:
        return None
    if sound[0].is_direct:
        return _direct(target, [receipt for receipt in sound if receipt.is_direct])
    try:
        return _tree(target, sound)
    except InvalidValue:
        return None


def _commits_to(target: Target, named: str, receipt: AnchorReceipt) -> bool:
    try:
        commitment = receipt.proven_commitment()
    except InvalidValue:
        return False
    return receipt.network == target and round_id(target, commitment.digest) == named


def _request(receipt: AnchorReceipt) -> RoundRequest:
    metadata = receipt.metadata
    return RoundRequest(
        namespace=metadata.namespace,
        cadence=metadata.cadence,
        slot=metadata.slot,
        required_depth=receipt.finality.required_depth,
    )


def _direct(target: Target, receipts: list[AnchorReceipt]) -> Manifest:
    """Return a direct commitment: its ledger knows batches of the same root as one, labelled by the oldest.

    A direct receipt does not say which namespace the batch's file names; who asks for it joins by its root.
    """
    first = min(
        receipts, key=lambda receipt: (receipt.metadata.revision, receipt.metadata.batch_id)
    )
    same = [receipt for receipt in receipts if receipt.metadata.batch_id == first.metadata.batch_id]
    leaf = ManifestLeaf(
        namespace="",
        batch_id=first.metadata.batch_id,
        root=first.root,
        requests=tuple(dict.fromkeys(map(_request, same))),
        salt=None,
    )
    return Manifest(target=target, commitment=first.root, aggregation=None, leaves=(leaf,))


def _tree(target: Target, receipts: list[AnchorReceipt]) -> Manifest | None:
    """Return a tree.

    Raises:
        InvalidValue: its leaves do not give its commitment.
    """
    requests: dict[int, dict[RoundRequest, None]] = {}
    leaves: dict[int, ManifestLeaf] = {}
    size = 0
    for receipt in receipts:
        proof = receipt.aggregation
        if proof is None:
            return None
        size = proof.tree_size
        asking = requests.setdefault(proof.index, {})
        asking[_request(receipt)] = None
        leaves[proof.index] = ManifestLeaf(
            namespace=proof.leaf.namespace,
            batch_id=proof.leaf.batch_id,
            root=proof.leaf.root,
            requests=tuple(asking),
            salt=proof.leaf.salt,
        )
    if leaves.keys() != set(range(size)):
        return None
    return Manifest(
        target=target,
        commitment=receipts[0].proven_commitment(),
        aggregation=TreeShape(tree_size=size),
        leaves=tuple(leaves[index] for index in range(size)),
    )

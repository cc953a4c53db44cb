"""Finds closed rounds that hold batches whose receipts are gone (X11)."""

from collections.abc import Iterable

from activities.anchoring.stores import Files
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.rounds.leaf import Leaf
from vaultmesh.domain.rounds.manifest import RoundOutcome
from vaultmesh.domain.target import Target


def closed_rounds(files: Files, target: Target, requests: Iterable[AnchorRequest]) -> list[str]:
    """Return the final rounds that would give receipts which the requests' namespaces lack, those of the oldest batch first.

    Rounds with malformed files are passed over: whoever seals is told of them.
    """
    rounds = files.rounds(target)
    found: dict[str, None] = {}
    for namespace, folder in dict.fromkeys((one.namespace, one.batches) for one in requests):
        for ref in files.owed(namespace, target, folder).owed:
            try:
                leaf = Leaf(ref.leaf_namespace, ref.batch_id, ref.root)
                holder = rounds.find_leaf(leaf) or rounds.find_root(leaf.root)
                closed = rounds.closed(holder) if holder is not None else None
            except InvalidValue:
                continue
            if holder is not None and closed is not None and closed.outcome is RoundOutcome.FINAL:
                found[holder] = None
    return list(found)

"""Compares receipts in turn with the ends of their rounds, so that a stale one lasts minutes (X14).

A writer that stood still may put an older receipt over a newer one in spite of locks and revisions: a lease of a remote
volume ends while its holder sleeps. Nobody would look at the receipt of a closed round again. What lacks its proof is
found on the way. A receipt of a lost round joins the final round that holds its batch.
"""

from collections.abc import Iterator

from activities.anchoring.round_receipts import late_joiners_in
from activities.anchoring.stores import Files
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.paths import ANCHOR_RECEIPTS_FOLDER
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.rounds.leaf import Leaf
from vaultmesh.domain.rounds.manifest import Closed, LateJoiner, RoundOutcome
from vaultmesh.domain.target import Target

BATCHES_COMPARED = 1_000
"""Batches whose receipts are compared in one look: with a look every 30 s, ten thousand in five minutes."""


class Audit:
    """Compares the receipts below one root, some at each look."""

    def __init__(self, files: Files) -> None:
        """Compare nothing before the first look."""
        self._files = files
        self._turn: list[tuple[str, str]] = []
        """Folders of namespaces and of their batches whose turn is still to come."""
        self.unproven: dict[Target, set[str]] = {}
        """Final rounds of which the last look read a receipt without a proof."""

    def look(self, most: int = BATCHES_COMPARED) -> dict[Target, list[str]]:
        """Return closed rounds with a receipt that does not say how they ended, by target. Blocks.

        Raises:
            NetworkFailure: the storage failed.
        """
        stale: dict[Target, dict[str, None]] = {}
        self.unproven = {}
        for receipt in self._some(most):
            if receipt.is_final and receipt.lacks_proof:
                self.unproven.setdefault(receipt.network, set()).add(receipt.metadata.round)
            for round_id in self._rewritten_by(receipt):
                stale.setdefault(receipt.network, {})[round_id] = None
        return {target: list(round_ids) for target, round_ids in stale.items()}

    def _some(self, most: int) -> Iterator[AnchorReceipt]:
        if not self._turn:
            store = self._files.store
            self._turn = [
                (namespace, batch)
                for namespace in store.names(ANCHOR_RECEIPTS_FOLDER)
                for batch in store.names(f"{ANCHOR_RECEIPTS_FOLDER}/{namespace}")
            ]
        for _ in range(min(most, len(self._turn))):
            namespace, batch = self._turn.pop()
            yield from self._files.receipts.in_folder(namespace, batch)

    def _rewritten_by(self, receipt: AnchorReceipt) -> list[str]:
        """Return the final round that should have written this receipt, if it says something else.

        None while the receipt's round is open, or if files of it can't be read, which is told as damage, or written.
        """
        rounds, round_id = self._files.rounds(receipt.network), receipt.metadata.round
        try:
            closed = rounds.closed(round_id)
            if closed is not None and closed.outcome is RoundOutcome.LOST:
                return self._final_holders(receipt)
        except (InvalidValue, NetworkFailure):
            return []
        return [round_id] if closed is not None and differs(receipt, closed) else []

    def _final_holders(self, receipt: AnchorReceipt) -> list[str]:
        """Return the final round that holds the batch of a receipt whose own round is lost; the receipt is its to write."""
        rounds = self._files.rounds(receipt.network)
        for leaf in self._leaves_of(receipt):
            holder = rounds.find_leaf(leaf) or rounds.find_root(leaf.root)
            closed = rounds.closed(holder) if holder is not None else None
            if holder is not None and closed is not None:
                self._join(holder, leaf, receipt)
                return [holder]
        return []

    def _leaves_of(self, receipt: AnchorReceipt) -> Iterator[Leaf]:
        """Yield the leaves of a receipt's round that are its batch."""
        rounds, round_id = self._files.rounds(receipt.network), receipt.metadata.round
        manifest = rounds.read_manifest(round_id)
        joined = late_joiners_in(rounds.late_joiners(round_id), manifest)
        for leaf in (*manifest.positions, *(leaf for _, leaf, _ in joined)):
            if (leaf.batch_id, leaf.root) == (receipt.metadata.batch_id, receipt.root):
                yield leaf

    def _join(self, holder: str, leaf: Leaf, receipt: AnchorReceipt) -> None:
        """Have a round give a receipt to a namespace that it knows nothing of."""
        rounds, metadata = self._files.rounds(receipt.network), receipt.metadata
        manifest = rounds.read_manifest(holder)
        index = manifest.positions.get(leaf)
        asked = manifest.leaves[index].requests if index is not None else ()
        if any(request.namespace == metadata.namespace for request in asked):
            return
        joiner = LateJoiner(
            namespace=metadata.namespace,
            cadence=metadata.cadence,
            slot=metadata.slot,
            required_depth=receipt.finality.required_depth,
            leaf_namespace=leaf.namespace,
            batch_id=leaf.batch_id,
            index=index or 0,  # a direct commitment to the same root has one leaf as good as any
        )
        rounds.add_late_joiners(holder, [joiner])


def differs(receipt: AnchorReceipt, closed: Closed) -> bool:
    """Whether a receipt says something else than the end of its round, which is final.

    A ledger without blocks has no place to compare: its receipts name a token, and the end the request for it.
    """
    if closed.outcome is not RoundOutcome.FINAL:
        return False
    if not closed.block:
        return not receipt.is_final
    is_elsewhere = (receipt.tx_ref, receipt.block_number) != (closed.tx_ref, closed.block)
    return not receipt.is_final or is_elsewhere

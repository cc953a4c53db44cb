"""Compares receipts in turn with the ends of their rounds, so that a stale one lasts minutes (X14).

A writer that stood still may put an older receipt over a newer one in spite of locks and revisions: a lease of a remote
volume ends while its holder sleeps. Nobody would look at the receipt of a closed round again.
"""

from collections.abc import Iterator

from activities.anchoring.stores import Files
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.paths import ANCHOR_RECEIPTS_FOLDER
from vaultmesh.domain.receipts.receipt import AnchorReceipt
from vaultmesh.domain.rounds.manifest import Closed, RoundOutcome
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

    def look(self, most: int = BATCHES_COMPARED) -> dict[Target, list[str]]:
        """Return closed rounds with a receipt that does not say how they ended, by target. Blocks.

        Raises:
            NetworkFailure: the storage failed.
        """
        stale: dict[Target, dict[str, None]] = {}
        for receipt in self._some(most):
            closed = self._end(receipt)
            if closed is not None and differs(receipt, closed):
                stale.setdefault(receipt.network, {})[receipt.metadata.round] = None
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

    def _end(self, receipt: AnchorReceipt) -> Closed | None:
        """Return the end of a receipt's round; None while it is open, or if it can't be read, which is told as damage."""
        try:
            return self._files.rounds(receipt.network).closed(receipt.metadata.round)
        except InvalidValue:
            return None


def differs(receipt: AnchorReceipt, closed: Closed) -> bool:
    """Whether a receipt says something else than the end of its round, which is final."""
    if closed.outcome is not RoundOutcome.FINAL:
        return False
    is_elsewhere = (receipt.tx_ref, receipt.block_number) != (closed.tx_ref, closed.block)
    return not receipt.is_final or is_elsewhere

"""Finds the batches of a namespace that are not final on a target: what is owed, and what rounds under way hold."""

from activities.anchoring.stores import Files
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.promises import Unfinished
from vaultmesh.domain.receipts.receipt import AnchorReceipt, Finality
from vaultmesh.domain.target import Target


class UnfinishedBatches:
    """One look at what is unfinished; each target's rounds under way are read once. Not for threads."""

    def __init__(self, files: Files) -> None:
        """Read nothing before it is asked for."""
        self._files = files
        self._signed: dict[Target, dict[str, set[str]]] = {}
        """Batches by namespace that rounds under way hold."""

    def find(self, namespace: str, target: Target, folder: str) -> list[Unfinished]:
        """Return a namespace's batches that are not final on a target, oldest first.

        Raises:
            AnchorError: the storage can't be read.
            InvalidValue: a round under way can't be read.
        """
        owed = self._files.owed(namespace, target, folder).owed
        batches = {ref.batch_id: Unfinished(ref.batch_id, ref.created_at) for ref in owed}
        if target not in self._signed:
            self._signed[target] = self._held_by_rounds(target)
        signed = self._signed[target].get(namespace, set())
        for ref in self._files.owned(namespace, folder) if signed else ():
            if ref.batch_id in signed:
                batch = self._unless_final(namespace, ref.batch_id, ref.created_at, target)
                if batch is not None:
                    batches[ref.batch_id] = batch
        return sorted(batches.values(), key=lambda batch: (batch.sealed_at, batch.batch_id))

    def _held_by_rounds(self, target: Target) -> dict[str, set[str]]:
        """Return the batches that rounds under way hold, late joiners among them, by namespace."""
        held = dict[str, set[str]]()
        rounds = self._files.rounds(target)
        for round_id in rounds.open_rounds():
            for leaf in rounds.read_manifest(round_id).leaves:
                for request in leaf.requests:
                    held.setdefault(request.namespace, set()).add(leaf.batch_id)
            for joiner in rounds.late_joiners(round_id).late_joiners:
                held.setdefault(joiner.namespace, set()).add(joiner.batch_id)
        return held

    def _unless_final(
        self, namespace: str, batch_id: str, sealed_at: int, target: Target
    ) -> Unfinished | None:
        receipt = self._receipt(namespace, batch_id, target)
        if receipt is None:
            return Unfinished(batch_id, sealed_at, is_signed=True)
        if receipt.finality.state is Finality.FINALIZED:
            return None
        depth, required = receipt.finality.observed_depth, receipt.finality.required_depth
        return Unfinished(batch_id, sealed_at, is_signed=True, depth=depth, required_depth=required)

    def _receipt(self, namespace: str, batch_id: str, target: Target) -> AnchorReceipt | None:
        """Return a receipt; one that can't be read says nothing, and is told as damage."""
        try:
            return self._files.receipts.read(namespace, batch_id, target)
        except InvalidValue:
            return None

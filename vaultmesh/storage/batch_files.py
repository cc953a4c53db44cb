"""Opens the batches and receipts below a root, and says what is owed."""

from collections.abc import Sequence
from pathlib import Path

from vaultmesh.domain.paths import BATCHES_FOLDER
from vaultmesh.domain.target import Target
from vaultmesh.storage.batches import BatchIndex, BatchRef
from vaultmesh.storage.files import LocalStore, Store
from vaultmesh.storage.receipts import ReceiptStore, Uncovered


class BatchFiles:
    """Batches and anchor receipts of one process; every method of what it holds blocks and belongs into a thread."""

    def __init__(self, root: Path) -> None:
        """Read nothing before it is asked for."""
        self.store: Store = LocalStore(root)
        self.batches = BatchIndex(self.store)
        self.receipts = ReceiptStore(self.store)

    def owned(self, namespace: str, folder: str) -> Sequence[BatchRef]:
        """Return a namespace's batches, oldest first; an empty folder means the default one."""
        return self.batches.owned(namespace, folder or BATCHES_FOLDER).batches

    def owed(self, namespace: str, target: Target, folder: str) -> Uncovered:
        """Return a namespace's batches without an anchor on a target, and those that can't be anchored."""
        owned = self.batches.owned(namespace, folder or BATCHES_FOLDER)
        uncovered = self.receipts.uncovered(namespace, owned.batches, target)
        return Uncovered(uncovered.owed, [*owned.refused, *uncovered.refused])

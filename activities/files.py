"""The place where a process keeps its views of the files under the root: batches, rounds, receipts, Remembrancer."""

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from activities.anchors.contract import StaleCaller
from activities.damage import DamagedRounds
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.rounds import parse_manifest
from vaultmesh.domain.steps import KnownRound
from vaultmesh.domain.target import Target
from vaultmesh.runtime.batch_index import DEFAULT_FOLDER, BatchIndex, BatchRef
from vaultmesh.runtime.receipt_store import ReceiptStore, Uncovered
from vaultmesh.runtime.remembrancer import DATABASE, Remembrancer
from vaultmesh.runtime.round_files import MANIFEST
from vaultmesh.runtime.round_store import RoundStore
from vaultmesh.runtime.storage import LocalStore, Store

ROOT_ID = "out/root-id"
"""Marker file of a root, made once."""


class Files:
    """One process's files; every method of what it holds blocks and belongs into a thread."""

    def __init__(self, root: Path, told: Callable[[Target, int], None] | None = None) -> None:
        """Open the files below a root; `told` is told how many rounds of a target can't be read."""
        self.store: Store = LocalStore(root)
        self.batches = BatchIndex(self.store)
        self.receipts = ReceiptStore(self.store)
        self.remembrancer = Remembrancer(root / DATABASE)
        self._rounds: dict[Target, RoundStore] = {}
        self._damaged: dict[Target, DamagedRounds] = {}
        self._told = told
        self._root_id = ""

    def rounds(self, target: Target) -> RoundStore:
        """Return the rounds of a target."""
        if target not in self._rounds:
            self._rounds[target] = RoundStore(self.store, target)
        return self._rounds[target]

    def damaged(self, target: Target) -> DamagedRounds:
        """Return the rounds of a target that can't be read."""
        if target not in self._damaged:

            def told(count: int) -> None:
                if self._told is not None:
                    self._told(target, count)

            rounds = self.rounds(target)
            self._damaged[target] = DamagedRounds(rounds, self.receipts, self.owned, told)
        return self._damaged[target]

    def owned(self, namespace: str, folder: str) -> Sequence[BatchRef]:
        """Return a namespace's batches, oldest first; an empty folder means the default one."""
        return self.batches.owned(namespace, folder or DEFAULT_FOLDER).batches

    def owed(self, namespace: str, target: Target, folder: str) -> Uncovered:
        """Return a namespace's batches without an anchor on a target, and those that can't be anchored."""
        owned = self.batches.owned(namespace, folder or DEFAULT_FOLDER)
        found = self.receipts.uncovered(namespace, owned.batches, target)
        return Uncovered(found.owed, [*owned.refused, *found.refused])

    def require_known(self, target: Target, known: Sequence[KnownRound]) -> None:
        """Check that a caller knows every open round and candidate of a target (X11).

        Raises:
            StaleCaller: it does not, and must recover before anything is signed.
            InvalidValue: an open round can't be read: it may be on its way into the ledger.
        """
        rounds = self.rounds(target)
        unreadable = rounds.unreadable()
        if unreadable:
            message = (
                f"an open round can't be read, and nothing is signed beside it: {unreadable[0]}"
            )
            raise InvalidValue(message)
        unknown = rounds.unknown_to({one.round_id: one.candidates for one in known})
        gone = [one.round_id for one in known if rounds.is_gone(one.round_id, one.candidates)]
        if gone:
            message = (
                f"candidates of {target} are gone that the caller knows: {', '.join(gone[:3])}"
            )
            raise StaleCaller(message)
        lost = {one.round_id for one in known if one.lost}
        decided = [one for one in rounds.given_up() if one not in lost]
        if decided:
            message = f"an operator decided about rounds of {target}: {', '.join(decided[:3])}"
            raise StaleCaller(message)
        if unknown:
            message = (
                f"{target} has open rounds that the caller does not know: {', '.join(unknown[:3])}"
            )
            raise StaleCaller(message)

    def target_of(self, round_folder: str) -> Target | None:
        """Return the target that a round's manifest names; None if it can't be read."""
        content = self.store.read(f"{round_folder}/{MANIFEST}")
        try:
            return parse_manifest(content).target if content is not None else None
        except InvalidValue:
            return None

    def root_id(self) -> str:
        """Return what tells this root from any other: workers of both queues must see the same one."""
        if not self._root_id:
            self.store.create(ROOT_ID, secrets.token_hex(8).encode())
            self._root_id = (self.store.read(ROOT_ID) or b"").decode(errors="replace").strip()
        return self._root_id

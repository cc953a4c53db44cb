"""Opens the stores below the root, once per process: batches, rounds, receipts, Remembrancer."""

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from activities.anchoring.damage import Batches, DamagedRounds
from vaultmesh.domain.aggregator.messages import KnownRound
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.paths import REMEMBRANCER_DATABASE, ROOT_ID
from vaultmesh.domain.rounds.manifest import parse_manifest
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.driver import StaleCaller
from vaultmesh.storage.batch_files import BatchFiles
from vaultmesh.storage.batches import BatchRef
from vaultmesh.storage.remembrancer import Remembrancer
from vaultmesh.storage.round_files import MANIFEST
from vaultmesh.storage.rounds import RoundStore


class Files(BatchFiles):
    """One process's files; every method of what it holds blocks and belongs into a thread."""

    def __init__(
        self,
        root: Path,
        report: Callable[[Target, int], None] | None = None,
        folders: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """Open the files below a root.

        Args:
            root: the folder.
            report: takes how many rounds of a target can't be read.
            folders: returns the folders of batches that are configured beside the default one.
        """
        super().__init__(root)
        self.remembrancer = Remembrancer(root / REMEMBRANCER_DATABASE)
        self._rounds: dict[Target, RoundStore] = {}
        self._damaged: dict[Target, DamagedRounds] = {}
        self._report = report
        self._folders = folders
        self._lock = threading.Lock()
        self._unreadable: dict[str, int] = {}
        self._root_id = ""

    def rounds(self, target: Target) -> RoundStore:
        """Return the rounds of a target."""
        with self._lock:  # one per process: each knows what it has seen
            if target not in self._rounds:
                self._rounds[target] = RoundStore(self.store, target)
            return self._rounds[target]

    def known_targets(self) -> list[Target]:
        """Return the targets of which this process has seen rounds, also where their folders are gone meanwhile."""
        with self._lock:
            return sorted(target for target, rounds in self._rounds.items() if rounds.has_any)

    def damaged(self, target: Target) -> DamagedRounds:
        """Return the rounds of a target that can't be read."""

        def report(count: int) -> None:
            self._unreadable[str(target)] = count
            if self._report is not None:
                self._report(target, count)

        rounds = self.rounds(target)
        with self._lock:
            if target not in self._damaged:
                batches = Batches(self.owned, self.every_batch)
                self._damaged[target] = DamagedRounds(rounds, self.receipts, batches, report)
            return self._damaged[target]

    def unreadable(self) -> dict[str, int]:
        """Return how many signed rounds of each target can't be read, or are gone, as the last look found."""
        return dict(self._unreadable)

    def every_batch(self) -> Iterator[BatchRef]:
        """Yield every usable batch, of all namespaces and folders."""
        return self.batches.every(self._folders())

    def require_readable(self, target: Target) -> None:
        """Raise `InvalidValue` if an open round can't be read: it may be on its way into the ledger."""
        unreadable = self.rounds(target).unreadable()
        if unreadable:
            message = (
                f"an open round can't be read, and nothing is signed beside it: {unreadable[0]}, or if there is none: "
                f"starter.py resolve {target} --forget all"
            )
            raise InvalidValue(message)

    def require_known(
        self, target: Target, known: Sequence[KnownRound], ended: Sequence[KnownRound] = ()
    ) -> None:
        """Check that a caller knows every open round and candidate of a target (X11), and that none of its final ones is gone.

        Raises:
            StaleCaller: it does not, and must recover before anything is signed.
            InvalidValue: an open round can't be read.
        """
        rounds = self.rounds(target)
        candidates = {known_round.round_id: known_round.candidates for known_round in known}
        gone = [
            *(
                round_id
                for round_id, count in candidates.items()
                if rounds.is_gone(round_id, count)
            ),
            *(
                end.round_id
                for end in ended
                if rounds.is_end_gone(end.round_id, end.candidates, lost=end.lost)
            ),
        ]
        if gone:  # before anything else: what the caller knows of them is to be stored again
            message = (
                f"candidates of {target} are gone that the caller knows: {', '.join(gone[:3])}"
            )
            raise StaleCaller(message)
        self.require_readable(target)
        unknown = rounds.unknown_to(candidates)
        lost = {known_round.round_id for known_round in known if known_round.lost}
        decided = [round_id for round_id in rounds.given_up() if round_id not in lost]
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

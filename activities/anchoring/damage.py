"""Finds out what signed rounds that can't be read may hold: evidence that is missing is never guessed.

1. A round all of whose leaves are named by receipts, with salts, or that commits directly to a batch's root, is restored
   in memory: nobody pays twice for it, and its receipts are written as before. It is reported all the same.
2. Else it may hold every batch that was sealed before it was signed and that no readable round and no receipt accounts
   for. None of those is sealed again before the file is restored, or an operator gives the round up with `resolve`.
3. A batch whose receipt names a round that is gone is not sealed again either.
4. Signed rounds whose folders are gone are noticed by their numbers, and by what this process has seen. What it remembers of
   them is stored again. Else a round that this process has read holds back its own batches, any other holds back as in 2.
5. One look at a time: what is found out is kept for all threads, and belongs together.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.paths import path_form
from vaultmesh.domain.receipts.receipt import AnchorReceipt, Status
from vaultmesh.domain.receipts.restored_round import restored_manifest
from vaultmesh.domain.rounds.leaf import Leaf
from vaultmesh.domain.rounds.manifest import Manifest, OwedLeaf, RoundRequest, compose, round_id
from vaultmesh.storage.batches import BatchRef
from vaultmesh.storage.receipts import ReceiptStore
from vaultmesh.storage.rounds import Damage, RoundStore

CLOCKS_DIFFER_SECONDS = 3_600
"""How much later than a round a batch may claim to be sealed and still be in it: clocks are moved by an hour at times."""
SCANNED_AGAIN_SECONDS = 600.0
"""All of a target's receipts are read at most that often, and only while a round can't be read."""
MOST_ASKING = 50
"""Namespaces among whose batches one look searches for the root of a direct commitment."""
MOST_PROBLEMS = 20
"""Lines that are reported of one target."""

Report = Callable[[int], None]
"""Takes how many signed rounds can't be read."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batches:
    """Where the batch is looked for whose own root a round commits to."""

    owned: Callable[[str, str], Sequence[BatchRef]]
    """Returns a namespace's batches in a folder."""
    every: Callable[[], Iterable[BatchRef]]
    """Returns those of all namespaces and folders."""


class DamagedRounds:
    """The rounds of one target that can't be read; blocks; one per process and target."""

    def __init__(
        self, rounds: RoundStore, receipts: ReceiptStore, batches: Batches, report: Report
    ) -> None:
        """Look at nothing before it is asked for."""
        self._rounds = rounds
        self._receipts = receipts
        self._batches = batches
        self._report = report
        self._lock = threading.RLock()
        self._restored: dict[str, int] = {}
        """Leaves of each round that is known from elsewhere."""
        self._scanned: frozenset[str] = frozenset()
        self._scan_again_at = 0.0
        self._compared: frozenset[str] = frozenset()
        """Rounds for which every batch in `_tried` was compared."""
        self._tried: set[bytes] = set()
        """Roots of these batches."""
        self._damaged: list[Damage] = []
        self._doubted: list[Damage] = []
        self._logged: frozenset[str] = frozenset()

    def mend(self) -> None:
        """Store again what is gone of rounds, as far as this process knows it: an older copy was put back."""
        for named in self._rounds.store_again():
            extra = {"target": str(self._rounds.target), "round": named}
            _log.warning("files of a signed round were gone; stored again", extra=extra)

    def look(self, requests: Iterable[AnchorRequest] = ()) -> list[str]:
        """Look which rounds can't be read, and restore what can be; returns a line for each.

        The requests say who gets the receipts of a direct commitment that may be on its way.
        """
        with self._lock:
            self._damaged = damaged = self._noticed()
            ids = frozenset(damage.round_id for damage in damaged)
            self._restored = {
                named: count for named, count in self._restored.items() if named in ids
            }
            self._restore(damaged, requests)
            self._doubted = [damage for damage in damaged if self._is_doubted(damage)]
            lines = [self._line(damage) for damage in damaged]
            self._tell(lines)
        if len(lines) <= MOST_PROBLEMS:
            return lines
        return [*lines[:MOST_PROBLEMS], f"and {len(lines) - MOST_PROBLEMS} more rounds"]

    def _noticed(self) -> list[Damage]:
        """Return what can't be read, after what is gone was stored again as far as it is known."""
        damaged = self._rounds.damaged()
        if any(damage.is_gone for damage in damaged):
            self.mend()
            return self._rounds.damaged()
        return damaged

    def _restore(self, damaged: Sequence[Damage], requests: Iterable[AnchorRequest]) -> None:
        """Take from elsewhere what rounds hold; of those that are gone only that they commit to one batch's root is asked."""
        named = {damage.round_id: damage for damage in damaged if damage.is_named}
        wanted = frozenset(name for name, damage in named.items() if not damage.is_gone)
        wanted -= self._restored.keys()
        if wanted:
            self._restore_from_memory(wanted)
            self._restore_from_receipts(wanted - self._restored.keys())
            self._restore_from_batches(wanted - self._restored.keys(), requests)
        ended = frozenset(name for name, damage in named.items() if not damage.is_open)
        self._compare_every_batch(ended - self._restored.keys())

    def _is_doubted(self, damage: Damage) -> bool:
        """Whether it is not known what a round holds that is over."""
        return (
            not damage.is_open
            and not damage.are_leaves_known
            and damage.round_id not in self._restored
        )

    def unread(self, number: int) -> dict[str, Damage]:
        """Look, and return the rounds that can't be read, without those that are known from elsewhere; blocks.

        Args:
            number: the highest number of a round that somebody knows to be signed.
        """
        self._rounds.numbers.expect(number)
        with self._lock:
            self.look()
            return {damage.round_id: damage for damage in self._unread()}

    def _unread(self) -> list[Damage]:
        with self._lock:
            return [
                damage
                for damage in self._damaged
                if damage.is_gone or damage.round_id not in self._restored
            ]

    def unreadable_open(self) -> list[str]:
        """Return those of them that have no end."""
        return [damage.round_id for damage in self._unread() if damage.is_open]

    def held_back(self, leaf: Leaf, created_at: int, *, since: float = 0.0) -> str | None:
        """Return why a leaf that no readable round holds must not be sealed now; None if it may be.

        Args:
            leaf: what is owed.
            created_at: Unix seconds at which its batch says to have been sealed.
            since: rounds that were signed before that can't hold it.
        """
        now = time.time()
        with self._lock:
            doubted = self._doubted
        for damage in doubted:
            is_older = created_at <= damage.signed_at + CLOCKS_DIFFER_SECONDS or created_at > now
            if is_older and damage.signed_at > since:
                return (
                    f"batch {leaf.batch_id} may be in {damage.what}; restore {damage.refused.path}, or give it up: "
                    f"{self._advice(damage.round_id)}"
                )
        return None

    def anchored_in_a_lost_folder(self, leaf: Leaf) -> str | None:
        """Return why a leaf must not be sealed although no round holds it: a receipt names a round that is gone.

        A batch whose file names a namespace has receipts of that one only; for others every namespace is looked into, so this
        is for the leaves of one round.
        """
        target, owner = self._rounds.target, leaf.namespace
        for receipt in self._receipts.of_batch(leaf.batch_id, target, namespace=owner):
            named = path_form(receipt.metadata.round)
            if _is_of(receipt, leaf) and self._is_gone(named):
                return (
                    f"batch {leaf.batch_id} is anchored in round {named}, as {receipt.path} says, but that round can't be "
                    f"read; restore {self._rounds.folder}/{named}, or give it up: {self._advice(named)}"
                )
        return None

    def _is_gone(self, named: str) -> bool:
        rounds = self._rounds
        if rounds.is_forgotten(named):
            return False
        if not rounds.count(named):
            return True
        try:
            rounds.read_manifest(named)
        except InvalidValue:
            return rounds.holding_directly(named) is not None
        return False

    # --- what is known from elsewhere ----------------------------------------------------------

    def _restore_from_memory(self, wanted: frozenset[str]) -> None:
        """Keep what this process has read before the file was damaged."""
        for named in wanted:
            try:
                self._take(named, self._rounds.read_manifest(named))
            except InvalidValue:
                continue

    def _restore_from_receipts(self, wanted: frozenset[str]) -> None:
        if not wanted or (wanted <= self._scanned and time.monotonic() < self._scan_again_at):
            return
        by_round = self._receipts.of_rounds(self._rounds.target, wanted)
        for named, receipts in by_round.items():
            self._take(named, restored_manifest(self._rounds.target, named, receipts))
        self._scanned = wanted
        self._scan_again_at = time.monotonic() + SCANNED_AGAIN_SECONDS

    def _restore_from_batches(
        self, wanted: frozenset[str], requests: Iterable[AnchorRequest]
    ) -> None:
        """Find the batches whose own root is what a round commits to."""
        if not wanted:
            return
        asking = {(asker.namespace, asker.batches): asker for asker in requests}
        tried: set[bytes] = set()
        for request in list(asking.values())[:MOST_ASKING]:
            for ref in self._batches.owned(request.namespace, request.batches):
                if ref.root.digest in tried:
                    continue
                tried.add(ref.root.digest)
                if round_id(self._rounds.target, ref.root.digest) in wanted:
                    manifest = self._direct(ref, request)
                    self._take(manifest.round_id, manifest)

    def _compare_every_batch(self, wanted: frozenset[str]) -> None:
        """Find the batches whose own root is what rounds commit to that are over, whoever they belong to."""
        if not wanted:
            return
        if not wanted <= self._compared:
            self._compared, self._tried = wanted, set()
        for ref in self._batches.every():
            if ref.root.digest in self._tried:
                continue
            self._tried.add(ref.root.digest)
            if round_id(self._rounds.target, ref.root.digest) in wanted:
                manifest = self._direct(ref)
                self._take(manifest.round_id, manifest)

    def _direct(self, ref: BatchRef, *requests: AnchorRequest) -> Manifest:
        asking = tuple(
            RoundRequest(
                namespace=request.namespace,
                cadence=request.cadence,
                slot=request.slot,
                required_depth=request.required_depth,
            )
            for request in requests
        )
        leaf = OwedLeaf(
            namespace=ref.leaf_namespace, batch_id=ref.batch_id, root=ref.root, requests=asking
        )
        return compose(self._rounds.target, [leaf], "auto", bytes)

    def _take(self, named: str, manifest: Manifest | None) -> None:
        if manifest is not None:
            self._rounds.restored(manifest)
            self._restored[named] = len(manifest.leaves)

    # --- what is told --------------------------------------------------------------------------

    def _line(self, damage: Damage) -> str:
        if damage.is_gone and not self._is_doubted(damage):
            return f"{damage.refused} (its batches are held back, and no others)"
        if damage.round_id in self._restored:
            known = self._restored[damage.round_id]
            return f"{damage.refused} (its {known} leaves are known from elsewhere, nothing is held back)"
        if damage.is_open:
            return f"{damage.refused} (it is on its way: nothing is signed beside it)"
        return f"{damage.refused} (batches that are older and have no anchor are held back)"

    def _tell(self, lines: list[str]) -> None:
        for line in lines:
            if line not in self._logged:
                extra = {"target": str(self._rounds.target), "problem": line}
                _log.error("signed round can't be read", extra=extra)
        self._logged = frozenset(lines)
        self._report(len(lines))

    def _advice(self, named: str) -> str:
        return f"starter.py resolve {self._rounds.target} --forget {named}"


def _is_of(receipt: AnchorReceipt, leaf: Leaf) -> bool:
    """Say whether a receipt is of this very leaf, and not of another one of that name."""
    if receipt.status is Status.FAILED or receipt.root != leaf.root:
        return False
    aggregation = receipt.aggregation
    return aggregation is None or aggregation.leaf.namespace == leaf.namespace

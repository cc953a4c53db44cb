"""Indexes a target's rounds: which are open, which ended how, which holds a leaf, and which are gone.

A round that is final is looked at once, so that a hundred thousand old rounds cost nothing; an unfinished one each time.
"""

import time
from bisect import insort
from collections.abc import Collection, Container

from typing_extensions import override

from vaultmesh.domain.batches.batch import Refused
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.leaf import Leaf
from vaultmesh.domain.rounds.manifest import Candidate, Closed, Manifest, RoundOutcome
from vaultmesh.domain.rounds.manifest import round_id as id_of_round
from vaultmesh.domain.target import Target
from vaultmesh.storage.files import Store
from vaultmesh.storage.folder_index import FolderIndex, Look
from vaultmesh.storage.leaf_index import LeafIndex
from vaultmesh.storage.round_files import MANIFEST, Added, RoundFiles
from vaultmesh.storage.round_numbers import RoundNumbers

MOST_FINAL = 256
"""Newest final rounds that are kept in mind: what a reorganisation beyond finality may undo."""

Rank = tuple[int, bool, int]
"""What reservations are compared by: sequence, whether the round is open, Unix ns."""
RoundLook = Closed | Refused | bool
"""What a look at a round saw: the end of a lost one, why it can't be read, else whether it is signed and open."""
_FINAL: Look[RoundLook] = Look(value=False)


class RoundIndex(RoundFiles):
    """The rounds of one target, looked at when they are new and as long as they are open."""

    def __init__(self, store: Store, target: Target) -> None:
        """Read nothing before it is asked for."""
        super().__init__(store, target)
        self._index = FolderIndex(store, self.folder, self._look)
        self._revision = 0
        self._highest: dict[str, int] = {}
        """Highest sequence of each account, over the final rounds."""
        self._newest: tuple[Rank, str] | None = None
        """The final round whose reservation is the highest."""
        self._finals: list[tuple[Rank, str]] = []
        """The newest final rounds, ascending."""
        self._blocks: dict[str, int] = {}
        """Block of each of them."""
        self._leaves = LeafIndex(store, target, self.folder, MANIFEST)
        self.numbers = RoundNumbers()

    @override
    def create_manifest(self, manifest: Manifest) -> bool:
        created = super().create_manifest(manifest)
        self.look_again([manifest.round_id])
        return created

    @override
    def add_candidate(self, round_id: str, candidate: Candidate) -> Added:
        added = super().add_candidate(round_id, candidate)
        self.look_again([round_id])
        return added

    @override
    def note_missing(self, round_id: str) -> None:
        super().note_missing(round_id)
        self.look_again([round_id])

    @override
    def reopen(self, round_id: str) -> None:
        super().reopen(round_id)
        self.look_again([round_id])

    def look_again(self, round_ids: Collection[str]) -> None:
        """Look at rounds that are new, and at final ones that another process may have opened again."""
        with self._index.lock:
            self._index.note(round_ids)
            self._leaves.note(round_ids)

    @property
    def has_any(self) -> bool:
        """Whether a round was ever seen here."""
        return bool(self._index.known)

    def open_rounds(self) -> list[str]:
        """Return the ids of all rounds that have candidates and no end.

        Costs as much as there are unfinished rounds, and a listing when rounds came.
        """
        return [round_id for round_id, state in self._unfinished().items() if state is True]

    def newest_final(self) -> list[str]:
        """Return the ids of the newest final rounds, that of the highest block first; another process may have opened one again.

        Rounds that spend different outputs may be mined in another order than they were reserved in.
        """
        unfinished = self._unfinished()
        with self._lock:
            newest = [
                round_id for _, round_id in reversed(self._finals) if round_id not in unfinished
            ]
            return sorted(newest, key=lambda round_id: -self._blocks[round_id])

    def unreadable(self) -> list[str]:
        """Return the signed rounds without an end that can't be read, a line each."""
        return [str(refused) for refused in self._refused().values()]

    def signed_at(self, round_id: str) -> float:
        """Return when a round was signed first, in Unix seconds; now where no candidate tells."""
        stamps = (self.candidate_stamp(round_id, n) for n in range(self.count(round_id)))
        times = [stamp.modified_ns / 1e9 for stamp in stamps if stamp is not None]
        return min(times, default=time.time())

    def find_root(self, root: MerkleRoot) -> str | None:
        """Return the round whose direct commitment is this root, if it is signed and not lost.

        Raises:
            InvalidValue: a file of it is malformed.
        """
        return self.holding_directly(id_of_round(self.target, root.digest))

    def holding_directly(self, round_id: str) -> str | None:
        """Return a round's id if it is signed, not lost, and not given up for being unreadable.

        Raises:
            InvalidValue: a file of it is malformed, or all its candidates are missing.
        """
        count = self.count(round_id)
        if not count and not self.has_end(round_id):
            is_given_up = self.is_forgotten(round_id) or self.numbers.is_given_up(round_id)
            if self._was_signed(round_id) and not is_given_up:
                self.numbers.lose(round_id)
                self.look_again([round_id])
                message = (
                    f"{self.folder}/{round_id} is gone; restore it from a backup, or give the round up: "
                    f"starter.py resolve {self.target} --forget {round_id}"
                )
                raise InvalidValue(message)
            return None
        if self._is_given_up_unread(round_id):
            return None
        closed = self.closed(round_id)
        if closed is not None and closed.outcome is RoundOutcome.LOST:
            return None
        if not count:
            message = (
                f"{self.folder}/{round_id} has an end and no candidate; restore them from a backup"
            )
            raise InvalidValue(message)
        return round_id

    def _is_given_up_unread(self, round_id: str) -> bool:
        """Say whether an operator gave up a round that can't be read still; one that was mended counts again."""
        if not self.is_forgotten(round_id):
            return False
        try:
            self.read_manifest(round_id)
            self.candidates(round_id)
            self.closed(round_id)
        except InvalidValue:
            return True
        return not self.count(round_id)

    def is_end_gone(self, round_id: str, candidates: int, *, lost: bool) -> bool:
        """Say whether what a round ended with is gone: all of it, or that it was signed again after it was lost.

        Args:
            round_id: the round.
            candidates: how many were signed of it.
            lost: whether it ended as lost.
        """
        if self.is_lost_evidence(round_id):
            return True
        is_behind = not lost and self.count(round_id) < candidates
        return is_behind and self._is_closed_as_lost(round_id) and not self.is_forgotten(round_id)

    def find_leaf(self, leaf: Leaf, *, besides: Container[str] = ()) -> str | None:
        """Return the newest round that holds a leaf, is signed and not lost, and none of `besides`.

        Raises:
            InvalidValue: a file of such a round is malformed.
        """
        self._refresh()
        with self._lock:
            restored = list(self._restored.items())
        known = [round_id for round_id, manifest in restored if leaf in manifest.positions]
        gone: list[str] = []
        for round_id in (*reversed(self._leaves.rounds_with(leaf)), *known):
            if round_id in besides:
                continue
            if self.numbers.is_gone(round_id):
                gone.append(round_id)
                continue
            holds = self.holding_directly(round_id) is not None
            if holds and leaf in self.read_manifest(round_id).positions:
                return round_id
        return self.holding_directly(gone[0]) if gone else None

    def _unfinished(self) -> dict[str, RoundLook]:
        """Look at every round without a final end; returns them by id."""
        self._refresh()
        with self._index.lock:
            self._index.look()
            unsettled = sorted(self._index.unsettled.items())
            return {round_id: look.value for round_id, look in unsettled}

    def _refused(self) -> dict[str, Refused]:
        states = self._unfinished().items()
        return {round_id: state for round_id, state in states if isinstance(state, Refused)}

    def _look(self, round_id: str) -> Look[RoundLook]:
        state: RoundLook = False
        try:
            closed = self.closed(round_id)
            if closed is not None:
                self._memory.keep_end(round_id, closed)
            if closed is not None and closed.outcome is RoundOutcome.FINAL:
                self.numbers.signed(round_id, closed.number)
                self._finish(round_id, closed)
                return _FINAL
            if self.count(round_id):
                self.numbers.signed(round_id, self.number_of(round_id))
                state = closed or True
                if closed is None:  # Going on with it needs these files.
                    self.read_manifest(round_id)
                    self._keep_open(round_id)
            elif closed is None:
                self._look_at_none(round_id)
        except InvalidValue as error:
            self.numbers.signed(round_id, self.number_of(round_id))
            refused = Refused(f"{self.folder}/{round_id}", str(error))
            state = False if self._is_given_up(round_id) else refused
        return Look(state, is_settled=False)

    def _keep_open(self, round_id: str) -> None:
        """Remember what was signed of an open round, whoever did: it may be gone later."""
        for candidate in self.candidates(round_id):
            self._memory.keep_candidate(round_id, candidate)
        self._memory.keep_end(round_id, None)

    def _look_at_none(self, round_id: str) -> None:
        """Look why nothing is left that was signed: an operator gave it up, it was never signed, or it is gone."""
        if self.is_forgotten(round_id):
            for resolved in self.resolutions(round_id):
                self.numbers.give_up(round_id, resolved.numbers)
            return
        if self._was_signed(round_id) or self.is_noted_missing(round_id):
            self.numbers.lose(round_id)

    def _was_signed(self, round_id: str) -> bool:
        """Say whether this process has seen that a round is signed, at the last look or before it was gone."""
        with self._index.lock:
            before = self._index.known.get(round_id)
        is_signed = before is not None and (before is _FINAL or before.value is not False)
        return is_signed or self.numbers.is_gone(round_id)

    def _is_given_up(self, round_id: str) -> bool:
        try:
            return self.is_forgotten(round_id)
        except InvalidValue:
            return False

    def _finish(self, round_id: str, closed: Closed) -> None:
        """Remember of a final round what must not be forgotten, and look at it no more."""
        closed_ns = int(closed.closed_at.timestamp() * 1e9) if closed.closed_at else 0
        rank = (-1 if closed.sequence is None else closed.sequence), False, closed_ns
        candidates = () if closed.account else self.candidates(round_id)
        account = closed.account or (
            candidates[-1].reservation.get("account") if candidates else ""
        )
        with self._lock:
            self._highest[str(account)] = max(self._highest.get(str(account), -1), rank[0])
            self._revision = max(self._revision, closed.revision)
            self._newest = max(self._newest or (rank, round_id), (rank, round_id))
            if any(known == round_id for _, known in self._finals):
                self._finals = [known for known in self._finals if known[1] != round_id]
            insort(self._finals, (rank, round_id))
            self._blocks[round_id] = closed.block
            for _, older in self._finals[:-MOST_FINAL]:
                del self._blocks[older]
            del self._finals[:-MOST_FINAL]

    def _refresh(self) -> None:
        """Learn the names of rounds that came."""
        with self._index.lock:
            self._leaves.note(self._index.learn())

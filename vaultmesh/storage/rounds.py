"""Looks up a target's rounds: the open ones, a leaf's, the last one.

1. A round that is final is looked at once, so that a hundred thousand old rounds cost nothing; an unfinished one each time.
2. A malformed file is reported by name and never stops the others.
"""

import time
from bisect import insort
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import JsonValue
from typing_extensions import override

from vaultmesh.domain.aggregator.ledger_messages import Reservation, WatchedRound
from vaultmesh.domain.batches.batch import Refused
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.leaf import Leaf
from vaultmesh.domain.rounds.manifest import Candidate, Closed, Manifest, RoundOutcome
from vaultmesh.domain.rounds.manifest import round_id as id_of_round
from vaultmesh.domain.target import Target
from vaultmesh.storage.files import Store
from vaultmesh.storage.folder_index import FolderIndex, Look
from vaultmesh.storage.leaf_index import LeafIndex
from vaultmesh.storage.round_files import MANIFEST, Added, RoundFiles

__all__ = ["Added", "Damage", "RoundStore"]

LOOKED_AT_AGAIN = 16
"""Manifests of ended rounds that a look for damage reads again in turn, after a rest."""
LOOK_AGAIN_SECONDS = 5.0

MOST_FINAL = 256
"""Newest final rounds that are kept in mind: what a reorganisation beyond finality may undo."""

Rank = tuple[int, bool, int]
"""What reservations are compared by: sequence, whether the round is open, Unix ns."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A signed round that can't be read."""

    round_id: str
    refused: Refused
    is_open: bool
    """Whether it may be on its way into the ledger."""
    signed_at: float
    """Unix seconds at which its first candidate was stored: what it holds is older."""


_State = Closed | Refused | bool
"""What a look at a round saw: the end of a lost one, why it can't be read, else whether it is signed and open."""
_FINAL: Look[_State] = Look(value=False)


class RoundStore(RoundFiles):
    """The rounds of one target; one per process and target, used by any thread."""

    def __init__(self, store: Store, target: Target) -> None:
        """Read nothing before it is asked for."""
        super().__init__(store, target)
        self._index = FolderIndex(store, self.folder, self._look)
        self._revision = 0
        self._ends: dict[str, Refused] = {}
        """Final rounds of which a file beside the manifest can't be read."""
        self._highest: dict[str, int] = {}
        """Highest sequence of each account, over the final rounds."""
        self._newest: tuple[Rank, str] | None = None
        """The final round whose reservation is the highest."""
        self._finals: list[tuple[Rank, str]] = []
        """The newest final rounds, ascending."""
        self._blocks: dict[str, int] = {}
        """Block of each of them."""
        self._leaves = LeafIndex(store, target, self.folder, MANIFEST)

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
    def reopen(self, round_id: str) -> None:
        super().reopen(round_id)
        self.look_again([round_id])

    def look_again(self, round_ids: Collection[str]) -> None:
        """Look at rounds that are new, and at final ones that another process may have opened again."""
        with self._index.lock:
            self._index.note(round_ids)
            self._leaves.note(round_ids)

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

    def problems(self) -> list[str]:
        """Return which signed rounds can't be read, a line each."""
        return [str(damage.refused) for damage in self.damaged()]

    def unreadable(self) -> list[str]:
        """Return the signed rounds without an end that can't be read, a line each."""
        return [str(refused) for refused in self._refused().values()]

    def damaged(self) -> list[Damage]:
        """Return the signed rounds that can't be read, also those that were restored from elsewhere.

        Without those that an operator gave up, and those that are lost: their leaves are owed again as it is.
        """
        unreadable = self._refused()
        with self._index.lock:
            again = LOOKED_AT_AGAIN if self._index.has_rested(LOOK_AGAIN_SECONDS) else 0
        unread = self._leaves.unread(again)
        ends = self._damaged_ends(again)
        reasons = {
            round_id: Refused(self._manifest_path(round_id), f"{reason}; restore it from a backup")
            for round_id, reason in unread.items()
            if round_id not in unreadable and self.holding_directly(round_id) is not None
        }
        return [
            Damage(
                round_id,
                refused,
                round_id in unreadable or self.closed(round_id) is None,
                self.signed_at(round_id),
            )
            for round_id, refused in (unreadable | reasons).items()
        ] + [
            Damage(round_id, refused, is_open=False, signed_at=self.signed_at(round_id))
            for round_id, refused in ends.items()
            if round_id not in unreadable and round_id not in reasons
        ]

    def _damaged_ends(self, again: int) -> dict[str, Refused]:
        """Return the final rounds of which a file beside the manifest can't be read; so many more are looked at in turn."""
        with self._index.lock:
            unsettled = self._index.unsettled
            turn = [
                round_id for round_id in self._index.in_turn(again) if round_id not in unsettled
            ]
        for round_id in dict.fromkeys([*self._ends, *turn]):
            try:
                self._require_whole(round_id)
            except (InvalidValue, NetworkFailure) as error:
                self._ends[round_id] = Refused(f"{self.folder}/{round_id}", str(error))
            else:
                self._ends.pop(round_id, None)
        return dict(self._ends)

    def _require_whole(self, round_id: str) -> None:
        """Read what a final round would be driven with if its block left the chain, and what is added to it.

        Raises:
            InvalidValue: a file is malformed, or the winner's candidate is missing.
        """
        if self.is_forgotten(round_id):
            return
        closed, candidates = self.closed(round_id), self.candidates(round_id)
        self.late_joiners(round_id)
        self.resolutions(round_id)
        if closed is not None and not any(
            candidate.tx_ref == closed.tx_ref for candidate in candidates
        ):
            message = f"the candidate {closed.tx_ref} is missing; restore it from a backup"
            raise InvalidValue(message)

    def signed_at(self, round_id: str) -> float:
        """Return when a round was signed first, in Unix seconds; now where no candidate tells."""
        stamps = (self.candidate_stamp(round_id, n) for n in range(self.count(round_id)))
        times = [stamp.modified_ns / 1e9 for stamp in stamps if stamp is not None]
        return min(times, default=time.time())

    def unknown_to(self, known: Mapping[str, int]) -> list[str]:
        """Return open rounds with more candidates than a caller knows, given its count by round."""
        return [
            round_id
            for round_id in self.open_rounds()
            if self.count(round_id) > known.get(round_id, 0)
        ]

    def given_up(self) -> list[str]:
        """Return the open rounds whose newest reservation an operator decided to be lost."""
        return [
            round_id
            for round_id in self.open_rounds()
            if self.resolutions(round_id)
            and self.is_given_up(round_id, self.candidates(round_id)[-1].reservation)
        ]

    def highest_sequence(self, account: str) -> int | None:
        """Return the highest sequence that an account ever reserved here, as far as it is stored.

        Raises:
            InvalidValue: a candidate is malformed.
        """
        unfinished = self._unfinished()
        with self._lock:
            highest = self._highest.get(account, -1)
        for round_id in unfinished:
            for candidate in self._reserved_by(round_id):
                if candidate.reservation.get("account") == account:
                    highest = max(highest, _sequence(candidate))
        return highest if highest >= 0 else None

    def sequences(self, account: str, *, lost: bool = True) -> set[int]:
        """Return the sequences that an account reserved: those of every unfinished round, and of the newest final ones.

        Without `lost` those are left out whose rounds were lost: nothing of theirs is sent any more.

        Raises:
            InvalidValue: a candidate is malformed.
        """
        unfinished = self._unfinished()
        with self._lock:
            reserved = {rank[0] for rank, _ in self._finals}
        for round_id in unfinished:
            reserved |= {
                _sequence(candidate)
                for candidate in (self.candidates(round_id) if lost else self._current(round_id))
                if candidate.reservation.get("account") == account
            }
        return reserved

    def _current(self, round_id: str) -> list[Candidate]:
        """Return the candidates of a round's newest reservation; none if the round is lost."""
        candidates = self.candidates(round_id)
        if self.closed(round_id) is not None or not candidates:
            return []
        return _of_reservation(candidates, candidates[-1].reservation)

    def newest_reservation(self) -> dict[str, JsonValue] | None:
        """Return the reservation of the highest sequence, or without sequences the last one made.

        Raises:
            InvalidValue: a candidate is malformed.
        """
        ranked = self._ranked()
        if not ranked:
            return None
        _, newest = max(ranked)
        try:
            candidates = self.candidates(newest)
        except InvalidValue:
            closed = self.closed(newest)
            if closed is None or not closed.account:
                raise
            return {"account": closed.account, "sequence": closed.sequence, "fields": {}}
        return max(candidates, key=_sequence_then_number).reservation if candidates else None

    def _reserved_by(self, round_id: str) -> list[Candidate]:
        """Return a round's candidates; none where an operator gave up what can't be read.

        Raises:
            InvalidValue: one of them is malformed: its reservation might be taken a second time.
        """
        try:
            return self.candidates(round_id)
        except InvalidValue:
            if self.is_forgotten(round_id):
                return []
            raise

    def highest_revision(self) -> int:
        """Return the highest revision that the ends of rounds tell."""
        states = self._unfinished().values()
        lost = [state.revision for state in states if isinstance(state, Closed)]
        with self._lock:
            return max([self._revision, *lost])

    def closed_revision(self, round_id: str) -> int | None:
        """Return the revision with which a round was closed; None while it is open."""
        closed = self.closed(round_id)
        return None if closed is None else closed.revision

    def watched(self, round_id: str) -> WatchedRound:
        """Return a stored round as one to look at in the ledger: its winner, else its newest.

        Raises:
            InvalidValue: it has no candidates, or a file of it is malformed.
        """
        manifest, closed = self.read_manifest(round_id), self.closed(round_id)
        candidates = self.candidates(round_id)
        if not candidates:
            message = f"{self.folder}/{round_id} has no candidate; nothing was ever signed for it"
            raise InvalidValue(message)
        winner = closed.tx_ref if closed is not None else ""
        chosen = next(
            (candidate for candidate in candidates if candidate.tx_ref == winner), candidates[-1]
        )
        current = _of_reservation(candidates, chosen.reservation)
        stamp = self.candidate_stamp(round_id, current[-1].n)
        joined = self.late_joiners(round_id).late_joiners
        return WatchedRound(
            round_id=round_id,
            commitment=manifest.commitment,
            label=manifest.label,
            reservation=Reservation.model_validate(chosen.reservation),
            tx_refs=[candidate.tx_ref for candidate in current],
            signed_at=datetime.fromtimestamp(stamp.modified_ns / 1e9 if stamp else 0, UTC),
            depths=sorted(
                {*manifest.required_depths, *(joiner.required_depth for joiner in joined)}
            ),
            claimed_block=closed.block or None if closed is not None else None,
        )

    def candidates_of(self, round_id: str, reservation: Reservation) -> list[str]:
        """Return the references of all candidates stored for a reservation, oldest first; none if they can't be read."""
        try:
            stored = self.candidates(round_id)
        except InvalidValue:
            return []
        return [
            candidate.tx_ref
            for candidate in stored
            if Reservation.model_validate(candidate.reservation) == reservation
        ]

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

    def find_leaf(self, leaf: Leaf, *, besides: Container[str] = ()) -> str | None:
        """Return the newest round that holds a leaf, is signed and not lost, and none of `besides`.

        Raises:
            InvalidValue: a file of such a round is malformed.
        """
        self._refresh()
        for round_id in reversed(self._leaves.rounds_with(leaf)):
            if round_id in besides or self.holding_directly(round_id) is None:
                continue
            if leaf in self.read_manifest(round_id).positions:
                return round_id
        with self._lock:
            restored = list(self._restored.items())
        holding = (round_id for round_id, manifest in restored if leaf in manifest.positions)
        return next(
            (
                round_id
                for round_id in holding
                if round_id not in besides and self.holding_directly(round_id)
            ),
            None,
        )

    def _unfinished(self) -> dict[str, _State]:
        """Look at every round without a final end; returns them by id."""
        self._refresh()
        with self._index.lock:
            self._index.look()
            unsettled = sorted(self._index.unsettled.items())
            return {round_id: look.value for round_id, look in unsettled}

    def _refused(self) -> dict[str, Refused]:
        states = self._unfinished().items()
        return {round_id: state for round_id, state in states if isinstance(state, Refused)}

    def _look(self, round_id: str) -> Look[_State]:
        state: _State = False
        try:
            closed = self.closed(round_id)
            if closed is not None and closed.outcome is RoundOutcome.FINAL:
                self._finish(round_id, closed)
                return _FINAL
            if self.count(round_id):
                state = closed or True
                if closed is None:  # Going on with it needs these files.
                    self.read_manifest(round_id)
                    self.candidates(round_id)
        except InvalidValue as error:
            refused = Refused(f"{self.folder}/{round_id}", str(error))
            state = False if self._is_given_up(round_id) else refused
        return Look(state, is_settled=False)

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

    def _ranked(self) -> list[tuple[Rank, str]]:
        """Return the unfinished rounds and the highest final one, with what they are compared by.

        A malformed candidate is not passed over: its reservation might be taken a second time.
        """
        ranked: list[tuple[Rank, str]] = []
        for round_id, state in self._unfinished().items():
            is_open = not isinstance(state, Closed)
            for candidate in self._reserved_by(round_id):
                stamp = self.candidate_stamp(round_id, candidate.n)
                stored_ns = stamp.modified_ns if stamp else 0
                ranked.append(((_sequence(candidate), is_open, stored_ns), round_id))
        with self._lock:
            return [*ranked, self._newest] if self._newest else ranked

    def _refresh(self) -> None:
        """Learn the names of rounds that came."""
        with self._index.lock:
            self._leaves.note(self._index.learn())


def _sequence(candidate: Candidate) -> int:
    sequence = candidate.reservation.get("sequence")
    return sequence if isinstance(sequence, int) else -1


def _of_reservation(
    candidates: Iterable[Candidate], reservation: Mapping[str, JsonValue]
) -> list[Candidate]:
    return [candidate for candidate in candidates if candidate.reservation == reservation]


def _sequence_then_number(candidate: Candidate) -> tuple[int, int]:
    return _sequence(candidate), candidate.n

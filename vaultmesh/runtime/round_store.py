"""The place where a target's rounds are looked up: the open ones, a leaf's, the last one.

1. A round that is final is looked at once; an unfinished one each time.
2. Folders are listed only when rounds came, so that a hundred thousand old rounds cost nothing.
3. A malformed file is reported by name and never stops the others.
"""

import time
from bisect import insort
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import filterfalse

from pydantic import JsonValue
from typing_extensions import override

from vaultmesh.domain.aggregation import Leaf
from vaultmesh.domain.batch import Refused
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.ledger import Reservation, WatchedRound
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds import Candidate, Closed, Manifest, RoundOutcome, round_id
from vaultmesh.domain.target import Target
from vaultmesh.runtime.leaf_index import LeafIndex
from vaultmesh.runtime.round_files import MANIFEST, Added, RoundFiles
from vaultmesh.runtime.storage import Store

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


class RoundStore(RoundFiles):
    """The rounds of one target; one per process and target, used by any thread."""

    def __init__(self, store: Store, target: Target) -> None:
        """Read nothing before it is asked for."""
        super().__init__(store, target)
        self._known: set[str] = set()
        self._unfinished: set[str] = set()
        self._version: str | None = None
        self._refused: dict[str, Refused] = {}
        self._revision = 0
        self._look_again_at = 0.0
        self._ends: dict[str, Refused] = {}
        """Final rounds of which a file beside the manifest can't be read."""
        self._turn = 0
        """Place of the final round whose files are read again next."""
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
        self._note([manifest.round_id])
        return created

    @override
    def add_candidate(self, round_id: str, candidate: Candidate) -> Added:
        added = super().add_candidate(round_id, candidate)
        self._note([round_id])
        return added

    @override
    def reopen(self, round_id: str) -> None:
        super().reopen(round_id)
        self.look_again([round_id])

    def look_again(self, round_ids: Iterable[str]) -> None:
        """Look at final rounds that another process may have opened again."""
        self._note(round_ids)

    def open_rounds(self) -> list[str]:
        """Return the ids of all rounds that have candidates and no end.

        Costs as much as there are unfinished rounds, and a listing when rounds came.
        """
        return [one for one, closed in self._look().items() if closed is None]

    def newest_final(self) -> list[str]:
        """Return the ids of the newest final rounds, that of the highest block first; another process may have opened one again.

        Rounds that spend different outputs may be mined in another order than they were reserved in.
        """
        self._look()
        with self._lock:
            newest = [one for _, one in reversed(self._finals) if one not in self._unfinished]
            return sorted(newest, key=lambda one: -self._blocks[one])

    def problems(self) -> list[str]:
        """Return which signed rounds can't be read, a line each."""
        return [str(one.refused) for one in self.damaged()]

    def unreadable(self) -> list[str]:
        """Return the signed rounds without an end that can't be read, a line each."""
        self._look()
        with self._lock:
            return [str(refused) for refused in self._refused.values()]

    def damaged(self) -> list[Damage]:
        """Return the signed rounds that can't be read, also those that were restored from elsewhere.

        Without those that an operator gave up, and those that are lost: their leaves are owed again as it is.
        """
        self._look()
        with self._lock:
            found = dict(self._refused)
        again = LOOKED_AT_AGAIN if self._rested() else 0
        unread = self._leaves.unread(again)
        ends = self._damaged_ends(again)
        reasons = {
            one: Refused(f"{self.folder}/{one}/{MANIFEST}", f"{reason}; restore it from a backup")
            for one, reason in unread.items()
            if one not in found and self.holding_directly(one) is not None
        }
        return [
            Damage(one, refused, one in found or self.closed(one) is None, self.signed_at(one))
            for one, refused in (found | reasons).items()
        ] + [
            Damage(one, refused, is_open=False, signed_at=self.signed_at(one))
            for one, refused in ends.items()
            if one not in found and one not in reasons
        ]

    def _damaged_ends(self, again: int) -> dict[str, Refused]:
        """Return the final rounds of which a file beside the manifest can't be read; so many more are looked at in turn."""
        with self._lock:
            ended = sorted(self._known - self._unfinished) if again else []
            start = self._turn % max(len(ended), 1)
            turn = [*ended[start:], *ended[:start]][:again]
            self._turn = start + len(turn)
        for one in dict.fromkeys([*self._ends, *turn]):
            try:
                self._require_whole(one)
            except (InvalidValue, NetworkFailure) as error:
                self._ends[one] = Refused(f"{self.folder}/{one}", str(error))
            else:
                self._ends.pop(one, None)
        return dict(self._ends)

    def _require_whole(self, one: str) -> None:
        """Read what a final round would be driven with if its block left the chain, and what is added to it.

        Raises:
            InvalidValue: a file is malformed, or the winner's candidate is missing.
        """
        if self.is_forgotten(one):
            return
        closed, candidates = self.closed(one), self.candidates(one)
        self.riders(one)
        self.resolutions(one)
        if closed is not None and not any(known.tx_ref == closed.tx_ref for known in candidates):
            message = f"the candidate {closed.tx_ref} is missing; restore it from a backup"
            raise InvalidValue(message)

    def _rested(self) -> bool:
        with self._lock:
            if time.monotonic() < self._look_again_at:
                return False
            self._look_again_at = time.monotonic() + LOOK_AGAIN_SECONDS
            return True

    def signed_at(self, round_id: str) -> float:
        """Return when a round was signed first, in Unix seconds; now where no candidate tells."""
        stamps = (self.candidate_stamp(round_id, n) for n in range(self.count(round_id)))
        times = [stamp.modified_ns / 1e9 for stamp in stamps if stamp is not None]
        return min(times, default=time.time())

    def unknown_to(self, known: Mapping[str, int]) -> list[str]:
        """Return open rounds with more candidates than a caller knows, given its count by round."""
        return [one for one in self.open_rounds() if self.count(one) > known.get(one, 0)]

    def given_up(self) -> list[str]:
        """Return the open rounds whose newest reservation an operator decided to be lost."""
        return [
            one
            for one in self.open_rounds()
            if self.resolutions(one) and self.is_given_up(one, self.candidates(one)[-1].reservation)
        ]

    def highest_sequence(self, account: str) -> int | None:
        """Return the highest sequence that an account ever reserved here, as far as it is stored.

        Raises:
            InvalidValue: a candidate is malformed.
        """
        self._look()
        with self._lock:
            unfinished = sorted(self._unfinished)
            highest = self._highest.get(account, -1)
        for one in unfinished:
            for candidate in self._reserved_by(one):
                if candidate.reservation.get("account") == account:
                    highest = max(highest, _sequence(candidate))
        return highest if highest >= 0 else None

    def sequences(self, account: str, *, lost: bool = True) -> set[int]:
        """Return the sequences that an account reserved: those of every unfinished round, and of the newest final ones.

        Without `lost` those are left out whose rounds were lost: nothing of theirs is sent any more.

        Raises:
            InvalidValue: a candidate is malformed.
        """
        self._look()
        with self._lock:
            unfinished = sorted(self._unfinished)
            found = {rank[0] for rank, _ in self._finals}
        for one in unfinished:
            found |= {
                _sequence(candidate)
                for candidate in (self.candidates(one) if lost else self._current(one))
                if candidate.reservation.get("account") == account
            }
        return found

    def _current(self, round_id: str) -> list[Candidate]:
        """Return the candidates of a round's newest reservation; none if the round is lost."""
        candidates = self.candidates(round_id)
        if self.closed(round_id) is not None:
            return []
        return [one for one in candidates if one.reservation == candidates[-1].reservation]

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
        looked_at = self._look()
        lost = [closed.revision for closed in looked_at.values() if closed is not None]
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
        chosen = next((one for one in candidates if one.tx_ref == winner), candidates[-1])
        current = [one for one in candidates if one.reservation == chosen.reservation]
        stamp = self.candidate_stamp(round_id, current[-1].n)
        riders = (one.required_depth for one in self.riders(round_id).riders)
        return WatchedRound(
            round_id=round_id,
            commitment=manifest.commitment.receipt_form,
            label=manifest.label,
            reservation=Reservation.model_validate(chosen.reservation),
            tx_refs=[one.tx_ref for one in current],
            signed_at=datetime.fromtimestamp(stamp.modified_ns / 1e9 if stamp else 0, UTC),
            depths=sorted({*manifest.required_depths, *riders}),
            claimed_block=closed.block or None if closed is not None else None,
        )

    def candidates_of(self, round_id: str, reservation: Reservation) -> list[str]:
        """Return the references of all candidates stored for a reservation, oldest first; none if they can't be read."""
        try:
            stored = self.candidates(round_id)
        except InvalidValue:
            return []
        return [
            one.tx_ref
            for one in stored
            if Reservation.model_validate(one.reservation) == reservation
        ]

    def find_root(self, root: MerkleRoot) -> str | None:
        """Return the round whose direct commitment is this root, if it is signed and not lost.

        Raises:
            InvalidValue: a file of it is malformed.
        """
        return self.holding_directly(round_id(self.target, root.digest))

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
        for found in reversed(self._leaves.rounds_with(leaf)):
            if found in besides or self.holding_directly(found) is None:
                continue
            if leaf in self.read_manifest(found).positions:
                return found
        with self._lock:
            restored = list(self._restored.items())
        holding = (one for one, manifest in restored if leaf in manifest.positions)
        return next(
            (one for one in holding if one not in besides and self.holding_directly(one)), None
        )

    def _look(self) -> dict[str, Closed | None]:
        """Return every unfinished round that has candidates, with its end if it was lost."""
        self._refresh()
        with self._lock:
            unfinished = sorted(self._unfinished)
        found: dict[str, Closed | None] = {}
        refused: dict[str, Refused] = {}
        for one in unfinished:
            try:
                closed = self.closed(one)
                if closed is not None and closed.outcome is RoundOutcome.FINAL:
                    self._finish(one, closed)
                elif self.count(one):
                    self._require_readable(one, closed)
                    found[one] = closed
            except InvalidValue as error:
                if not self._is_given_up(one):
                    refused[one] = Refused(f"{self.folder}/{one}", str(error))
        with self._lock:
            self._refused = refused
        return found

    def _require_readable(self, one: str, closed: Closed | None) -> None:
        """Read what going on with a round needs; one that is lost is needed no more."""
        if closed is None:
            self.read_manifest(one)
            self.candidates(one)

    def _is_given_up(self, one: str) -> bool:
        try:
            return self.is_forgotten(one)
        except InvalidValue:
            return False

    def _finish(self, one: str, closed: Closed) -> None:
        """Remember of a final round what must not be forgotten, and look at it no more."""
        closed_ns = int(closed.closed_at.timestamp() * 1e9) if closed.closed_at else 0
        rank = (-1 if closed.sequence is None else closed.sequence), False, closed_ns
        candidates = () if closed.account else self.candidates(one)
        account = closed.account or (
            candidates[-1].reservation.get("account") if candidates else ""
        )
        with self._lock:
            self._highest[str(account)] = max(self._highest.get(str(account), -1), rank[0])
            self._unfinished.discard(one)
            self._revision = max(self._revision, closed.revision)
            self._newest = max(self._newest or (rank, one), (rank, one))
            if any(known == one for _, known in self._finals):
                self._finals = [known for known in self._finals if known[1] != one]
            insort(self._finals, (rank, one))
            self._blocks[one] = closed.block
            for _, older in self._finals[:-MOST_FINAL]:
                del self._blocks[older]
            del self._finals[:-MOST_FINAL]

    def _ranked(self) -> list[tuple[Rank, str]]:
        """Return the unfinished rounds and the highest final one, with what they are compared by.

        A malformed candidate is not passed over: its reservation might be taken a second time.
        """
        ranked: list[tuple[Rank, str]] = []
        looked_at = self._look()
        with self._lock:
            unfinished = sorted(self._unfinished)
        for one in unfinished:
            is_open = looked_at.get(one) is None
            for candidate in self._reserved_by(one):
                stamp = self.candidate_stamp(one, candidate.n)
                stored_ns = stamp.modified_ns if stamp else 0
                ranked.append(((_sequence(candidate), is_open, stored_ns), one))
        with self._lock:
            return [*ranked, self._newest] if self._newest else ranked

    def _refresh(self) -> None:
        """Learn the names of rounds that came."""
        with self._lock:
            version = self._store.version(self.folder)
            if version is None or version != self._version:
                names = self._store.names(self.folder)
                self._note(list(filterfalse(self._known.__contains__, names)))
                self._version = version

    def _note(self, round_ids: Iterable[str]) -> None:
        with self._lock:
            fresh = [one for one in round_ids if one not in self._known]
            self._known.update(fresh)
            self._unfinished.update(round_ids)
            self._leaves.note(fresh)


def _sequence(candidate: Candidate) -> int:
    sequence = candidate.reservation.get("sequence")
    return sequence if isinstance(sequence, int) else -1


def _sequence_then_number(candidate: Candidate) -> tuple[int, int]:
    return _sequence(candidate), candidate.n

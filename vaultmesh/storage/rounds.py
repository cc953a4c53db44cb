"""Looks up what a target's rounds reserved, and which can't be read or are gone.

A malformed file is reported by name and never stops the others.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import JsonValue

from vaultmesh.domain.aggregator.ledger_messages import Reservation, WatchedRound
from vaultmesh.domain.batches.batch import Refused
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.rounds.manifest import Candidate, Closed
from vaultmesh.domain.rounds.manifest import round_id as id_of_round
from vaultmesh.domain.target import Target
from vaultmesh.storage.files import Store
from vaultmesh.storage.round_files import Added
from vaultmesh.storage.round_index import Rank, RoundIndex
from vaultmesh.storage.round_numbers import Range, in_words

__all__ = ["Added", "Damage", "RoundStore"]

LOOKED_AT_AGAIN = 16
"""Manifests of ended rounds that a look for damage reads again in turn, after a rest."""
LOOK_AGAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Damage:
    """A signed round that can't be read."""

    round_id: str
    refused: Refused
    is_open: bool
    """Whether it may be on its way into the ledger."""
    signed_at: float
    """Unix seconds at which its first candidate was stored: what it holds is older."""
    is_gone: bool = False
    """Whether its folder is gone."""
    numbers: Range | None = None
    """First and last number of the rounds that are gone, where they are numbered."""
    is_named: bool = True
    """Whether the id is a round's, and not made up for rounds of which only the numbers are known."""
    are_leaves_known: bool = False
    """Whether it is known of each leaf whether the round holds it, although its folder is gone."""

    @property
    def what(self) -> str:
        """Return what it is, in the middle of a sentence."""
        if self.is_named or self.numbers is None:
            why = "whose folder is gone" if self.is_gone else "which can't be read"
            return f"round {self.round_id}, {why}"
        return f"a signed round with number {in_words(self.numbers)}, whose folder is gone"


class RoundStore(RoundIndex):
    """The rounds of one target; one per process and target, used by any thread."""

    def __init__(self, store: Store, target: Target) -> None:
        """Read nothing before it is asked for."""
        super().__init__(store, target)
        self._ends: dict[str, Refused] = {}
        """Final rounds of which a file beside the manifest can't be read."""

    def problems(self) -> list[str]:
        """Return which signed rounds can't be read, a line each."""
        return [str(damage.refused) for damage in self.damaged()]

    def damaged(self) -> list[Damage]:
        """Return the signed rounds that can't be read, also those that were restored from elsewhere.

        Without those that an operator gave up, and those that are lost: their leaves are owed again as it is.
        """
        unreadable = self._refused()
        missing = self._missing()
        with self._index.lock:
            again = LOOKED_AT_AGAIN if self._index.has_rested(LOOK_AGAIN_SECONDS) else 0
        unread = self._leaves.unread(again)
        ends = self._damaged_ends(again)
        reasons = {
            round_id: Refused(self._manifest_path(round_id), f"{reason}; restore it from a backup")
            for round_id, reason in unread.items()
            if round_id not in unreadable and self._is_signed(round_id)
        }
        return [
            *missing,
            *(
                Damage(
                    round_id,
                    refused,
                    round_id in unreadable or not self.has_end(round_id),
                    self.signed_at(round_id),
                )
                for round_id, refused in (unreadable | reasons).items()
            ),
            *(
                Damage(round_id, refused, is_open=False, signed_at=self.signed_at(round_id))
                for round_id, refused in ends.items()
                if round_id not in unreadable and round_id not in reasons
            ),
        ]

    def _is_signed(self, round_id: str) -> bool:
        """Say whether what a round holds may be in the ledger; so it is where only its end is left."""
        if self.numbers.is_gone(round_id):
            return False  # told as such
        try:
            return self.holding_directly(round_id) is not None
        except InvalidValue:
            return True

    def _missing(self) -> list[Damage]:
        """Return the rounds that are gone: by name where this process knew them, else by their numbers."""
        if self.numbers.gone() or self.numbers.gaps():
            with self._index.lock:
                self._leaves.note(self._index.learn(afresh=True))
            self._unfinished()
        by_name = [
            Damage(
                round_id,
                Refused(f"{self.folder}/{round_id}", "it is gone; restore it from a backup"),
                is_open=False,
                signed_at=noticed,
                is_gone=True,
                numbers=self.numbers.range_of(round_id),
                are_leaves_known=self._leaves.has_taken(round_id),
            )
            for round_id, noticed in self.numbers.gone().items()
        ]
        return [*by_name, *map(self._gap, self.numbers.gaps())]

    def _gap(self, gap: Range) -> Damage:
        """Return what is told of rounds that are known by their numbers alone: they are older than the next round."""
        first, last = gap
        following = self.numbers.round_with(last + 1)
        signed_at = self.numbers.noticed(gap)
        if following is not None:
            closed = self._end_of(following)
            signed_at = min(signed_at, self.signed_at(following))
            if closed is not None and closed.block_time is not None:
                signed_at = min(signed_at, closed.block_time.timestamp())
        reason = f"signed rounds are gone, number {in_words(gap)}; restore them from a newer copy"
        return Damage(
            id_of_round(self.target, f"{first}-{last}".encode()),
            Refused(self.folder, reason),
            is_open=False,
            signed_at=signed_at,
            is_gone=True,
            numbers=gap,
            is_named=False,
        )

    def _end_of(self, round_id: str) -> Closed | None:
        try:
            return self.closed(round_id)
        except InvalidValue:
            return None

    def _damaged_ends(self, again: int) -> dict[str, Refused]:
        """Return the final rounds of which a file beside the manifest can't be read; so many more are looked at in turn."""
        with self._index.lock:
            unsettled = self._index.unsettled
            turn = [
                round_id for round_id in self._index.in_turn(again) if round_id not in unsettled
            ]
        for round_id in dict.fromkeys([*self._ends, *turn]):
            if not self.has_end(round_id):  # it is open again, or gone
                self.look_again([round_id])
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
        rank, newest = max(ranked)
        try:
            candidates = self.candidates(newest)
        except InvalidValue:
            closed = self.closed(newest)
            if closed is None or not closed.account:
                raise
            return {"account": closed.account, "sequence": closed.sequence, "fields": {}}
        if candidates:
            return max(candidates, key=_sequence_then_number).reservation
        return self._reservation_of_gone(rank)

    def _reservation_of_gone(self, rank: Rank) -> dict[str, JsonValue] | None:
        """Return what this process remembers of the highest reservation, whose round is gone: its sequence stays used."""
        with self._lock:
            accounts = [account for account, of in self._highest.items() if of == rank[0]]
        if not accounts or rank[0] < 0:
            return None
        return {"account": accounts[0], "sequence": rank[0], "fields": {}}

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


def _sequence(candidate: Candidate) -> int:
    sequence = candidate.reservation.get("sequence")
    return sequence if isinstance(sequence, int) else -1


def _of_reservation(
    candidates: Iterable[Candidate], reservation: Mapping[str, JsonValue]
) -> list[Candidate]:
    return [candidate for candidate in candidates if candidate.reservation == reservation]


def _sequence_then_number(candidate: Candidate) -> tuple[int, int]:
    return _sequence(candidate), candidate.n

"""Holds the open rounds of a target, and what its storage is known to hold.

1. One new transaction at a time: nothing is reserved while any round is un-included.
2. Rounds are kept in order of reservation; only the lowest un-included one is bumped (E4, E8).
3. A lost round stays open until a new round that holds all its leaves is signed.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel, Field

from vaultmesh.domain.aggregator.ledger_messages import (
    AggregatorSettings,
    Reservation,
    RoundState,
    RoundView,
)
from vaultmesh.domain.aggregator.messages import (
    KnownRound,
    Recover,
    Recovered,
    RememberedRound,
    Sealed,
    SealedRound,
)
from vaultmesh.domain.aggregator.open_round import OpenRound
from vaultmesh.domain.aggregator.orders import MOST_ROUNDS
from vaultmesh.domain.messages import AnchorRequest

GAP_PATIENCE = timedelta(seconds=20)
"""How long a gap must have been shown before a new round takes a free sequence: nodes lag."""
MOST_ENDED = 16
"""Newest rounds that are remembered after their end: an older copy of the storage lacks at least the last one."""


class OpenRounds(BaseModel):
    """The open rounds, the highest reservation, and whether all that is stored is known."""

    open: list[OpenRound] = Field(default_factory=list)
    last: Reservation | None = None
    revision: int = 0
    """Of the newest order to write receipts."""
    number: int = 0
    """The highest number of a signed round: signed rounds are numbered from 1 on, so that a missing one is noticed."""
    settings: AggregatorSettings = AggregatorSettings()
    recovered: bool = False
    reopened: list[str] = Field(default_factory=list)
    """Rounds that the next recovery must look for although they were closed once."""
    left: list[str] = Field(default_factory=list)
    """Closed rounds whose blocks left the chain: the next recovery opens them again."""
    ended: list[RememberedRound] = Field(default_factory=list)
    """The newest rounds that have ended, oldest first."""
    fill_gap_now: bool = False
    """An operator wants a gap filled without waiting for rounds that are owed."""
    problems: list[str] = Field(default_factory=list)
    """Signed rounds that can't be read, a line each, as the last step that looked found them."""

    # --- which rounds ----------------------------------------------------------------------------------------------

    def find(self, round_id: str) -> OpenRound | None:
        """Return an open round by its id."""
        return next((row for row in self.open if row.round_id == round_id), None)

    def observed(self) -> list[OpenRound]:
        """Return the rounds that the ledger is looked at for."""
        return [row for row in self.open if row.is_observed]

    def unincluded(self) -> list[OpenRound]:
        """Return the rounds that hold up new ones, in order of reservation."""
        blocking = [row for row in self.open if row.blocks_others]
        return sorted(blocking, key=lambda row: row.reservation.sequence or 0)

    def owed_again(self) -> list[OpenRound]:
        """Return the lost rounds whose leaves are to be sealed again."""
        return [row for row in self.open if row.is_owed_again]

    def waiting(self) -> list[AnchorRequest]:
        """Return the requests that wait for a round."""
        return [request for row in self.open for request in row.waiting]

    def holds(self, request_id: str) -> bool:
        """Whether a request waits for a round."""
        return any(request.id == request_id for request in self.waiting())

    def let_go(self, request_id: str) -> None:
        """Have a request wait no longer; a round that holds its batches goes on."""
        for row in self.open:
            row.let_go({request_id})

    # --- what is known of the storage ------------------------------------------------------------------------------

    def remembered(self) -> list[RememberedRound]:
        """Return what was signed and must be in the storage, as far as it is known."""
        return [*self.ended, *(row.remembered() for row in self.open)]

    def known_ended(self) -> list[KnownRound]:
        """Return the rounds that have ended and must be in the storage."""
        return [
            KnownRound(
                round_id=ended.round_id,
                candidates=ended.candidates[-1].n + 1,
                lost=ended.lost,
            )
            for ended in self.ended
            if ended.candidates
        ]

    def recover_again(self) -> None:
        """Learn anew what is stored before anything else is done: it holds more than is known here."""
        self.recovered = False

    def reopen(self, round_ids: Sequence[str]) -> None:
        """Have the next recovery look for rounds that were closed and are open again; the others are found by later ones."""
        self.reopened = list(dict.fromkeys([*self.reopened, *round_ids]))[:MOST_ROUNDS]
        self.recover_again()

    def left_the_chain(self, round_ids: Sequence[str]) -> None:
        """Have closed rounds opened again, each once; the others are found by later looks."""
        self.left = list(dict.fromkeys([*self.left, *round_ids]))[:MOST_ROUNDS]
        self.recover_again()

    def not_opened(self, round_ids: Sequence[str]) -> list[str]:
        """Return those of the rounds that nobody has asked to open again, each once."""
        known = {*self.reopened, *self.left, *(row.round_id for row in self.open)}
        return [round_id for round_id in dict.fromkeys(round_ids) if round_id not in known]

    def adopt(self, stored: Recovered, order: Recover, now: datetime) -> list[AnchorRequest]:
        """Take what the storage knows in place of what is known here; returns the requests that waited for a round.

        A round that can't be read there any more is driven on with the bytes that are known here.
        """
        waiting = self.waiting()
        kept = [row for row in self.open if row.round_id in stored.unreadable]
        for row in kept:
            row.let_all_go()
        known = {row.round_id: row for row in self.open}
        adopted = [OpenRound.adopted(recovered, now) for recovered in stored.rounds]
        for row in adopted:
            row.go_on_from(known.get(row.round_id))
        self.open = [*adopted, *kept]
        self.ended = [ended for ended in self.ended if self.find(ended.round_id) is None]
        if self.last is None or stored.last is not None:
            self._take_last(stored.last)
        self.revision = max(self.revision, stored.revision)
        self.number = max(self.number, stored.number)
        self.settings = stored.settings
        self.problems = stored.problems
        self.recovered = True
        self.reopened = [round_id for round_id in self.reopened if round_id not in order.reopened]
        self.left = [round_id for round_id in self.left if round_id not in order.left]
        return waiting

    def _take_last(self, stored: Reservation | None) -> None:
        """Take the storage's highest reservation, unless an older copy of it forgot what is known here."""
        known = self.last
        if known is None or stored is None or known.account != stored.account:
            self.last = stored
            return
        ahead = (stored.sequence or 0) - (known.sequence or 0)
        if ahead > 0 or (ahead == 0 and stored.fields):
            self.last = stored

    def sealed(self, sealed: Sealed) -> None:
        """Take what a seal has read beside the batches."""
        self.number = max(self.number, sealed.number)
        self.settings = sealed.settings
        self.problems = sealed.problems

    # --- which come and go -----------------------------------------------------------------------------------------

    def add(self, signed: OpenRound, resealed: Sequence[str]) -> None:
        """Add a signed round; it takes the place of a lost one with its id, and ends those whose leaves it holds."""
        again = self.find(signed.round_id)
        self.open = [row for row in self.open if row is not again]
        self.close_lost(resealed)
        self.open.append(signed)
        self.ended = [ended for ended in self.ended if ended.round_id != signed.round_id]
        self.number = max(self.number, signed.sealed.number)
        self.reserved(signed.reservation)

    def close_lost(self, resealed: Sequence[str]) -> None:
        """End the lost rounds whose leaves other rounds hold by now."""
        for row in self.open:
            if row.state is RoundState.LOST and row.round_id in resealed:
                row.close_as_lost()

    def forget(self, closed: OpenRound) -> None:
        """Leave out a round that is no longer open; it is remembered for a while."""
        if closed.is_over or closed.state is RoundState.LOST:
            self.ended = [*self.ended, closed.ended(self.revision)][-MOST_ENDED:]
        self.open = [row for row in self.open if row is not closed]

    def reserved(self, reservation: Reservation) -> None:
        """Remember the highest reservation."""
        last = self.last
        if (
            last is None
            or last.account != reservation.account
            or (reservation.sequence or 0) >= (last.sequence or 0)
        ):
            self.last = reservation

    def numbered(self, sealed: SealedRound) -> SealedRound:
        """Return a round that is to be signed with its number: one that was signed before keeps its own."""
        return sealed.with_number(sealed.number or self.number + 1)

    def next_revision(self) -> int:
        """Return the number of the next order to write receipts: later ones have higher numbers."""
        self.revision += 1
        return self.revision

    # --- what is sent ----------------------------------------------------------------------------------------------

    def broadcast_due(self, now: datetime) -> bool:
        """Whether a round's bytes are to be sent now."""
        return any(row.is_ready(now) for row in self.unincluded())

    def next_broadcast(self, now: datetime) -> datetime | None:
        """Return when a round that backs off may be sent again."""
        instants = [row.not_before for row in self.unincluded() if row.needs_broadcast]
        return min(
            (instant for instant in instants if instant is not None and instant > now), default=None
        )

    def send_below(self, beyond: OpenRound) -> None:
        """Send every earlier round again; a root never moves to another reservation (E4)."""
        for row in self.unincluded():
            if row is beyond:
                return
            row.send_again()

    def bump_due(self) -> bool:
        """Whether the lowest un-included round wants a higher bid; beyond a gap none can help."""
        lowest = next(iter(self.unincluded()), None)
        return lowest is not None and lowest.bump_due and not lowest.gap

    # --- a gap below them ------------------------------------------------------------------------------------------

    def see(self, row: OpenRound, view: RoundView, now: datetime) -> None:
        """Take what a look at the ledger says of a round; an order to fill its gap ends with the gap."""
        if row.gap and not view.gap:
            self.fill_gap_now = False
        row.see(view, now)

    def beyond_gap(self) -> OpenRound | None:
        """Return the lowest un-included round if sequences below it are free, and no round of ours has them."""
        lowest = next(iter(self.unincluded()), None)
        return lowest if lowest is not None and lowest.gap else None

    def fill_at_once(self) -> None:
        """Have the gap filled without waiting for rounds that are owed."""
        self.fill_gap_now = True

    def gap_instants(self) -> list[datetime]:
        """Return when something may be done about a gap."""
        row = self.beyond_gap()
        if row is None or row.gap_since is None:
            return []
        instants = [row.gap_since + GAP_PATIENCE, row.gap_since + self._fill_after]
        return [*instants, row.fill_not_before] if row.fill_not_before is not None else instants

    def may_take_free(self, now: datetime) -> bool:
        """Whether a new round may take the lowest free sequence: the gap has lasted, and nothing fills it."""
        row = self.beyond_gap()
        if row is None or row.gap_since is None or row.fills:
            return False
        return now >= row.gap_since + GAP_PATIENCE

    def fill_due(self, now: datetime) -> bool:
        """Whether the free sequences below a gap are to be used up now."""
        row = self.beyond_gap()
        if row is None or row.gap_since is None:
            return False
        wanted = bool(row.fills) or self.fill_gap_now or now >= row.gap_since + self._fill_after
        return wanted and (row.fill_not_before is None or row.fill_not_before <= now)

    @property
    def _fill_after(self) -> timedelta:
        return timedelta(seconds=self.settings.gap_fill_seconds)

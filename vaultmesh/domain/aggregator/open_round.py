"""Takes one signed round from its first broadcast to its last receipt.

1. Only the newest candidate is sent; any candidate may win.
2. What a look at the ledger shows decides; an answer to a broadcast never takes back what a look has shown.
3. A round whose final receipts can't be written is observed on: its block may leave the chain before they are.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel, Field

from vaultmesh.domain.aggregator.ledger_messages import (
    Reservation,
    RoundState,
    RoundView,
    SignedCandidate,
    Terms,
    Verdict,
    WatchedRound,
    refutes,
)
from vaultmesh.domain.aggregator.messages import (
    KnownRound,
    RecordState,
    RecoveredRound,
    RememberedRound,
    SealedRound,
)
from vaultmesh.domain.aggregator.waiting import merged
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import AnchorRequest, Backoff
from vaultmesh.domain.status import RoundStatus

QUICK_BIDS = 2
"""Refused bids in a row that are followed by a higher one at once: each is signed, and any might still be mined."""
FILL_PAUSE = timedelta(seconds=15)
"""Between two orders to fill a gap."""

_UNINCLUDED = (RoundState.PENDING, RoundState.MISSING, RoundState.STUCK, RoundState.DISPLACED)


@dataclass(frozen=True, slots=True)
class Left:
    """A block that a round was in, and its transaction there."""

    tx_ref: str
    number: int
    hash: str


class OpenRound(BaseModel):
    """One open round."""

    sealed: SealedRound
    reservation: Reservation
    candidates: list[SignedCandidate]
    """Of the current reservation, oldest first."""
    since: datetime
    signed_at: datetime
    state: RoundState = RoundState.PENDING
    view: RoundView | None = None
    """The last look that found it in a block."""
    first_seen_block: int | None = None
    waiting: list[AnchorRequest] = Field(default_factory=list)
    late_joiners: list[AnchorRequest] = Field(default_factory=list)
    """Requests that its manifest does not name, and that share its fate: they get receipts too."""
    needs_broadcast: bool = True
    broadcasts: int = 0
    not_before: datetime | None = None
    """Earliest instant of the next broadcast: a node that forgets what it accepts is not asked at every look."""
    bump_due: bool = False
    refused: int = 0
    """Bids in a row that were too low for the node."""
    sent: bool = False
    """Whether the ledger may know it: false only before the first broadcast."""
    taken: str = ""
    """The newest transaction that the ledger took when it was sent, as far as is known."""
    recorded: bool = False
    claimed_block: int | None = None
    """Block that receipts found at recovery say it is in, until a look has confirmed or refuted that."""
    claimed_hash: str = ""
    claimed_tx: str = ""
    notes: Terms = Field(default_factory=dict)
    """What the target's module found out at earlier looks and needs again."""
    undecided: str = ""
    """Why nobody can tell what became of it, since the last look."""
    gap: int = 0
    """Free sequences below it, at the last look."""
    gap_since: datetime | None = None
    """When their number changed last."""
    fills: int = 0
    """Orders to fill them that were carried out."""
    fill_not_before: datetime | None = None
    record_tries: int = 0
    """Orders to write its receipts that failed since the last one that did not."""
    record_failure: str = ""
    """Why the last one failed."""
    wanted: RecordState | None = None
    """What the receipts are to say and don't say yet."""
    open_depths: list[int] = Field(default_factory=list)
    """Required depths that no look has found final yet, ascending."""
    was_in_block: bool = False
    """Whether it was in a block when it was adopted, as far as was known: the next look that finds it there is no news."""
    was_recorded: bool = False
    """Whether its receipts said all that was known when it was adopted: only those that differ are written."""

    @classmethod
    def adopted(cls, stored: RecoveredRound, now: datetime) -> "OpenRound":
        """Take up a round that may be anywhere on its way: the ledger is looked at before any bytes are sent."""
        return cls(
            sealed=stored.sealed,
            reservation=stored.reservation,
            candidates=stored.candidates,
            since=now,
            signed_at=now,
            late_joiners=stored.late_joiners,
            needs_broadcast=False,
            sent=True,
            open_depths=stored.sealed.required_depths,
            claimed_block=stored.claimed_block,
            claimed_hash=stored.claimed_hash,
            claimed_tx=stored.claimed_tx,
            was_in_block=stored.claimed_block is not None,
            state=RoundState.LOST if stored.lost else RoundState.PENDING,
        )

    def go_on_from(self, known: "OpenRound | None") -> None:
        """Keep what was known of the same round and the storage does not tell: how long it waits, and what failed how often."""
        if known is None:
            return
        self.record_tries, self.record_failure = known.record_tries, known.record_failure
        self.late_joiners = list(merged((*self.late_joiners, *known.late_joiners)).values())
        depths = (joiner.required_depth for joiner in known.late_joiners)
        self.open_depths = sorted({*self.open_depths, *depths})
        self.was_in_block = self.was_in_block or known.is_in_block
        is_recorded = known.recorded and known.wanted is None
        self.was_recorded = known.was_recorded or (is_recorded and known.is_in_block)
        if known.candidates[-1:] == self.candidates[-1:]:
            self.signed_at, self.first_seen_block = known.signed_at, known.first_seen_block
            self.gap_since, self.fills = known.gap_since, known.fills
            self.fill_not_before = known.fill_not_before
            self.taken = known.taken

    # --- what is asked of it ---------------------------------------------------------------------------------------

    @property
    def round_id(self) -> str:
        """Return the round's id."""
        return self.sealed.round_id

    @property
    def all_candidates(self) -> int:
        """Return how many candidates it has, over all its reservations."""
        return self.sealed.candidates + len(self.candidates)

    @property
    def blocks_others(self) -> bool:
        """Whether it holds up new rounds."""
        return self.state in _UNINCLUDED

    @property
    def is_in_block(self) -> bool:
        """Whether it is in a block, as far as is known."""
        return self.state is RoundState.INCLUDED or self.was_in_block

    @property
    def is_observed(self) -> bool:
        """Whether the ledger is to be looked at for it: not before it was sent, nor once it is final or lost."""
        is_final = self.state is RoundState.INCLUDED and not self.open_depths
        return self.sent and not is_final and self.state is not RoundState.LOST

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do: its receipts say that it is final, to everybody who waited."""
        return (
            self.state is RoundState.INCLUDED
            and self.view is not None
            and self.view.final
            and not self.open_depths
            and self.wanted is None
            and not self.waiting
        )

    @property
    def is_owed_again(self) -> bool:
        """Whether its leaves are to be sealed again; not while its end is being recorded."""
        return self.state is RoundState.LOST and self.wanted is None

    @property
    def problem(self) -> str:
        """Say why its receipts don't say yet what the ledger shows; empty if nothing is wrong."""
        if not self.record_failure:
            return ""
        return f"receipts of round {self.round_id} are not written: {self.record_failure}"

    def is_ready(self, now: datetime) -> bool:
        """Whether its bytes are to be sent now."""
        return self.needs_broadcast and (self.not_before is None or self.not_before <= now)

    def is_refuted_by(self, view: RoundView) -> bool:
        """Whether a look shows that it is not, or no longer, in the block that it was in."""
        was_included = self.state is RoundState.INCLUDED or refutes(view, self.claimed_block)
        return was_included and view.state is not RoundState.INCLUDED

    def block_left(self, view: RoundView) -> Left | None:
        """Return the block that a look shows it to have left; None if it was in none, or is there still."""
        known = self._known_block()
        if known is None:
            return None
        if view.state is not RoundState.INCLUDED:
            return known if self.is_refuted_by(view) else None
        if view.block is None:
            return None
        is_there = (
            view.block.hash == known.hash if known.hash else view.block.number == known.number
        )
        return None if is_there else known

    def is_news(self, view: RoundView) -> bool:
        """Whether a look finds it in a block, and it was not known to be in that one."""
        known_in_some = self.is_in_block or self.claimed_block is not None
        is_included = view.state is RoundState.INCLUDED
        return is_included and (not known_in_some or self.block_left(view) is not None)

    def _known_block(self) -> Left | None:
        block = self.view.block if self.view is not None else None
        if self.state is RoundState.INCLUDED and self.view is not None and block is not None:
            return Left(self.view.tx_ref, block.number, block.hash)
        if self.claimed_block is None:
            return None
        return Left(self.claimed_tx, self.claimed_block, self.claimed_hash)

    # --- requests --------------------------------------------------------------------------------------------------

    def join(self, requests: Sequence[AnchorRequest]) -> None:
        """Let requests wait for the round, and get receipts from it: one late joiner for each namespace and folder."""
        self.waiting.extend(requests)
        self.late_joiners = list(merged((*self.late_joiners, *requests)).values())
        depths = (request.required_depth for request in requests)
        self.open_depths = sorted({*self.open_depths, *depths})
        if self.state is RoundState.INCLUDED:
            self.wanted = self.wanted or RecordState.INCLUDED

    def let_go(self, request_ids: Collection[str]) -> None:
        """Have these requests wait no longer; the round goes on."""
        self.waiting = [request for request in self.waiting if request.id not in request_ids]

    def let_all_go(self) -> list[AnchorRequest]:
        """Return the requests that waited for it; they wait for another round (X6)."""
        waiting, self.waiting = self.waiting, []
        return waiting

    # --- submission ------------------------------------------------------------------------------------------------

    def sending(self) -> None:
        """Know that the ledger may know it from now on, whatever becomes of the broadcast."""
        self.sent = True

    def send_again(self) -> None:
        """Have the newest bytes broadcast as soon as its backoff allows."""
        self.needs_broadcast = True

    def broadcasted(self, verdict: Verdict, backoff: Backoff, now: datetime) -> None:
        """Take the ledger's answer; a look that overtook it knows more."""
        self.broadcasts += 1
        self.not_before = now + backoff.delay(self.broadcasts, FailureKind.NETWORK)
        self.needs_broadcast = verdict in (Verdict.FEE_TOO_LOW, Verdict.GAP)
        match verdict:
            case Verdict.ACCEPTED:
                self.refused = 0
                if self.blocks_others and not self.bump_due:
                    self.state = RoundState.PENDING
            case Verdict.CONSUMED if self.state is RoundState.MISSING:
                # The next look tells by whom, also one that still finds nothing: another node may have answered.
                self.state = RoundState.PENDING
            case Verdict.FEE_TOO_LOW:
                self.refused += 1
                self.bump_due = True
            case _:
                pass

    def note_taken(self, candidate: SignedCandidate) -> bool:
        """Note that the ledger took a candidate; returns whether that is news."""
        before, self.taken = self.taken, candidate.tx_ref
        return before != candidate.tx_ref

    def note_seen(self, tx_ref: str) -> bool:
        """Note that the ledger shows a transaction; returns whether it is news that it took any: a look may overtake the answer."""
        is_news = not self.taken
        self.taken = self.taken or tx_ref
        return is_news

    def bid_higher(self) -> None:
        """Have a higher bid signed."""
        self.bump_due = True

    def keep_alive(self) -> None:
        """Send the same bytes at once: no higher bid is allowed."""
        self.needs_broadcast = True
        self.not_before = None

    def signed(self, candidate: SignedCandidate, backoff: Backoff, now: datetime) -> None:
        """Add a higher bid; it is sent at once, or after a while if several in a row were too low for the node."""
        self.candidates.append(candidate)
        self.signed_at = now
        self.state = RoundState.PENDING
        self.first_seen_block = None
        self.bump_due = False
        self.needs_broadcast = True
        slow_bids = self.refused - QUICK_BIDS + 1
        delay = backoff.delay(slow_bids, FailureKind.NETWORK)
        self.not_before = now + delay if slow_bids > 0 else None

    def filling(self, now: datetime) -> None:
        """Count an order to fill the gap below it."""
        self.fills += 1
        self.fill_not_before = now + FILL_PAUSE

    # --- observation -----------------------------------------------------------------------------------------------

    def see(self, view: RoundView, now: datetime) -> None:
        """Take what a look at the ledger says."""
        is_refuted = self.is_refuted_by(view)
        self.undecided = view.undecided
        if view.notes is not None:
            self.notes = view.notes
        self._note_gap(view.gap, now)
        if self.first_seen_block is None and view.height:
            self.first_seen_block = view.height
        if is_refuted:
            self._left_the_chain(view)
        self.state, self.was_in_block = view.state, False
        match view.state:
            case RoundState.INCLUDED:
                self._included(view)
            case RoundState.MISSING:
                self.needs_broadcast = True
            case RoundState.STUCK:
                self.bump_due = True
            case _:
                pass

    def _note_gap(self, gap: int, now: datetime) -> None:
        """Remember since when so many sequences below it are free."""
        if self.gap == gap:
            return
        self.gap = gap
        self.gap_since = now if gap else None
        if not gap:
            self.fills, self.fill_not_before = 0, None

    def _left_the_chain(self, view: RoundView) -> None:
        """Let the receipts say so; blocks without it count anew, so the same bytes go first."""
        self.claimed_block = None
        self.was_recorded = False
        self.wanted = RecordState.REORGED
        self.first_seen_block = view.height or None

    def _included(self, view: RoundView) -> None:
        self.claimed_block = None
        self.view = view
        if view.irrevocable:
            self.open_depths = [depth for depth in self.open_depths if depth > view.depth]
        self.needs_broadcast = False
        self.bump_due = False
        self.broadcasts = 0
        self.not_before = None
        self.wanted = RecordState.INCLUDED

    # --- receipts --------------------------------------------------------------------------------------------------

    def close_as_lost(self) -> None:
        """Let its receipts say that it is lost: another round holds its leaves."""
        self.wanted = RecordState.LOST

    def record_failed(self, message: str) -> None:
        """Remember why its receipts are not written."""
        self.record_tries += 1
        self.record_failure = message

    def record_overtaken(self) -> None:
        """Have no receipts written: there are newer ones."""
        self.record_tries, self.record_failure = 0, ""
        self.wanted = None

    def observe_again(self) -> None:
        """Have the ledger looked at for a round that was final: nothing says so in its receipts yet."""
        reached = self.view.depth if self.view is not None else 0
        self.open_depths = self.sealed.required_depths or [reached]

    def record(self, state: RecordState, view: RoundView | None, answered: Collection[str]) -> None:
        """Take that its receipts say this; what changed, or who joined, while they were written is still owed."""
        self.record_tries, self.record_failure = 0, ""
        self.was_recorded = False
        self.let_go(answered)
        joined = state is RecordState.INCLUDED and bool(self.waiting)
        if (self.wanted, self.view) == (state, view) and not joined:
            self.wanted = None
        self.recorded = True

    # --- what others are shown of it -------------------------------------------------------------------------------

    def to_observe(self) -> WatchedRound:
        """Return the input of `observe`."""
        view = self.view if self.state is RoundState.INCLUDED else None
        return WatchedRound(
            round_id=self.round_id,
            commitment=self.sealed.commitment,
            label=self.sealed.label,
            reservation=self.reservation,
            tx_refs=[candidate.tx_ref for candidate in self.candidates],
            signed_at=self.signed_at,
            first_seen_block=self.first_seen_block,
            state=self.state,
            tx_ref=view.tx_ref if view else "",
            block=view.block if view else None,
            depths=self.open_depths,
            claimed_block=self.claimed_block,
            claimed_hash=self.claimed_hash,
            claimed_tx=self.claimed_tx,
            notes=self.notes,
            undecided=self.undecided,
            gap=self.gap,
        )

    def remembered(self) -> RememberedRound:
        """Return what `recover` has to know of it."""
        return RememberedRound(
            round_id=self.round_id,
            reservation=self.reservation,
            candidates=self.candidates,
            number=self.sealed.number,
        )

    def ended(self, revision: int) -> RememberedRound:
        """Return what `recover` has to know of it once it has ended."""
        is_lost = self.state is RoundState.LOST
        end = {"end": None if is_lost else self.view, "lost": is_lost, "revision": revision}
        return self.remembered().model_copy(update=end)

    def known(self) -> KnownRound:
        """Return what the other steps have to know of it."""
        return KnownRound(
            round_id=self.round_id,
            candidates=self.all_candidates,
            recorded=self.recorded,
            lost=self.state is RoundState.LOST,
        )

    def status(self) -> RoundStatus:
        """Return what `status` shows of it."""
        view = self.view if self.state is RoundState.INCLUDED else None
        return RoundStatus(
            round_id=self.round_id,
            state=self.state,
            account=self.reservation.account,
            sequence=self.reservation.sequence,
            candidates=len(self.candidates),
            tx_ref=view.tx_ref if view else self.candidates[-1].tx_ref,
            block=view.block.number if view and view.block else None,
            depth=view.depth if view else 0,
            final=bool(view and view.final),
            recorded=self.recorded,
            leaves=self.sealed.leaves,
            since=self.since,
        )


def number_of(view: RoundView) -> int | None:
    """Return the number of the block that a look found a round in; None where its ledger has no blocks."""
    return view.block.number or None if view.block is not None else None

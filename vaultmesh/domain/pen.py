"""The place where a target's pen keeps its state: requests that wait, open rounds, the highest reservation.

1. One new transaction at a time: nothing is reserved while any round is un-included.
2. Rounds are kept in order of reservation; only the lowest un-included one is bumped.
3. A lost round stays open until a new round that holds all its leaves is signed.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel, Field

from vaultmesh.domain.ledger import (
    PenSettings,
    Reservation,
    RoundState,
    RoundView,
    SignedCandidate,
    Terms,
    WatchedRound,
)
from vaultmesh.domain.messages import AnchorRequest, BackoffSettings, Wire
from vaultmesh.domain.status import (
    AggregatorView,
    FailureView,
    HoldView,
    PausedView,
    RejectedView,
    RoundStatus,
)
from vaultmesh.domain.steps import (
    KnownRound,
    RecordState,
    RecoveredRound,
    RememberedRound,
    SealedRound,
)
from vaultmesh.domain.target import Target

MOST_WAITING = 4_000
"""Requests that may wait; beyond it they are told to come back, so that the carried state stays below 1.5 MB."""
MOST_REMEMBERED_FAILURES = 5_000
MOST_REMEMBERED_WITHDRAWALS = 1_000
WITHDRAWN_FOR = timedelta(minutes=10)
"""How long a withdrawal holds: twice what one attempt of `anchor` may take, which may still be on its way here."""
MOST_CARRIED_BYTES = 1_500_000
"""Of JSON: a server refuses 2 MB, and the refusal would end the workflow."""

_PUNCTUATION = 32
"""Quotes, commas and a number around what a request adds to the state."""

_UNINCLUDED = (RoundState.PENDING, RoundState.MISSING, RoundState.STUCK, RoundState.DISPLACED)


class PenRound(BaseModel):
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
    riders: list[AnchorRequest] = Field(default_factory=list)
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

    @classmethod
    def adopted(cls, one: RecoveredRound, now: datetime) -> "PenRound":
        """Take up a round that may be anywhere on its way: the ledger is looked at before any bytes are sent."""
        return cls(
            sealed=one.sealed,
            reservation=one.reservation,
            candidates=one.candidates,
            since=now,
            signed_at=now,
            riders=one.riders,
            needs_broadcast=False,
            sent=True,
            open_depths=one.sealed.required_depths,
            claimed_block=one.claimed_block,
            claimed_hash=one.claimed_hash,
            claimed_tx=one.claimed_tx,
            state=RoundState.LOST if one.lost else RoundState.PENDING,
        )

    @property
    def round_id(self) -> str:
        """Return the round's id."""
        return self.sealed.round_id

    @property
    def blocks_others(self) -> bool:
        """Whether it holds up new rounds."""
        return self.state in _UNINCLUDED

    @property
    def is_watched(self) -> bool:
        """Whether the ledger is to be looked at for it: not before it was sent, nor once it is final or lost."""
        is_final = self.state is RoundState.INCLUDED and not self.open_depths
        return self.sent and not is_final and self.state is not RoundState.LOST

    def watch_again(self) -> None:
        """Have the ledger looked at for a round that was final: nothing says so in its receipts yet."""
        reached = self.view.depth if self.view is not None else 0
        self.open_depths = self.sealed.required_depths or [reached]

    @property
    def problem(self) -> str:
        """Say why its receipts don't say yet what the ledger shows; empty if nothing is wrong."""
        if not self.record_failure:
            return ""
        return f"receipts of round {self.round_id} are not written: {self.record_failure}"

    def board(self, requests: Sequence[AnchorRequest]) -> None:
        """Let requests wait for the round, and get receipts from it: one rider for each namespace and folder."""
        self.waiting.extend(requests)
        self.riders = list(merged((*self.riders, *requests)).values())
        self.open_depths = sorted({*self.open_depths, *(one.required_depth for one in requests)})

    def remember(self, view: RoundView) -> None:
        """Keep what a look wants to know again, and why it could not decide."""
        self.undecided = view.undecided
        if view.notes is not None:
            self.notes = view.notes

    def watch(self) -> WatchedRound:
        """Return what `observe` is told."""
        return WatchedRound(
            round_id=self.round_id,
            commitment=self.sealed.commitment,
            label=self.sealed.label,
            reservation=self.reservation,
            tx_refs=[candidate.tx_ref for candidate in self.candidates],
            signed_at=self.signed_at,
            first_seen_block=self.first_seen_block,
            state=self.state,
            tx_ref=self.view.tx_ref if self.view and self.state is RoundState.INCLUDED else "",
            block=self.view.block if self.view and self.state is RoundState.INCLUDED else None,
            depths=self.open_depths,
            claimed_block=self.claimed_block,
            claimed_hash=self.claimed_hash,
            claimed_tx=self.claimed_tx,
            notes=self.notes,
            undecided=self.undecided,
            gap=self.gap,
        )

    def remembered(self) -> RememberedRound:
        """Return what `recover` is told of it."""
        return RememberedRound(
            round_id=self.round_id, reservation=self.reservation, candidates=self.candidates
        )

    def known(self) -> KnownRound:
        """Return what the steps are told of it."""
        total = self.sealed.candidates + len(self.candidates)
        return KnownRound(
            round_id=self.round_id,
            candidates=total,
            recorded=self.recorded,
            lost=self.state is RoundState.LOST,
        )


class PenState(BaseModel):
    """What a pen carries into its next run."""

    queue: dict[str, AnchorRequest] = Field(default_factory=dict)
    failures: dict[str, int] = Field(default_factory=dict)
    """Consecutive reported failures by request id."""
    withdrawn: dict[str, datetime] = Field(default_factory=dict)
    """Requests that were taken back, and when: one that arrives later than its withdrawal is not taken up."""
    rounds: list[PenRound] = Field(default_factory=list)
    last: Reservation | None = None
    revision: int = 0
    settings: PenSettings = PenSettings()
    recovered: bool = False
    reopened: list[str] = Field(default_factory=list)
    """Rounds that the next recovery must look for although they were closed once."""
    left: list[str] = Field(default_factory=list)
    """Closed rounds whose blocks left the chain: the next recovery opens them again."""
    paused: PausedView | None = None
    held: HoldView | None = None
    step_failures: int = 0
    last_failure: FailureView | None = None
    not_before: datetime | None = None
    """Earliest instant of the pen's next own step after a failure."""
    reverts: int = 0
    """Own calls that were reverted, in a row."""
    foreign_losses: int = 0
    """Rounds lost to somebody else's use of their reservations, in a row."""
    last_rejected: RejectedView | None = None
    fill_gap_now: bool = False
    """An operator wants a gap filled without waiting for rounds that are owed."""
    problems: list[str] = Field(default_factory=list)
    """Signed rounds that can't be read, a line each, as the last step that looked found them."""

    def left_the_chain(self, round_ids: Sequence[str]) -> None:
        """Have closed rounds opened again; told twice, they are opened once."""
        self.left = list(dict.fromkeys([*self.left, *round_ids]))
        self.recovered = False

    def unincluded(self) -> list[PenRound]:
        """Return the rounds that hold up new ones, in order of reservation."""
        waiting = [one for one in self.rounds if one.blocks_others]
        return sorted(waiting, key=lambda one: one.reservation.sequence or 0)

    def beyond_gap(self) -> PenRound | None:
        """Return the lowest un-included round if sequences below it are free, and no round of ours has them."""
        lowest = next(iter(self.unincluded()), None)
        return lowest if lowest is not None and lowest.gap else None

    def lost(self) -> list[PenRound]:
        """Return the rounds whose leaves are owed again."""
        return [one for one in self.rounds if one.state is RoundState.LOST]

    def owes_again(self) -> bool:
        """Whether leaves of a lost round are to be sealed again; not while its end is being written."""
        return any(one.wanted is None for one in self.lost())

    def find(self, round_id: str) -> PenRound | None:
        """Return an open round by its id."""
        return next((one for one in self.rounds if one.round_id == round_id), None)

    def in_a_round(self, request_id: str) -> bool:
        """Whether a request waits for an open round."""
        return any(one.id == request_id for row in self.rounds for one in row.waiting)

    def enqueue(self, request: AnchorRequest) -> bool:
        """Let a request wait; returns false when too many do. Asking twice changes nothing (X1)."""
        if self.in_a_round(request.id):
            return True
        if request.id not in self.queue and len(self.queue) >= MOST_WAITING:
            return False
        failures = max(request.failures, self.failures.get(request.id, 0))
        self.queue[request.id] = request.model_copy(update={"failures": failures})
        return True

    def release(self, request_id: str, now: datetime) -> None:
        """Let a request wait no more, and remember that; a round that holds its batches goes on.

        The oldest withdrawals are forgotten.
        """
        for row in self.rounds:
            row.waiting = [one for one in row.waiting if one.id != request_id]
        lasting = {one: at for one, at in self.withdrawn.items() if now - at < WITHDRAWN_FOR}
        newest = list(lasting.items())[-(MOST_REMEMBERED_WITHDRAWALS - 1) :]
        self.withdrawn = {**dict(newest), request_id: now}

    def is_withdrawn(self, request_id: str, now: datetime) -> bool:
        """Whether a request was taken back a short while ago."""
        at = self.withdrawn.get(request_id)
        return at is not None and now - at < WITHDRAWN_FOR

    def failed(self, request: AnchorRequest) -> AnchorRequest:
        """Count a failure of a request; returns it with the new count."""
        failures = max(request.failures, self.failures.get(request.id, 0)) + 1
        if request.id in self.failures or len(self.failures) < MOST_REMEMBERED_FAILURES:
            self.failures[request.id] = failures
        return request.model_copy(update={"failures": failures})

    def ended(self, request_id: str) -> None:
        """Forget a request that was answered."""
        self.queue.pop(request_id, None)
        self.failures.pop(request_id, None)

    def reserved(self, reservation: Reservation) -> None:
        """Remember the highest reservation."""
        last = self.last
        if (
            last is None
            or last.account != reservation.account
            or (reservation.sequence or 0) >= (last.sequence or 0)
        ):
            self.last = reservation

    def carried(self) -> "PenState":
        """Return what the next run begins with: without the rounds when they are too many to carry.

        That run recovers them from the storage, as after the loss of a history. Requests that don't fit either are
        asked again by themselves, with their failures.
        """
        if _bytes(self) <= MOST_CARRIED_BYTES:
            return self
        light = self.model_copy(
            update={"rounds": [], "recovered": False, "queue": {}, "failures": {}}, deep=True
        )
        room = MOST_CARRIED_BYTES - _bytes(light)
        for request in (*self.queue.values(), *(one for row in self.rounds for one in row.waiting)):
            failures = max(request.failures, self.failures.get(request.id, 0))
            names = 2 if failures else 1
            room -= _bytes(request) + names * len(request.id.encode()) + _PUNCTUATION
            if room < 0 or not light.enqueue(request.model_copy(update={"failures": failures})):
                break
            if failures:
                light.failures[request.id] = failures
        return light

    def view(self, target: Target, run_id: str) -> AggregatorView:
        """Return what `status` shows."""
        return AggregatorView(
            target=str(target),
            run_id=run_id,
            paused=self.paused,
            waiting=len(self.queue),
            rounds=[_round_status(one) for one in self.rounds],
            held=self.held,
            failures=self.step_failures,
            last_failure=self.last_failure,
            last_sequence=self.last.sequence if self.last else None,
            last_rejected=self.last_rejected,
            revision=self.revision,
            problems=[*self.problems, *(one.problem for one in self.rounds if one.problem)],
        )


def _round_status(one: PenRound) -> RoundStatus:
    view = one.view if one.state is RoundState.INCLUDED else None
    return RoundStatus(
        round_id=one.round_id,
        state=one.state,
        account=one.reservation.account,
        sequence=one.reservation.sequence,
        candidates=len(one.candidates),
        tx_ref=view.tx_ref if view else one.candidates[-1].tx_ref,
        block=view.block.number if view and view.block else None,
        depth=view.depth if view else 0,
        final=bool(view and view.final),
        recorded=one.recorded,
        leaves=one.sealed.leaves,
        since=one.since,
    )


def _bytes(part: BaseModel) -> int:
    return len(part.model_dump_json().encode())


def merged(requests: Iterable[AnchorRequest]) -> dict[tuple[str, str], AnchorRequest]:
    """Return one request for each namespace and folder: its first, with the largest depth that any of them requires."""
    chosen: dict[tuple[str, str], AnchorRequest] = {}
    for request in requests:
        first = chosen.setdefault((request.namespace, request.batches), request)
        if request.required_depth > first.required_depth:
            deeper = {"required_depth": request.required_depth}
            chosen[request.namespace, request.batches] = first.model_copy(update=deeper)
    return chosen


class PenInput(Wire):
    """Input of a target's workflow."""

    target: Target
    backoff: BackoffSettings = BackoffSettings()
    continue_after_events: int = 4_000
    carried: PenState | None = None

"""Decides what a target's aggregator does next: recover, submit what is signed, or make a new round.

1. Everything a signature covers is decided in `reserve` and in history before `sign` runs (X2, X3).
2. Before anything is signed, a failed step fails every waiting request; after that the aggregator submits the round alone.
3. A step that answers `stale` knows of rounds that this run does not: it recovers before it goes on (X11).
"""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta

from temporalio import workflow

from vaultmesh.domain.aggregator.decisions import ResolveOrder
from vaultmesh.domain.aggregator.ledger_messages import Reservation, SignedCandidate
from vaultmesh.domain.aggregator.messages import (
    Recover,
    Reserve,
    Resolve,
    Seal,
    Sealed,
    SealedRound,
    Sign,
)
from vaultmesh.domain.aggregator.open_round import OpenRound
from vaultmesh.domain.aggregator.pace import Pace
from vaultmesh.domain.aggregator.rounds import OpenRounds
from vaultmesh.domain.aggregator.state import AggregatorInput
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.log_events import LogEvent
from vaultmesh.domain.messages import AnchorRequest
from workflows import options, ports
from workflows.aggregator.observation import Observation
from workflows.aggregator.replies import Replies
from workflows.aggregator.submission import Submission
from workflows.calls import StepFailed, call
from workflows.lines import Lines
from workflows.updates import refused

NEVER = datetime.max.replace(tzinfo=UTC)

Step = Callable[[], Coroutine[None, None, None]]


class Rounds:
    """Takes one target's rounds from waiting requests to signed bytes."""

    def __init__(
        self,
        start: AggregatorInput,
        rounds: OpenRounds,
        pace: Pace,
        replies: Replies,
        observation: Observation,
        *,
        lines: Lines,
    ) -> None:
        """Go on with the rounds that were carried, or start anew."""
        self._target = start.target
        self._rounds = rounds
        self._pace = pace
        self._replies = replies
        self._observation = observation
        self._lines = lines
        self._submission = Submission(start, rounds, pace, lines)

    # --- what comes next -------------------------------------------------------------------------------------------

    async def wait_and_step(self, leaving: Callable[[], bool]) -> None:
        """Wait until a step can be taken, and take it."""
        instants = self._instants()
        first = min((instant - workflow.now() for instant in instants), default=None)
        try:
            await workflow.wait_condition(
                lambda: leaving() or self._next_step() is not None or self._must_wake(instants),
                timeout=first,
                timeout_summary="rest before the next try" if first else None,
            )
        except TimeoutError:
            return
        step = self._next_step()
        if step is not None and not leaving():
            await step()

    def _instants(self) -> list[datetime]:
        """Return when something that waits may be tried again."""
        now = workflow.now()
        instants = [
            self._rounds.next_broadcast(now),
            self._pace.not_before,
            *self._rounds.gap_instants(),
        ]
        return [instant for instant in instants if instant is not None and instant > now]

    def _must_wake(self, instants: list[datetime]) -> bool:
        """Whether something is to be tried before any of the instants that the aggregator sleeps for."""
        return min(self._instants(), default=NEVER) < min(instants, default=NEVER)

    def _next_step(self) -> Step | None:
        rounds, now = self._rounds, workflow.now()
        backing_off = self._pace.is_backing_off(now)
        if not rounds.recovered:
            return None if backing_off else self._recover
        if rounds.unincluded():
            return None if backing_off else self._submission_step(now) or self._gap_step(now)
        if self._pace.paused is not None or (rounds.owed_again() and backing_off):
            return None
        return self._new_round if self._is_owed() else None

    def _is_owed(self) -> bool:
        return bool(self._replies.waiting) or bool(self._rounds.owed_again())

    def _submission_step(self, now: datetime) -> Step | None:
        if self._rounds.broadcast_due(now):
            return self._broadcast
        return self._bump if self._rounds.bump_due() else None

    def _gap_step(self, now: datetime) -> Step | None:
        """Close a gap: what is owed takes its free sequences, the only exception to one un-included round at a time."""
        if self._rounds.fill_due(now):
            return self._fill
        may_seal = self._pace.paused is None and self._rounds.may_take_free(now)
        return self._new_round if may_seal and self._is_owed() else None

    async def _fill(self) -> None:
        await self._submit(self._submission.fill)

    async def _broadcast(self) -> None:
        await self._submit(self._submission.broadcast_all)

    async def _bump(self) -> None:
        await self._submit(self._submission.bump_lowest)

    async def _submit(self, step: Step) -> None:
        try:
            await step()
        except StepFailed as failure:
            self._replies.round_step_failed(failure)
        self._observation.changed()

    # --- what operators and workers ask for ------------------------------------------------------------------------

    def bump(self) -> None:
        """Bid more for the lowest un-included round now."""
        for lowest in self._rounds.unincluded()[:1]:
            lowest.bid_higher()
            self._pace.hurry()

    def hurry(self, *, endpoint_back: bool) -> None:
        """Try at once what failed; `endpoint_back`: also what this workflow alone does not try again."""
        self._pace.hurry()
        self._observation.receipts.hurry()
        if endpoint_back:
            self._replies.bring_back()
            self._observation.changed()

    def fill_gap(self) -> None:
        """Fill the gap below the open rounds now, if there is one."""
        if self._rounds.beyond_gap() is not None:
            self._rounds.fill_at_once()
            self._pace.hurry()

    def reopen(self, round_ids: list[str]) -> None:
        """Open rounds again that were closed, and whose blocks left the chain."""
        self._observation.left_the_chain(round_ids)
        self._pace.hurry()

    def rewrite(self, round_ids: list[str]) -> None:
        """Have receipts of closed rounds written again; those of open ones are written as the ledger shows them."""
        closed = [round_id for round_id in round_ids if self._rounds.find(round_id) is None]
        self._observation.receipts.rewrite_closed(closed)

    def let_go(self, requests: list[AnchorRequest], *, also_signed: bool) -> None:
        """Take requests back that are in no round; `also_signed`: those in a signed round wait no longer either.

        One that is still on its way here is remembered: its cadence is paused by then, or has another target.
        """
        free = [asked for asked in requests if also_signed or not self._rounds.holds(asked.id)]
        for request in free:
            self._rounds.let_go(request.id)
        self._replies.withdraw(free)

    async def resolve(self, order: ResolveOrder) -> None:
        """Have an operator's decision written, then learn anew what the storage knows.

        Raises:
            ApplicationError: something speaks against it, or it could not be written.
        """
        row = self._rounds.find(order.round_id)
        step = Resolve(
            target=self._target,
            round_id=order.round_id,
            decision=order.decision,
            tx_ref=order.tx_ref,
            by=order.by,
            notes=row.notes if row is not None else {},
            number=self._rounds.number,
        )
        try:
            await call(ports.RESOLVE, step, options.RESOLVE, f"{order.decision} {order.round_id}")
        except StepFailed as failure:
            raise refused(InvalidValue(failure.message)) from failure
        finally:  # an attempt that was cut off may have written it all the same
            self._rounds.recover_again()
        self._pace.succeeded()

    # --- recovery --------------------------------------------------------------------------------------------------

    async def _recover(self) -> None:
        """Adopt what the storage knows of this target; nothing is reserved before this has succeeded."""
        order = Recover(
            target=self._target,
            reopened=self._rounds.reopened,
            left=self._rounds.left,
            remembered=self._rounds.remembered(),
            number=self._rounds.number,
        )
        try:
            stored = await call(ports.RECOVER, order, options.RECOVER, "read open rounds")
        except StepFailed as failure:
            self._replies.fail_all_waiting(failure)
            return
        waiting = self._rounds.adopt(stored, order, workflow.now())
        self._replies.enqueue_again(waiting)
        self._observation.changed()

    # --- a new round -----------------------------------------------------------------------------------------------

    async def _new_round(self) -> None:
        try:
            await self._collect()
            requests = list(self._replies.waiting)[: self._rounds.settings.max_leaves]
            sealed = await self._seal(requests)
            if sealed.round is not None:
                numbered = self._rounds.numbered(sealed.round)
                await self._reserve_and_sign(sealed, numbered, requests)
            else:
                self._close_lost(sealed)
        except StepFailed as failure:
            self._replies.fail_all_waiting(failure)

    def _close_lost(self, sealed: Sealed) -> None:
        """Close the lost rounds whose leaves other rounds hold by now; back off if one is left that nothing holds."""
        self._rounds.close_lost(sealed.resealed)
        if self._rounds.owed_again() and self._rounds.recovered:
            message = "a lost round's leaves could not be sealed again yet"
            self._replies.back_off(StepFailed(FailureKind.UNKNOWN, message))
        self._observation.changed()

    async def _collect(self) -> None:
        """Keep the collection window open while requests arrive."""
        settings = self._rounds.settings
        closes = workflow.now() + timedelta(seconds=settings.window_max_seconds)
        while 0 < len(self._replies.waiting) < settings.max_leaves:
            left = min(timedelta(seconds=settings.window_seconds), closes - workflow.now())
            if left <= timedelta(0):
                return
            try:
                await self._more_than(len(self._replies.waiting), left)
            except TimeoutError:
                return

    async def _more_than(self, waiting: int, left: timedelta) -> None:
        await workflow.wait_condition(
            lambda: len(self._replies.waiting) != waiting,
            timeout=left,
            timeout_summary="collection window",
        )

    async def _seal(self, requests: list[AnchorRequest]) -> Sealed:
        order = Seal(
            target=self._target,
            requests=requests,
            rounds=[row.known() for row in self._rounds.open],
            reseal=[row.round_id for row in self._rounds.owed_again()],
            ended=self._rounds.known_ended(),
            number=self._rounds.number,
        )
        sealed = await call(ports.SEAL, order, options.SEAL, f"{len(requests)} requests")
        if sealed.stale:
            self._rounds.recover_again()
            return Sealed()
        self._rounds.sealed(sealed)
        by_id = {request.id: request for request in requests}
        self._replies.answer([by_id[covered] for covered in sealed.covered])
        for refusal in sealed.refused:
            self._replies.fail(
                [by_id[refusal.request]], StepFailed(FailureKind.VALIDATION, refusal.reason)
            )
        for late_joiners in sealed.late_joiners:
            whole = [by_id[late] for late in late_joiners.requests if late not in sealed.partial]
            self._join(late_joiners.round_id, whole)
        if (gone := sealed.rebuild) is not None and self._rounds.find(gone.round_id) is None:
            missing = [by_id[request_id] for request_id in gone.requests]
            self._observation.receipts.record_closed(gone.round_id, [], late_joiners=missing)
        return sealed

    def _join(self, round_id: str, late_joiners: list[AnchorRequest]) -> None:
        """Let requests share the fate of a round that holds their batches already."""
        joining = self._replies.take(late_joiners)
        row = self._rounds.find(round_id)
        if row is None:
            if joining:
                self._observation.receipts.record_closed(round_id, joining)
            return
        row.join(joining)
        for request in joining:
            about = {"ns": request.namespace, "label": request.cadence, "slot": request.slot}
            self._lines.log_event(LogEvent.JOINED, **about, round=round_id)
        self._observation.changed()

    async def _reserve_and_sign(
        self, sealed: Sealed, new: SealedRound, requests: list[AnchorRequest]
    ) -> None:
        """Reserve, sign, and hand the round over to be submitted."""
        beyond = self._rounds.beyond_gap()
        reserved = await call(
            ports.RESERVE,
            Reserve(
                target=self._target,
                round_id=new.round_id,
                commitment=new.commitment,
                label=new.label,
                rounds=[row.known() for row in self._rounds.open],
                last=self._rounds.last,
                beyond=beyond.reservation if beyond is not None else None,
            ),
            options.RESERVE,
            f"round {new.round_id[:12]}",
        )
        if reserved.reservation is None:
            self._rounds.recover_again()
            return
        signed = await call(
            ports.SIGN,
            Sign(
                target=self._target,
                round_id=new.round_id,
                n=new.candidates,
                reservation=reserved.reservation,
                terms=reserved.terms,
                number=new.number,
            ),
            options.SIGN,
            f"round {new.round_id[:12]}",
        )
        if signed.candidate is None:
            self._rounds.recover_again()
            return
        new = new.with_number(signed.number)
        self._open(sealed, new, reserved.reservation, signed.candidate, requests)

    def _open(
        self,
        sealed: Sealed,
        new: SealedRound,
        reservation: Reservation,
        candidate: SignedCandidate,
        requests: list[AnchorRequest],
    ) -> None:
        """Add the signed round; the lost rounds whose leaves it holds are closed."""
        self._pace.succeeded()
        now = workflow.now()
        whole = set(sealed.requests) - set(sealed.partial)
        again = self._rounds.find(new.round_id)
        signed = OpenRound(
            sealed=new,
            reservation=reservation,
            candidates=[candidate],
            since=now,
            signed_at=now,
            waiting=self._replies.take(request for request in requests if request.id in whole),
            late_joiners=again.late_joiners if again else [],
            open_depths=new.required_depths,
        )
        self._rounds.add(signed, sealed.resealed)
        self._observation.changed()

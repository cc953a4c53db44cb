"""The place where a target's pen decides what to do next: recover, drive what is signed, or write a new round.

1. Everything a signature covers is decided in `reserve` and in history before `sign` runs (X2, X3).
2. Before anything is signed, a failed step fails every waiting request; after that the pen drives the round alone.
3. A step that answers `stale` knows of rounds that this run does not: it recovers before it goes on (X11).
"""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta

from temporalio import workflow

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.ledger import Reservation, RoundState, SignedCandidate
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.pen import PenInput, PenRound, PenState
from vaultmesh.domain.resolving import ResolveOrder
from vaultmesh.domain.steps import (
    RecordState,
    Recover,
    Reserve,
    Resolve,
    Seal,
    Sealed,
    SealedRound,
    Sign,
)
from workflows import options, ports
from workflows.calls import StepFailed, call
from workflows.driving import Driving
from workflows.telling import Teller
from workflows.updates import refused
from workflows.watch import Watch

NEVER = datetime.max.replace(tzinfo=UTC)

Step = Callable[[], Coroutine[None, None, None]]


class Pen:
    """One target's pen."""

    def __init__(self, given: PenInput, state: PenState, teller: Teller, watch: Watch) -> None:
        """Go on with the state that was carried, or start anew."""
        self._target = given.target
        self._state = state
        self._teller = teller
        self._watch = watch
        self._driving = Driving(given, state, teller)

    # --- what comes next -------------------------------------------------------------------------------------------

    async def wait_and_step(self, leaving: Callable[[], bool]) -> None:
        """Wait until a step can be taken, and take it."""
        instants = self._instants()
        rest = self._rest(instants)
        try:
            await workflow.wait_condition(
                lambda: leaving() or self._next_step() is not None or self._must_wake(instants),
                timeout=rest,
                timeout_summary="rest before the next try" if rest else None,
            )
        except TimeoutError:
            return
        step = self._next_step()
        if step is not None and not leaving():
            await step()

    def _instants(self) -> list[datetime]:
        """Return when something that rests may be tried again."""
        now = workflow.now()
        instants = [
            self._driving.next_broadcast(now),
            self._state.not_before,
            *self._driving.gap_instants(),
        ]
        return [instant for instant in instants if instant is not None and instant > now]

    def _rest(self, instants: list[datetime]) -> timedelta | None:
        """Return the time until the first of the instants."""
        return min((instant - workflow.now() for instant in instants), default=None)

    def _must_wake(self, instants: list[datetime]) -> bool:
        """Whether something is to be tried before any of the instants that the pen sleeps for."""
        return min(self._instants(), default=NEVER) < min(instants, default=NEVER)

    def _next_step(self) -> Step | None:
        state = self._state
        resting = state.not_before is not None and state.not_before > workflow.now()
        if not state.recovered:
            return None if resting else self._recover
        if state.unincluded():
            return None if resting else self._drive_step() or self._gap_step()
        if state.paused is not None or (state.owes_again() and resting):
            return None
        return self._new_round if state.queue or state.owes_again() else None

    def _drive_step(self) -> Step | None:
        if self._driving.broadcast_due(workflow.now()):
            return self._broadcast
        return self._bump if self._driving.bump_due() else None

    def _gap_step(self) -> Step | None:
        """Close a gap: what is owed takes its free sequences, the only exception to one un-included round at a time."""
        now, state = workflow.now(), self._state
        if self._driving.fill_due(now):
            return self._fill
        owed = bool(state.queue) or state.owes_again()
        may_seal = owed and state.paused is None and self._driving.may_take_free(now)
        return self._new_round if may_seal else None

    async def _fill(self) -> None:
        await self._drive(self._driving.fill)

    async def _broadcast(self) -> None:
        await self._drive(self._driving.broadcast_all)

    async def _bump(self) -> None:
        await self._drive(self._driving.bump_lowest)

    async def _drive(self, step: Step) -> None:
        try:
            await step()
        except StepFailed as failure:
            self._teller.round_step_failed(failure)
        self._watch.changed()

    # --- recovery --------------------------------------------------------------------------------------------------

    async def _recover(self) -> None:
        """Adopt what the storage knows of this target; nothing is reserved before this has succeeded."""
        state = self._state
        try:
            order = Recover(
                target=self._target,
                reopened=state.reopened,
                left=state.left,
                remembered=[one.remembered() for one in state.rounds],
            )
            found = await call(ports.RECOVER, order, options.RECOVER, "read open rounds")
        except StepFailed as failure:
            self._teller.fail_all_waiting(failure)
            return
        waiting = [request for one in state.rounds for request in one.waiting]
        state.rounds = [PenRound.adopted(one, workflow.now()) for one in found.rounds]
        for request in waiting:
            state.enqueue(request)
        state.last = found.last
        state.revision = max(state.revision, found.revision)
        state.settings = found.settings
        state.problems = found.problems
        state.recovered = True
        state.reopened = [one for one in state.reopened if one not in order.reopened]
        state.left = [one for one in state.left if one not in order.left]
        self._watch.changed()

    async def resolve(self, order: ResolveOrder) -> None:
        """Have an operator's decision written, then learn anew what the storage knows.

        Raises:
            ApplicationError: something speaks against it, or it could not be written.
        """
        row = self._state.find(order.round_id)
        step = Resolve(
            target=self._target,
            round_id=order.round_id,
            decision=order.decision,
            tx_ref=order.tx_ref,
            by=order.by,
            notes=row.notes if row is not None else {},
        )
        try:
            await call(ports.RESOLVE, step, options.RESOLVE, f"{order.decision} {order.round_id}")
        except StepFailed as failure:
            raise refused(InvalidValue(failure.message)) from failure
        finally:  # an attempt that was cut off may have written it all the same
            self._state.recovered = False
        self._teller.succeeded()

    # --- a new round -----------------------------------------------------------------------------------------------

    async def _new_round(self) -> None:
        try:
            await self._collect()
            requests = list(self._state.queue.values())[: self._state.settings.max_leaves]
            sealed = await self._seal(requests)
            if sealed.round is not None:
                await self._write(sealed, sealed.round, requests)
            else:
                self._close_lost(sealed)
        except StepFailed as failure:
            self._teller.fail_all_waiting(failure)

    def _close_lost(self, sealed: Sealed) -> None:
        """Close the lost rounds whose leaves other rounds hold by now; rest if one is left that nothing holds."""
        for one in self._state.lost():
            if one.round_id in sealed.resealed:
                one.wanted = RecordState.LOST
        if any(one.wanted is None for one in self._state.lost()) and self._state.recovered:
            message = "a lost round's leaves could not be sealed again yet"
            self._teller.climb(StepFailed(FailureKind.UNKNOWN, message))
        self._watch.changed()

    async def _collect(self) -> None:
        """Keep the collection window open while requests arrive."""
        state = self._state
        settings = state.settings
        closes = workflow.now() + timedelta(seconds=settings.window_max_seconds)
        while 0 < len(state.queue) < settings.max_leaves:
            left = min(timedelta(seconds=settings.window_seconds), closes - workflow.now())
            if left <= timedelta(0):
                return
            try:
                await self._more_than(len(state.queue), left)
            except TimeoutError:
                return

    async def _more_than(self, waiting: int, left: timedelta) -> None:
        await workflow.wait_condition(
            lambda: len(self._state.queue) != waiting,
            timeout=left,
            timeout_summary="collection window",
        )

    async def _seal(self, requests: list[AnchorRequest]) -> Sealed:
        state = self._state
        order = Seal(
            target=self._target,
            requests=requests,
            rounds=[one.known() for one in state.rounds],
            reseal=[one.round_id for one in state.lost() if one.wanted is None],
        )
        sealed = await call(ports.SEAL, order, options.SEAL, f"{len(requests)} requests")
        if sealed.stale:
            state.recovered = False
            return Sealed()
        state.settings = sealed.settings
        state.problems = sealed.problems
        self._teller.answer([requests[position] for position in sealed.covered])
        for refusal in sealed.refused:
            self._teller.fail(
                [requests[refusal.request]], StepFailed(FailureKind.VALIDATION, refusal.reason)
            )
        partial = {requests[position].id for position in sealed.partial}
        for riders in sealed.riders:
            whole = [requests[position] for position in riders.requests]
            self._board(riders.round_id, [one for one in whole if one.id not in partial])
        if (gone := sealed.rebuild) is not None and state.find(gone.round_id) is None:
            missing = [requests[position] for position in gone.requests]
            self._watch.receipts.record_closed(gone.round_id, [], riders=missing)
        return sealed

    def _board(self, round_id: str, riders: list[AnchorRequest]) -> None:
        """Let requests share the fate of a round that holds their batches already."""
        boarding = [one for one in riders if self._state.queue.pop(one.id, None) is not None]
        row = self._state.find(round_id)
        if row is None:
            if boarding:
                self._watch.receipts.record_closed(round_id, boarding)
            return
        row.board(boarding)
        if row.state is RoundState.INCLUDED:
            row.wanted = row.wanted or RecordState.INCLUDED
        self._watch.changed()

    async def _write(self, sealed: Sealed, new: SealedRound, requests: list[AnchorRequest]) -> None:
        """Reserve, sign, and hand the round over to be driven."""
        state = self._state
        known = [one.known() for one in state.rounds]
        beyond = state.beyond_gap()
        reserved = await call(
            ports.RESERVE,
            Reserve(
                target=self._target,
                round_id=new.round_id,
                commitment=new.commitment,
                label=new.label,
                rounds=known,
                last=state.last,
                beyond=beyond.reservation if beyond is not None else None,
            ),
            options.RESERVE,
            f"round {new.round_id[:12]}",
        )
        if reserved.reservation is None:
            state.recovered = False
            return
        signed = await call(
            ports.SIGN,
            Sign(
                target=self._target,
                round_id=new.round_id,
                n=new.candidates,
                reservation=reserved.reservation,
                terms=reserved.terms,
            ),
            options.SIGN,
            f"round {new.round_id[:12]}",
        )
        if signed.candidate is None:
            state.recovered = False
            return
        self._teller.succeeded()
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
        state, now = self._state, workflow.now()
        partial = {requests[position].id for position in sealed.partial}
        mine = [requests[position] for position in sealed.requests]
        waiting = [
            one
            for one in mine
            if one.id not in partial and state.queue.pop(one.id, None) is not None
        ]
        again = state.find(new.round_id)
        state.rounds = [one for one in state.rounds if one is not again]
        for one in state.lost():
            if one.round_id in sealed.resealed:
                one.wanted = RecordState.LOST
        state.rounds.append(
            PenRound(
                sealed=new,
                reservation=reservation,
                candidates=[candidate],
                since=now,
                signed_at=now,
                waiting=waiting,
                riders=again.riders if again else [],
                open_depths=new.required_depths,
            )
        )
        state.reserved(reservation)
        self._watch.changed()

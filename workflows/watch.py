"""The place where a pen's open rounds are watched on their ledger, and where receipts follow what it shows.

1. One activity watches all rounds of the target; it is started again whenever the list of rounds changes.
2. Every change of a round asks for its receipts to be written; writing them is retried for ever and stops nobody.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, CancelledError, is_cancelled_exception

from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.ledger import RoundState, RoundView
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.pen import PenInput, PenRound, PenState
from vaultmesh.domain.steps import Observe, Observed, Record, Recorded, RecordState
from workflows import options, ports
from workflows.calls import StepFailed, call, failure_of
from workflows.telling import Teller

RECORD_REST = timedelta(seconds=5)
"""Rest after a recorder that somebody ended by hand; its own retries are the server's."""
REVERTS_THAT_HOLD = 2
"""Own calls reverted in a row after which the pen rests: each one costs money (E7)."""


class Watch:
    """Watches the rounds of one pen and keeps their receipts true."""

    def __init__(
        self, given: PenInput, state: PenState, teller: Teller, show: Callable[[], None]
    ) -> None:
        """Watch for a pen; it calls `changed` when the list of rounds differs. `show` tells operators."""
        self._show = show
        self._given = given
        self._state = state
        self._teller = teller
        self._generation = 0
        self._recording: dict[str, asyncio.Task[None]] = {}
        self._broken: BaseException | None = None
        self._closed: dict[str, tuple[list[AnchorRequest], list[AnchorRequest]]] = {}
        """Who waits for, and who only misses, receipts of closed rounds that are to be written again."""

    def changed(self) -> None:
        """Have the rounds watched anew, and their receipts written where asked for."""
        self._generation += 1
        self.record_wanted()
        self._show()

    def record_closed(
        self, round_id: str, waiting: list[AnchorRequest], riders: Sequence[AnchorRequest] = ()
    ) -> None:
        """Have the receipts of a closed round written again, for requests that wait for theirs or only miss them."""
        known = self._closed.setdefault(round_id, ([], []))
        known[0].extend(waiting)
        known[1].extend(riders)
        if round_id not in self._recording:
            self._start_recording(round_id, self._record_closed(round_id))

    # --- watching --------------------------------------------------------------------------------------------------

    def _watched(self) -> list[PenRound]:
        return [one for one in self._state.rounds if one.is_watched]

    def _can_watch(self) -> bool:
        if self._broken is not None:
            raise self._broken
        return self._state.recovered and bool(self._watched())

    async def run(self, leaving: Callable[[], bool]) -> None:
        """Watch until the run is left."""
        while True:
            await workflow.wait_condition(lambda: leaving() or self._can_watch())
            if leaving():
                return
            await self._watch_once(leaving)

    async def _watch_once(self, leaving: Callable[[], bool]) -> None:
        generation = self._generation
        rows = self._watched()
        waited_for = any(one.waiting and one.blocks_others for one in rows)
        watching = workflow.start_activity(
            ports.OBSERVE.name,
            Observe(target=self._given.target, rounds=[one.watch() for one in rows]),
            result_type=Observed,
            summary=f"{len(rows)} rounds",
            **(options.OBSERVE_WITH_WAITERS if waited_for else options.OBSERVE_ALONE),
        )
        await workflow.wait_condition(
            lambda: watching.done() or self._generation != generation or leaving()
        )
        if not watching.done():
            watching.cancel()
        await self._take(watching, generation, leaving)

    async def _take(
        self,
        watching: "workflow.ActivityHandle[Observed]",
        generation: int,
        leaving: Callable[[], bool],
    ) -> None:
        try:
            seen = await watching
        except ActivityError as error:
            if not is_cancelled_exception(error):
                self._teller.round_step_failed(failure_of(error, ports.OBSERVE.name))
                await self._rest(generation, leaving)
            return
        except (CancelledError, asyncio.CancelledError):
            return
        for view in seen.views:
            row = self._state.find(view.round_id)
            if row is not None:
                self._apply(row, view)
        self.changed()

    async def _rest(self, generation: int, leaving: Callable[[], bool]) -> None:
        """Rest after a look that failed, unless the list of rounds changes."""
        pause = self._state.not_before - workflow.now() if self._state.not_before else timedelta(0)
        try:
            await workflow.wait_condition(
                lambda: self._generation != generation or leaving(),
                timeout=max(pause, timedelta(seconds=1)),
                timeout_summary="rest after the ledger could not be looked at",
            )
        except TimeoutError:
            return

    # --- what a look means -----------------------------------------------------------------------------------------

    def _apply(self, row: PenRound, view: RoundView) -> None:
        was_included = row.state is RoundState.INCLUDED
        if row.first_seen_block is None and view.height:
            row.first_seen_block = view.height
        if view.state is RoundState.INCLUDED:
            self._included(row, view)
            return
        if was_included:
            row.wanted = RecordState.REORGED
            row.first_seen_block = (
                view.height or None
            )  # blocks without it count anew, so the same bytes go first
            workflow.logger.warning("round left the chain", extra={"round": row.round_id})
        row.state = view.state
        match view.state:
            case RoundState.MISSING:
                row.needs_broadcast = True
            case RoundState.STUCK:
                row.bump_due = True
            case RoundState.DISPLACED:
                kind = FailureKind.AUTH if view.foreign else FailureKind.VALIDATION
                self._teller.hold(kind, view.message)
            case RoundState.LOST:
                self._lost(row, view)
            case _:
                pass

    def _included(self, row: PenRound, view: RoundView) -> None:
        if row.state is not RoundState.INCLUDED:
            self._state.reverts = 0
            self._teller.succeeded()
        row.state = RoundState.INCLUDED
        row.view = view
        if view.irrevocable:
            row.open_depths = [depth for depth in row.open_depths if depth > view.depth]
        row.needs_broadcast = False
        row.bump_due = False
        row.broadcasts = 0
        row.not_before = None
        row.wanted = RecordState.INCLUDED

    def _lost(self, row: PenRound, view: RoundView) -> None:
        """Owe the leaves again; the requests that waited are sealed again with them (X6)."""
        waiting, row.waiting = row.waiting, []
        for request in waiting:
            self._state.enqueue(request)
        self._state.held = None
        if view.foreign:
            return
        self._state.reverts += 1
        if self._state.reverts >= REVERTS_THAT_HOLD:
            message = view.message or "the call was reverted twice in a row"
            self._teller.round_step_failed(StepFailed(FailureKind.VALIDATION, message))

    # --- receipts --------------------------------------------------------------------------------------------------

    def record_wanted(self) -> None:
        """Start writing receipts for every round that asks for it."""
        for row in self._state.rounds:
            if row.wanted is not None and row.round_id not in self._recording:
                self._start_recording(row.round_id, self._record(row.round_id))

    def _start_recording(self, round_id: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._recording[round_id] = task
        task.add_done_callback(self._recording_ended)

    def _recording_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._broken = task.exception()

    async def _record(self, round_id: str) -> None:
        """Write a round's receipts until nothing is asked for any more."""
        try:
            while (row := self._state.find(round_id)) is not None and row.wanted is not None:
                if not await self._record_once(row, row.wanted):
                    await workflow.sleep(RECORD_REST)
        finally:
            self._recording.pop(round_id, None)

    async def _record_once(self, row: PenRound, wanted: RecordState) -> bool:
        self._state.revision += 1
        view, waiting = row.view, list(row.waiting) if wanted is RecordState.INCLUDED else []
        order = Record(
            target=self._given.target,
            round_id=row.round_id,
            state=wanted,
            revision=self._state.revision,
            view=view,
            reservation=row.reservation,
            candidates=row.known().candidates,
            waiting=waiting,
            riders=row.riders,
            backoff=self._given.backoff,
        )
        try:
            done = await call(
                ports.RECORD, order, options.RECORD, f"{wanted}, {row.sealed.leaves} leaves"
            )
        except StepFailed:
            return False
        if done.newer:
            row.wanted = None
            self._state.recovered = False
            return True
        if (row.wanted, row.view) == (wanted, view):
            row.wanted = None
        self._recorded(row, wanted, view, waiting)
        return True

    def _recorded(
        self,
        row: PenRound,
        wanted: RecordState,
        view: RoundView | None,
        waiting: list[AnchorRequest],
    ) -> None:
        if wanted is RecordState.LOST:
            self._forget(row)
            return
        row.recorded = True
        answered = {request.id for request in waiting}
        row.waiting = [request for request in row.waiting if request.id not in answered]
        for request_id in answered:
            self._state.ended(request_id)
        if wanted is not RecordState.INCLUDED or view is None:
            return
        if (
            view.final
            and not row.open_depths
            and row.wanted is None
            and not row.waiting
            and row.state is RoundState.INCLUDED
        ):
            self._forget(row)

    def _forget(self, row: PenRound) -> None:
        self._state.rounds = [one for one in self._state.rounds if one is not row]
        self._generation += 1

    async def _record_closed(self, round_id: str) -> None:
        """Write the receipts of a closed round again, from storage and ledger (X11)."""
        try:
            while round_id in self._closed:
                waiting, riders = self._closed.pop(round_id)
                self._state.revision += 1
                order = Record(
                    target=self._given.target,
                    round_id=round_id,
                    state=RecordState.CLOSED,
                    revision=self._state.revision,
                    waiting=waiting,
                    riders=riders,
                    backoff=self._given.backoff,
                )
                done: Recorded | None = None
                try:
                    done = await call(
                        ports.RECORD, order, options.RECORD, f"closed round {round_id[:12]}"
                    )
                except StepFailed:
                    workflow.logger.warning("receipts of a closed round not written")
                if done is not None:
                    for request in waiting:
                        self._state.ended(request.id)
        finally:
            self._recording.pop(round_id, None)

"""The place where a pen's open rounds are watched on their ledger, and where receipts follow what it shows.

1. One activity watches all rounds of the target; it is started again whenever the list of rounds changes.
2. Every change of a round asks for its receipts to be written (`workflows.receipts`).
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, CancelledError, is_cancelled_exception

from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.ledger import RoundState, RoundView, refutes
from vaultmesh.domain.messages import LONGEST_MESSAGE
from vaultmesh.domain.pen import PenInput, PenRound, PenState
from vaultmesh.domain.status import PausedView
from vaultmesh.domain.steps import Observe, Observed, RecordState
from workflows import options, ports
from workflows.calls import StepFailed, failure_of, understood
from workflows.receipts import Receipts
from workflows.telling import Teller

LOSSES_THAT_HOLD = 2
"""Rounds lost in a row by failed calls, or to somebody else's use of the account, after which an operator must resume."""


class Watch:
    """Watches the rounds of one pen and keeps their receipts true."""

    def __init__(
        self,
        given: PenInput,
        state: PenState,
        teller: Teller,
        show: Callable[[], None],
    ) -> None:
        """Watch for a pen; it calls `changed` when the list of rounds differs. `show` tells operators."""
        self._show = show
        self._given = given
        self._state = state
        self._teller = teller
        self._generation = 0
        self.receipts = Receipts(given, state, self._rewatch)

    def changed(self) -> None:
        """Have the rounds watched anew, and their receipts written where asked for."""
        self._generation += 1
        self.receipts.record_wanted()
        self._show()

    def _rewatch(self) -> None:
        """Have the rounds watched anew: one of them is no longer open."""
        self._generation += 1

    # --- watching --------------------------------------------------------------------------------------------------

    def _watched(self) -> list[PenRound]:
        return [one for one in self._state.rounds if one.is_watched]

    def _can_watch(self) -> bool:
        self.receipts.raise_broken()
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
            result_type=RawValue,
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
        watching: "workflow.ActivityHandle[RawValue]",
        generation: int,
        leaving: Callable[[], bool],
    ) -> None:
        try:
            seen = understood(await watching, ports.OBSERVE.name, Observed)
        except ActivityError as error:
            if not is_cancelled_exception(error):
                self._teller.round_step_failed(failure_of(error, ports.OBSERVE.name))
                await self._rest(generation, leaving)
            return
        except StepFailed as failure:
            self._teller.round_step_failed(failure)
            await self._rest(generation, leaving)
            return
        except (CancelledError, asyncio.CancelledError):
            return
        for view in seen.views:
            row = self._state.find(view.round_id)
            if row is not None:
                self._apply(row, view)
        if seen.reopened:
            self._state.left_the_chain(seen.reopened)
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
        was_included, was_undecided = row.state is RoundState.INCLUDED, bool(row.undecided)
        row.remember(view)
        self._note_gap(row, view)
        if row.first_seen_block is None and view.height:
            row.first_seen_block = view.height
        if view.state is RoundState.INCLUDED:
            self._included(row, view)
            return
        if was_included or refutes(view, row.claimed_block):
            self._left_the_chain(row, view)
        row.state = view.state
        if was_undecided and not view.undecided:
            self._state.held = None
        if view.undecided:
            self._teller.hold(FailureKind.VALIDATION, view.undecided)
        self._react(row, view)

    def _note_gap(self, row: PenRound, view: RoundView) -> None:
        """Remember since when so many sequences below a round are free."""
        if row.gap == view.gap:
            return
        row.gap = view.gap
        row.gap_since = workflow.now() if view.gap else None
        if not view.gap:
            row.fills, row.fill_not_before = 0, None
            self._state.fill_gap_now = False

    def _left_the_chain(self, row: PenRound, view: RoundView) -> None:
        """Let the receipts say so; blocks without it count anew, so the same bytes go first."""
        row.claimed_block = None
        row.wanted = RecordState.REORGED
        row.first_seen_block = view.height or None
        workflow.logger.warning("round left the chain", extra={"round": row.round_id})

    def _react(self, row: PenRound, view: RoundView) -> None:
        """Do what a round needs that is in no block."""
        match view.state:
            case RoundState.MISSING:
                row.needs_broadcast = True
            case RoundState.STUCK:
                row.bump_due = True
            case RoundState.DISPLACED:
                kind = FailureKind.AUTH if view.foreign else FailureKind.VALIDATION
                self._teller.hold(kind, view.undecided or view.message)
            case RoundState.LOST:
                self._lost(row, view)
            case _:
                pass

    def _included(self, row: PenRound, view: RoundView) -> None:
        if row.state is not RoundState.INCLUDED:
            self._state.reverts = 0
            self._state.foreign_losses = 0
            self._teller.succeeded()
        row.state = RoundState.INCLUDED
        row.claimed_block = None
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
            self._state.foreign_losses += 1
            self._pause_after(
                self._state.foreign_losses,
                FailureKind.AUTH,
                f"were lost to transactions that are none of ours: {view.message}; keep the key for this service alone",
            )
        else:
            self._state.reverts += 1
            self._pause_after(
                self._state.reverts,
                FailureKind.VALIDATION,
                f"were paid for and left no anchor: {view.message}; correct `contract` in anchors.yaml",
            )

    def _pause_after(self, losses: int, kind: FailureKind, words: str) -> None:
        """Pause once two rounds in a row were lost in one way: each further one would pay into the same."""
        if losses < LOSSES_THAT_HOLD:
            return
        message = f"{losses} rounds in a row {words}, then resume the target"
        self._state.paused = PausedView(reason=message[:LONGEST_MESSAGE], since=workflow.now())
        self._teller.hold(kind, message)

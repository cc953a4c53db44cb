"""Has an aggregator's open rounds observed on their ledger, and their receipts follow what it shows.

1. One activity observes all rounds of the target; it is started again whenever the list of rounds changes.
2. Every change of a round asks for its receipts to be written (`workflows.aggregator.receipts`).
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, CancelledError, is_cancelled_exception

from vaultmesh.domain.aggregator.ledger_messages import RoundState, RoundView
from vaultmesh.domain.aggregator.messages import Observe, Observed
from vaultmesh.domain.aggregator.open_round import OpenRound, number_of
from vaultmesh.domain.aggregator.pace import Pace
from vaultmesh.domain.aggregator.rounds import OpenRounds
from vaultmesh.domain.aggregator.state import AggregatorInput
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.log_events import LogEvent
from workflows import options, ports
from workflows.aggregator.log import log_reopened
from workflows.aggregator.receipts import Receipts
from workflows.aggregator.replies import Replies
from workflows.calls import StepFailed, failure_of, understood
from workflows.lines import Lines


class Observation:
    """Observes the rounds of one aggregator and keeps their receipts true."""

    def __init__(
        self,
        start: AggregatorInput,
        rounds: OpenRounds,
        pace: Pace,
        replies: Replies,
        show: Callable[[], None],
        *,
        lines: Lines,
    ) -> None:
        """Observe for an aggregator; it calls `changed` when the list of rounds differs. `show` tells operators."""
        self._target = start.target
        self._rounds = rounds
        self._pace = pace
        self._replies = replies
        self._lines = lines
        self._show = show
        self._generation = 0
        self.receipts = Receipts(start, rounds, replies, lines, self._observe_anew)

    def changed(self) -> None:
        """Have the rounds observed anew, and their receipts written where asked for."""
        self._observe_anew()
        self.receipts.record_wanted()
        self._show()

    def _observe_anew(self) -> None:
        self._generation += 1

    # --- observing -------------------------------------------------------------------------------------------------

    def _can_observe(self) -> bool:
        self.receipts.raise_broken()
        return self._rounds.recovered and bool(self._rounds.observed())

    async def run(self, leaving: Callable[[], bool]) -> None:
        """Observe until the run is left."""
        while True:
            await workflow.wait_condition(lambda: leaving() or self._can_observe())
            if leaving():
                return
            await self._observe_once(leaving)

    async def _observe_once(self, leaving: Callable[[], bool]) -> None:
        generation = self._generation
        rows = self._rounds.observed()
        waited_for = any(row.waiting and row.blocks_others for row in rows)
        observing = workflow.start_activity(
            ports.OBSERVE.name,
            Observe(target=self._target, rounds=[row.to_observe() for row in rows]),
            result_type=RawValue,
            summary=f"{len(rows)} rounds",
            **(options.OBSERVE_WITH_WAITERS if waited_for else options.OBSERVE_ALONE),
        )
        await workflow.wait_condition(
            lambda: observing.done() or self._generation != generation or leaving()
        )
        if not observing.done():
            observing.cancel()
        await self._take(observing, generation, leaving)

    async def _take(
        self,
        observing: "workflow.ActivityHandle[RawValue]",
        generation: int,
        leaving: Callable[[], bool],
    ) -> None:
        try:
            seen = understood(await observing, ports.OBSERVE.name, Observed)
        except ActivityError as error:
            if not is_cancelled_exception(error):
                self._replies.round_step_failed(failure_of(error, ports.OBSERVE.name))
                await self._back_off(generation, leaving)
            return
        except StepFailed as failure:
            self._replies.round_step_failed(failure)
            await self._back_off(generation, leaving)
            return
        except (CancelledError, asyncio.CancelledError):
            return
        for view in seen.views:
            row = self._rounds.find(view.round_id)
            if row is not None:
                self._apply(row, view)
        if seen.reopened:
            self.left_the_chain(seen.reopened)
        self.changed()

    def left_the_chain(self, round_ids: Sequence[str]) -> None:
        """Have closed rounds opened again whose blocks left the chain."""
        log_reopened(self._lines, self._rounds, round_ids)
        self._rounds.left_the_chain(round_ids)

    async def _back_off(self, generation: int, leaving: Callable[[], bool]) -> None:
        """Wait after a look that failed, unless the list of rounds changes."""
        not_before = self._pace.not_before
        pause = not_before - workflow.now() if not_before else timedelta(0)
        try:
            await workflow.wait_condition(
                lambda: self._generation != generation or leaving(),
                timeout=max(pause, timedelta(seconds=1)),
                timeout_summary="rest after the ledger could not be looked at",
            )
        except TimeoutError:
            return

    # --- what a look means for the aggregator ----------------------------------------------------------------------

    def _apply(self, row: OpenRound, view: RoundView) -> None:
        """Have the round take the view, then the pace, then those who waited for a round that is lost."""
        was_included, was_undecided = row.is_in_block, bool(row.undecided)
        self._log(row, view)
        now = workflow.now()
        self._rounds.see(row, view, now)
        if view.state is RoundState.INCLUDED:
            if not was_included:
                self._pace.included()
            return
        if was_undecided and not view.undecided:
            self._pace.unblock()
        if view.undecided:
            self._pace.block(FailureKind.VALIDATION, view.undecided, now)
        if view.state is RoundState.DISPLACED:
            kind = FailureKind.AUTH if view.foreign else FailureKind.VALIDATION
            self._pace.block(kind, view.undecided or view.message, now)
        if view.state is RoundState.LOST:
            self._replies.enqueue_again(row.let_all_go())
            self._pace.lost(view, now)

    def _log(self, row: OpenRound, view: RoundView) -> None:
        """Log what a look shows of a round that was not known before it."""
        about = {"round": row.round_id}
        if left := row.block_left(view):
            where = {"tx": left.tx_ref, "block": left.number or None}
            self._lines.log_event(LogEvent.REORGANISED, **about, **where)
        if row.is_news(view):
            if row.note_seen(view.tx_ref):
                self._lines.log_event(LogEvent.BROADCAST, **about, tx=view.tx_ref)
            where = {"tx": view.tx_ref, "block": number_of(view)}
            self._lines.log_event(LogEvent.INCLUDED, **about, **where)
        if view.state is RoundState.LOST and row.state is not RoundState.LOST:
            kind = FailureKind.AUTH if view.foreign else FailureKind.VALIDATION
            self._lines.log_event(LogEvent.LOST, **about, kind=kind.value, err=view.message)

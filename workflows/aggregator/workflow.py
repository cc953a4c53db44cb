"""Runs a target's aggregator: takes requests, and lives through as many runs as its rounds take.

What it does next is decided in `workflows.aggregator.rounds`, what it observes and records in `workflows.aggregator.observation`.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue

from vaultmesh.domain.aggregator import decisions, orders
from vaultmesh.domain.aggregator.state import AggregatorInput, AggregatorState
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.log_events import LogEvent
from vaultmesh.domain.message_guide import OF_AGGREGATORS
from vaultmesh.domain.names import AGGREGATOR_WORKFLOW, BUMP_FEE, MEMO_STATUS, RESOLVE, STATUS
from vaultmesh.domain.namespaces.views import aggregator_details, target_memo
from vaultmesh.domain.status import AggregatorView
from workflows.aggregator.log import PaceLog
from workflows.aggregator.observation import Observation
from workflows.aggregator.replies import Replies
from workflows.aggregator.rounds import Rounds
from workflows.lines import Lines
from workflows.metadata import describe
from workflows.runs import has_grown
from workflows.signals import count_rejected, decoded
from workflows.updates import own_workflow_task


@workflow.defn(name=AGGREGATOR_WORKFLOW)
class AggregatorWorkflow:
    """One target's aggregator. Runs for ever; whoever needs it starts it."""

    @workflow.init
    def __init__(self, start: AggregatorInput) -> None:
        """Take up the state before any message arrives; each part of it goes to those who work on it."""
        describe(OF_AGGREGATORS, lambda: aggregator_details(self.status()))
        self._start = start
        self._state: AggregatorState = start.state()
        self._observing: asyncio.Task[None] | None = None
        self._shown_memo = target_memo(self._state.view(start.target, ""))
        waiting, rounds, self._pace = self._state.waiting, self._state.rounds, self._state.pace
        self._lines = lines = Lines(target=str(start.target))
        self._pace_log = PaceLog(lines, rounds, self._pace)
        self._replies = Replies(start, waiting, rounds, self._pace, self._pace_log, lines=lines)
        self._observation = Observation(
            start, rounds, self._pace, self._replies, self._show, lines=lines
        )
        self._rounds = Rounds(
            start, rounds, self._pace, self._replies, self._observation, lines=lines
        )

    @workflow.run
    async def run(self, start: AggregatorInput) -> None:
        """Submit, observe and record; continue as a new run at a safe point when the history has grown."""
        del start
        self._observing = asyncio.create_task(self._observation.run(self._should_leave))
        self._observation.receipts.record_wanted()
        while not self._should_leave():
            self._show()
            await self._rounds.wait_and_step(self._should_leave)
        await self._observing
        await workflow.wait_condition(
            lambda: not self._replies.busy and workflow.all_handlers_finished()
        )
        self._pace_log.look()
        workflow.continue_as_new(
            self._start.model_copy(update={"carried": self._state.carried(), "paused": None}),
            memo={MEMO_STATUS: target_memo(self.status())},
        )

    def _show(self) -> None:
        """Bring log, and the memo where it says something else now, up to date: that costs an event."""
        self._pace_log.look()
        content = target_memo(self.status())
        if content != self._shown_memo:
            self._shown_memo = content
            workflow.upsert_memo({MEMO_STATUS: content})

    def _should_leave(self) -> bool:
        observing = self._observing
        if observing is not None and observing.done() and not observing.cancelled():
            observing.result()  # raises what ended it unexpectedly: the workflow task fails in sight of all
        return has_grown(self._start.continue_after_events)

    # --- messages --------------------------------------------------------------------------------------------------

    @workflow.signal(dynamic=True)
    def on_signal(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Take any signal: what is malformed is remembered, never raised."""
        try:
            self._carry_out(orders.read(name, decoded(arguments)))
        except InvalidValue as refusal:
            self._state.rejected(name, str(refusal), workflow.now())
            count_rejected()
            self._lines.log_event(LogEvent.REJECTED, signal=name[:100], err=str(refusal))

    def _carry_out(self, order: orders.AggregatorCommand) -> None:
        match order:
            case orders.Enqueue(requests=requests):
                self._replies.enqueue(requests)
            case orders.Withdraw(requests=requests) | orders.Release(requests=requests):
                self._rounds.let_go(requests, also_signed=isinstance(order, orders.Release))
            case orders.Pause(reason=reason):
                self._pace.pause(reason, workflow.now())
                self._show()  # in this step: the run may be ended before its next one
            case orders.Resume():
                self._pace.resume()
                self._show()
            case _:
                self._carry_out_for_rounds(order)

    def _carry_out_for_rounds(self, order: orders.AboutRounds) -> None:
        match order:
            case orders.BumpFee():
                self._rounds.bump()
            case orders.Hurry(endpoint_back=endpoint_back):
                self._rounds.hurry(endpoint_back=endpoint_back)
            case orders.Reopened(rounds=rounds):
                self._rounds.reopen(rounds)
            case orders.Rewrite(rounds=rounds):
                self._rounds.rewrite(rounds)
        self._show()

    @workflow.update(name=BUMP_FEE)
    async def bump_fee(self) -> AggregatorView:
        """Bid more for the lowest un-included round now."""
        await own_workflow_task()
        self._rounds.bump()
        return self.status()

    @bump_fee.validator
    def check_bump_fee(self) -> None:
        """Refuse when nothing is un-included."""
        if not self._state.rounds.unincluded():
            message = "no round is un-included; there is nothing to bump"
            raise InvalidValue(message)

    @workflow.update(name=RESOLVE)
    async def resolve(self, argument: Any = None) -> AggregatorView:  # noqa: ANN401 - whatever JSON was sent
        """Carry out an operator's decision about a round that evidence can't decide."""
        await own_workflow_task()
        order = decisions.read_resolve(argument)
        if isinstance(order, decisions.ResolveOrder):
            await self._rounds.resolve(order)
        else:
            self._rounds.fill_gap()
        return self.status()

    @resolve.validator
    def check_resolve(self, argument: Any = None) -> None:  # noqa: ANN401 - whatever JSON was sent
        """Refuse what is malformed, or means nothing now, before it enters history."""
        fills = isinstance(decisions.read_resolve(argument), decisions.FillGap)
        if fills and self._state.rounds.beyond_gap() is None:
            message = "there is no gap to fill below the open rounds"
            raise InvalidValue(message)

    @workflow.query(name=STATUS)
    def status(self) -> AggregatorView:
        """Return the state of the aggregator."""
        return self._state.view(self._start.target, workflow.info().run_id)

"""The place where a target's pen runs: it takes requests, and lives through as many runs as its rounds take.

What it writes is decided in `workflows.pen`, what it sees and records in `workflows.watch`.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue

from vaultmesh.domain import pen_orders, resolving
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.names import AGGREGATOR_WORKFLOW, BUMP_FEE, RESOLVE, STATUS
from vaultmesh.domain.pen import PenInput, PenState
from vaultmesh.domain.status import AggregatorView, PausedView, RejectedView
from vaultmesh.domain.summary import aggregator_details
from workflows.calls import StepFailed
from workflows.messages import decoded
from workflows.pen import Pen
from workflows.runs import has_grown
from workflows.telling import Teller
from workflows.updates import own_workflow_task
from workflows.watch import Watch


@workflow.defn(name=AGGREGATOR_WORKFLOW)
class AggregatorWorkflow:
    """One target's pen. Runs for ever; whoever needs it starts it."""

    @workflow.init
    def __init__(self, given: PenInput) -> None:
        """Take up the state before any message arrives."""
        self._given = given
        self._state = given.carried.model_copy(deep=True) if given.carried else PenState()
        self._watching: asyncio.Task[None] | None = None
        self._teller = Teller(given, self._state)
        self._watch = Watch(given, self._state, self._teller, self._show)
        self._pen = Pen(given, self._state, self._teller, self._watch)

    @workflow.run
    async def run(self, given: PenInput) -> None:
        """Write, watch and record; continue as a new run at a safe point when the history has grown."""
        del given
        self._watching = asyncio.create_task(self._watch.run(self._should_leave))
        self._watch.receipts.record_wanted()
        while not self._should_leave():
            self._show()
            await self._pen.wait_and_step(self._should_leave)
        await self._watching
        await workflow.wait_condition(
            lambda: not self._teller.busy and workflow.all_handlers_finished()
        )
        workflow.continue_as_new(self._given.model_copy(update={"carried": self._state.carried()}))

    def _show(self) -> None:
        """Bring the Web UI's details up to date."""
        workflow.set_current_details(aggregator_details(self.status()))

    def _should_leave(self) -> bool:
        watching = self._watching
        if watching is not None and watching.done() and not watching.cancelled():
            watching.result()  # raises what ended it unexpectedly: the workflow task fails in sight of all
        return has_grown(self._given.continue_after_events)

    # --- messages --------------------------------------------------------------------------------------------------

    @workflow.signal(dynamic=True)
    def on_signal(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Take any signal: what is malformed is remembered, never raised."""
        try:
            self._carry_out(pen_orders.read(name, decoded(arguments)))
        except InvalidValue as refusal:
            self._state.last_rejected = RejectedView(
                name=name[:100], at=workflow.now(), reason=str(refusal)[:500]
            )
            workflow.logger.warning("signal rejected", extra={"signal": name})

    def _carry_out(self, order: pen_orders.PenOrder) -> None:
        match order:
            case pen_orders.Enqueue(requests=requests):
                self._enqueue(requests)
            case pen_orders.Withdraw() | pen_orders.Release():
                self._let_go(order)
            case pen_orders.PausePen(reason=reason):
                self._state.paused = PausedView(reason=reason, since=workflow.now())
            case pen_orders.ResumePen():
                self._state.paused = None
            case pen_orders.BumpFee():
                for one in self._state.unincluded()[:1]:
                    one.bump_due = True
                    self._state.not_before = None
            case pen_orders.Reopened(rounds=rounds):
                self._state.left_the_chain(rounds)
                self._state.not_before = None

    def _enqueue(self, requests: list[AnchorRequest]) -> None:
        now = workflow.now()
        withdrawn = [one for one in requests if self._state.is_withdrawn(one.id, now)]
        self._teller.answer(withdrawn, withdrawn=True)
        asked = [one for one in requests if not self._state.is_withdrawn(one.id, now)]
        refused = [request for request in asked if not self._state.enqueue(request)]
        if refused:
            message = f"{len(self._state.queue)} requests wait for this target already; this one comes back later"
            self._teller.fail(refused, StepFailed(FailureKind.NETWORK, message))

    def _let_go(self, order: pen_orders.Withdraw | pen_orders.Release) -> None:
        """Take requests back that are in no round; those in a signed round finish, unless their cadences moved away.

        One that is still on its way here is remembered: its cadence is paused by then, or has another target.
        """
        always = isinstance(order, pen_orders.Release)
        let_go = [one for one in order.requests if always or not self._state.in_a_round(one.id)]
        for request in let_go:
            self._state.release(request.id, workflow.now())
        self._teller.answer(let_go, withdrawn=True)

    @workflow.update(name=BUMP_FEE)
    async def bump_fee(self) -> AggregatorView:
        """Bid more for the lowest un-included round now."""
        await own_workflow_task()
        self._carry_out(pen_orders.BumpFee())
        return self.status()

    @bump_fee.validator
    def check_bump_fee(self) -> None:
        """Refuse when nothing is un-included."""
        if not self._state.unincluded():
            message = "no round is un-included; there is nothing to bump"
            raise InvalidValue(message)

    @workflow.update(name=RESOLVE)
    async def resolve(self, argument: Any = None) -> AggregatorView:  # noqa: ANN401 - whatever JSON was sent
        """Carry out an operator's decision about a round that evidence can't decide."""
        await own_workflow_task()
        order = resolving.read_resolve(argument)
        if isinstance(order, resolving.ResolveOrder):
            await self._pen.resolve(order)
        elif self._state.beyond_gap() is not None:
            self._state.fill_gap_now = True
            self._state.not_before = None
        return self.status()

    @resolve.validator
    def check_resolve(self, argument: Any = None) -> None:  # noqa: ANN401 - whatever JSON was sent
        """Refuse what is malformed, or means nothing now, before it enters history."""
        fills = isinstance(resolving.read_resolve(argument), resolving.FillGap)
        if fills and self._state.beyond_gap() is None:
            message = "there is no gap to fill below the open rounds"
            raise InvalidValue(message)

    @workflow.query(name=STATUS)
    def status(self) -> AggregatorView:
        """Return the state of the pen."""
        return self._state.view(self._given.target, workflow.info().run_id)

"""Answers the namespaces that wait for an aggregator, and keeps the aggregator's own level of backoff."""

import asyncio
from datetime import datetime

from temporalio import workflow

from vaultmesh.domain.aggregator.state import AggregatorInput, AggregatorState
from vaultmesh.domain.errors import LONGEST_MESSAGE
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import AnchorRequest, Answer, ReportFailure
from vaultmesh.domain.status import FailureView, HoldView
from workflows import options, ports
from workflows.calls import StepFailed, call


class Replies:
    """Answers and reports of one aggregator; they run beside everything else."""

    def __init__(self, given: AggregatorInput, state: AggregatorState) -> None:
        """Tell on behalf of an aggregator."""
        self._given = given
        self._state = state
        self._backoff = given.backoff
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether an answer or a report is under way."""
        return bool(self._tasks)

    # --- the aggregator's own backoff --------------------------------------------------------------------------------------

    def succeeded(self) -> None:
        """Leave the backoff."""
        self._state.step_failures = 0
        self._state.last_failure = None
        self._state.held = None
        self._state.not_before = None

    def later(self, failures: int, kind: FailureKind) -> datetime:
        """Return the instant after the `failures`-th rung of the backoff."""
        return workflow.now() + self._backoff.delay(failures, kind)

    def climb(self, failure: StepFailed) -> None:
        """Rest after a failed step; what an operator has to mend is shown as held."""
        state = self._state
        state.step_failures += 1
        state.last_failure = FailureView(kind=failure.kind, message=failure.message)
        state.not_before = self.later(state.step_failures, failure.kind)
        if failure.kind in (FailureKind.AUTH, FailureKind.VALIDATION):
            self.hold(failure.kind, failure.message)

    def hold(self, kind: FailureKind, message: str) -> None:
        """Show why the aggregator rests."""
        now = workflow.now()
        since = self._state.held.since if self._state.held else now
        next_look = self._state.not_before or now
        self._state.held = HoldView(
            kind=kind, message=message[:LONGEST_MESSAGE], since=since, next_look=next_look
        )

    def round_step_failed(self, failure: StepFailed) -> None:
        """Rest after a failed step of a signed round, and let the waiting namespaces' pages show it."""
        self.climb(failure)
        waiting = [request for one in self._state.unincluded() for request in one.waiting]
        self._report([self._state.failed(one) for one in waiting], failure)

    # --- requests --------------------------------------------------------------------------------------------------

    def fail(self, requests: list[AnchorRequest], failure: StepFailed) -> None:
        """Fail requests that are in no round; they come back by their own retry."""
        for request in requests:
            self._state.queue.pop(request.id, None)
        self._report([self._state.failed(one) for one in requests], failure)

    def fail_all_waiting(self, failure: StepFailed) -> None:
        """Fail every request that is in no round: nothing was signed."""
        self.climb(failure)
        self.fail(list(self._state.queue.values()), failure)

    def answer(self, requests: list[AnchorRequest], *, withdrawn: bool = False) -> None:
        """End requests with what the receipts say, or as withdrawn."""
        for request in requests:
            self._state.ended(request.id)
        if requests:
            self._tell(Answer(target=self._given.target, requests=requests, withdrawn=withdrawn))

    def _report(self, requests: list[AnchorRequest], failure: StepFailed) -> None:
        if requests:
            report = ReportFailure(
                target=self._given.target,
                requests=requests,
                kind=failure.kind,
                message=failure.message,
                backoff=self._given.backoff,
            )
            self._tell(report)

    def _tell(self, what: Answer | ReportFailure) -> None:
        task = asyncio.create_task(self._call(what))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call(self, what: Answer | ReportFailure) -> None:
        count = f"{len(what.requests)} requests"
        try:
            if isinstance(what, Answer):
                await call(ports.ANSWER, what, options.REPLY, count)
            else:
                await call(ports.REPORT_FAILURE, what, options.REPLY, f"{count}: {what.kind}")
        except StepFailed:
            workflow.logger.warning("waiting requests not reached; they ask again by themselves")

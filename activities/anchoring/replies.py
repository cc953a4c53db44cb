"""Answers waiting `anchor` activities by workflow id and activity id, never by task token.

A token goes stale with every retry, time-out and continue-as-new. NOT_FOUND means that nobody asks at the moment: the
receipt remains the answer.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.client import AsyncActivityCancelledError, AsyncActivityHandle, Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.anchoring.outcomes import outcome_of
from activities.anchoring.stores import Files
from activities.failures import retried
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.log_events import LogEvent, log_event
from vaultmesh.domain.messages import (
    AnchorOutcome,
    AnchorRequest,
    Answer,
    Backoff,
    Nothing,
    OutcomeStatus,
    ReportFailure,
)
from vaultmesh.domain.names import NOTE_FAILURE, namespace_workflow_id
from vaultmesh.domain.namespaces.state import failure_note
from vaultmesh.domain.target import Target
from vaultmesh.process.metrics import Metrics

AT_ONCE = 32
"""Answers under way at the same time: the server takes about 1,000 a second."""
_GONE = (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.FAILED_PRECONDITION)


class Answers:
    """Answers requests through a client."""

    def __init__(self, client: Client, metrics: Metrics) -> None:
        """Answer through a client."""
        self._client = client
        self.metrics = metrics
        self._at_once = asyncio.Semaphore(AT_ONCE)

    def _waiting(self, request: AnchorRequest) -> AsyncActivityHandle:
        return self._client.get_async_activity_handle(
            workflow_id=namespace_workflow_id(request.namespace),
            run_id=None,
            activity_id=request.id,
        )

    async def complete(
        self,
        target: Target,
        answers: Sequence[tuple[AnchorRequest, AnchorOutcome]],
        round_id: str = "",
    ) -> None:
        """End each request with its outcome, that of one round if it is named; who does not wait any more is left alone."""
        await asyncio.gather(
            *(self._complete(target, request, outcome, round_id) for request, outcome in answers)
        )

    async def _complete(
        self, target: Target, request: AnchorRequest, outcome: AnchorOutcome, round_id: str
    ) -> None:
        async with self._at_once:
            try:
                await self._waiting(request).complete(outcome)
            except RPCError as error:
                if error.status not in _GONE:
                    raise
                return
        self.ended(request, target, outcome, round_id)

    def ended(
        self, request: AnchorRequest, target: Target, outcome: AnchorOutcome, round_id: str = ""
    ) -> None:
        """Count and log how a request was answered."""
        self.metrics.ended(request, target, outcome)
        about: dict[str, object] = {
            "ns": request.namespace,
            "label": request.cadence,
            "slot": request.slot,
            "target": str(target),
        }
        if not outcome.batch_count:
            log_event(activity.logger, LogEvent.ENDED, **about)
            return
        log_event(
            activity.logger,
            LogEvent.SUCCESS,
            **about,
            batch=next(iter(outcome.batch_ids), None),
            batches=outcome.batch_count,
            tx=outcome.tx_ref,
            round=round_id,
        )

    async def fail(self, report: ReportFailure) -> None:
        """Fail each request with its own place on the backoff, and tell its workflow."""
        await asyncio.gather(*(self._fail(report, request) for request in report.requests))

    async def _fail(self, report: ReportFailure, request: AnchorRequest) -> None:
        delay = report.backoff.delay(request.failures, report.kind)
        error = ApplicationError(report.message, type=report.kind.value, next_retry_delay=delay)
        is_said = False
        async with self._at_once:
            try:
                handle = self._waiting(request)
                await handle.heartbeat(request.failures)
                await handle.fail(error)
            except AsyncActivityCancelledError:
                """An operator paused or reset it: it comes back by itself."""
            except RPCError as refused:
                if refused.status not in _GONE:
                    raise
                is_said = activity.info().attempt > 1  # by the attempt before, most probably
            await self.note(request, request.failures, report.kind, report.message, report.backoff)
        if not is_said:
            self.failed(request, report.target, report.kind, report.message, delay)

    def failed(
        self,
        request: AnchorRequest,
        target: Target,
        kind: FailureKind,
        message: str,
        delay: timedelta,
    ) -> None:
        """Count and log a failed attempt of a request, which comes back after `delay`."""
        self.metrics.failed(request, target, kind)
        log_event(
            activity.logger,
            LogEvent.FAILED,
            ns=request.namespace,
            label=request.cadence,
            slot=request.slot,
            target=str(target),
            kind=kind.value,
            err=message,
            backoff=request.failures,
            retry_in=round(delay.total_seconds()),
        )

    async def note(
        self,
        request: AnchorRequest,
        failures: int,
        kind: FailureKind,
        message: str,
        backoff: Backoff,
    ) -> None:
        """Tell a request's namespace of a failure; a namespace that is gone needs no telling."""
        delay = backoff.delay(failures, kind)
        note = failure_note(request, failures, kind, message, at=datetime.now(UTC), delay=delay)
        try:
            await self._client.get_workflow_handle(namespace_workflow_id(request.namespace)).signal(
                NOTE_FAILURE, note
            )
        except RPCError as error:
            if error.status not in _GONE:
                raise
            activity.logger.info("nobody waited for a failure report")


class Replies:
    """Adapters of the ports `answer` and `report_failure`."""

    def __init__(self, files: Files, answers: Answers) -> None:
        """Answer from the receipts."""
        self._files = files
        self._answers = answers

    @activity.defn(name="answer")
    async def answer(self, order: Answer) -> Nothing:
        """End requests with what the receipts say, or as withdrawn; idempotent by the request id."""
        with retried():
            ended = await asyncio.to_thread(self._outcomes, order)
        await self._answers.complete(order.target, ended)
        return Nothing()

    def _outcomes(self, order: Answer) -> list[tuple[AnchorRequest, AnchorOutcome]]:
        if order.withdrawn:
            withdrawn = AnchorOutcome(status=OutcomeStatus.WITHDRAWN)
            return [(request, withdrawn) for request in order.requests]
        target = order.target
        return [(request, outcome_of(self._files, request, target)) for request in order.requests]

    @activity.defn(name="report_failure")
    async def report_failure(self, report: ReportFailure) -> Nothing:
        """Fail requests on their namespaces' pages; a second report of the same failure changes nothing."""
        await self._answers.fail(report)
        return Nothing()

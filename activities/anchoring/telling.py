"""Sends an aggregator's answers and failure reports to the namespaces."""

import asyncio

from temporalio import activity

from activities.anchoring.outcomes import outcome_of
from activities.anchoring.replies import Answers
from activities.anchoring.stores import Files
from activities.failures import retried
from vaultmesh.domain.messages import (
    AnchorOutcome,
    AnchorRequest,
    Answer,
    Nothing,
    OutcomeStatus,
    ReportFailure,
)


class Telling:
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
            return [(one, AnchorOutcome(status=OutcomeStatus.WITHDRAWN)) for one in order.requests]
        return [(one, outcome_of(self._files, one, order.target)) for one in order.requests]

    @activity.defn(name="report_failure")
    async def report_failure(self, report: ReportFailure) -> Nothing:
        """Fail requests on their namespaces' pages; a second report of the same failure changes nothing."""
        await self._answers.fail(report)
        return Nothing()

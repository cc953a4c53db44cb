"""Takes the requests of the namespaces that wait for an aggregator, and answers them or reports its failures.

The requests that are in no round are its own: whoever else needs some takes them here.
"""

import asyncio
from collections.abc import Collection, Iterable

from temporalio import workflow

from vaultmesh.domain.aggregator.pace import Pace
from vaultmesh.domain.aggregator.rounds import OpenRounds
from vaultmesh.domain.aggregator.state import AggregatorInput
from vaultmesh.domain.aggregator.waiting import WaitingRequests
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.log_events import LogEvent
from vaultmesh.domain.messages import AnchorRequest, Answer, ReportFailure
from workflows import options, ports
from workflows.aggregator.log import PaceLog, lowest
from workflows.calls import StepFailed, call
from workflows.lines import Lines


class Replies:
    """Answers and reports of one aggregator; they run beside everything else."""

    def __init__(
        self,
        start: AggregatorInput,
        waiting: WaitingRequests,
        rounds: OpenRounds,
        pace: Pace,
        pace_log: PaceLog,
        *,
        lines: Lines,
    ) -> None:
        """Reply on behalf of an aggregator."""
        self._target = start.target
        self._backoff = start.backoff
        self._waiting = waiting
        self._rounds = rounds
        self._pace = pace
        self._pace_log = pace_log
        self._lines = lines
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether an answer or a report is under way."""
        return bool(self._tasks)

    @property
    def waiting(self) -> Collection[AnchorRequest]:
        """Return the requests that are in no round, the first one first."""
        return self._waiting.queue.values()

    # --- requests --------------------------------------------------------------------------------------------------

    def enqueue(self, requests: list[AnchorRequest]) -> None:
        """Let requests wait that are in no round; withdrawn ones are answered, and those beyond the most fail."""
        now = workflow.now()
        withdrawn = [asked for asked in requests if self._waiting.is_withdrawn(asked.id, now)]
        self.answer(withdrawn, withdrawn=True)
        refused = [
            asked
            for asked in requests
            if not self._waiting.is_withdrawn(asked.id, now)
            and not self._rounds.holds(asked.id)
            and not self._waiting.enqueue(asked)
        ]
        if refused:
            message = f"{len(self.waiting)} requests wait for this target already; this one comes back later"
            self.fail(refused, StepFailed(FailureKind.NETWORK, message))

    def enqueue_again(self, requests: Iterable[AnchorRequest]) -> None:
        """Let requests wait that were in a round; those beyond the most ask again by themselves."""
        for request in requests:
            self._waiting.enqueue(request)

    def take(self, requests: Iterable[AnchorRequest]) -> list[AnchorRequest]:
        """Return those of the requests that wait; they are in a round from now on."""
        return self._waiting.take(requests)

    def withdraw(self, requests: list[AnchorRequest]) -> None:
        """End requests as withdrawn; the ones that are still on their way here as well."""
        for request in requests:
            self._waiting.withdraw(request.id, workflow.now())
        self.answer(requests, withdrawn=True)

    def answer(self, requests: list[AnchorRequest], *, withdrawn: bool = False) -> None:
        """End requests with what the receipts say, or as withdrawn."""
        self.ended(request.id for request in requests)
        if requests:
            self._send(Answer(target=self._target, requests=requests, withdrawn=withdrawn))

    def ended(self, request_ids: Iterable[str]) -> None:
        """Forget requests that are answered."""
        for request_id in request_ids:
            self._waiting.ended(request_id)

    # --- failures --------------------------------------------------------------------------------------------------

    def fail(self, requests: list[AnchorRequest], failure: StepFailed) -> None:
        """Report a failure of requests; those that are in no round come back by their own retry."""
        failed = [self._waiting.failed(request) for request in requests]
        if failed:
            report = ReportFailure(
                target=self._target,
                requests=failed,
                kind=failure.kind,
                message=failure.message,
                backoff=self._backoff,
            )
            self._send(report)

    def fail_all_waiting(self, failure: StepFailed) -> None:
        """Back off, and fail every request that is in no round: nothing was signed."""
        self.back_off(failure)
        failed = list(self.waiting)
        self.fail(failed, failure)
        self._waiting.failed_with_target(failed)

    def bring_back(self) -> None:
        """Let the requests wait again that failed with the target, before their own retries."""
        self.enqueue(list(self._waiting.away.values()))

    def round_step_failed(self, failure: StepFailed) -> None:
        """Back off after a failed step of a signed round, and let the waiting namespaces' pages show it."""
        self.back_off(failure)
        rows = self._rounds.unincluded()
        self.fail([request for row in rows for request in row.waiting], failure)

    def back_off(self, failure: StepFailed) -> None:
        """Back off after a failed step."""
        now = workflow.now()
        self._pace.failed(failure.kind, failure.message, self._backoff, now)
        not_before = self._pace.not_before
        self._lines.log_event(
            LogEvent.STEP_FAILED,
            round=lowest(self._rounds),
            kind=failure.kind.value,
            err=failure.message,
            backoff=self._pace.failures,
            retry_in=round((not_before - now).total_seconds()) if not_before else None,
        )
        self._pace_log.look()

    def _send(self, reply: Answer | ReportFailure) -> None:
        task = asyncio.create_task(self._call(reply))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call(self, reply: Answer | ReportFailure) -> None:
        count = f"{len(reply.requests)} requests"
        try:
            if isinstance(reply, Answer):
                await call(ports.ANSWER, reply, options.REPLY, count)
            else:
                await call(ports.REPORT_FAILURE, reply, options.REPLY, f"{count}: {reply.kind}")
        except StepFailed:
            workflow.logger.warning("waiting requests not reached; they ask again by themselves")

"""The place where a clock's questions are answered on the `scheduler` queue: what is owed, and "I am due".

`anchor` never touches a ledger: it signals the target's pen and ends with "will complete asynchronously".
"""

import asyncio

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from activities.answers import Answers
from activities.collector import Collector, call_pen
from activities.failures import decided_by_the_pen, kind_of, ladder
from activities.files import Files
from activities.outcomes import outcome_of
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError
from vaultmesh.domain.messages import AnchorAsk, AnchorOutcome, CountOwed, Nothing, Owed
from vaultmesh.domain.names import WITHDRAW
from vaultmesh.domain.target import Target

MOST_REFUSALS_SHOWN = 5


class Requests:
    """Adapters of the ports `count_owed`, `anchor`, `ask_again` and `withdraw`."""

    def __init__(
        self, files: Files, collector: Collector, answers: Answers, client: Client
    ) -> None:
        """Ask through a collector, look into the files."""
        self._files = files
        self._collector = collector
        self._answers = answers
        self._client = client

    @activity.defn(name="count_owed")
    async def count_owed(self, question: CountOwed) -> Owed:
        """Count a namespace's batches without an anchor on a target; only reads."""
        self._answers.metrics.slots_ended(question.namespace, question.cadence, question.outcomes)
        with decided_by_the_pen():
            return await asyncio.to_thread(
                self._owed, question.namespace, question.target, question.batches
            )

    def _owed(self, namespace: str, target: Target, folder: str) -> Owed:
        found = self._files.owed(namespace, target, folder)
        return Owed(
            batches=len(found.owed),
            refused=[str(refused) for refused in found.refused[:MOST_REFUSALS_SHOWN]],
            refused_count=len(found.refused),
        )

    @activity.defn(name="anchor")  # noqa: RET503 - it ends by raising
    async def anchor(self, ask: AnchorAsk) -> AnchorOutcome:
        """Have a target's pen told that a cadence is due; idempotent by the request id (X1).

        Ends with what the receipts say if nothing is owed any more: the answer to an earlier attempt was lost then.
        """
        request = ask.request
        if activity.info().attempt == 1:
            self._answers.metrics.attempted(request, ask.target)
        failures = max(request.failures, _failures_so_far())
        try:
            owed = await asyncio.to_thread(
                self._owed, request.namespace, ask.target, request.batches
            )
            if not owed.batches and not owed.refused_count:
                outcome = await asyncio.to_thread(outcome_of, self._files, request, ask.target)
                self._answers.metrics.ended(request, ask.target, outcome)
                return outcome
            root_id = await asyncio.to_thread(self._files.root_id)
            asked = request.model_copy(update={"failures": failures, "root_id": root_id})
            await self._collector.send(ask.model_copy(update={"request": asked}))
        except (AnchorError, InvalidValue) as error:
            await self._report(ask, failures + 1, error)
        activity.raise_complete_async()  # never returns: the pen answers by ids

    async def _report(
        self, ask: AnchorAsk, failures: int, error: AnchorError | InvalidValue
    ) -> None:
        """Fail this attempt with its place on the ladder."""
        kind = kind_of(error)
        activity.heartbeat(failures)
        self._answers.metrics.failed(ask.request, ask.target, kind)
        await self._answers.note(ask.request, failures, kind, str(error), ask.backoff)
        delay = ladder(ask.backoff).delay(failures, kind)
        raise ApplicationError(str(error), type=kind.value, next_retry_delay=delay) from error

    @activity.defn(name="ask_again")
    async def ask_again(self, ask: AnchorAsk) -> Nothing:
        """Send a request in flight to its pen once more, at once; idempotent by the request id."""
        with decided_by_the_pen():
            await self._collector.send(ask)
        return Nothing()

    @activity.defn(name="withdraw")
    async def withdraw(self, ask: AnchorAsk) -> Nothing:
        """Ask a target's pen to take a request back unless it is in a round; idempotent by the request id."""
        with decided_by_the_pen():
            await call_pen(
                self._client,
                ask.target,
                WITHDRAW,
                [ask.request],
                backoff=ask.backoff,
                continue_after_events=ask.continue_after_events,
            )
        return Nothing()


def _failures_so_far() -> int:
    """Return the count that an earlier attempt left in its heartbeat."""
    details = activity.info().heartbeat_details
    return details[0] if details and isinstance(details[0], int) else 0

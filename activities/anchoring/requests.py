"""Activities of a namespace on the `scheduler` queue: `anchor` looks what is owed and says "I am due".

`anchor` never touches a ledger: it signals the target's workflow and ends with "will complete asynchronously".
"""

import asyncio
import time
from dataclasses import dataclass

from temporalio import activity
from temporalio.client import AsyncActivityCancelledError, Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.anchoring.outcomes import outcome_of
from activities.anchoring.replies import Answers
from activities.anchoring.signals import Collector, hurry, signal_aggregator
from activities.anchoring.stores import Files
from activities.failures import decided_by_the_aggregator, kind_of
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import AnchorError, NetworkFailure
from vaultmesh.domain.messages import (
    AnchorAsk,
    AnchorOutcome,
    AnchorRequest,
    Nothing,
    OutcomeStatus,
)
from vaultmesh.domain.names import HURRY, RELEASE, WITHDRAW
from vaultmesh.domain.target import Target

MOST_REFUSALS_SHOWN = 5
QUICK_LOOK_SECONDS = 0.25
"""After a longer look at the files the server is asked whether the request still stands: a pause may have come."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What the files say of a request."""

    outcome: AnchorOutcome | None = None
    """None if something is owed."""
    root_id: str = ""
    """Marker of the root, for what is owed."""


class Requests:
    """Adapters of the ports `anchor`, `ask_again` and `withdraw`."""

    def __init__(
        self, files: Files, collector: Collector, answers: Answers, client: Client
    ) -> None:
        """Ask through a collector, look into the files."""
        self._files = files
        self._collector = collector
        self._answers = answers
        self._client = client

    @activity.defn(name="anchor")  # noqa: RET503 - it ends by raising
    async def anchor(self, ask: AnchorAsk) -> AnchorOutcome:
        """Look what a due cadence owes, and have its target told that it is due; idempotent by the request id (X1).

        With nothing owed it ends at once, with what the receipts say: the answer to an earlier attempt was lost then.
        """
        request = ask.request
        self._answers.metrics.slots_ended(request.namespace, request.cadence, ask.outcomes)
        failures = max(request.failures, _failures_so_far())
        began = time.monotonic()
        try:
            if request.is_forced and activity.info().attempt == 1 and not ask.asked_before:
                await hurry(self._client, ask.target, HURRY)
            asked_before = activity.info().attempt > 1 or ask.asked_before
            look = await self._look(ask, asked_before=asked_before)
            if look.outcome is not None:
                self._ended(ask, look.outcome)
                return look.outcome
            if time.monotonic() - began < QUICK_LOOK_SECONDS or await self._is_still_asked():
                await self._send(ask, failures, look.root_id)
        except (AnchorError, InvalidValue) as error:
            await self._report(ask, failures + 1, error)
        activity.raise_complete_async()  # never returns: the target's workflow answers by ids

    def _ended(self, ask: AnchorAsk, outcome: AnchorOutcome) -> None:
        """Count an answer, and log it unless nothing was owed, as at most slots."""
        if outcome.batch_count:
            self._answers.ended(ask.request, ask.target, outcome)
        else:
            self._answers.metrics.ended(ask.request, ask.target, outcome)

    async def _look(self, ask: AnchorAsk, *, asked_before: bool) -> _Look:
        """Return what the files say.

        Raises:
            AnchorError: the storage does not say.
            InvalidValue: all that is left are batches that can't be anchored.
        """
        return await asyncio.to_thread(self._looked, ask.request, ask.target, asked_before)

    def _looked(self, request: AnchorRequest, target: Target, asked_before: bool) -> _Look:
        uncovered = self._files.owed(request.namespace, target, request.batches)
        if uncovered.owed:
            return _Look(root_id=self._files.root_id())
        if uncovered.refused:
            raise InvalidValue("; ".join(map(str, uncovered.refused[:MOST_REFUSALS_SHOWN])))
        if asked_before:
            return _Look(outcome_of(self._files, request, target))
        return _Look(AnchorOutcome(status=OutcomeStatus.NOTHING_OWED))

    async def _is_still_asked(self) -> bool:
        """Ask the server whether this attempt is still waited for: a pause meanwhile has ended it."""
        info = activity.info()
        handle = self._client.get_async_activity_handle(task_token=info.task_token)
        try:
            await handle.heartbeat(*info.heartbeat_details)
        except AsyncActivityCancelledError:
            return False
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            message = f"Temporal did not say whether the request is still wanted: {error.message}"
            raise NetworkFailure(message) from error
        return True

    async def _send(self, ask: AnchorAsk, failures: int, root_id: str) -> None:
        asked = ask.request.model_copy(update={"failures": failures, "root_id": root_id})
        await self._collector.send(ask.model_copy(update={"request": asked}))

    async def _report(
        self, ask: AnchorAsk, failures: int, error: AnchorError | InvalidValue
    ) -> None:
        """Fail this attempt with its place on the backoff."""
        kind = kind_of(error)
        activity.heartbeat(failures)
        delay = ask.backoff.delay(failures, kind)
        failed = ask.request.model_copy(update={"failures": failures})
        self._answers.failed(failed, ask.target, kind, str(error), delay)
        await self._answers.note(ask.request, failures, kind, str(error), ask.backoff)
        raise ApplicationError(str(error), type=kind.value, next_retry_delay=delay) from error

    @activity.defn(name="ask_again")
    async def ask_again(self, ask: AnchorAsk) -> Nothing:
        """Look at once for a request in flight, and send it once more or end it; idempotent by the request id.

        What its round waits for, such as receipts that could not be written, is tried at once as well.
        """
        with decided_by_the_aggregator():
            await hurry(self._client, ask.target, HURRY)
            look = await self._look(ask, asked_before=True)
            if look.outcome is None:
                await self._send(ask, ask.request.failures, look.root_id)
            else:
                await self._answers.complete(ask.target, [(ask.request, look.outcome)])
        return Nothing()

    @activity.defn(name="withdraw")
    async def withdraw(self, ask: AnchorAsk) -> Nothing:
        """Ask a target's aggregator to take a request back unless it is in a round; idempotent by the request id.

        One whose cadence moved is let go in any case.
        """
        with decided_by_the_aggregator():
            await signal_aggregator(
                self._client,
                ask.target,
                RELEASE if ask.moved else WITHDRAW,
                [ask.request],
                backoff=ask.backoff,
                continue_after_events=ask.continue_after_events,
            )
        return Nothing()


def _failures_so_far() -> int:
    """Return the count that an earlier attempt left in its heartbeat."""
    details = activity.info().heartbeat_details
    return details[0] if details and isinstance(details[0], int) else 0

"""Gathers the requests of many namespaces into one signal to a target's aggregator, and starts it where it does not run.

One that begins anew is paused if its last run was: that run's memo says so, written in the step that obeyed.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta

from pydantic import ValidationError
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.domain.aggregator.state import AggregatorInput
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.messages import AnchorAsk, AnchorRequest, Backoff
from vaultmesh.domain.names import (
    AGGREGATOR_WORKFLOW,
    ATTRIBUTE_TARGET,
    ENQUEUE,
    MEMO_STATUS,
    SCHEDULER_QUEUE,
    STATUS,
    aggregator_workflow_id,
)
from vaultmesh.domain.status import AggregatorView, PausedView, TargetMemo
from vaultmesh.domain.target import Target

GATHER_SECONDS = 0.05
"""How long a signal waits for company: far below the collection window, far above the cost of a signal."""
MOST_PER_SIGNAL = 500
"""Requests in one signal: about 150 kB at the most."""

NO_STATUS = (RPCError, WorkflowQueryFailedError, WorkflowQueryRejectedError, ValidationError)
"""What is raised where an aggregator gives no status."""
_STATUS_WITHIN = timedelta(seconds=10)
_LOG = logging.getLogger(__name__)
_TARGET = SearchAttributeKey.for_keyword(ATTRIBUTE_TARGET)


async def signal_aggregator(
    client: Client,
    target: Target,
    signal: str,
    requests: Sequence[AnchorRequest | str],
    *,
    backoff: Backoff,
    continue_after_events: int,
) -> None:
    """Signal a target's aggregator a list, of requests or round ids, starting it if it does not run.

    Raises:
        NetworkFailure: Temporal did not take the signal.
    """
    handle = client.get_workflow_handle(aggregator_workflow_id(str(target)))
    start = AggregatorInput(
        target=target, backoff=backoff, continue_after_events=continue_after_events
    )
    try:
        try:
            await handle.signal(signal, list(requests))
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            await _start(client, start, signal, [list(requests)])
    except RPCError as error:
        message = f"the aggregator of {target} could not be signalled: {error.message}"
        raise NetworkFailure(message) from error


async def start_aggregator(
    client: Client, target: Target, *, backoff: Backoff, continue_after_events: int
) -> None:
    """Start a target's aggregator unless it runs.

    Raises:
        RPCError: Temporal did not do it.
    """
    await _start(
        client,
        AggregatorInput(
            target=target, backoff=backoff, continue_after_events=continue_after_events
        ),
    )


async def _start(
    client: Client,
    start: AggregatorInput,
    signal: str | None = None,
    arguments: Sequence[Sequence[AnchorRequest | str]] = (),
) -> None:
    """Start an aggregator, paused if its last run was; one that runs meanwhile goes on, and takes the signal."""
    name = str(start.target)
    paused = await _paused_before(client, start.target)
    memo = {MEMO_STATUS: TargetMemo(target=name, paused=paused)}
    await client.start_workflow(
        AGGREGATOR_WORKFLOW,
        start.model_copy(update={"paused": paused}),
        id=aggregator_workflow_id(name),
        task_queue=SCHEDULER_QUEUE,
        start_signal=signal,
        start_signal_args=arguments,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=TypedSearchAttributes([SearchAttributePair(_TARGET, name)]),
        static_summary=f"aggregator of {name}",
        memo=memo if paused is not None else None,  # it may be ended before its first step
    )


async def _paused_before(client: Client, target: Target) -> PausedView | None:
    """Return why a target was paused when its aggregator was ended; None if it was not, or Temporal knows nothing of it.

    Raises:
        RPCError: Temporal does not answer.
    """
    handle = client.get_workflow_handle(aggregator_workflow_id(str(target)))
    try:
        run = await handle.describe(rpc_timeout=_STATUS_WITHIN)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    content = await run.memo_value(MEMO_STATUS, default=None)
    if run.status is WorkflowExecutionStatus.RUNNING or content is None:
        return None
    try:
        return TargetMemo.model_validate(content).paused
    except ValidationError:
        _LOG.warning("nobody knows whether a target was paused", extra={"target": str(target)})
        return None


async def view_of(client: Client, target: Target) -> AggregatorView | None:
    """Return an aggregator's status; None if it does not run.

    Raises:
        RPCError, WorkflowQueryFailedError, WorkflowQueryRejectedError, ValidationError: it did not answer.
    """
    handle = client.get_workflow_handle(aggregator_workflow_id(str(target)))
    try:
        content = await handle.query(STATUS, rpc_timeout=_STATUS_WITHIN)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return AggregatorView.model_validate(content)


async def hurry(client: Client, target: Target, signal: str) -> None:
    """Signal a target's aggregator, if it runs, that what failed is to be tried again now; may be repeated at will.

    Raises:
        NetworkFailure: Temporal did not take the signal.
    """
    try:
        await client.get_workflow_handle(aggregator_workflow_id(str(target))).signal(signal)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            message = f"the aggregator of {target} could not be signalled: {error.message}"
            raise NetworkFailure(message) from error


class Collector:
    """Gathers asks per target and sends them together; an ask is done once its signal is accepted."""

    def __init__(self, client: Client) -> None:
        """Send through a client."""
        self._client = client
        self._waiting: dict[Target, list[tuple[AnchorAsk, asyncio.Future[None]]]] = {}
        self._flushing: dict[Target, asyncio.Task[None]] = {}

    async def send(self, ask: AnchorAsk) -> None:
        """Have a request signalled to its target's aggregator.

        Raises:
            NetworkFailure: Temporal did not take the signal.
        """
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(ask.target, []).append((ask, accepted))
        if ask.target not in self._flushing:
            self._flushing[ask.target] = asyncio.create_task(self._flush(ask.target))
        await accepted

    async def _flush(self, target: Target) -> None:
        try:
            while self._waiting.get(target):
                await asyncio.sleep(GATHER_SECONDS)
                waiting = self._waiting[target]
                taken, self._waiting[target] = waiting[:MOST_PER_SIGNAL], waiting[MOST_PER_SIGNAL:]
                await self._signal(target, taken)
        finally:
            del self._flushing[target]

    async def _signal(
        self, target: Target, taken: list[tuple[AnchorAsk, asyncio.Future[None]]]
    ) -> None:
        first = taken[0][0]
        try:
            await signal_aggregator(
                self._client,
                target,
                ENQUEUE,
                [ask.request for ask, _ in taken],
                backoff=first.backoff,
                continue_after_events=first.continue_after_events,
            )
        except NetworkFailure as failure:
            for _, accepted in taken:
                if not accepted.done():
                    accepted.set_exception(failure)
            return
        for _, accepted in taken:
            if not accepted.done():
                accepted.set_result(None)

"""The place where commands talk to the clocks of namespaces and to the pens of targets.

Whatever a worker has to answer is waited for a few seconds only: without one, the operator is told so.
"""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import TypeVar

from pydantic import JsonValue
from temporalio.client import (
    Client,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import QueryRejectCondition
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.cli.output import Refusal
from vaultmesh.domain.names import (
    NAMESPACE_WORKFLOW,
    STATUS,
    aggregator_workflow_id,
    namespace_workflow_id,
)
from vaultmesh.domain.status import AggregatorView, NamespaceView
from vaultmesh.domain.target import Target
from vaultmesh.runtime.client import Unreachable
from vaultmesh.runtime.registration import NoWorker

ANSWER_WITHIN = timedelta(seconds=6)
"""A worker answers in milliseconds; with start and connection, the operator learns within ten seconds of none."""
_RUNNING = f"WorkflowType = '{NAMESPACE_WORKFLOW}' AND ExecutionStatus = 'Running'"
_PREFIX = namespace_workflow_id("")
_NO_ANSWER = (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
_LIST_WITHIN = timedelta(seconds=5)
Result = TypeVar("Result")


def run(work: Coroutine[None, None, Result]) -> Result:
    """Run a command to its end; what Temporal refuses becomes one clear line.

    Raises:
        Unreachable: Temporal went away, or refused a call.
        Refusal: a clock refused an update.
    """
    try:
        return asyncio.run(work)
    except WorkflowUpdateFailedError as error:
        message = f"refused: {_reason(error)}"
        raise Refusal(message) from error
    except RPCError as error:
        message = (
            f"Temporal did not do what was asked: {error.message} ({error.status.name.lower()})"
        )
        raise Unreachable(message) from error


async def running_namespaces(client: Client) -> list[str]:
    """Return the namespaces whose clocks run, sorted; one that was started a moment ago may be missing."""
    found = [
        execution.id.removeprefix(_PREFIX)
        async for execution in client.list_workflows(_RUNNING, rpc_timeout=_LIST_WITHIN)
        if execution.id.startswith(_PREFIX)
    ]
    return sorted(found)


async def namespace_status(
    client: Client, namespace: str, within: timedelta = ANSWER_WITHIN
) -> NamespaceView | None:
    """Return a namespace's state; None if no clock runs.

    Raises:
        NoWorker: nobody answered in time.
    """
    handle = client.get_workflow_handle(namespace_workflow_id(namespace))
    try:
        async with asyncio.timeout(within.total_seconds()):  # the SDK repeats a call that timed out
            view: NamespaceView = await handle.query(
                STATUS,
                result_type=NamespaceView,
                reject_condition=QueryRejectCondition.NOT_OPEN,
                rpc_timeout=within,
            )
    except WorkflowQueryRejectedError:
        return None
    except TimeoutError as error:
        raise NoWorker from error
    except WorkflowQueryFailedError as error:
        message = f"namespace {namespace!r} could not say its state: {error}"
        raise Refusal(message) from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        if error.status in _NO_ANSWER or _lacks_poller(error):
            raise NoWorker from error
        raise
    return view


async def pen_status(client: Client, target: Target, within: timedelta) -> AggregatorView | None:
    """Return the state of a target's pen; None if there is none, or it does not answer in time."""
    handle = client.get_workflow_handle(aggregator_workflow_id(str(target)))
    try:
        async with asyncio.timeout(within.total_seconds()):
            view: AggregatorView = await handle.query(
                STATUS,
                result_type=AggregatorView,
                reject_condition=QueryRejectCondition.NOT_OPEN,
                rpc_timeout=within,
            )
    except (WorkflowQueryRejectedError, WorkflowQueryFailedError, RPCError, TimeoutError):
        return None
    return view


async def order(
    client: Client, namespace: str, verb: str, argument: dict[str, JsonValue]
) -> NamespaceView:
    """Send an update to a clock and return the new state.

    Raises:
        NotRunning: there is no clock.
        Refusal: it refused; with its reason.
        NoWorker: nobody answered in time.
    """
    handle = client.get_workflow_handle(namespace_workflow_id(namespace))
    try:
        async with asyncio.timeout(ANSWER_WITHIN.total_seconds()):
            view: NamespaceView = await handle.execute_update(
                verb, argument, result_type=NamespaceView, rpc_timeout=ANSWER_WITHIN
            )
    except WorkflowUpdateFailedError as error:
        message = f"{namespace} refused {verb}: {_reason(error)}"
        raise Refusal(message) from error
    except (WorkflowUpdateRPCTimeoutOrCancelledError, TimeoutError) as error:
        raise NoWorker from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise unknown_namespace(namespace) from error
        if error.status in _NO_ANSWER:
            raise NoWorker from error
        raise
    return view


class NotRunning(Refusal):
    """No clock of this name runs."""


def unknown_namespace(namespace: str) -> NotRunning:
    """Return the complaint about a namespace whose clock does not run."""
    return NotRunning(
        f"no workflow runs for namespace {namespace!r}; "
        "write it in namespaces.yaml and run `python starter.py register`"
    )


def _lacks_poller(error: RPCError) -> bool:
    return error.status is RPCStatusCode.FAILED_PRECONDITION and "poller" in error.message


def _reason(error: WorkflowUpdateFailedError) -> str:
    cause = error.cause
    return cause.message if isinstance(cause, ApplicationError) else str(cause)

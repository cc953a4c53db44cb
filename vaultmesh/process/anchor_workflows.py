"""Asks the workflows of namespaces and targets how they are, and sends them what operators order.

1. Whatever a worker has to answer is waited for a few seconds only: without one, the operator is told so.
2. Of a workflow that does not answer, Temporal is asked whether its workflow task fails, and why; else when a worker
   polled last.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from pydantic import JsonValue, ValidationError
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

from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.names import (
    AGGREGATOR_WORKFLOW,
    MEMO_STATUS,
    NAMESPACE_WORKFLOW,
    STATUS,
    aggregator_workflow_id,
    namespace_workflow_id,
)
from vaultmesh.domain.status import AggregatorView, NamespaceMemo, NamespaceView, View
from vaultmesh.process.failing import Failing, diagnose, failing, one_line
from vaultmesh.process.polling import why_silent
from vaultmesh.process.updates import cancellable

ANSWER_WITHIN = timedelta(seconds=6)
"""A worker answers in milliseconds; with start and connection, the operator learns within ten seconds of none."""
AT_ONCE = 32
"""Workflows that are asked at a time."""
_RUNNING = (
    f"WorkflowType IN ('{NAMESPACE_WORKFLOW}', '{AGGREGATOR_WORKFLOW}') "
    "AND ExecutionStatus = 'Running'"
)
_NO_ANSWER = (
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.FAILED_PRECONDITION,
)
"""The last one: its workflow task fails, or nobody has polled for a while."""
_OF_TEMPORAL_ITSELF = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.PERMISSION_DENIED,
    RPCStatusCode.UNAUTHENTICATED,
)
"""Says nothing about one workflow: no other would be answered either."""
_LIST_WITHIN = timedelta(seconds=5)
Form = TypeVar("Form", bound=View)


class WorkflowFailing(DomainError):
    """A workflow can't answer, because its workflow task fails."""

    def __init__(self, diagnosis: Failing) -> None:
        """Say why, and what to do."""
        self.diagnosis = diagnosis
        super().__init__(f"{diagnosis.workflow_id} is failing: {diagnosis.cause}; {diagnosis.mend}")


@dataclass(frozen=True, slots=True)
class Running:
    """What runs, as the visibility list shows it; what was started a moment ago may be missing."""

    namespaces: Sequence[str]
    """Sorted."""
    targets: Sequence[str]
    """Sorted."""


async def running(client: Client) -> Running:
    """Return which namespaces and targets have a running workflow.

    Raises:
        RPCError: Temporal did not answer within five seconds.
    """
    ids = [
        execution.id
        async for execution in client.list_workflows(_RUNNING, rpc_timeout=_LIST_WITHIN)
    ]
    return Running(_named(ids, namespace_workflow_id("")), _named(ids, aggregator_workflow_id("")))


def _named(workflow_ids: Iterable[str], prefix: str) -> list[str]:
    return sorted(name.removeprefix(prefix) for name in workflow_ids if name.startswith(prefix))


async def running_namespaces(client: Client) -> Sequence[str]:
    """Return the namespaces whose workflows run, sorted; one that was started a moment ago may be missing."""
    return (await running(client)).namespaces


async def namespace_status(
    client: Client, namespace: str, within: timedelta = ANSWER_WITHIN
) -> NamespaceView | None:
    """Return a namespace's state; None if no workflow of it runs.

    Raises:
        NoAnswer: nobody answered in time.
        WorkflowFailing: it can't answer.
        RPCError: Temporal itself does not answer.
    """
    return await _status(client, namespace_workflow_id(namespace), NamespaceView, within)


async def target_status(client: Client, target: str, within: timedelta) -> AggregatorView | None:
    """Return the state of a target's aggregator; None if none runs.

    Raises:
        NoAnswer: nobody answered in time.
        WorkflowFailing: it can't answer.
        RPCError: Temporal itself does not answer.
    """
    return await _status(client, aggregator_workflow_id(target), AggregatorView, within)


async def namespace_memo(client: Client, namespace: str) -> NamespaceMemo | None:
    """Return what a namespace's memo says; None if there is none that can be read."""
    handle = client.get_workflow_handle(namespace_workflow_id(namespace))
    try:
        described = await handle.describe(rpc_timeout=_LIST_WITHIN)
        return NamespaceMemo.model_validate(await described.memo_value(MEMO_STATUS, default=None))
    except (RPCError, ValidationError):
        return None


async def waiting_since(client: Client, namespace: str) -> datetime | None:
    """Return since when a namespace's workflow waits for a worker; None if it does not, or nobody can say."""
    try:
        return (await diagnose(client, namespace_workflow_id(namespace))).waiting_since
    except RPCError:
        return None


async def _status(
    client: Client, workflow_id: str, form: type[Form], within: timedelta
) -> Form | None:
    """Ask a workflow for its state; raises as `namespace_status` does."""
    handle = client.get_workflow_handle(workflow_id)
    try:
        async with asyncio.timeout(within.total_seconds()):  # the SDK repeats a call that timed out
            view: Form = await handle.query(
                STATUS,
                result_type=form,
                reject_condition=QueryRejectCondition.NOT_OPEN,
                rpc_timeout=within,
            )
    except WorkflowQueryRejectedError:
        return None
    except (WorkflowQueryFailedError, ValidationError, ValueError) as error:
        said = one_line(f"it can't say its state: {error}")
        unknown = Failing(workflow_id, "", "", said)
        raise WorkflowFailing(await _failing(client, workflow_id) or unknown) from error
    except TimeoutError as error:
        raise await _why_silent(client, workflow_id) from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        if error.status in _OF_TEMPORAL_ITSELF:
            raise
        raise await _why_silent(client, workflow_id) from error
    return view


async def _why_silent(client: Client, workflow_id: str) -> DomainError:
    """Return why a workflow did not answer: it is failing, its worker is busy, or none is there."""
    diagnosis, silence = await asyncio.gather(_failing(client, workflow_id), why_silent(client))
    return WorkflowFailing(diagnosis) if diagnosis else silence


async def _failing(client: Client, workflow_id: str) -> Failing | None:
    try:
        return await failing(client, workflow_id)
    except RPCError:
        return None  # the server is slow: what is known is that nothing answered


async def order(
    client: Client,
    namespace: str,
    verb: str,
    argument: dict[str, JsonValue],
    update_id: str | None = None,
) -> NamespaceView:
    """Send an update to a namespace and return the new state; an id of the sender's tells its line of audit from others.

    Raises:
        NotRunning: there is no namespace.
        OrderRefused: it refused; with its reason.
        NoAnswer: nobody answered in time.
        WorkflowFailing: it can't answer.
    """
    handle = client.get_workflow_handle(namespace_workflow_id(namespace))
    try:
        async with asyncio.timeout(ANSWER_WITHIN.total_seconds()):
            with cancellable():
                view: NamespaceView = await handle.execute_update(
                    verb,
                    argument,
                    id=update_id,
                    result_type=NamespaceView,
                    rpc_timeout=ANSWER_WITHIN,
                )
    except WorkflowUpdateFailedError as error:
        message = f"{namespace} refused {verb}: {reason_of(error)}"
        raise OrderRefused(message) from error
    except (WorkflowUpdateRPCTimeoutOrCancelledError, TimeoutError) as error:
        raise await _why_silent(client, handle.id) from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise unknown_namespace(namespace) from error
        if error.status in _NO_ANSWER:
            raise await _why_silent(client, handle.id) from error
        raise
    return view


class NotRunning(DomainError):
    """No namespace of this name runs."""


class OrderRefused(DomainError):
    """A namespace refused an update."""


def unknown_namespace(namespace: str) -> NotRunning:
    """Return the complaint about a namespace whose workflow does not run."""
    return NotRunning(
        f"no workflow runs for namespace {namespace!r}; "
        "write it in namespaces.yaml: workers start it, `python starter.py register` does at once"
    )


def reason_of(error: WorkflowUpdateFailedError) -> str:
    """Return why a workflow refused an update."""
    cause = error.cause
    return cause.message if isinstance(cause, ApplicationError) else str(cause)

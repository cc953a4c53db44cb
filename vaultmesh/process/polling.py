"""Tells a busy worker from none: Temporal knows when one has polled the workflows' task queue last."""

from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import DescribeTaskQueueMode, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.freshness import in_words
from vaultmesh.domain.names import SCHEDULER_QUEUE

POLLED_WITHIN = timedelta(seconds=75)
"""A worker with nothing to do polls once a minute, so one that polled longer ago is gone."""
ANSWER_WITHIN = timedelta(seconds=2)
"""Temporal answers at once; who has waited for a workflow already waits no longer for this."""
_WORKFLOW_TASKS = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW


class NoAnswer(DomainError):
    """A workflow did not answer in time."""


class NobodyPolls(NoAnswer):
    """Temporal has not heard of a worker on the workflows' task queue for more than a minute."""

    def __init__(self) -> None:
        """Say how to mend it."""
        super().__init__(
            f"no worker polls task queue {SCHEDULER_QUEUE!r}; start one (make scheduler, or python worker.py)"
        )


class WorkerBusy(NoAnswer):
    """A worker has polled lately; it has no time, or is gone since."""

    def __init__(self, polled: datetime, now: datetime) -> None:
        """Say when it polled last."""
        super().__init__(
            f"the worker is busy and did not answer in time, or is gone since: last poll {in_words(now - polled)} ago"
        )


class NobodyKnows(NoAnswer):
    """Temporal did not say whether a worker polls."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__(
            "nothing answered in time, and Temporal does not say whether a worker polls; try again"
        )


async def why_silent(client: Client) -> NoAnswer:
    """Return why a workflow that can go on did not answer in time."""
    try:
        polled = await last_poll(client)
    except RPCError:
        return NobodyKnows()
    now = datetime.now(UTC)
    if polled is None or now - polled > POLLED_WITHIN:
        return NobodyPolls()
    return WorkerBusy(polled, now)


async def worker_polls(client: Client) -> bool:
    """Tell whether a worker has polled the workflows' task queue lately."""
    polled = await last_poll(client)
    return polled is not None and datetime.now(UTC) - polled <= POLLED_WITHIN


async def last_poll(client: Client) -> datetime | None:
    """Return when a worker polled the workflows' task queue last; None if none has for minutes.

    A queue has parts, and a plain answer knows one of them alone, which a busy worker may not have polled. A server that
    is too old for the full answer gives the plain one.
    """
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=SCHEDULER_QUEUE),
            task_queue_type=_WORKFLOW_TASKS,
            api_mode=DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED,
            task_queue_types=[_WORKFLOW_TASKS],
            report_pollers=True,
        ),
        timeout=ANSWER_WITHIN,
    )
    of_types = (
        info for version in answer.versions_info.values() for info in version.types_info.values()
    )
    pollers = [*answer.pollers, *(poller for info in of_types for poller in info.pollers)]
    return max((poller.last_access_time.ToDatetime(UTC) for poller in pollers), default=None)

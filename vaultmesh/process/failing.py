"""Finds workflows that can't go on because their workflow task fails, and says why.

1. A workflow is failing if its pending workflow task was tried before, and the last one that ended has failed; or if
   it was tried several times and none ended: an SDK reports the first failure only, and lets later ones time out.
2. One task that timed out, as after the kill of a worker, is no failure.
3. The cause is the newest `WorkflowTaskFailed` of the history.
4. One that waits for a worker is not failing; since when it waits is told beside.
5. Workflows of jobs and maintenance tasks may be many, and come and go: of them are asked about those that the server
   reports, and all in turn only where it reports none (`JobLook`).
6. A process asks in turn, a bounded number each time; first come those that the server itself reports, if it
   does, and those that were failing before. With up to `ASKED_ABOUT` workflows each look asks about all of them.
"""

import asyncio
import logging
import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import (
    EventType,
    PendingWorkflowTaskState,
    WorkflowExecutionStatus,
    WorkflowTaskFailedCause,
)
from temporalio.api.history.v1 import HistoryEvent, WorkflowTaskFailedEventAttributes
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryReverseRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.domain.errors import in_one_line
from vaultmesh.domain.freshness import overdue
from vaultmesh.domain.names import AGGREGATOR_WORKFLOW, JOB_WORKFLOW, NAMESPACE_WORKFLOW
from vaultmesh.process.logs import without_secrets

TYPES = (NAMESPACE_WORKFLOW, AGGREGATOR_WORKFLOW)
"""Types of workflows that are listed, and looked at in turn."""
ANSWER_WITHIN = timedelta(seconds=2)
"""Of one call: what it tells is worth no longer wait."""
TRIES_WITHOUT_END = 4
"""From this attempt on a task is failing even if the history holds no failure: some 30 s after the first."""
LONGEST_CAUSE = 300
"""Characters of a cause: it is one line."""
ASKED_ABOUT = 100
"""Workflows that one look asks about: some 40 ms of a processor each 15 s, however many there are."""
SUSPECTS = 50
"""Of these, at most so many suspects, so that the turn of the others comes too."""
_AT_ONCE = 8
_SILENCE = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
)
"""The server has no time: a look ends, and the next one goes on."""
_LOG = logging.getLogger(__name__)
MEND = (
    "fix the code or deploy the version that wrote this history, then it goes on by itself; "
    'or start its history anew: temporal workflow reset --workflow-id {} --type FirstWorkflowTask --reason "can not go on"'
)
"""What an operator can do; to be formatted with the workflow id, quoted for a shell."""
UNREADABLE_INPUT = "Failed decoding arguments"
"""How the SDK fails the first task of a workflow whose input it can't read: no code and no reset mends that."""
END_IT = (
    "nobody can read what it was started with: end it (temporal workflow terminate --workflow-id {} --reason "
    '"unreadable input"); what the file names is then started anew'
)
"""Likewise, for such a workflow."""
REPORTED = (
    "TemporalReportedProblems IS NOT NULL AND ExecutionStatus = 'Running' AND WorkflowType IN ({})"
)
"""Query for workflows of which the server itself says so; to be formatted with their types."""
_PAGE, _PAGES = 20, 5
"""Events that are read at a time, and how often: signals may have arrived since the failure."""
_FAILED = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
_ENDS = (
    _FAILED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
    EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
)


RUNNING_JOBS = f"WorkflowType = '{JOB_WORKFLOW}' AND ExecutionStatus = 'Running'"
TOLD_FOR_LOOKS = 4
"""A workflow that waited for a worker is told of no longer unless it is asked about again: some minute."""


def mend_of(workflow_id: str, cause: str) -> str:
    """Return what an operator can do about a workflow that fails by this cause, in words."""
    mend = END_IT if UNREADABLE_INPUT in cause else MEND
    return mend.format(shlex.quote(workflow_id))


@dataclass(frozen=True, slots=True)
class Failing:
    """A workflow whose workflow task fails."""

    workflow_id: str
    workflow_type: str
    run_id: str
    cause: str
    """One line."""

    @property
    def mend(self) -> str:
        """What an operator can do, in words."""
        return mend_of(self.workflow_id, self.cause)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What Temporal itself says of a workflow, without asking a worker."""

    failing: Failing | None = None
    """Why it can't go on; None if it can, or does not run."""
    waiting_since: datetime | None = None
    """Since when a workflow task of it waits that no worker has taken; None if none does."""


async def failing(client: Client, workflow_id: str) -> Failing | None:
    """Return why a workflow can't go on; None if it can, or does not run.

    Raises:
        RPCError: Temporal did not answer within two seconds.
    """
    return (await diagnose(client, workflow_id)).failing


async def diagnose(client: Client, workflow_id: str) -> Diagnosis:
    """Return whether a workflow can go on, and since when it waits for a worker.

    Raises:
        RPCError: Temporal did not answer within two seconds.
    """
    execution = WorkflowExecution(workflow_id=workflow_id)
    asked = DescribeWorkflowExecutionRequest(namespace=client.namespace, execution=execution)
    try:
        described = await client.workflow_service.describe_workflow_execution(
            asked, timeout=ANSWER_WITHIN
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return Diagnosis()
        raise
    info, task = described.workflow_execution_info, described.pending_workflow_task
    if info.status != WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING:
        return Diagnosis()
    cause = await _why_failing(client, info.execution, task.attempt)
    if cause:
        name = info.type.name
        return Diagnosis(Failing(workflow_id, name, info.execution.run_id, cause))
    is_waiting = task.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED
    return Diagnosis(
        waiting_since=task.scheduled_time.ToDatetime(UTC) if is_waiting else None,
    )


async def _why_failing(client: Client, execution: WorkflowExecution, attempt: int) -> str:
    """Return why a running workflow can't go on; empty if it can."""
    if attempt <= 1:
        return ""
    end = await _newest_end(client, execution)
    if end is not None and end.event_type == _FAILED:
        return _words(end.workflow_task_failed_event_attributes)
    if attempt >= TRIES_WITHOUT_END:
        return f"its workflow task was tried {attempt} times and never ended; the worker's log says why"
    return ""


async def reported(client: Client, types: Collection[str] = TYPES) -> list[str] | None:
    """Return the ids of workflows of some types of which the server itself says so; None if it keeps no such list.

    Raises:
        RPCError: Temporal did not answer.
    """
    query = REPORTED.format(", ".join(map(repr, types)))
    try:
        return [run.id async for run in client.list_workflows(query, rpc_timeout=ANSWER_WITHIN)]
    except RPCError as error:
        if error.status in (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.UNIMPLEMENTED):
            return None
        raise


async def _newest_end(client: Client, execution: WorkflowExecution) -> HistoryEvent | None:
    """Return the newest event that ended a workflow task."""
    token = b""
    for _ in range(_PAGES):
        page = await client.workflow_service.get_workflow_execution_history_reverse(
            GetWorkflowExecutionHistoryReverseRequest(
                namespace=client.namespace,
                execution=execution,
                maximum_page_size=_PAGE,
                next_page_token=token,
            ),
            timeout=ANSWER_WITHIN,
        )
        for event in page.history.events:
            if event.event_type in _ENDS:
                return event
        token = page.next_page_token
        if not token:
            break
    return None


def _words(failed: WorkflowTaskFailedEventAttributes) -> str:
    """Return a failure in one line: what the server calls it, and what the worker said."""
    name = WorkflowTaskFailedCause.Name(failed.cause)
    kind = name.removeprefix("WORKFLOW_TASK_FAILED_CAUSE_").replace("_", " ").lower()
    said = failed.failure
    parts = [kind, said.application_failure_info.type, said.message]
    return one_line(": ".join(part for part in parts if part))


def one_line(text: str) -> str:
    """Return a foreign text as one line of bounded length, without secrets."""
    return in_one_line(without_secrets(text), LONGEST_CAUSE)


class FailingLook:
    """What one process knows of failing workflows, from one look to the next."""

    def __init__(self, client: Client) -> None:
        """Know nothing before the first look."""
        self._client = client
        self._failing: dict[str, Failing] = {}
        self._waiting: dict[str, datetime] = {}
        self._asked: dict[str, int] = {}
        """Number of the look that asked about a workflow last."""
        self._looks = 0

    @property
    def failing(self) -> Mapping[str, Failing]:
        """Workflows that are failing, by id."""
        return dict(self._failing)

    @property
    def waiting(self) -> Mapping[str, datetime]:
        """Since when workflows wait for a worker, by id; those that were asked about in the last minute."""
        return {
            name: since
            for name, since in self._waiting.items()
            if self._looks - self._asked[name] < TOLD_FOR_LOOKS
        }

    async def take(self, running: Collection[str], suspects: Collection[str] | None = None) -> None:
        """Look at some of the workflows that run, suspects first; those that ended are forgotten.

        Suspects are those that the server reports, if none are named.

        Raises:
            RPCError: Temporal did not answer; what was found before stays.
        """
        self._looks += 1
        self._failing = {name: known for name, known in self._failing.items() if name in running}
        self._waiting = {name: since for name, since in self._waiting.items() if name in running}
        self._asked = {name: look for name, look in self._asked.items() if name in running}
        if suspects is None:
            suspects = await reported(self._client) or ()
        first = self._in_turn({*self._failing, *suspects}.intersection(running))[:SUSPECTS]
        waiting = set(self._waiting).difference(first)
        first += self._in_turn(waiting)[: SUSPECTS - len(first)]
        rest = self._in_turn(set(running).difference(first))[: ASKED_ABOUT - len(first)]
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def ask(name: str) -> None:
            async with at_once:
                await self._ask(name)

        async with asyncio.TaskGroup() as group:
            for name in (*first, *rest):
                group.create_task(ask(name))

    def _in_turn(self, names: Iterable[str]) -> list[str]:
        """Return the workflows that were not asked about for the longest time first."""
        return sorted(names, key=lambda name: (self._asked.get(name, 0), name))

    async def _ask(self, name: str) -> None:
        self._asked[name] = self._looks
        try:
            diagnosis = await diagnose(self._client, name)
        except RPCError as error:
            if error.status in _SILENCE:
                raise
            _LOG.warning("workflow not described", extra={"workflow": name, "err": error.message})
            return
        before = self._failing.pop(name, None)
        self._waiting.pop(name, None)
        if overdue(diagnosis.waiting_since, datetime.now(UTC)):
            assert diagnosis.waiting_since is not None  # noqa: S101 - or it were not overdue
            self._waiting[name] = diagnosis.waiting_since
        if diagnosis.failing is None:
            return
        self._failing[name] = diagnosis.failing
        if before is None:
            cause = diagnosis.failing.cause
            _LOG.error("workflow is failing", extra={"workflow": name, "err": cause})


class JobLook:
    """What one process knows of failing workflows of jobs and maintenance tasks."""

    def __init__(self, client: Client) -> None:
        """Know nothing before the first look."""
        self._client = client
        self._look = FailingLook(client)

    @property
    def failing(self) -> Mapping[str, Failing]:
        """Workflows that are failing, by id."""
        return self._look.failing

    async def take(self) -> None:
        """Look at those that the server reports, and at those that were failing before.

        Raises:
            RPCError: Temporal did not answer; what was found before stays.
        """
        suspects = await reported(self._client, [JOB_WORKFLOW])
        if suspects is None:
            runs = self._client.list_workflows(RUNNING_JOBS, rpc_timeout=ANSWER_WITHIN)
            running, suspects = [run.id async for run in runs], []
        else:
            running = [*suspects, *self.failing]
        await self._look.take(running, suspects)

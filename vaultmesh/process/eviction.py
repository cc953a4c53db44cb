"""Drops a workflow from the worker's cache when a query may have run it ahead of its history.

1. A worker that is asked about a workflow that it does not hold replays the history. Events at its end may belong to a
   workflow task that has not started yet: a timer that fired, a signal, an answer. The SDK hands these to the workflow
   at once, before the query, with the time of the task before, and keeps the workflow so.
2. The real task then brings only what came later. A replay hands out all of it together: signals first, and with the
   time of that task. So the commands may differ, and the workflow fails every task from then on.
3. Nothing that the SDK hands out tells these events from those of a real task: not the time either, since a task that
   had nothing for the workflow, as after a cancelled activity, moves it unseen. But the SDK says which event it handed
   out last, and for a real task that is the task's start. So where a workflow took new events since the last query, the
   server is asked for that event before the next query is answered; no other task of this workflow begins meanwhile.
4. A workflow whose last event is another one, or is not told in time, is dropped. Its next task replays all of it.
5. All are dropped when the connection was lost (`vaultmesh.process.connection`).
6. What a workflow logged before it was dropped is not logged again (`workflows.lines`).

The SDK has no public way to drop one workflow; this uses the call that its core offers for it.
"""

import asyncio
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.converter import StorageDriverStoreContext
from temporalio.service import RPCError
from temporalio.worker import (
    Worker,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowRunner,
)
from typing_extensions import override

from vaultmesh.process.logs import write_marks_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from temporalio.bridge.proto.workflow_activation import WorkflowActivation
    from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
    from temporalio.client import Client
    from temporalio.converter import SerializationContext
    from temporalio.worker._command_aware_visitor import CommandInfo

_NO_STORE = StorageDriverStoreContext(target=None)
LEGACY_QUERY = "legacy_query"
"""The SDK's id of a query that comes in a task of its own, and not with a workflow task."""
NEWEST_EVENTS = 32
"""Among which the start of the last task is looked for; commands and what came meanwhile are newer."""
ASKED_FOR_SECONDS = 0.5
"""The SDK gives up a workflow that takes longer than 2 s for one activation."""


class EvictingRunner(WorkflowRunner):
    """Runs workflows as another runner does, and drops those that a query may have run ahead."""

    def __init__(self, inner: WorkflowRunner) -> None:
        """Drop nothing before `serve`."""
        write_marks_once(workflow.logger.base_logger)
        self._inner = inner
        self._worker: Worker | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._kept: WeakValueDictionary[str, _Watched] = WeakValueDictionary()
        """By run id; an instance goes with the SDK's cache."""
        self.evicted = 0
        """How many were dropped so far."""

    def serve(self, worker: Worker) -> None:
        """Name the worker whose cache it is; without one, as in a replay, nothing is dropped.

        To be called in the loop that the worker's client runs in: workflows run in threads of their own.
        """
        self._worker = worker
        self._loop = asyncio.get_running_loop()

    def evict(self, run_id: str) -> None:
        """Have the SDK drop a run as soon as it has answered what it is asked."""
        if self._worker is not None:
            self.evicted += 1
            self._worker._bridge_worker.request_workflow_eviction(run_id)  # noqa: SLF001 - see the module

    def is_level(self, info: workflow.Info, event_id: int) -> bool:
        """Whether the server has the start of a task as this event, the last one that a run took; waits for half a second."""
        if self._worker is None or self._loop is None:
            return True
        asked = asyncio.run_coroutine_threadsafe(
            _starts_a_task(self._worker.client, info, event_id), self._loop
        )
        try:
            return asked.result(ASKED_FOR_SECONDS)
        except (RPCError, TimeoutError, CancelledError):
            asked.cancel()
            return False

    def evict_all(self) -> None:
        """Have the SDK drop every run, each once the task is done that it may be in."""
        for run_id in list(self._kept):
            self.evict(run_id)

    @override
    def prepare_workflow(self, defn: workflow._Definition) -> None:
        """Do as the inner runner."""
        self._inner.prepare_workflow(defn)

    @override
    def set_worker_level_failure_exception_types(
        self, types: "Sequence[type[BaseException]]"
    ) -> None:
        """Do as the inner runner."""
        self._inner.set_worker_level_failure_exception_types(types)

    @override
    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """Return the inner runner's instance, watched."""
        watched = _Watched(self._inner.create_instance(det), det.info, self)
        self._kept[det.info.run_id] = watched
        return watched


async def _starts_a_task(client: "Client", info: workflow.Info, event_id: int) -> bool:
    """Whether an event, one of the newest of its run, is the start of a workflow task."""
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=info.namespace,
        execution=WorkflowExecution(workflow_id=info.workflow_id, run_id=info.run_id),
        maximum_page_size=NEWEST_EVENTS,
    )
    answer = await client.workflow_service.get_workflow_execution_history_reverse(request)
    started = EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED
    return any(
        event.event_id == event_id and event.event_type == started
        for event in answer.history.events
    )


class _Watched(WorkflowInstance):
    """One run. `_is_new` says that it took events which no replay had brought since it was queried last."""

    def __init__(
        self, inner: WorkflowInstance, info: workflow.Info, runner: EvictingRunner
    ) -> None:
        self._inner = inner
        self._info = info
        self._runner = runner
        self._is_new = False

    @override
    def activate(self, act: "WorkflowActivation") -> "WorkflowActivationCompletion":
        """Hand on an activation; a query in a task of its own that follows new events may have the run dropped."""
        if not any(job.query_workflow.query_id == LEGACY_QUERY for job in act.jobs):
            self._is_new = self._is_new or not act.is_replaying
        elif self._is_new:
            self._is_new = False
            if not self._runner.is_level(self._info, act.history_length):
                self._runner.evict(act.run_id)
        return self._inner.activate(act)

    @override
    def get_serialization_context(
        self, command_info: "CommandInfo | None"
    ) -> "SerializationContext | None":
        """Return none: no converter of ours takes one. The SDK asks several times for each payload, each time in the sandbox."""

    @override
    def get_external_store_context(
        self, command_info: "CommandInfo | None"
    ) -> StorageDriverStoreContext:
        """Return an empty one: we keep no payload elsewhere."""
        return _NO_STORE

    @override
    def get_info(self) -> workflow.Info:
        """Do as the inner instance."""
        return self._inner.get_info()

    @override
    def get_thread_id(self) -> int | None:
        """Do as the inner instance."""
        return self._inner.get_thread_id()

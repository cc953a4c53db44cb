"""Tells the workflows of jobs how their jobs stand, through Temporal; starts one that does not run.

A workflow goes on from what the store says: after the newest slot that was dealt with, with the counts so far.
"""

import asyncio
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.domain.jobs.messages import (
    JobCarried,
    JobInput,
    JobKind,
    JobPause,
    JobSpec,
    SlotCounts,
)
from vaultmesh.domain.jobs.records import JobRevision
from vaultmesh.domain.jobs.refusals import AlreadyRunning, NotTold
from vaultmesh.domain.jobs.schedule import ALREADY_RUNNING
from vaultmesh.domain.names import (
    CONFIGURE,
    JOB_WORKFLOW,
    MEMO_REVISION,
    SCHEDULER_QUEUE,
    STOP,
    TRIGGER,
    job_workflow_id,
)
from vaultmesh.process.client import Unreachable
from vaultmesh.process.job_troubles import JobTroubles
from vaultmesh.process.search_attributes import SearchAttributesMissing, ensure
from vaultmesh.process.updates import cancellable

WITHIN = timedelta(seconds=5)
"""Of one call, by which the caller has its answer."""
_AGAIN_SECONDS = 0.2
_ENDING = (RPCStatusCode.ABORTED, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.UNAVAILABLE)
"""A run of the workflow ends just now: the same order again meets the next one."""


def spec_of(revision: JobRevision, continue_after_events: int = 4_000) -> JobSpec:
    """Return a job as its workflow needs it.

    Raises:
        ValueError: the job is gone, or its row can't be run.
    """
    job, task, pause = revision.definition, revision.task, revision.paused
    common: dict[str, Any] = {
        "name": revision.name,
        "revision": revision.revision,
        "paused": None
        if pause is None
        else JobPause(by=pause.by, at=pause.at, reason=pause.reason),
        "continue_after_events": continue_after_events,
    }
    if task is not None:
        return JobSpec(
            kind=JobKind.MAINTENANCE,
            cron=task.cron,
            enabled=task.enabled,
            config={"kind": task.kind},
            attempts=task.attempts,
            timeout_seconds=task.timeout_seconds,
            catch_up_seconds=task.catch_up_seconds,
            **common,
        )
    if job is None:
        raise ValueError(revision.problem or revision.name)
    return JobSpec(
        job_type=job.job_type,
        cron=job.cron_expression,
        enabled=job.enabled,
        service=job.service,
        endpoint=job.endpoint,
        config=job.config,
        timeout_seconds=job.policy.timeout_seconds,
        catch_up_seconds=job.policy.catch_up_seconds,
        attempts=job.policy.attempts,
        **common,
    )


def input_of(spec: JobSpec, revision: JobRevision) -> JobInput:
    """Return what a workflow begins with, where none runs."""
    counts = SlotCounts(missed=revision.missed, skipped=revision.skipped, served=revision.served)
    return JobInput(
        spec=spec,
        carried=JobCarried(after=revision.served, counts=counts, counts_written=counts),
    )


class TemporalJobs:
    """The workflows of jobs, as `vaultmesh.api.job_workflows` declares them."""

    def __init__(self, client: Client, continue_after_events: int = 4_000) -> None:
        """Speak through a client."""
        self._client = client
        self._continue_after_events = continue_after_events
        self._troubles = JobTroubles(client)

    async def tell(self, revision: JobRevision) -> None:
        """Tell a job's workflow how the job stands, and start it if need be; one that is gone ends.

        Raises:
            NotTold: Temporal can't be reached, or nobody takes workflow tasks.
        """
        if revision.is_gone:
            await self._stop(revision)
            return
        spec = spec_of(revision, self._continue_after_events)
        start: WithStartWorkflowOperation[object, object] = WithStartWorkflowOperation(
            JOB_WORKFLOW,
            input_of(spec, revision),
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            **_named(spec),
        )
        try:
            async with asyncio.timeout(WITHIN.total_seconds()):
                if not await self._configured(spec):
                    await ensure(self._client)  # the server may be a new one, without any
                    with cancellable():
                        await self._client.execute_update_with_start_workflow(
                            CONFIGURE, spec, start_workflow_operation=start, rpc_timeout=WITHIN
                        )
        except (SearchAttributesMissing, Unreachable) as error:
            raise NotTold(str(error)) from error
        except (
            RPCError,
            TimeoutError,
            WorkflowUpdateFailedError,
            WorkflowUpdateRPCTimeoutOrCancelledError,
        ) as error:
            raise _not_told(revision.name, error) from error

    async def start(self, revision: JobRevision) -> None:
        """Start the workflow of a job that had none a moment ago; one that somebody else started since is told.

        It costs the server a third of `tell`, and waits for no worker. The search attributes MUST be there.

        Raises:
            NotTold: Temporal can't be reached, or nobody takes workflow tasks.
        """
        spec = spec_of(revision, self._continue_after_events)
        try:
            await self._client.start_workflow(
                JOB_WORKFLOW, input_of(spec, revision), rpc_timeout=WITHIN, **_named(spec)
            )
        except WorkflowAlreadyStartedError:
            await self.tell(revision)
        except RPCError as error:
            raise _not_told(revision.name, error) from error

    async def _configured(self, spec: JobSpec) -> bool:
        """Tell a workflow that runs; False if there is none."""
        handle = self._client.get_workflow_handle(job_workflow_id(spec.name))
        try:
            with cancellable():
                await handle.execute_update(CONFIGURE, spec, rpc_timeout=WITHIN)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    async def _stop(self, revision: JobRevision) -> None:
        handle = self._client.get_workflow_handle(job_workflow_id(revision.name))
        order = {"revision": revision.revision}
        try:
            async with asyncio.timeout(WITHIN.total_seconds()):
                with cancellable():
                    await handle.execute_update(STOP, order, rpc_timeout=WITHIN)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise _not_told(revision.name, error) from error
        except (
            TimeoutError,
            WorkflowUpdateFailedError,
            WorkflowUpdateRPCTimeoutOrCancelledError,
        ) as error:
            raise _not_told(revision.name, error) from error

    async def trigger(self, name: str, run: UUID, user: str | None) -> None:
        """Have a job run now, under this execution id; asked twice with one id, it runs once.

        Raises:
            AlreadyRunning: a run is under way.
            NotTold: Temporal can't be reached, nobody takes workflow tasks, or no workflow of the job runs yet.
        """
        order = {"run_id": str(run), **({"user": user} if user else {})}
        try:
            async with asyncio.timeout(WITHIN.total_seconds()):
                while not await self._triggered(name, order):  # noqa: ASYNC110 - nobody tells when it may be asked again
                    await asyncio.sleep(_AGAIN_SECONDS)
        except WorkflowUpdateFailedError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError) and cause.message == ALREADY_RUNNING:
                raise AlreadyRunning(ALREADY_RUNNING) from error
            raise _not_told(name, error) from error
        except (RPCError, TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
            raise _not_told(name, error) from error

    async def _triggered(self, name: str, order: Mapping[str, str]) -> bool:
        """Send a trigger; False if it met the end of the workflow's run."""
        handle = self._client.get_workflow_handle(job_workflow_id(name))
        try:
            with cancellable():
                await handle.execute_update(TRIGGER, order, rpc_timeout=WITHIN)
        except RPCError as error:
            if error.status not in _ENDING:
                raise
            return False
        return True

    async def troubles(self, names: Collection[str]) -> Mapping[str, str]:
        """Return why workflows of jobs do not go on, in words, by the jobs' names; raises `NotTold`."""
        try:
            async with asyncio.timeout(WITHIN.total_seconds()):
                return await self._troubles.of(names)
        except (RPCError, TimeoutError) as error:
            message = "Temporal does not say which workflows of jobs run"
            raise NotTold(message) from error


def _named(spec: JobSpec) -> dict[str, Any]:
    """Return what a job's workflow is started with, besides its input."""
    return {
        "id": job_workflow_id(spec.name),
        "task_queue": SCHEDULER_QUEUE,
        "static_summary": spec.name,
        "memo": {MEMO_REVISION: spec.revision},
    }


def _not_told(name: str, error: Exception) -> NotTold:
    if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
        return NotTold(
            f"no workflow of job {name!r} runs yet; workers with role jobs start it within 15 s"
        )
    if isinstance(error, RPCError):
        return NotTold(f"Temporal did not take it: {error.message}")
    if isinstance(error, WorkflowUpdateFailedError):
        cause = error.cause
        return NotTold(cause.message if isinstance(cause, ApplicationError) else str(cause))
    within = f"{WITHIN.total_seconds():g} s"
    return NotTold(
        f"nobody answered for job {name!r} within {within}: Temporal is away, or no worker with role workflows runs"
    )

"""Stands in for the activities of maintenance tasks: attempts end as planned, and are remembered."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError

from tests.workflows.jobs.scripted_runs import ScriptedRuns
from tests.workflows.stage import Adapter, JobRun, Stage
from vaultmesh.domain.jobs.messages import JobInput, JobKind, JobSpec, RunEnd, RunOrder
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.names import JOB_WORKFLOW, SCHEDULER_QUEUE, job_workflow_id


class ScriptedTasks(ScriptedRuns):
    """A store and a database in memory; attempts at a run end as planned."""

    def __init__(self) -> None:
        """Every attempt succeeds."""
        super().__init__()
        self.attempts: list[tuple[str, int]] = []
        self.failing = 0
        """How many attempts ask for another one."""
        self.cancelled: list[str] = []
        self.stuck: asyncio.Event | None = None
        """What attempts wait for without a beat, if for anything."""

    def adapters(self) -> Sequence[Adapter]:
        """Return the activities."""
        return (*super().adapters(), self.run_task)

    @activity.defn(name="run_task")
    async def run_task(self, order: RunOrder) -> RunEnd:
        """Run as planned."""
        attempt = activity.info().attempt
        self.attempts.append((order.run_id, attempt))
        activity.heartbeat({"attempt": attempt})
        if attempt == 1:
            self.orders.append(order)
        if self.stuck is not None:
            await asyncio.shield(self.stuck.wait())
        if len(self.attempts) <= self.failing:
            message = "the database is away"
            raise ApplicationError(message, next_retry_delay=timedelta(milliseconds=10))
        status, error = RunStatus.COMPLETED, None
        try:
            left = self.seconds
            while left > 0:
                activity.heartbeat({"attempt": attempt})
                await asyncio.sleep(0.1)
                left -= 0.1
        except asyncio.CancelledError:
            self.cancelled.append(order.run_id)
            status, error = RunStatus.FAILED, "cancelled"
        now = datetime.now(UTC)
        return RunEnd(
            run_id=order.run_id,
            slot=order.slot,
            status=status,
            error=error,
            started_at=now,
            completed_at=now,
            is_written=True,
        )


async def task(stage: Stage, cron: str, **more: object) -> JobRun:
    """Start a task's workflow."""
    name = f"maintenance:task-{uuid.uuid4().hex[:8]}"
    spec = JobSpec(
        name=name,
        kind=JobKind.MAINTENANCE,
        cron=cron,
        config={"kind": "vacuum"},
        **{"attempts": 3, **more},
    )
    handle = await stage.env.client.start_workflow(
        JOB_WORKFLOW, JobInput(spec=spec), id=job_workflow_id(name), task_queue=SCHEDULER_QUEUE
    )
    assert handle.id == name
    stage.started.append(handle)
    return JobRun(handle, name)

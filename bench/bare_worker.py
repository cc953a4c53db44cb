"""Runs workflows that do nothing but wait and ask: what the server can do at most.

Usage: python -m bench.bare_worker READY_FILE, with TEMPORAL_ADDRESS set.
"""

import asyncio
import sys
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

QUEUE = "bare"
WORKFLOW = "BareWorkflow"


class Bare(BaseModel):
    """When to ask."""

    due: list[datetime]


@activity.defn(name="ask")
async def ask() -> int:
    """Take the place of `anchor`, answered at once."""
    return 1


@workflow.defn(name=WORKFLOW)
class BareWorkflow:
    """Waits for each instant and runs an activity."""

    @workflow.run
    async def run(self, instants: Bare) -> None:
        """Go through all instants, then stay, as a namespace does."""
        for due in instants.due:
            wait = due - workflow.now()
            if wait > timedelta(0):
                await workflow.sleep(wait)
            await workflow.execute_activity("ask", start_to_close_timeout=timedelta(minutes=5))
        await workflow.wait_condition(lambda: False)


async def main(ready: Path) -> None:
    """Work until killed."""
    from vaultmesh.process.client import connect  # noqa: PLC0415 - not for the sandbox

    client = await connect()
    restrictions = SandboxRestrictions.default.with_passthrough_modules("pydantic", "pydantic_core")
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[BareWorkflow],
        activities=[ask],
        workflow_runner=SandboxedWorkflowRunner(restrictions=restrictions),
        max_cached_workflows=1_500,
        max_concurrent_activities=500,
    )
    async with worker:
        ready.touch()  # noqa: ASYNC240 - one file, nothing waits
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

"""Runs the workflows that Temporal's Schedules start: each calls a handler once.

Usage: python -m bench.schedules_worker READY_FILE, with TEMPORAL_ADDRESS set.
"""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.common import SearchAttributeKey
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from aiohttp import ClientSession, TCPConnector

QUEUE = "schedules"
WORKFLOW = "ScheduledCall"
SCHEDULED = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
"""The slot, as the server says it."""


@activity.defn(name="call")
async def call(name: str, url: str, slot: int) -> int:
    """Call the handler on a connection of its own, as our jobs do."""
    body = {"jobName": name, "executionId": activity.info().workflow_run_id, "slot": slot}
    async with (
        ClientSession(connector=TCPConnector(force_close=True)) as session,
        session.post(url, json=body) as answer,
    ):
        await answer.json()
        return answer.status


@workflow.defn(name=WORKFLOW)
class ScheduledCall:
    """Calls once."""

    @workflow.run
    async def run(self, name: str, url: str) -> None:
        """Call for the slot that the schedule says."""
        slot = workflow.info().typed_search_attributes[SCHEDULED]
        await workflow.execute_activity(
            call,
            args=[name, url, int(slot.timestamp())],
            start_to_close_timeout=timedelta(minutes=5),
        )


async def main(ready: Path) -> None:
    """Work until killed."""
    from vaultmesh.process.client import connect  # noqa: PLC0415 - not for the sandbox

    worker = Worker(
        await connect(),
        task_queue=QUEUE,
        workflows=[ScheduledCall],
        activities=[call],
        max_concurrent_activities=200,
    )
    async with worker:
        ready.touch()  # noqa: ASYNC240 - one file, nothing waits
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

"""Whether an attempt of an activity still counts, as a real Temporal server tells it."""

import asyncio
import secrets
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.current import Attempts
from vaultmesh.process.client import connect

pytestmark = pytest.mark.server


@workflow.defn(name="AnotherWorkflow", sandboxed=False)
class Writes:
    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_activity(
            "write",
            start_to_close_timeout=timedelta(seconds=60),
            heartbeat_timeout=timedelta(seconds=1),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
            result_type=int,
        )


class Writer:
    """Asks in its first attempt only when the second has begun."""

    def __init__(self, client: Client) -> None:
        self.attempts = Attempts(client)
        self.second_began = asyncio.Event()
        self.first_asked: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @activity.defn(name="write")
    async def write(self) -> int:
        require_current = self.attempts.guard()
        if activity.info().attempt > 1:
            self.second_began.set()
            await asyncio.to_thread(require_current)
            await self.first_asked
            return activity.info().attempt
        await asyncio.to_thread(require_current)
        await asyncio.shield(self.second_began.wait())
        await asyncio.sleep(0.3)  # longer than an answer holds
        try:
            await asyncio.to_thread(require_current)
        except ApplicationError as error:
            self.first_asked.set_result(error.message)
        else:
            self.first_asked.set_result("")
        return 1


async def test_an_attempt_that_another_one_has_overtaken_is_told_so_before_it_writes(
    address: str,
) -> None:
    client, queue = await connect(), secrets.token_hex(4)
    writer = Writer(client)
    async with Worker(client, task_queue=queue, workflows=[Writes], activities=[writer.write]):
        ended = await client.execute_workflow(Writes.run, id=f"writes-{queue}", task_queue=queue)
    assert ended == 2
    assert "another attempt has taken over" in writer.first_asked.result()

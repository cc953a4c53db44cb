"""An answer that outlived the connection to Temporal is kept back: it might reach another step of an older history."""

import asyncio
import secrets
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.worker import Worker

from activities.heartbeat import Heartbeats
from vaultmesh.process.client import connect

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("address")]


@workflow.defn(name="AnotherWorkflow", sandboxed=False)
class Asks:
    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_activity(
            "answer",
            start_to_close_timeout=timedelta(seconds=60),
            heartbeat_timeout=timedelta(seconds=20),
            result_type=int,
        )


async def test_an_answer_is_given_anew_if_the_connection_was_lost_meanwhile() -> None:
    beats = Heartbeats()

    @activity.defn(name="answer")
    async def answer() -> int:
        await asyncio.sleep(0)
        if activity.info().attempt == 1:
            beats.connection_lost()
        return activity.info().attempt

    client, queue = await connect(), f"answers-{secrets.token_hex(4)}"
    async with Worker(
        client, task_queue=queue, workflows=[Asks], activities=[answer], interceptors=[beats]
    ):
        assert await client.execute_workflow(Asks.run, id=queue, task_queue=queue) == 2

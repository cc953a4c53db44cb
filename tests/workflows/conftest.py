"""Gives workflow tests their server, and runs each of them at two tempos."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.common import SearchAttributeKey
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from devnet.temporal import temporal_cli
from devnet.test_server import test_server as time_skipping_server
from tests.support.replays import Replays
from tests.workflows.stage import KEPT, Stage
from vaultmesh.process.search_attributes import NEEDED


async def _started() -> WorkflowEnvironment:
    env = await WorkflowEnvironment.start_time_skipping(
        data_converter=pydantic_data_converter,
        test_server_existing_path=str(time_skipping_server()),
    )
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    await env.client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace=env.client.namespace, search_attributes=dict.fromkeys(NEEDED, keyword)
        )
    )
    return env


class Server:
    """A time-skipping server, replaced when its time stands still.

    A workflow that is terminated while a task of it waits leaves the server's time locked for good.
    """

    def __init__(self) -> None:
        self._env: WorkflowEnvironment | None = None

    async def usable(self) -> WorkflowEnvironment:
        """Return a server whose time can be skipped."""
        if self._env is not None and not await _skips(self._env):
            await self.close()
        if self._env is None:
            self._env = await _started()
        return self._env

    async def close(self) -> None:
        """Stop it."""
        if self._env is not None:
            await self._env.shutdown()
        self._env = None


async def _skips(env: WorkflowEnvironment) -> bool:
    try:
        await asyncio.wait_for(env.sleep(timedelta(hours=1)), 0.5)
    except (TimeoutError, RPCError):
        return False
    return True


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server() -> AsyncIterator[Server]:
    """Return the session's server."""
    one = Server()
    yield one
    await one.close()


@pytest.fixture(params=[KEPT, 0], ids=["kept", "replayed"])
def tempo(request: pytest.FixtureRequest) -> int:
    """Return how many workflows the workers keep in memory."""
    return int(request.param)


@pytest_asyncio.fixture(loop_scope="session")
async def stage(server: Server, tempo: int) -> AsyncIterator[Stage]:
    """Return the stage of one test; what it started is ended."""
    one = Stage(await server.usable(), tempo)
    yield one
    await one.close()


async def start_real() -> WorkflowEnvironment:
    """Start the real server, in memory; its time passes as it does."""
    return await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(temporal_cli()),
        data_converter=pydantic_data_converter,
        dev_server_log_level="error",
        search_attributes=[SearchAttributeKey.for_keyword(name) for name in NEEDED],
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def real_server(real_replays: Replays) -> AsyncIterator[WorkflowEnvironment]:
    """Return the session's real server, for what the time-skipping one does wrongly: cancelled activities."""
    async with await start_real() as env:
        yield env
        await real_replays.check(env.client)


@pytest.fixture(scope="session")
def real_replays() -> Replays:
    """Return what was replayed of the real server; each test adds its runs, and the session's end the rest."""
    return Replays()


@pytest_asyncio.fixture(loop_scope="session")
async def real_stage(
    real_server: WorkflowEnvironment, real_replays: Replays, tempo: int
) -> AsyncIterator[Stage]:
    """Return a stage on the real server."""
    one = Stage(real_server, tempo, replays=real_replays)
    yield one
    await one.close()

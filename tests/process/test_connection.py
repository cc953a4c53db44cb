"""A lost connection to Temporal is noticed; a server that is slow is none."""

import asyncio
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from devnet.temporal import TemporalServer
from tests.support.system import kill
from vaultmesh.process import connection
from vaultmesh.process.client import connect
from vaultmesh.process.connection import Connection


def answering(*answers: RPCStatusCode | None) -> Client:
    """Return a client whose server answers like this, one after the other."""
    left = list(answers)

    async def get_system_info(*_: object, **__: object) -> Any:
        status = left.pop(0)
        if status is not None:
            message = "away"
            raise RPCError(message, status, b"")

    return cast(
        "Client", SimpleNamespace(workflow_service=SimpleNamespace(get_system_info=get_system_info))
    )


async def asked(*answers: RPCStatusCode | None) -> int:
    lost: list[float] = []
    watch = Connection(answering(*answers), lambda: lost.append(time.monotonic()))
    for _ in answers:
        await watch.ask()
    return len(lost)


async def test_a_server_that_is_away_for_one_question_counts_as_lost() -> None:
    assert await asked(None, RPCStatusCode.UNAVAILABLE, None, None) == 1


async def test_a_server_that_is_slow_is_not_lost_before_it_was_silent_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await asked(None, RPCStatusCode.DEADLINE_EXCEEDED, None) == 0
    monkeypatch.setattr(connection, "SILENT_SECONDS", -1)
    assert await asked(None, RPCStatusCode.DEADLINE_EXCEEDED) == 1


@pytest.mark.server
async def test_a_real_server_that_ends_is_noticed_within_seconds(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = asyncio.Event()
    with TemporalServer(tmp_path, headless=True) as server:
        monkeypatch.setenv("TEMPORAL_ADDRESS", server.address)
        watch = asyncio.create_task(Connection(await connect(), lost.set).run())
        await asyncio.sleep(1.2)
        assert not lost.is_set()
        server.kill()
        await asyncio.wait_for(lost.wait(), 5)
        watch.cancel()


@pytest.mark.server
def test_a_server_that_is_back_after_a_moment_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its database may be an older copy: what workers keep in memory must go, however short it was away."""
    lost = threading.Event()

    async def watch() -> None:
        await Connection(await connect(), lost.set).run()

    with TemporalServer(tmp_path, headless=True, database=tmp_path / "temporal.db") as server:
        monkeypatch.setenv("TEMPORAL_ADDRESS", server.address)
        threading.Thread(target=lambda: asyncio.run(watch()), daemon=True).start()
        time.sleep(1.2)
        assert not lost.is_set()
        kill(server)
        server.start()
        assert lost.wait(5)

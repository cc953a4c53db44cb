"""The worker's HTTP server, over real sockets and a real Temporal server."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from temporalio.client import Client

from devnet.ports import LOOPBACK, free_port
from vaultmesh.domain.status import CadenceMemo, NamespaceMemo
from vaultmesh.process.client import connect
from vaultmesh.process.http import HealthServer, PortTaken
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.visibility import Snapshot, Visibility

pytestmark = pytest.mark.server


@dataclass
class RunningServer:
    """A server that answers, and what it answers from."""

    visibility: Visibility
    url: str
    polls: bool = True

    async def get(self, path: str) -> tuple[int, str, str]:
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}{path}") as answer:
            return answer.status, answer.headers["Content-Type"], await answer.text()

    async def status(self, path: str) -> int:
        return (await self.get(path))[0]


@asynccontextmanager
async def _running(client: Client) -> AsyncIterator[RunningServer]:
    metrics, port = Metrics(), free_port()
    visibility = Visibility(client, metrics)
    running = RunningServer(visibility, f"http://{LOOPBACK}:{port}")
    server = HealthServer(port, metrics, visibility, lambda: running.polls)
    await server.start()
    try:
        yield running
    finally:
        await server.stop()


@pytest.fixture
async def server(address: str) -> AsyncIterator[RunningServer]:
    async with _running(await connect()) as running:
        yield running


async def test_before_temporal_has_answered_it_lives_but_is_not_ready(
    server: RunningServer,
) -> None:
    assert await server.status("/livez") == 200
    assert await server.status("/readyz") == 503
    assert await server.status("/health") == 503


async def test_it_is_ready_once_temporal_has_answered(server: RunningServer) -> None:
    await server.visibility.refresh()
    assert await server.status("/readyz") == 200
    assert await server.status("/health") == 200


async def test_it_is_not_ready_when_the_worker_takes_no_work(server: RunningServer) -> None:
    await server.visibility.refresh()
    server.polls = False
    assert await server.status("/readyz") == 503
    assert await server.status("/livez") == 200


async def test_a_degraded_worker_answers_200_so_that_no_pod_restarts(server: RunningServer) -> None:
    memo = NamespaceMemo(
        namespace="dao:one", cadences={"fast": CadenceMemo(target="eip155:1", failures=5)}
    )
    server.visibility.snapshot = Snapshot(time.time(), {"dao:one": memo})
    status, form, text = await server.get("/health")
    assert (status, form) == (200, "application/json; charset=utf-8")
    assert '"status": "degraded"' in text


async def test_a_worker_that_lost_temporal_is_unhealthy_and_not_ready(
    server: RunningServer,
) -> None:
    server.visibility.snapshot = Snapshot(time.time() - 61)
    assert await server.status("/health") == 503
    assert await server.status("/readyz") == 503
    assert await server.status("/livez") == 200


async def test_metrics_are_prometheus_text_and_show_the_last_answer_of_temporal(
    server: RunningServer,
) -> None:
    await server.visibility.refresh()
    status, form, text = await server.get("/metrics")
    assert (status, form) == (200, "text/plain; version=0.0.4; charset=utf-8")
    (line,) = [one for one in text.splitlines() if one.startswith("scheduler_last_tick")]
    assert abs(time.time() - float(line.split()[1])) < 60


async def test_a_page_that_takes_long_keeps_nobody_waiting(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harm: with a thousand namespaces, each scrape stopped the worker for more than a second."""
    writing, may_end = threading.Event(), threading.Event()

    def slow(_: Metrics) -> bytes:
        writing.set()
        may_end.wait(30)
        return b"written\n"

    monkeypatch.setattr(Metrics, "page", slow)
    scrape = asyncio.create_task(server.get("/metrics"))
    await asyncio.to_thread(writing.wait, 30)
    assert await server.status("/livez") == 200
    may_end.set()
    assert (await scrape)[2] == "written\n"


async def test_anything_else_is_not_found(server: RunningServer) -> None:
    assert await server.status("/") == 404
    assert await server.status("/metrics/all") == 404


async def test_a_port_in_use_is_one_clear_line_that_names_the_setting(address: str) -> None:
    metrics = Metrics()
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        visibility = Visibility(await connect(), metrics)
        server = HealthServer(port, metrics, visibility, lambda: True)
        with pytest.raises(PortTaken) as caught:
            await server.start()
        await server.stop()
    message = str(caught.value)
    assert str(port) in message
    assert "METRICS_PORT" in message
    assert "\n" not in message

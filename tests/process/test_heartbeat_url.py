"""The heartbeat that somebody outside waits for is sent while all is as promised, and whatever its receiver does is no harm."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from pydantic import SecretStr

from devnet.ports import LOOPBACK, free_port
from tests.process.test_promises import NOW, SPECS, memo
from vaultmesh.domain.promises import Unfinished
from vaultmesh.process import heartbeat_url as module
from vaultmesh.process.failing import Failing
from vaultmesh.process.heartbeat_url import HeartbeatUrl
from vaultmesh.process.promises import PromiseMetrics, Promises
from vaultmesh.process.visibility import Snapshot

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Scene:
    """A heartbeat, and what it goes by."""

    def __init__(self, url: str) -> None:
        self.batches: list[Unfinished] = []
        self.snapshot = Snapshot(taken_at=NOW, namespaces={"dao:one": memo()})
        self.promises = Promises(
            lambda: SPECS,
            lambda: lambda *_: self.batches,
            lambda: self.snapshot,
            dict,
            PromiseMetrics("scheduler"),
        )
        self.beats = HeartbeatUrl(SecretStr(url), lambda: self.snapshot, self.promises)


@asynccontextmanager
async def receiver(answer: Answer | None = None) -> AsyncIterator[tuple[str, list[str]]]:
    """Run a receiver; yields its URL and the calls that it had."""
    calls: list[str] = []

    async def take(request: web.Request) -> web.StreamResponse:
        calls.append(request.path)
        return await answer(request) if answer else web.Response(text="OK")

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, LOOPBACK, port).start()
    try:
        yield f"http://{LOOPBACK}:{port}/ping/0a1b2c3d4e5f60718293", calls
    finally:
        await runner.cleanup()


async def beat(scene: Scene, monkeypatch: pytest.MonkeyPatch, *, seconds: float = 0.5) -> None:
    """Let it run for a while, with a beat each 50 ms."""
    monkeypatch.setattr(module, "EVERY_SECONDS", 0.05)
    monkeypatch.setattr(module, "UNHEARD_SECONDS", 0.02)
    monkeypatch.setattr(module, "CALL_SECONDS", 0.1)
    running = asyncio.create_task(scene.beats.run(lambda: NOW))
    await asyncio.sleep(seconds)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_it_is_called_while_all_is_as_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver() as (url, calls):
        scene = Scene(url)
        await scene.promises.look(NOW)
        await beat(scene, monkeypatch)
        assert calls
        assert set(calls) == {"/ping/0a1b2c3d4e5f60718293"}


async def test_a_missed_deadline_holds_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harm: somebody outside heard each minute that all was well while batches waited for days."""
    async with receiver() as (url, calls):
        scene = Scene(url)
        scene.batches = [Unfinished("b1", int(NOW) - 601)]
        await scene.promises.look(NOW)
        await beat(scene, monkeypatch)
        assert calls == []
        assert "1 batches missed" in scene.beats.why_not(NOW)


@pytest.mark.parametrize("broken", ["old list", "no look", "missing", "failing"])
async def test_what_nobody_can_vouch_for_holds_it_back(broken: str) -> None:
    scene = Scene("http://127.0.0.1:1/")
    if broken != "no look":
        await scene.promises.look(NOW)
    if broken == "old list":
        scene.snapshot.taken_at = NOW - 301
    if broken == "missing":
        scene.snapshot.missing = ["dao:one"]
    if broken == "failing":
        failing = Failing("namespace:dao:one", "NamespaceWorkflow", "run", "nondeterminism")
        scene.snapshot.failing = {failing.workflow_id: failing}
    assert scene.beats.why_not(NOW)


async def test_a_receiver_that_hangs_lies_or_is_gone_disturbs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async def redirect(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(1_000):
            await answer.write(b"x" * 65_536)
        return answer

    for behave in (hang, redirect, endless):
        async with receiver(behave) as (url, calls):
            scene = Scene(url)
            await scene.promises.look(NOW)
            await beat(scene, monkeypatch)
            assert calls
            assert "/elsewhere" not in calls
    scene = Scene(f"http://{LOOPBACK}:{free_port()}/ping/0a1b2c3d4e5f60718293")
    await scene.promises.look(NOW)
    await beat(scene, monkeypatch)
    assert "0a1b2c3d4e5f60718293" not in caplog.text


async def test_a_call_that_was_not_heard_or_held_back_costs_no_whole_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The harm: a worker that starts knows nothing yet, or a receiver hiccups once, and its people are called for it."""
    answers = iter([500, 503, 200])

    async def hiccup(_: web.Request) -> web.StreamResponse:
        return web.Response(status=next(answers))

    monkeypatch.setattr(module, "HELD_SECONDS", 0.05)
    monkeypatch.setattr(module, "UNHEARD_SECONDS", 0.05)
    async with receiver(hiccup) as (url, calls):
        scene = Scene(url)
        running = asyncio.create_task(scene.beats.run(lambda: NOW))
        await asyncio.sleep(0.1)
        assert calls == []  # nobody has looked at promises yet
        await scene.promises.look(NOW)
        await asyncio.sleep(0.5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert len(calls) == 3

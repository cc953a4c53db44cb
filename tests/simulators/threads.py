"""Lets a simulator that lives in an event loop serve a test that has none."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.simulators.evm import LyingProvider


@contextmanager
def lying_provider(upstream: str) -> Iterator[LyingProvider]:
    """Run a provider that misbehaves on request in a thread of its own."""
    started, ends = threading.Event(), asyncio.Event()
    found: list[tuple[LyingProvider, asyncio.AbstractEventLoop]] = []

    async def serve() -> None:
        async with LyingProvider(upstream) as provider:
            found.append((provider, asyncio.get_running_loop()))
            started.set()
            await ends.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    if not started.wait(10):
        message = "the simulator did not start"
        raise RuntimeError(message)
    provider, loop = found[0]
    try:
        yield provider
    finally:
        loop.call_soon_threadsafe(ends.set)
        thread.join(10)

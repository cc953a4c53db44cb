"""Gives each of many its turn within a bounded time: a few at once, and who has waited longest first."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection

AT_ONCE = 16
BEGUN_WITHIN_SECONDS = 10.0
"""What has not begun by then is left to the next time."""


class Turns:
    """Remembers when each had its last turn."""

    def __init__(self) -> None:
        """Remember nothing."""
        self._last: dict[str, float] = {}

    async def take(self, names: Collection[str], work: Callable[[str], Awaitable[None]]) -> None:
        """Do the work for these, as far as the time goes; what begins is waited for."""
        at_once = asyncio.Semaphore(AT_ONCE)
        begun_by = time.monotonic() + BEGUN_WITHIN_SECONDS

        async def in_turn(name: str) -> None:
            async with at_once:
                if time.monotonic() < begun_by:
                    self._last[name] = time.monotonic()
                    await work(name)

        async with asyncio.TaskGroup() as group:
            for name in sorted(names, key=lambda name: self._last.get(name, 0.0)):
                group.create_task(in_turn(name))
        self._last = {name: at for name, at in self._last.items() if name in names}

"""Starts parts that died again, with their data.

1. A part that ends, for whatever reason, is started again at once; one that keeps failing waits longer each time.
   One that others kill, however often, neither waits nor is given up.
2. Whoever keeps a list of process ids is told as soon as the part has a new one, before it is ready.
3. A part that can't be brought back ends the supervision with its error: better none than half a network.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from devnet.errors import PartError
from devnet.process import Part

LOOK_SECONDS = 0.1
STEADY_SECONDS = 10.0
"""A part that lived so long gets all its tries back."""
PAUSES_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Before the first, second … start in a row."""


class Supervisor:
    """Keeps parts running. All of it happens on the main thread, as starting a part must."""

    def __init__(self, restarted: Callable[[Part], None] | None = None) -> None:
        """Call `restarted` with a part that has a new process id."""
        self._restarted = restarted
        self._parts: list[Part] = []

    async def start(self, part: Part) -> None:
        """Start a part and wait until it is ready; `run` keeps it running, `stop` ends it.

        Raises:
            PartError: it did not start, and is nothing that is kept running.
        """
        part.launch()
        self._parts.append(part)
        try:
            await part.until_ready()
        except PartError:
            self._parts.remove(part)
            raise

    async def run(self) -> None:
        """Keep all parts running, also those that are started later, until cancelled.

        Raises:
            PartError: a part can't be brought back.
        """
        kept: dict[int, asyncio.Task[None]] = {}
        try:
            while True:
                for part in self._parts:
                    if id(part) not in kept:
                        kept[id(part)] = asyncio.create_task(self._keep(part))
                for task in kept.values():
                    if task.done():
                        await task
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for task in kept.values():
                task.cancel()
            await asyncio.gather(*kept.values(), return_exceptions=True)

    def pids(self) -> dict[str, int]:
        """Return each part's process id by its name."""
        return {part.name: part.pid for part in self._parts}

    def stop(self) -> None:
        """Stop the parts, the last one first; `run` must have ended."""
        while self._parts:
            self._parts.pop().stop()

    async def _keep(self, part: Part) -> None:
        """Start a part again each time it ends."""
        tries, since = 0, time.monotonic()
        while True:
            while part.alive:  # noqa: ASYNC110 - a process has no event that works everywhere
                await asyncio.sleep(LOOK_SECONDS)
            steady = time.monotonic() - since > STEADY_SECONDS
            tries = 0 if steady or part.killed_by_others else tries
            if tries == len(PAUSES_SECONDS):
                message = f"{part.name} keeps ending; see {part.log}\n{part.last_lines()}"
                raise PartError(message)
            await asyncio.sleep(PAUSES_SECONDS[tries])
            tries, since = tries + 1, time.monotonic()
            part.launch()
            if self._restarted is not None:
                self._restarted(part)
            with suppress(PartError):  # it ended again: counted above
                await part.until_ready()

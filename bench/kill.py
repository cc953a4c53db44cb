"""Measures how long namespaces stand still after `kill -9` of one of two workers."""

import asyncio
import os
import signal
import time

from temporalio.client import Client

from bench.events import slots_of
from bench.figures import Row, at_most, unlimited
from bench.system import BenchError, BenchSystem, names, sleep_until

NEEDS = "server, chain and two workers; about 2 minutes"
_IDLE_SECONDS, _TASK_SECONDS = 3.0, 12.0
_EVERY = 5
"""Seconds between two slots of a namespace; their phases are spread, so a slot is due at each second."""
_DEAD_TASKS = 2
"""Workflows whose task may have died with the worker: their next slot waits for the task's own time-out."""


def measure(*, quick: bool) -> list[Row]:
    """Kill a worker some times; quickly, once."""
    count, kills = (10, 1) if quick else (50, 5)
    worst: list[float] = []
    late: list[float] = []
    for _ in range(kills):
        with BenchSystem() as system:
            system.start_worker()
            system.start_worker()
            lags = sorted(asyncio.run(_lags(system, count)))
        late += lags[-_DEAD_TASKS:]
        worst.append(lags[-_DEAD_TASKS - 1])
    return [
        at_most(
            f"{count} namespaces, one of two workers killed: the next slot of an idle one began, the latest",
            max(worst),
            _IDLE_SECONDS,
            "{:.1f} s",
        ),
        at_most("  the latest of all", max(late), _TASK_SECONDS, "{:.1f} s"),
        unlimited("  kills", str(kills)),
    ]


async def _lags(system: BenchSystem, count: int) -> list[float]:
    """Return how late the first slot after the kill began in each namespace, in seconds."""
    client, wanted = await system.client(), names(count)
    await system.register(client, wanted, f"{_EVERY}s", range(_EVERY))
    await sleep_until(time.time() + 2 * _EVERY)
    os.kill(system.workers[0].pid, signal.SIGKILL)
    killed = time.time()
    await sleep_until(killed + _TASK_SECONDS + 3 * _EVERY)
    return await _first_lags(client, wanted, killed)


async def _first_lags(client: Client, wanted: list[str], killed: float) -> list[float]:
    lags = []
    for name in wanted:
        after = [slot for slot in await slots_of(client, [name]) if slot.due > killed]
        if not after:
            message = f"{name} stood still for {time.time() - killed:.0f} s after the kill"
            raise BenchError(message)
        lags.append(after[0].started - after[0].due)
    return lags

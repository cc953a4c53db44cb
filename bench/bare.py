"""Compares anchors per second with what bare workflows reach on the same server."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from bench.bare_worker import QUEUE, WORKFLOW, Bare
from bench.bursts import burst, next_due
from bench.events import at, history
from bench.figures import Row, at_least, median, spread, unlimited
from bench.system import BenchSystem, for_each, names, sleep_until, until

NEEDS = "server, chain, worker and a worker of bare workflows; about 12 minutes"
_SHARE = 0.8
_WITHIN_SECONDS = 120.0


def measure(*, quick: bool) -> list[Row]:
    """Measure both rates in turn, each with its own namespaces; quickly, of 20."""
    count, every, runs = (20, 5, 1) if quick else (1_000, 60, 3)
    with BenchSystem() as system:
        system.start_worker()
        ours = asyncio.run(_ours(system, count, every, runs, warm=not quick))
    with BenchSystem() as system:
        ready = system.folder / "ready"
        command = [sys.executable, "-m", "bench.bare_worker", str(ready)]
        system.start_part(command, ready.exists)
        bare = asyncio.run(_bare(system, count, every, runs, warm=not quick))
    row = at_least(
        f"anchors per second over bare workflows, {count} due in the same instant",
        median(ours) / median(bare),
        _SHARE,
        "{:.2f}",
    )
    return [
        row,
        unlimited("  anchors per second", f"{median(ours):.0f}{spread(ours, '{:.0f}')}"),
        unlimited("  bare workflows per second", f"{median(bare):.0f}{spread(bare, '{:.0f}')}"),
    ]


async def _ours(
    system: BenchSystem, count: int, every: int, runs: int, *, warm: bool
) -> list[float]:
    client, wanted = await system.client(), names(count)
    await system.register(client, wanted, f"{every}s")
    if warm:
        await burst(system, client, wanted, every)
    return [(await burst(system, client, wanted, every)).rate for _ in range(runs)]


async def _bare(
    system: BenchSystem, count: int, every: int, runs: int, *, warm: bool
) -> list[float]:
    client, wanted = await system.client(), names(count)
    rounds = runs + warm
    first = next_due(every, least=every / 2)
    due = [first + number * every for number in range(rounds)]
    order = Bare(due=[datetime.fromtimestamp(instant, UTC) for instant in due])

    async def start(name: str) -> None:
        await client.start_workflow(WORKFLOW, order, id=name, task_queue=QUEUE)

    await for_each(wanted, start)
    await sleep_until(due[-1])
    ends: list[list[float]] = []

    async def done() -> bool:
        ends[:] = await _ends(client, wanted)
        return all(len(times) == rounds for times in ends)

    await until(done, "bare workflows", _WITHIN_SECONDS)
    last = [max(times[number] for times in ends) - due[number] for number in range(rounds)]
    return [count / seconds for seconds in last[-runs:]]


async def _ends(client: Client, wanted: Sequence[str]) -> list[list[float]]:
    """Return when each workflow's activities were answered."""

    async def ask(name: str) -> list[float]:
        done = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
        return [at(event) for event in await history(client, name) if event.event_type == done]

    return await for_each(wanted, ask)

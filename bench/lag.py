"""Measures how late anchors start: spread over the period, and all in the same instant."""

import asyncio
from collections.abc import Sequence

from temporalio.client import Client

from bench.bursts import answers, burst, next_due
from bench.figures import Row, at_most, median, quantile, spread, unlimited
from bench.system import BenchSystem, names, sleep_until

NEEDS = "server, chain and worker; about 12 minutes"
_BEGAN_BEFORE = 5
"""Seconds: a slot that was due so long before the batches may still find them; the period before anchored nothing."""
_LAG_FEW, _LAG_MANY, _LAST_STARTED = 100.0, 700.0, 1.2


def measure(*, quick: bool) -> list[Row]:
    """Measure lags; quickly, of fewer namespaces with a shorter period."""
    if quick:
        with BenchSystem() as system:
            system.start_worker()
            return asyncio.run(_spread(system, 10, every=5, cycles=1, warm=False, limit=_LAG_FEW))
    with BenchSystem() as system:
        system.start_worker()
        rows = asyncio.run(_spread(system, 100, every=89, cycles=3, limit=_LAG_FEW))
    with BenchSystem() as system:
        system.start_worker()
        rows += asyncio.run(_same_instant(system, 100, every=20, runs=5))
    with BenchSystem() as system:
        system.start_worker()
        rows += asyncio.run(_spread(system, 1_000, every=89, cycles=2, limit=_LAG_MANY))
    return rows


async def _spread(
    system: BenchSystem, count: int, *, every: int, cycles: int, limit: float, warm: bool = True
) -> list[Row]:
    """Anchor every namespace once in each period, each at its own phase."""
    client, wanted = await system.client(), names(count)
    await system.register(client, wanted, f"{every}s", range(every))
    if warm:
        await _cycle(system, client, wanted, every)
    lags: list[float] = []
    used = 0.0
    for _ in range(cycles):
        cycle, cpu = await _cycle(system, client, wanted, every)
        lags += cycle
        used += cpu
    title = f"{count} namespaces every {every} s, phases spread: due to start of the anchor"
    return [
        at_most(f"{title}, p99", quantile(lags, 0.99), limit, "{:.0f} ms"),
        unlimited("  p50, largest", f"{quantile(lags, 0.5):.0f} ms, {max(lags):.0f} ms"),
        unlimited("  CPU of server and worker per anchor", f"{used / len(lags):.3f} s"),
    ]


async def _cycle(
    system: BenchSystem, client: Client, wanted: Sequence[str], every: int
) -> tuple[list[float], float]:
    """Serve one period; returns each anchor's lag in milliseconds, and the seconds of CPU it took."""
    first = next_due(every, least=2.0)
    await sleep_until(first - 1.0)
    receipts = system.seal(wanted)
    cpu = system.cpu_seconds()
    await sleep_until(first + every)
    used = system.cpu_seconds() - cpu
    # a phase may just have passed when the batches were written, or its slot have begun late, as after registration
    done = await answers(client, wanted, receipts, first - _BEGAN_BEFORE, first + every)
    return [1_000 * (slot.started - slot.due) for slot in done], used


async def _same_instant(system: BenchSystem, count: int, *, every: int, runs: int) -> list[Row]:
    client, wanted = await system.client(), names(count)
    await system.register(client, wanted, f"{every}s")
    await burst(system, client, wanted, every)
    last = [(await burst(system, client, wanted, every)).last_started for _ in range(runs)]
    return [
        at_most(
            f"{count} namespaces due in the same instant: last anchor started",
            median(last),
            _LAST_STARTED,
            "{:.2f} s",
            more=spread(last, "{:.2f}"),
        )
    ]

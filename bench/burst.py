"""Measures how long many namespaces that are due in the same instant take."""

import asyncio

from bench.bursts import Burst, burst
from bench.figures import Row, at_most, median, spread, unlimited
from bench.system import BenchSystem, names

NEEDS = "server, chain and worker; about 8 minutes"
_ANSWERED, _TRANSACTIONS, _RECEIPT_KB, _CPU_SECONDS = 15.0, 2, 12.0, 0.02


def measure(*, quick: bool) -> list[Row]:
    """Measure the burst; quickly, of 20 namespaces."""
    count, every, runs = (20, 5, 1) if quick else (1_000, 60, 5)
    with BenchSystem() as system:
        system.start_worker()
        return asyncio.run(_measure(system, count, every, runs, warm=not quick))


async def _measure(
    system: BenchSystem, count: int, every: int, runs: int, *, warm: bool
) -> list[Row]:
    client, wanted = await system.client(), names(count)
    await system.register(client, wanted, f"{every}s")
    if warm:
        await burst(system, client, wanted, every)
    return _rows([await burst(system, client, wanted, every) for _ in range(runs)])


def _rows(bursts: list[Burst]) -> list[Row]:
    count = bursts[0].namespaces
    answered = [measured.last_answered for measured in bursts]
    started = [measured.last_started for measured in bursts]
    transactions = [measured.transactions for measured in bursts]
    cpu = [measured.cpu_seconds / count for measured in bursts]
    size = max(measured.receipt_bytes for measured in bursts) / 1_000
    return [
        at_most(
            f"{count} namespaces due in the same instant: all anchored",
            median(answered),
            _ANSWERED,
            "{:.1f} s",
            more=spread(answered, "{:.1f}"),
        ),
        unlimited("  last anchor started", f"{median(started):.1f} s{spread(started, '{:.1f}')}"),
        unlimited(
            "  requests asked more than once", str(sum(measured.repeated for measured in bursts))
        ),
        at_most("  transactions, the most", max(transactions), _TRANSACTIONS, "{}"),
        at_most("  CPU of server and worker per anchor", median(cpu), _CPU_SECONDS, "{:.3f} s"),
        at_most("  largest receipt with its proof", size, _RECEIPT_KB, "{:.1f} kB"),
    ]

"""Measures a scrape of `/metrics` with a thousand namespaces, over HTTP, and how long the event loop stands still for it."""

import asyncio
import gc
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from aiohttp import ClientSession
from temporalio.client import Client

from activities.anchoring.stores import Files
from bench.crowd import crowded
from bench.figures import Row, at_most, median, megabytes, unlimited
from bench.system import write_batch
from devnet.ports import LOOPBACK, free_port
from vaultmesh.domain.target import Target
from vaultmesh.process.counts import Counts
from vaultmesh.process.http import HealthServer
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.visibility import Visibility

NEEDS = "disk alone; half a minute"
_MOST_MB, _MOST_MS, _MOST_STANDSTILL_MS, _MOST_COUNT_SECONDS = 2.0, 200.0, 50.0, 60.0
_CADENCES = 3
_BEAT_SECONDS, _BETWEEN_SECONDS = 0.002, 0.5
_FIRST = 1_700_000_000


@dataclass(slots=True)
class _Beats:
    """How long the event loop stood still at most, in seconds."""

    longest: float = 0.0
    longest_cpu: float = 0.0
    """The same in processor time of this process: what a busy machine adds is not among it."""

    async def watch(self) -> None:
        """Watch until cancelled."""
        while True:
            began, used = time.perf_counter(), time.process_time()
            await asyncio.sleep(_BEAT_SECONDS)
            self.longest = max(self.longest, time.perf_counter() - began - _BEAT_SECONDS)
            self.longest_cpu = max(self.longest_cpu, time.process_time() - used)


def measure(*, quick: bool) -> list[Row]:
    """Measure 1,000 namespaces with three cadences each that all failed and owe a batch each; quickly, 20."""
    count, scrapes = (20, 3) if quick else (1_000, 20)
    gc.freeze()  # as a worker does, whose modules are loaded before
    metrics = crowded(count, _CADENCES)
    with tempfile.TemporaryDirectory(prefix="vaultmesh-bench-") as folder:
        root = Path(folder)
        (root / "out" / "batches").mkdir(parents=True)
        for number, name in enumerate(metrics.cadences.memos):
            write_batch(root / "out" / "batches", _FIRST + number, name)
        files, began = Files(root), time.perf_counter()
        for name, memo in metrics.cadences.memos.items():
            for cadence in memo.cadences.values():
                assert len(files.owed(name, Target.parse(cadence.target), "").owed) == 1
        counted = time.perf_counter() - began
        rows = asyncio.run(_scraped(metrics, Counts(files.owed), count, scrapes))
    what = f"first count of what {count * _CADENCES} cadences owe"
    return [*rows, at_most(what, counted, _MOST_COUNT_SECONDS, "{:.1f} s")]


async def _scraped(metrics: Metrics, counts: Counts, count: int, scrapes: int) -> list[Row]:
    """Scrape again and again while what is owed is counted as well."""
    port, beats = free_port(), _Beats()
    visibility = Visibility(cast("Client", None), metrics)
    server = HealthServer(port, metrics, visibility, lambda: True, counts)
    await server.start()
    beside = [
        asyncio.create_task(beats.watch()),
        asyncio.create_task(counts.run(metrics.cadences.known)),
    ]
    seconds, used, sizes, sent = list[float](), list[float](), list[int](), 0
    async with ClientSession(auto_decompress=False) as session:
        for number in range(scrapes):
            coding = "gzip" if number % 2 else "identity"
            began, cpu = time.perf_counter(), time.process_time()
            url = f"http://{LOOPBACK}:{port}/metrics"
            async with session.get(url, headers={"Accept-Encoding": coding}) as answer:
                size = len(await answer.read())
            seconds.append(time.perf_counter() - began)
            used.append(time.process_time() - cpu)
            sizes.append(size if coding == "identity" else 0)
            sent = size if coding == "gzip" else sent
            await asyncio.sleep(_BETWEEN_SECONDS)
    for task in beside:
        task.cancel()
    await server.stop()
    what = f"/metrics of {count} namespaces with {_CADENCES} cadences"
    return [
        at_most(f"{what}, size", megabytes(max(sizes)), _MOST_MB, "{:.2f} MB"),
        unlimited("  as Prometheus fetches it, compressed", f"{megabytes(sent):.2f} MB"),
        at_most(f"  slowest of {scrapes}", 1e3 * max(seconds), _MOST_MS, "{:.0f} ms"),
        at_most("  processor time, p50", 1e3 * median(used), _MOST_MS, "{:.0f} ms"),
        at_most("  longest standstill of the event loop", 1e3 * beats.longest, _MOST_STANDSTILL_MS, "{:.0f} ms"),
        at_most("  in processor time", 1e3 * beats.longest_cpu, _MOST_STANDSTILL_MS, "{:.0f} ms"),
    ]  # fmt: skip

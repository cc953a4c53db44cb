"""Measures what it costs to read from histories who gave which order: one round over a thousand namespaces."""

import asyncio
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio.client import Client
from temporalio.client import WorkflowExecution as Listed
from temporalio.contrib.pydantic import pydantic_data_converter

from activities.jobs.order_audit import AT_ONCE, SECONDS_A_RUN
from bench.figures import Row, at_most, unlimited
from bench.system import cpu_seconds, for_each, names, until
from devnet.temporal import TemporalServer
from vaultmesh.domain.names import HURRY, NAMESPACE_WORKFLOW, namespace_workflow_id
from vaultmesh.process.orders import OF_ANCHORING, executions, orders_of

NEEDS = "server; three minutes"
_SETTLED = timedelta(seconds=2)
_LISTED_WITHIN = 60.0
_ORDERED = 20
"""Namespaces that get an order before the round."""


@dataclass(frozen=True, slots=True)
class _Round:
    """What a round took, in seconds."""

    clock: float
    ours: float
    servers: float
    orders: int


def measure(*, quick: bool) -> list[Row]:
    """Measure a round over 1,000 namespaces with histories of some 60 events; quickly, 30."""
    count, signals = (30, 10) if quick else (1_000, 60)
    with tempfile.TemporaryDirectory(prefix="vaultmesh-bench-") as folder:
        server = TemporalServer(Path(folder), headless=True)
        server.start()
        try:
            done = asyncio.run(_measured(server, count, signals))
        finally:
            server.stop()
    what = f"one round over {count} namespaces with {signals} older events each, of which {_ORDERED} got an order"
    return [
        at_most(what, done.clock, count * SECONDS_A_RUN, "{:.1f} s"),
        unlimited("  its processor time, at the reader and at the server", f"{done.ours:.2f}, {done.servers:.2f} s"),
        unlimited("  of the time until the next one", f"{100 * (done.ours + done.servers) / count / SECONDS_A_RUN:.1f} % of a core"),
        unlimited("  orders that it met", str(done.orders)),
    ]  # fmt: skip


async def _measured(server: TemporalServer, count: int, signals: int) -> _Round:
    client = await Client.connect(server.address, data_converter=pydantic_data_converter)
    ids = list(map(namespace_workflow_id, names(count)))

    async def begin(workflow_id: str) -> None:
        handle = await client.start_workflow(NAMESPACE_WORKFLOW, id=workflow_id, task_queue="none")
        for _ in range(signals):
            await handle.signal(HURRY)

    await for_each(ids, begin)
    await asyncio.sleep(_SETTLED.total_seconds())
    since = datetime.now(UTC)

    async def listed() -> bool:
        return len(await executions(client, since, OF_ANCHORING)) == count

    await until(listed, "every namespace to be listed", _LISTED_WITHIN)
    for workflow_id in ids[:_ORDERED]:
        await client.get_workflow_handle(workflow_id).signal("pause", "a reason")
    return await _round(client, server, since)


async def _round(client: Client, server: TemporalServer, since: datetime) -> _Round:
    began, ours, servers = time.monotonic(), time.process_time(), cpu_seconds(server)
    turns = asyncio.Semaphore(AT_ONCE)

    async def read(run: Listed) -> int:
        async with turns:
            return len(await orders_of(client, run, since))

    runs = await executions(client, since, OF_ANCHORING)
    orders = sum(await asyncio.gather(*map(read, runs)))
    return _Round(
        time.monotonic() - began,
        time.process_time() - ours,
        cpu_seconds(server) - servers,
        orders,
    )

"""Measures memory and processor time of registered namespaces."""

import asyncio
import time
from collections.abc import Sequence

from temporalio.client import Client

from bench.figures import Row, at_most, megabytes, unlimited
from bench.system import BenchSystem, cpu_seconds, memory, names, until
from devnet.ports import free_port
from devnet.process import Part

NEEDS = "server, chain and workers; about 6 minutes"
_FEW_MB, _MANY_MB, _WORKFLOWS_MB, _IDLE_PERCENT = 150.0, 300.0, 240.0, 1.0
_DAY_SECONDS = 86_400
ALL_ROLES = "workflows,anchors,jobs,api"
_ANCHORED_WITHIN = 180.0


def measure(*, quick: bool) -> list[Row]:
    """Measure both sizes; quickly, 5 and 20 namespaces."""
    few, many, idle_seconds = (5, 20, 1.0) if quick else (100, 1_000, 30.0)
    with BenchSystem() as system:
        worker = system.start_worker("--roles", ALL_ROLES, API_PORT=str(free_port()))
        rows = asyncio.run(_all_roles(system, worker, few, many, idle_seconds))
        worker.stop()
        alone = system.start_worker("--roles", "workflows")
        return [*rows, asyncio.run(_workflows_alone(system, alone, many))]


async def _all_roles(
    system: BenchSystem, worker: Part, few: int, many: int, seconds: float
) -> list[Row]:
    client, wanted = await system.client(), names(many)
    rows = [
        unlimited("memory of a worker before any namespace", f"{megabytes(memory(worker)):.0f} MB")
    ]
    for count, known, limit in ((few, 0, _FEW_MB), (many, few, _MANY_MB)):
        await _anchored(system, client, wanted[known:count])
        await system.until_final(client)
        rows += await _idle(system, worker, count, seconds)
        what = f"memory of a worker with all roles, {count} namespaces, each anchored once"
        rows.append(at_most(what, megabytes(memory(worker)), limit, "{:.0f} MB"))
    return rows


async def _anchored(system: BenchSystem, client: Client, wanted: Sequence[str]) -> None:
    """Register namespaces that have a batch: registration anchors it; nothing is due for the rest of the day."""
    receipts = system.seal(wanted)
    half_a_day_ago = (int(time.time()) - _DAY_SECONDS // 2) % _DAY_SECONDS
    await system.register(client, wanted, "1d", [half_a_day_ago])

    async def recorded() -> bool:
        return all(receipt.exists() for receipt in receipts)

    await until(recorded, f"{len(receipts)} receipts", _ANCHORED_WITHIN)


async def _idle(system: BenchSystem, worker: Part, count: int, seconds: float) -> list[Row]:
    await asyncio.sleep(min(seconds, 5.0))  # what registration left behind
    parts = {"worker": worker, "server": system.temporal.part}
    before = {name: cpu_seconds(part) for name, part in parts.items()}
    await asyncio.sleep(seconds)
    used = {
        name: 100 * (cpu_seconds(part) - before[name]) / seconds for name, part in parts.items()
    }
    what = f"CPU of the {{}} over {seconds:g} s, {count} namespaces, no slot due"
    return [
        at_most(what.format(name), percent, _IDLE_PERCENT, "{:.1f} %")
        for name, percent in used.items()
    ]


async def _workflows_alone(system: BenchSystem, worker: Part, count: int) -> Row:
    """Have a new worker take up every workflow."""
    client = await system.client()
    await system.views(client, names(count))
    what = f"memory of a worker with the role workflows alone, {count} namespaces"
    return at_most(what, megabytes(memory(worker)), _WORKFLOWS_MB, "{:.0f} MB")

"""Counts how many events a slot, an anchor and a round add to histories."""

import asyncio
from collections.abc import Sequence

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from bench.bursts import burst
from bench.events import answers_anchored, at, between_timers, history
from bench.figures import Row, at_most, unlimited
from bench.system import TARGET, BenchError, BenchSystem, sleep_until
from vaultmesh.domain.names import aggregator_workflow_id, namespace_workflow_id

NEEDS = "server, chain and worker; about 3 minutes"
_PER_ANCHOR, _PER_IDLE_SLOT = 12.0, 11.0
_BUSY, _IDLE = "dao:busy", "dao:idle"


def measure(*, quick: bool) -> list[Row]:
    """Count events in steady state; quickly, of fewer slots."""
    rounds, every, idle = (1, 3, 4) if quick else (10, 10, 96)
    with BenchSystem() as system:
        system.start_worker()
        return asyncio.run(_measure(system, rounds, every, idle))


async def _measure(system: BenchSystem, rounds: int, every: int, idle: int) -> list[Row]:
    client = await system.client()
    await system.register(client, [_IDLE], "1s")
    await system.register(client, [_BUSY], f"{every}s")
    await burst(system, client, [_BUSY], every)  # starts the aggregator
    await system.until_final(client)
    before = len(await _aggregator(client))
    first = None
    for _ in range(rounds):
        done = await burst(system, client, [_BUSY], every)
        first = first or done
    await system.until_final(client)
    aggregator = len(await _aggregator(client)) - before
    busy = _per_slot(await history(client, namespace_workflow_id(_BUSY)))
    await _until_slots(client, idle)
    quiet = _per_slot(await history(client, namespace_workflow_id(_IDLE)))
    anchored = [count for count, has_anchor in busy if has_anchor][-rounds:]
    empty = [count for count, has_anchor in quiet if not has_anchor][-idle:]
    if not anchored or not empty:
        message = "no slot was served"
        raise BenchError(message)
    return [
        at_most(
            f"events of a namespace per anchor, mean of {len(anchored)}",
            sum(anchored) / len(anchored),
            _PER_ANCHOR,
            "{:.1f}",
            more=f" ({min(anchored)} to {max(anchored)})",
        ),
        at_most(
            f"events of a namespace per idle slot, mean of {len(empty)}",
            sum(empty) / len(empty),
            _PER_IDLE_SLOT,
            "{:.1f}",
            more=f" ({min(empty)} to {max(empty)})",
        ),
        unlimited(
            f"events of an aggregator per round until final, mean of {rounds}",
            f"{aggregator / rounds:.1f}",
        ),
    ]


async def _aggregator(client: Client) -> list[HistoryEvent]:
    return await history(client, aggregator_workflow_id(str(TARGET)))


async def _until_slots(client: Client, count: int) -> None:
    """Sleep until the idle namespace has had so many slots."""
    events = await history(client, namespace_workflow_id(_IDLE))
    await sleep_until(at(events[0]) + count + 2)


def _per_slot(events: Sequence[HistoryEvent]) -> list[tuple[int, bool]]:
    """Return how many events lie between one timer's end and the next, and whether an anchor is among them."""
    return [
        (len(between), any(map(answers_anchored, between))) for between in between_timers(events)
    ]

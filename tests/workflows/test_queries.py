"""Queries at any moment change nothing: a history that was written among them replays.

The worker keeps one workflow in memory, so most queries reach a run that it does not hold.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
from temporalio.service import RPCError

from tests.workflows.aggregator.scripted_target import ScriptedTarget, failure, request
from tests.workflows.namespace.scripted_worker import ScriptedWorker
from tests.workflows.stage import AggregatorRun, NamespaceRun, Stage, cadences
from vaultmesh.domain.failures import FailureKind

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]
STORM_SECONDS = 20.0
LONGEST_STORM = 75.0
"""A machine with other work answers seldom: the storm lasts until there were enough answers."""
WORKFLOWS = 4
ASKERS = 2
"""For each workflow."""
FEWEST_ANSWERS = 20
"""Most queries wait long for a worker that holds one of so many workflows."""


@pytest.fixture(params=[1], ids=["one kept"])
def tempo(request: pytest.FixtureRequest) -> int:
    """Keep one workflow in memory."""
    return int(request.param)


@pytest.fixture
def stage(real_stage: Stage) -> Stage:
    """Run on the real server: it hands a query to whichever worker asks for work."""
    return real_stage


async def storm(
    ran: list[Any], ask: Callable[[Any], Awaitable[object]], beside: list[Coroutine[Any, Any, None]]
) -> int:
    """Query all workflows over and over while the rest goes on; returns how many answers there were."""
    chance = random.Random(7)
    began = time.monotonic()
    answers = 0

    def rages() -> bool:
        lasted = time.monotonic() - began
        return lasted < STORM_SECONDS or (answers <= FEWEST_ANSWERS and lasted < LONGEST_STORM)

    async def asking(one: Any) -> None:
        nonlocal answers
        while rages():
            with suppress(
                TimeoutError, RPCError
            ):  # some are handed to nobody: the caller asks again
                await asyncio.wait_for(ask(one), 5)
                answers += 1
            await asyncio.sleep(chance.uniform(0, 0.05))

    going = [asyncio.create_task(one) for one in beside]
    try:
        await asyncio.gather(*(asking(one) for one in ran for _ in range(ASKERS)))
    finally:
        for one in going:
            one.cancel()
        ended = await asyncio.gather(*going, return_exceptions=True)
    assert [one for one in ended if not isinstance(one, asyncio.CancelledError)] == []
    return answers


async def test_queries_of_namespaces_that_are_not_in_memory_leave_histories_that_replay(
    stage: Stage,
) -> None:
    """The harm: a query ran a namespace ahead of its history, kept it so, and it failed every task from then on."""
    behind = ScriptedWorker(owed=0)
    async with stage.working(behind.adapters()):
        namespaces = [
            await stage.namespace(cadences(fast="1s", strong="2s", cold="3s"))
            for _ in range(WORKFLOWS)
        ]
        orders = [_ordering(namespace) for namespace in namespaces]
        assert await storm(namespaces, NamespaceRun.status, orders) > FEWEST_ANSWERS
    assert stage.runner.evicted > 0


async def _ordering(namespace: NamespaceRun) -> None:
    """Pause, resume and force, over and over."""
    chance = random.Random(namespace.namespace)
    while True:
        for verb in ("pause", "resume", "force_anchor"):
            await namespace.handle.signal(verb, chance.choice(["fast", "strong", "cold"]))
            await asyncio.sleep(chance.uniform(0, 0.6))


async def test_queries_of_aggregators_that_are_not_in_memory_leave_histories_that_replay(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregators = [await stage.aggregator() for _ in range(WORKFLOWS)]
        orders = [
            _submitting(aggregator, scripted, number)
            for number, aggregator in enumerate(aggregators)
        ]
        assert await storm(aggregators, AggregatorRun.status, orders) > FEWEST_ANSWERS
    assert stage.runner.evicted > 0


async def _submitting(aggregator: AggregatorRun, scripted: ScriptedTarget, number: int) -> None:
    """Have rounds signed, refused, sent again, bid for and included, over and over."""
    chance = random.Random(number)
    requests = number * 100_000
    while True:
        for _ in range(chance.randint(1, 3)):
            requests += 1
            await aggregator.handle.signal("enqueue", [request(requests)])
            await asyncio.sleep(chance.uniform(0, 0.1))
        if chance.random() < 0.5:
            step = chance.choice(["seal", "broadcast", "broadcast", "observe", "record"])
            scripted.plan(step, failure(FailureKind.NETWORK))
        if chance.random() < 0.3:
            await aggregator.handle.signal("bump_fee")
        if chance.random() < 0.3:
            await aggregator.handle.signal("pause", "a test")
            await asyncio.sleep(chance.uniform(0, 0.2))
            await aggregator.handle.signal("resume")
        await asyncio.sleep(chance.uniform(0, 0.3))
        for round_id in {one.round_id for one in scripted.asked("broadcast")}:
            scripted.include(round_id, block=5)

"""What an operator decided about a target outlives its workflow: an aggregator that was ended begins anew as it was."""

from datetime import UTC, datetime

import pytest

from activities.anchoring.signals import signal_aggregator, start_aggregator
from tests.workflows.aggregator.scripted_target import ScriptedTarget, enqueue, one_round, request
from tests.workflows.stage import AggregatorRun, Stage, until
from vaultmesh.domain.messages import Backoff
from vaultmesh.domain.names import ENQUEUE
from vaultmesh.domain.status import PausedView
from vaultmesh.domain.target import Target

pytestmark = pytest.mark.asyncio(loop_scope="session")
PAUSED = PausedView(reason="budget", since=datetime(2026, 1, 15, tzinfo=UTC))
CLOCKS = {"backoff": Backoff(), "continue_after_events": 4_000}


async def test_a_target_that_was_paused_at_rest_seals_nothing_after_its_workflow_was_terminated(
    stage: Stage,
) -> None:
    """The harm: whoever terminated a stuck aggregator let it pay again, against the operator's word."""
    scripted = ScriptedTarget()
    client = stage.env.client
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        target = _target(aggregator)
        scripted.include(await one_round(aggregator, scripted))
        await aggregator.shows(lambda view: not view.rounds)
        await until(lambda: len(scripted.asked("record")) == 1)
        await aggregator.handle.signal("pause", "a storm")
        paused = (await aggregator.shows(lambda view: view.paused is not None)).paused
        await _ended(stage, aggregator)
        await signal_aggregator(client, target, ENQUEUE, [request(2)], **CLOCKS)  # type: ignore[arg-type]
        view = await aggregator.shows(lambda view: view.waiting == 1)
        assert view.paused == paused
        await _ended(stage, aggregator)  # perhaps before its first memo
        await start_aggregator(client, target, **CLOCKS)  # type: ignore[arg-type]
        await enqueue(aggregator, request(3))
        assert (await aggregator.shows(lambda view: view.waiting == 1)).paused == paused
        assert len(scripted.asked("seal")) == 1
        await aggregator.handle.signal("resume")
        await until(lambda: len(scripted.asked("seal")) == 2)


async def test_a_target_that_was_resumed_is_not_paused_again_by_a_new_run(stage: Stage) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(paused=PAUSED)
        assert (await aggregator.status()).paused == PAUSED
        await aggregator.handle.signal("resume")
        await aggregator.shows(lambda view: view.paused is None)
        await _ended(stage, aggregator)
        await start_aggregator(stage.env.client, _target(aggregator), **CLOCKS)  # type: ignore[arg-type]
        assert (await aggregator.status()).paused is None


def _target(aggregator: AggregatorRun) -> Target:
    return Target.parse(aggregator.handle.id.partition(":")[2])


async def _ended(stage: Stage, aggregator: AggregatorRun) -> None:
    """Terminate whichever run it is."""
    await stage.env.client.get_workflow_handle(aggregator.handle.id).terminate()

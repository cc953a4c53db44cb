"""What an aggregator's workflow logs: each fact once, whether it is kept in memory or replayed at every task."""

import asyncio

import pytest

from tests.support.log_lines import caught
from tests.workflows.aggregator.scripted_target import (
    ScriptedTarget,
    enqueue,
    failure,
    included_round,
    one_round,
    request,
)
from tests.workflows.stage import Stage, until
from vaultmesh.domain.aggregator.ledger_messages import Bumped, RoundState
from vaultmesh.domain.failures import FailureKind

pytestmark = pytest.mark.asyncio(loop_scope="session")
WORKFLOWS = ["temporalio.workflow"]


async def test_a_rounds_life_is_told_in_order_and_each_fact_once(stage: Stage) -> None:
    scripted = ScriptedTarget()
    scripted.plan("broadcast", failure(FailureKind.NETWORK, "no answer in time"))
    with caught(WORKFLOWS) as lines:
        async with stage.working(aggregator=scripted.adapters()):
            aggregator = await stage.aggregator()
            round_id = await one_round(aggregator, scripted)
            await until(lambda: len(scripted.asked("broadcast")) == 2)
            scripted.include(round_id, final=False, block=5)
            await aggregator.shows(lambda view: view.rounds and view.rounds[0].recorded)
            scripted.show(round_id, RoundState.MISSING)
            await until(lambda: len(scripted.asked("broadcast")) == 3)
            scripted.include(round_id, block=8, depth=3)
            await aggregator.shows(lambda view: not view.rounds)
    assert [(line["event"], line.get("block")) for line in lines.events(round=round_id)] == [
        ("step_failed", None), ("broadcast", None), ("included", 5), ("reorganised", 5),
        ("included", 8), ("final", 8),
    ]  # fmt: skip
    failed, sent = lines.events(round=round_id)[:2]
    assert (failed["kind"], failed["err"]) == ("network", "no answer in time")
    assert f"aggregator:{sent['target']}" == aggregator.handle.id
    assert sent["workflow_id"] == aggregator.handle.id
    assert sent["run_id"]
    assert sent["tx"] == scripted.asked("sign")[0].round_id.join(("0x", "00"))


async def test_a_look_that_overtakes_the_answer_tells_of_the_broadcast_first(stage: Stage) -> None:
    scripted = ScriptedTarget()
    scripted.gates["broadcast"] = asyncio.Event()
    with caught(WORKFLOWS) as lines:
        async with stage.working(aggregator=scripted.adapters()):
            aggregator = await stage.aggregator()
            round_id = await one_round(aggregator, scripted)
            scripted.include(round_id, final=False)
            await aggregator.shows(lambda view: view.rounds and view.rounds[0].recorded)
            scripted.gates["broadcast"].set()
            scripted.include(round_id, depth=1)
            await aggregator.shows(lambda view: not view.rounds)
    assert lines.named(round=round_id) == ["broadcast", "included", "final"]


async def test_a_block_that_is_replaced_between_two_looks_is_told_as_left(stage: Stage) -> None:
    scripted = ScriptedTarget()
    with caught(WORKFLOWS) as lines:
        async with stage.working(aggregator=scripted.adapters()):
            aggregator = await stage.aggregator()
            round_id = await included_round(aggregator, scripted, 1)
            scripted.include(round_id, block=7)
            await aggregator.shows(lambda view: not view.rounds)
    assert lines.named("broadcast", round=round_id) == [
        "included", "reorganised", "included", "final",
    ]  # fmt: skip


async def test_a_loss_is_told_with_its_kind_and_reason(stage: Stage) -> None:
    scripted = ScriptedTarget()
    with caught(WORKFLOWS) as lines:
        async with stage.working(aggregator=scripted.adapters()):
            aggregator = await stage.aggregator()
            round_id = await one_round(aggregator, scripted)
            lost = {"message": "nonce 0 was used by 0xother", "foreign": True}
            scripted.show(round_id, RoundState.LOST, **lost)
            await until(lambda: len(scripted.asked("seal")) == 2)
    (line,) = lines.events(event="lost")
    assert (line["round"], line["kind"]) == (round_id, "auth")
    assert "0xother" in line["err"]


async def test_a_hold_is_told_when_it_begins_and_when_it_ends(stage: Stage) -> None:
    scripted = ScriptedTarget()
    with caught(WORKFLOWS) as lines:
        async with stage.working(aggregator=scripted.adapters()):
            aggregator = await stage.aggregator()
            round_id = await one_round(aggregator, scripted)
            scripted.plan("bump", *[Bumped(message="the fee cap is reached")] * 2)
            scripted.show(round_id, RoundState.STUCK)
            await until(lambda: len(scripted.asked("bump")) == 3)
            scripted.include(round_id)
            await aggregator.shows(lambda view: not view.rounds)
    told = lines.named("step_failed", "broadcast", "included", "final", round=round_id)
    assert told == ["held", "freed"]
    (held,) = lines.events(event="held")
    assert (held["kind"], held["err"]) == ("auth", "the fee cap is reached")


async def test_a_pause_is_told_once_through_two_runs(stage: Stage) -> None:
    scripted = ScriptedTarget()
    with caught(WORKFLOWS) as lines:
        async with stage.working(aggregator=scripted.adapters()):
            aggregator = await stage.aggregator(continue_after_events=30)
            await aggregator.handle.signal("nonsense", 1)
            await aggregator.handle.signal("pause", "the moon")
            first = await aggregator.shows(lambda view: view.paused is not None)
            for _ in range(20):
                await aggregator.handle.signal("hurry")
            await aggregator.shows(lambda view: view.run_id != first.run_id)
            await aggregator.handle.signal("resume")
            await enqueue(aggregator, request())
            await until(lambda: bool(scripted.asked("broadcast")))
    assert lines.named("broadcast") == ["rejected", "paused", "resumed"]
    (line,) = lines.events(event="paused")
    assert line["run_id"] == first.run_id
    assert (f"aggregator:{line['target']}", line["reason"]) == (aggregator.handle.id, "the moon")

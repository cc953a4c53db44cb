"""What arrives in one workflow task, in whatever company: every history replays, also after the cache was lost.

Each test keeps no workflow cached, and ends with a replay of what it left, as all do.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType

from tests.workflows.aggregator.scripted_target import ScriptedTarget, enqueue, one_round, request
from tests.workflows.namespace.scripted_worker import ScriptedWorker
from tests.workflows.stage import KEPT, NamespaceRun, Stage, cadences, until
from vaultmesh.domain import freshness
from vaultmesh.domain.aggregator.orders import MOST_ROUNDS
from vaultmesh.domain.messages import AnchorAsk
from vaultmesh.domain.status import NamespaceView, SlotOutcome
from workflows.runs import MOST_HISTORY_BYTES

pytestmark = pytest.mark.asyncio(loop_scope="session")
LARGE = 500_000
"""Bytes of a message that means nothing; a server takes up to 2 MB."""
NOTHING = {"status": "nothing_owed"}
ANCHORED = {"status": "anchored", "batch_ids": ["b1"], "batch_count": 1, "tx_ref": "0xab"}


@pytest.fixture
def stage(real_stage: Stage) -> Stage:
    """Run on the real server: only it keeps what arrives while no worker is there in the order of arrival."""
    return real_stage


async def test_an_answer_and_a_due_timer_in_the_workflow_task_of_a_look_replay(
    stage: Stage,
) -> None:
    """The harm: the answer to another cadence met a look's result, and the namespace never anchored again."""
    behind = ScriptedWorker(owed=0)
    async with stage.working(behind.adapters(), cached=0):
        namespace = await stage.namespace(cadences(fast="2s", slow="1000d", other="7s"))
        await namespace.shows(lambda view: not any(_in_flight(view)))
        behind.may_look.clear()
        seen = len(behind.looked)
        await namespace.handle.signal("force_anchor", "slow")
        await until(lambda: {"fast", "slow"} <= _labels(behind.looked[seen:]))
    asks = {ask.request.cadence: ask for ask in behind.looked[seen:]}
    await stage.complete(namespace, asks["slow"].request.id, ANCHORED)
    await until(lambda: timer_fired_last(namespace, stage), seconds=20)
    await stage.complete(namespace, asks["fast"].request.id, NOTHING)
    behind.may_look.set()
    async with stage.working(behind.adapters(), cached=0):
        view = await namespace.shows(
            lambda view: view.cadences["fast"].outcomes[SlotOutcome.NOTHING_NEW] >= 2
        )
    assert view.cadences["slow"].last_anchor is not None


async def timer_fired_last(namespace: NamespaceRun, stage: Stage) -> bool:
    """Whether a timer has fired since the last answer."""
    kinds = [event.event_type for event in (await stage.history(namespace)).events]
    answered, fired = (
        EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED,
        EventType.EVENT_TYPE_TIMER_FIRED,
    )
    return fired in kinds[len(kinds) - kinds[::-1].index(answered) :]


@pytest.mark.parametrize("verb", ["force_anchor", "pause", "resume", "stop"])
async def test_an_update_behind_answers_that_changed_nothing_replays_after_the_cache_is_lost(
    stage: Stage, verb: str
) -> None:
    """The harm: the update met the answer in one activation, and in two at every replay, for good."""
    behind = ScriptedWorker(owed=0)
    behind.may_look.clear()
    async with stage.working(behind.adapters(), cached=0):
        namespace = await stage.namespace(cadences(fast="1000d", strong="1000d", cold="1000d"))
        await until(lambda: len(behind.looked) == 3)
        for ask in behind.looked[:]:
            await stage.complete(namespace, ask.request.id, NOTHING)
            await until(lambda label=ask.request.cadence: _answered(namespace, label))
        await namespace.update(verb)
        behind.may_look.set()
        if verb == "stop":
            await namespace.handle.result()
        else:
            await namespace.shows(lambda view: not any(_in_flight(view)))


async def test_whether_an_idle_answer_is_told_is_the_same_when_an_update_long_after_it_meets_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harm: the answer was told at the update's instant, and untold at its own in every replay, for good."""
    monkeypatch.setattr(freshness, "TOLD_EVERY_PERIODS", 0)
    monkeypatch.setattr(freshness, "SHORTEST_TOLD", timedelta(seconds=4))
    behind = ScriptedWorker(owed=0)
    behind.may_look.clear()
    async with stage.working(behind.adapters(), cached=0):
        namespace = await stage.namespace(cadences(fast="1000d", strong="1000d", cold="1000d"))
        await until(lambda: len(behind.looked) == 3)
        for ask in behind.looked[:]:
            await stage.complete(namespace, ask.request.id, NOTHING)
            await until(lambda label=ask.request.cadence: _answered(namespace, label))
        await asyncio.sleep(5)
        await namespace.update("pause")
        await namespace.update("resume")
        behind.may_look.set()
        await namespace.shows(lambda view: not any(_in_flight(view)))


async def _answered(namespace: NamespaceRun, label: str) -> bool:
    return (await namespace.status()).cadences[label].in_flight is None


def _in_flight(view: NamespaceView) -> list[bool]:
    return [cadence.in_flight is not None for cadence in view.cadences.values()]


def _labels(asks: Sequence[AnchorAsk]) -> set[str]:
    return {ask.request.cadence for ask in asks}


async def test_a_forced_anchor_in_the_first_workflow_task_is_sent_once(stage: Stage) -> None:
    """The harm: it was sent as new and once more as left in flight; the server refuses both, for good."""
    behind = ScriptedWorker()
    namespace = await stage.namespace(cadences(fast="1000d", strong="1000d"))
    await namespace.handle.signal("force_anchor", "fast")
    async with stage.working(behind.adapters(), cached=0):
        await namespace.shows(lambda view: len(behind.asked) == 2 and not any(_in_flight(view)))
    assert [one.slot[0] for one in behind.asked if one.cadence == "fast"] == ["f"]


async def test_a_bump_behind_answers_that_changed_nothing_replays_after_the_cache_is_lost(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters(), cached=0):
        aggregator = await stage.aggregator()
        await one_round(aggregator, scripted)
        await enqueue(aggregator, request(2))
        before = len(scripted.asked("broadcast"))
        await aggregator.handle.execute_update("bump_fee")
        await until(lambda: len(scripted.asked("broadcast")) > before)


async def test_a_storm_of_signals_overtakes_few_tasks_and_runs_are_left_all_the_same(
    stage: Stage,
) -> None:
    signals = 400
    behind = ScriptedWorker(owed=0)
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1000d"), continue_after_events=60)
        await namespace.shows(lambda view: not any(_in_flight(view)))
        first_run = (await namespace.status()).run_id
        # a hundred signals that wait for one task make the server end it
        stage.replays.plant("FORCE_CLOSE_COMMAND", namespace.handle.id)
        for _ in range(signals // 20):
            await asyncio.gather(*(namespace.handle.signal("resume", "fast") for _ in range(20)))
        await namespace.handle.signal("pause", 7)
        await namespace.shows(
            lambda view: view.last_rejected is not None and view.run_id != first_run
        )
        await stage.replays.check_workflows(stage.env.client, stage.started)
        assert stage.replays.count("UNHANDLED_COMMAND", namespace.handle.id) <= signals / 10


async def test_very_many_rounds_whose_receipts_are_to_be_written_again_wedge_no_target(
    stage: Stage,
) -> None:
    """The harm: a server fails a task that has more than 2,000 activities under way, and so it did for good."""
    scripted = ScriptedTarget()
    scripted.gates["record"] = asyncio.Event()
    async with stage.working(aggregator=scripted.adapters(), cached=KEPT):
        aggregator = await stage.aggregator()
        for start in range(0, 5 * MOST_ROUNDS, MOST_ROUNDS):
            names = [f"{number:032x}" for number in range(start, start + MOST_ROUNDS)]
            await aggregator.handle.signal("rewrite", names)
        await until(lambda: len(scripted.asked("record")) > 10)
        scripted.gates["record"].set()
        await one_round(aggregator, scripted)
    assert len(scripted.asked("record")) < 5 * MOST_ROUNDS


async def test_a_run_is_left_when_its_history_has_ten_megabytes_although_it_has_few_events(
    stage: Stage,
) -> None:
    behind = ScriptedWorker(owed=0)
    async with stage.working(behind.adapters(), cached=KEPT):
        namespace = await stage.namespace(cadences(fast="1000d"))
        await namespace.shows(lambda view: not any(_in_flight(view)))
        first_run = (await namespace.status()).run_id
        # so much at once makes the server end the task under way
        stage.replays.plant("FORCE_CLOSE_COMMAND", namespace.handle.id)
        for _ in range(MOST_HISTORY_BYTES // LARGE + 1):
            await namespace.handle.signal("pause", {"reason": "x" * LARGE, "unknown": 1})
        await namespace.shows(lambda view: view.run_id != first_run)
        [first, *_] = await stage.runs(namespace.handle)
    assert len(first) < 200

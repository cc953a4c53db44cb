"""Slots of a namespace's workflow on skipped time: each gets one outcome, whatever happens."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator

import pytest

from tests.workflows.namespace.scripted_worker import ScriptedWorker
from tests.workflows.stage import (
    KEPT,
    Stage,
    cadences,
    counted,
    events_of_lost_tasks,
    failed_tasks,
    scheduled_twice,
    settled,
    until,
)
from vaultmesh.domain.status import NamespaceView, SlotOutcome

pytestmark = pytest.mark.asyncio(loop_scope="session")


def slots_until(view: NamespaceView, slots: Iterable[str], label: str = "fast") -> list[str]:
    """Return the slots that a settled view tells of; a later one may begin while the workers end."""
    due = view.cadences[label].next_due
    assert due is not None
    return [slot for slot in slots if slot.isdigit() and int(slot) < due.timestamp()]


async def test_registration_anchors_each_cadence_once(stage: Stage) -> None:
    behind = ScriptedWorker()
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1h", strong="1d"))
        await namespace.registered("fast")
        await namespace.registered("strong")
    assert sorted(request.cadence for request in behind.asked) == ["fast", "strong"]
    assert all(slot.startswith("r") for slot in behind.slots)


async def test_a_week_of_downtime_gives_one_anchor_and_every_missed_slot_is_coalesced(
    stage: Stage,
) -> None:
    behind = ScriptedWorker()
    async with stage.working(behind.adapters(), cached=0):
        namespace = await stage.namespace(cadences(fast="1h"))
        first_due = await namespace.registered()
    await stage.skip_without_workers(days=7)
    due = (await stage.now() - first_due).total_seconds() // 3600 + 1
    behind.asked.clear()
    async with stage.working(behind.adapters()):
        await until(lambda: bool(behind.asked))
        view = await namespace.shows(lambda view: settled(view, first_due))
    outcomes = view.cadences["fast"].outcomes
    assert due in (167, 168, 169)
    assert len(behind.asked) == 1
    assert sum(outcomes.values()) == due
    assert (outcomes[SlotOutcome.ANCHORED], outcomes[SlotOutcome.COALESCED]) == (1, due - 1)


async def test_slots_are_multiples_of_the_period_and_do_not_drift(stage: Stage) -> None:
    behind = ScriptedWorker()
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="89s"))
        first_due = await namespace.registered()
        await stage.skip(minutes=20)
        view = await namespace.shows(lambda view: settled(view, first_due))
    slots = [int(slot) for slot in slots_until(view, behind.slots)]
    assert slots == list(range(slots[0], slots[-1] + 1, 89))
    assert slots[0] % 89 == 0
    assert len(slots) == view.cadences["fast"].outcomes[SlotOutcome.ANCHORED] >= 13


async def test_a_slot_with_nothing_owed_ends_as_nothing_new(stage: Stage) -> None:
    behind = ScriptedWorker(owed=0)
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1h"))
        first_due = (await namespace.status()).cadences["fast"].next_due
        assert first_due is not None
        await stage.skip(hours=3)
        view = await namespace.shows(lambda view: settled(view, first_due))
    assert behind.asked == []
    assert view.cadences["fast"].outcomes[SlotOutcome.NOTHING_NEW] >= 3


async def test_the_next_anchor_carries_how_the_slots_ended_so_far(stage: Stage) -> None:
    behind = ScriptedWorker(owed=0)
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1h"))
        first_due = (await namespace.status()).cadences["fast"].next_due
        assert first_due is not None
        await stage.skip(hours=4)
        await namespace.shows(lambda view: settled(view, first_due))
    told = [ask.outcomes.get(SlotOutcome.NOTHING_NEW, 0) for ask in behind.looked]
    assert told == [0, *range(len(told) - 1)]
    assert not any(ask.asked_before for ask in behind.looked)


async def test_the_workflow_claims_no_backlog_that_only_files_can_tell(stage: Stage) -> None:
    behind = ScriptedWorker(owed=3)
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1h"))
        await namespace.registered()
        view = await namespace.status()
    assert (view.cadences["fast"].unanchored, view.cadences["fast"].problems) == (None, None)


async def test_slots_that_pass_while_a_request_is_unanswered_are_coalesced(
    real_stage: Stage,
) -> None:
    behind = ScriptedWorker()
    behind.may_answer.clear()
    async with real_stage.working(behind.adapters()):
        namespace = await real_stage.namespace(cadences(fast="1s", strong="1d"))
        view = await namespace.shows(
            lambda view: view.cadences["fast"].outcomes[SlotOutcome.COALESCED] >= 2
        )
        assert [request.cadence for request in behind.asked].count("fast") == 1
        behind.may_answer.set()
        view = await namespace.shows(
            lambda view: view.cadences["fast"].outcomes[SlotOutcome.ANCHORED] >= 1
        )
    assert view.cadences["fast"].outcomes[SlotOutcome.COALESCED] >= 2


async def test_an_anchor_that_somebody_ended_by_hand_is_asked_for_again_with_the_same_request(
    stage: Stage,
) -> None:
    behind = ScriptedWorker()
    behind.fail_first = 2
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1h"))
        await until(lambda: len(behind.asked) == 1)
        await stage.skip(minutes=1)
        await namespace.registered()
    assert len(behind.asked) == 3
    assert len({request.id for request in behind.asked}) == 1


@pytest.mark.parametrize("tempo", [KEPT], indirect=True)
async def test_half_a_day_of_slots_passes_through_many_runs_with_none_lost_or_doubled(
    stage: Stage,
) -> None:
    hours = 12
    behind = ScriptedWorker()
    turns: dict[str, Iterator[int]] = defaultdict(itertools.count)  # who looks first is chance
    behind.owed = lambda ask: int(next(turns[ask.request.cadence]) % 4 == 0)
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(
            cadences(fast="89s", strong="34*fast"), continue_after_events=150
        )
        first_due = await namespace.registered()
        for _ in range(hours):
            await stage.skip(hours=1)
        view = await namespace.shows(lambda view: settled(view, first_due))
        runs = await stage.runs(namespace.handle)
    fast = [request.slot for request in behind.asked if request.cadence == "fast"]
    assert not any(scheduled_twice(events) for events in runs)
    assert len(fast) - len(set(fast)) < len(runs)  # a new run takes up what is in flight
    assert len({slot for slot in fast if slot.startswith("r")}) == 1
    outcomes = view.cadences["fast"].outcomes
    assert outcomes[SlotOutcome.ANCHORED] == len(set(slots_until(view, fast)))
    assert outcomes[SlotOutcome.NOTHING_NEW] > outcomes[SlotOutcome.ANCHORED]
    assert sum(outcomes.values()) >= hours * 3600 // 89 - 1
    assert len(runs) >= 3
    assert max(len(events) for events in runs) < 250
    assert not any(failed_tasks(events) for events in runs)


async def test_a_slot_every_second_passes_through_many_runs_with_none_lost_or_doubled(
    real_stage: Stage,
) -> None:
    behind = ScriptedWorker()
    async with real_stage.working(behind.adapters()):
        namespace = await real_stage.namespace(cadences(fast="1s"), continue_after_events=40)
        first_due = await namespace.registered()
        await until(lambda: len(behind.asked) >= 8, seconds=60)
        view = await namespace.shows(lambda view: settled(view, first_due))
        runs = await real_stage.runs(namespace.handle)
    outcomes = view.cadences["fast"].outcomes
    assert outcomes[SlotOutcome.ANCHORED] == len(set(slots_until(view, behind.slots)))
    assert sum(slot.startswith("r") for slot in set(behind.slots)) == 1
    assert len(runs) >= 3
    assert max(len(events) for events in runs) < 80
    assert not any(failed_tasks(events) for events in runs)


async def test_an_anchor_costs_at_most_12_events_and_an_idle_slot_11(stage: Stage) -> None:
    behind = ScriptedWorker()
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1h"))
        first_due = await namespace.registered()
        [before] = await stage.runs(namespace.handle)
        await stage.skip(hours=10)
        await namespace.shows(lambda view: settled(view, first_due))
        [anchored] = await stage.runs(namespace.handle)
        behind.owed = lambda _: 0
        await stage.skip(hours=12)
        await namespace.shows(lambda view: settled(view, first_due))
        [idle] = await stage.runs(namespace.handle)
    asked = len(behind.asked) - 1
    quiet = counted(idle, "TIMER_FIRED") - counted(anchored, "TIMER_FIRED")
    assert len(anchored) - len(before) <= 12 * asked + events_of_lost_tasks(anchored)
    attributes = "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES"
    assert counted(idle, attributes) == counted(anchored, attributes), "idle is not stale"
    memo = "WORKFLOW_PROPERTIES_MODIFIED"
    freshened = counted(idle, memo) - counted(anchored, memo)
    assert 0 < freshened <= quiet / 2 + 1
    lost = events_of_lost_tasks(idle) - events_of_lost_tasks(anchored)
    assert len(idle) - len(anchored) <= 11 * quiet + freshened + lost

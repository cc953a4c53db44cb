"""Slots of a namespace's clock on skipped time."""

from datetime import timedelta

import pytest

from tests.workflows.scripted_clock import ScriptedWorker
from tests.workflows.stage import FAILED_TASKS, Stage, cadences, counted, until
from vaultmesh.domain.status import SlotOutcome

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_registration_anchors_each_cadence_once(stage: Stage) -> None:
    behind = ScriptedWorker()
    async with stage.working(behind.adapters()):
        clock = await stage.clock(cadences(fast="1h", strong="1d"))
        await until(lambda: len(behind.asked) == 2)
    assert sorted(request.cadence for request in behind.asked) == ["fast", "strong"]
    assert all(slot.startswith("r") for slot in behind.slots)


async def test_a_week_of_downtime_gives_one_anchor_and_every_missed_slot_is_coalesced(
    stage: Stage,
) -> None:
    behind = ScriptedWorker()
    async with stage.working(behind.adapters()):
        clock = await stage.clock(cadences(fast="1h"))
        await clock.shows(lambda view: view.cadences["fast"].last_anchor is not None)
        before = await stage.now()
    await stage.skip_without_workers(days=7)
    after = await stage.now()
    behind.asked.clear()
    async with stage.working(behind.adapters()):
        view = await clock.shows(lambda view: view.cadences["fast"].outcomes[SlotOutcome.ANCHORED] == 1)
    due = int(after.timestamp()) // 3600 - int(before.timestamp()) // 3600
    assert due in (168, 169)
    assert len(behind.asked) == 1
    assert sum(view.cadences["fast"].outcomes.values()) == due
    assert view.cadences["fast"].outcomes[SlotOutcome.COALESCED] == due - 1

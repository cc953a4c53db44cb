"""Requests of an aggregator that are in no round: they share one, fail, stay, or are taken back."""

import pytest

from tests.workflows.aggregator.scripted_target import (
    SETTINGS,
    ScriptedTarget,
    enqueue,
    failure,
    one_round,
    request,
)
from tests.workflows.stage import Stage, until
from vaultmesh.domain.aggregator.messages import (
    Sealed,
)
from vaultmesh.domain.failures import FailureKind

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_requests_of_one_window_share_a_round(stage: Stage) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await enqueue(aggregator, *(request(number) for number in range(20)))
        await until(lambda: len(scripted.asked("broadcast")) == 1)
    assert len(scripted.asked("seal")) == 1
    assert len(scripted.asked("seal")[0].requests) == 20


async def test_asking_twice_gives_one_round(stage: Stage) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await one_round(aggregator, scripted)
        await enqueue(aggregator, request(1))
        scripted.include(round_id)
        view = await aggregator.shows(lambda view: not view.rounds)
    assert view.waiting == 0
    assert len(scripted.asked("seal")) == 1


async def test_a_failed_reserve_fails_every_waiting_request_with_kind_and_count(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    scripted.plan("reserve", failure(FailureKind.AUTH, "no funds"))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await enqueue(aggregator, request(1, failures=2), request(2))
        await until(lambda: len(scripted.asked("report_failure")) == 1)
        view = await aggregator.shows(lambda view: view.held is not None)
        assert view.waiting == 0
        report = scripted.asked("report_failure")[0]
        await enqueue(aggregator, request(1), request(2))
        await until(lambda: len(scripted.asked("broadcast")) == 1)
        await aggregator.shows(lambda view: view.held is None and view.failures == 0)
    assert (report.kind, report.message) == (FailureKind.AUTH, "no funds")
    assert sorted(one.failures for one in report.requests) == [1, 3]
    assert [one.failures for one in scripted.asked("seal")[1].requests] == [3, 1]


async def test_covered_requests_are_answered_and_refused_ones_fail(stage: Stage) -> None:
    scripted = ScriptedTarget()
    refused = [{"request": request(2).id, "reason": "b9: bad root"}]
    scripted.plan(
        "seal",
        Sealed.model_validate(
            {"covered": [request(1).id], "refused": refused, "settings": SETTINGS}
        ),
    )
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await enqueue(aggregator, request(1), request(2))
        await until(lambda: {"answer", "report_failure"} <= set(scripted.names))
        await aggregator.shows(lambda view: view.waiting == 0)
    assert [one.id for one in scripted.asked("answer")[0].requests] == [request(1).id]
    assert scripted.asked("report_failure")[0].message == "b9: bad root"


async def test_a_request_that_fits_only_in_part_stays_for_the_next_round(stage: Stage) -> None:
    scripted = ScriptedTarget()
    scripted.plan("seal", lambda order: scripted.sealed(order, partial=[request(1).id]))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        first = await one_round(aggregator, scripted)
        assert (await aggregator.status()).waiting == 1
        scripted.include(first)
        await until(lambda: len(scripted.asked("broadcast")) == 2)
        scripted.include(scripted.asked("broadcast")[1].round_id)
        await aggregator.shows(lambda view: not view.rounds and view.waiting == 0)
    assert [len(one.waiting) for one in scripted.asked("record")] == [0, 1]


async def test_a_paused_aggregator_seals_nothing_and_its_open_round_goes_on(stage: Stage) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await one_round(aggregator, scripted, 1)
        await aggregator.handle.signal("pause", "a storm")
        await enqueue(aggregator, request(2), request(3))
        scripted.include(round_id)
        view = await aggregator.shows(lambda view: not view.rounds)
        assert view.paused.reason == "a storm"  # type: ignore[union-attr]
        assert (view.waiting, scripted.names.count("seal")) == (2, 1)
        await aggregator.handle.signal("withdraw", [request(2)])
        await until(lambda: len(scripted.asked("answer")) == 1)
        await aggregator.handle.signal("resume")
        await until(lambda: len(scripted.asked("seal")) == 2)
    assert scripted.asked("answer")[0].withdrawn
    assert [one.id for one in scripted.asked("seal")[1].requests] == [request(3).id]


async def test_a_request_in_a_signed_round_is_not_withdrawn(stage: Stage) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await one_round(aggregator, scripted)
        await aggregator.handle.signal("withdraw", [request()])
        scripted.include(round_id)
        await aggregator.shows(lambda view: not view.rounds)
    assert scripted.asked("answer") == []
    assert len(scripted.asked("record")[0].waiting) == 1


async def test_a_request_whose_cadence_moved_is_let_go_and_its_signed_round_ends_without_it(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await one_round(aggregator, scripted)
        await aggregator.handle.signal("release", [request()])
        await until(lambda: len(scripted.asked("answer")) == 1)
        scripted.include(round_id)
        await aggregator.shows(lambda view: not view.rounds)
    assert scripted.asked("answer")[0].withdrawn
    assert scripted.asked("record")[0].waiting == []

"""An aggregator's signed rounds: from requests to receipts, and everything a ledger can do in between."""

import pytest

from tests.workflows.aggregator.scripted_target import (
    ScriptedTarget,
    enqueue,
    failure,
    included_round,
    one_round,
    request,
)
from tests.workflows.stage import SLOW_BACKOFF, Stage, until
from vaultmesh.domain.aggregator.ledger_messages import (
    AggregatorSettings,
    Broadcasted,
    Bumped,
    RoundState,
    Verdict,
)
from vaultmesh.domain.aggregator.messages import (
    Record,
    Recorded,
    RecordState,
    Recovered,
)
from vaultmesh.domain.failures import FailureKind

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_request_goes_all_the_way_to_its_record(stage: Stage) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await one_round(aggregator, scripted)
        assert scripted.asked("record") == []
        scripted.include(round_id)
        await aggregator.shows(lambda view: not view.rounds and view.waiting == 0)
    assert scripted.names == ["recover", "seal", "reserve", "sign", "broadcast", "record"]
    record = scripted.asked("record")[0]
    assert record.state is RecordState.INCLUDED
    assert [one.id for one in record.waiting] == ["dao:n1/fast/1000"]
    assert record.view.block.number == 5


async def test_a_failed_broadcast_is_tried_again_with_the_same_bytes_and_reported(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    scripted.plan("broadcast", failure(FailureKind.NETWORK), failure(FailureKind.NETWORK))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await enqueue(aggregator, request())
        await until(lambda: len(scripted.asked("broadcast")) == 3)
        await until(lambda: len(scripted.asked("report_failure")) == 2)
        view = await aggregator.shows(lambda view: view.failures == 0)
    assert len({one.candidate.raw for one in scripted.asked("broadcast")}) == 1
    assert sorted(one.requests[0].failures for one in scripted.asked("report_failure")) == [1, 2]
    assert len(view.rounds) == 1
    assert scripted.names.count("sign") == 1


async def test_nothing_is_reserved_while_a_round_is_not_included(stage: Stage) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        first = await one_round(aggregator, scripted, 1)
        await enqueue(aggregator, request(2))
        await aggregator.shows(lambda view: view.waiting == 1)
        assert scripted.names.count("seal") == 1
        scripted.include(first, final=False)
        await until(lambda: len(scripted.asked("reserve")) == 2)
    assert scripted.asked("reserve")[1].last.sequence == 0


async def test_a_reorganised_round_is_broadcast_again_with_the_same_bytes(stage: Stage) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await included_round(aggregator, scripted, 1)
        scripted.show(round_id, RoundState.MISSING)
        await until(lambda: len(scripted.asked("broadcast")) == 2)
        scripted.include(round_id, block=8)
        await aggregator.shows(lambda view: not view.rounds)
    assert len({one.candidate.raw for one in scripted.asked("broadcast")}) == 1
    states = [one.state for one in scripted.asked("record")]
    assert states == [RecordState.INCLUDED, RecordState.REORGED, RecordState.INCLUDED]
    assert scripted.asked("record")[-1].view.block.number == 8
    revisions = [one.revision for one in scripted.asked("record")]
    assert revisions == sorted(set(revisions))
    assert scripted.names.count("reserve") == 1


async def test_reorganised_rounds_are_broadcast_in_order_and_only_the_lowest_is_bumped(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        rounds = [await included_round(aggregator, scripted, number) for number in (1, 2, 3)]
        sent = len(scripted.asked("broadcast"))
        for round_id in rounds:
            scripted.show(round_id, RoundState.MISSING)
        await until(lambda: len(scripted.asked("broadcast")) >= sent + 3)
        again = [one.reservation.sequence for one in scripted.asked("broadcast")[sent:]]
        for round_id in rounds:
            scripted.show(round_id, RoundState.STUCK)
        await until(lambda: len(scripted.asked("bump")) == 1)
        await until(lambda: len(scripted.asked("sign")) == 4)
        for round_id in rounds:
            scripted.include(round_id, block=9)
        await aggregator.shows(lambda view: not view.rounds)
    assert again[:3] == [0, 1, 2]
    assert {one.round_id for one in scripted.asked("bump")} == {rounds[0]}
    assert len(scripted.asked("reserve")) == 3


async def test_a_stuck_round_gets_a_higher_bid_on_the_same_reservation(stage: Stage) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await one_round(aggregator, scripted)
        scripted.show(round_id, RoundState.STUCK)
        await until(lambda: len(scripted.asked("broadcast")) == 2)
        view = await aggregator.status()
        assert view.rounds[0].candidates == 2
    first, second = scripted.asked("broadcast")
    assert first.reservation == second.reservation
    assert (first.candidate.terms, second.candidate.terms) == ({"bid": 1}, {"bid": 2})
    assert [one.n for one in scripted.asked("sign")] == [0, 1]


async def test_an_operator_bumps_and_is_refused_when_nothing_waits(stage: Stage) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        with pytest.raises(Exception, match="update failed"):
            await aggregator.handle.execute_update("bump_fee")
        await one_round(aggregator, scripted)
        await aggregator.handle.execute_update("bump_fee")
        await until(lambda: len(scripted.asked("broadcast")) == 2)
    assert len(scripted.asked("bump")) == 1


async def test_a_reached_fee_cap_holds_the_aggregator_and_keeps_the_bytes_broadcast(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    scripted.plan("bump", Bumped(terms=None, message="the cap is reached"))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(backoff=SLOW_BACKOFF)
        round_id = await one_round(aggregator, scripted)
        scripted.show(round_id, RoundState.STUCK)
        view = await aggregator.shows(lambda view: view.held is not None)
        assert view.held.kind is FailureKind.AUTH  # type: ignore[union-attr]
        scripted.include(round_id)
        view = await aggregator.shows(lambda view: not view.rounds)
    assert view.held is None
    assert len(scripted.asked("reserve")) == 1


async def test_a_fee_too_low_asks_for_a_higher_bid(stage: Stage) -> None:
    scripted = ScriptedTarget()
    scripted.plan("broadcast", Broadcasted(verdict=Verdict.FEE_TOO_LOW))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await enqueue(aggregator, request())
        await until(lambda: len(scripted.asked("broadcast")) == 2)
    assert len(scripted.asked("bump")) == 1


async def test_a_lost_round_is_sealed_again_and_nothing_is_reserved_before_it_is_lost(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await one_round(aggregator, scripted)
        scripted.show(round_id, RoundState.DISPLACED, foreign=True, message="somebody else's")
        await aggregator.shows(lambda view: view.held is not None)
        assert len(scripted.asked("reserve")) == 1
        scripted.show(round_id, RoundState.LOST, foreign=True)
        await until(lambda: len(scripted.asked("broadcast")) == 2)
        again = scripted.asked("broadcast")[-1].round_id
        await until(lambda: any(one.state is RecordState.LOST for one in scripted.asked("record")))
        scripted.include(again)
        view = await aggregator.shows(lambda view: not view.rounds)
    assert scripted.asked("seal")[1].reseal == [round_id]
    assert scripted.asked("reserve")[1].last.sequence == 0
    answered = [one.id for record in scripted.asked("record") for one in record.waiting]
    assert answered == [request().id]
    assert view.held is None


@pytest.mark.parametrize("foreign", [True, False], ids=["to others", "by failed calls"])
async def test_two_rounds_lost_in_a_row_pause_the_target_until_an_operator_resumes(
    stage: Stage, foreign: bool
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        lost = await one_round(aggregator, scripted)
        scripted.show(lost, RoundState.LOST, foreign=foreign, message="nonce 0 was used")
        await until(lambda: len(scripted.asked("broadcast")) == 2)
        assert (await aggregator.status()).paused is None
        scripted.show(scripted.asked("broadcast")[-1].round_id, RoundState.LOST, foreign=foreign)
        view = await aggregator.shows(lambda view: view.paused is not None)
        assert "2 rounds in a row" in view.paused.reason  # type: ignore[union-attr]
        assert view.held is not None
        assert len(scripted.asked("reserve")) == 2
        await aggregator.handle.signal("resume")
        await until(lambda: len(scripted.asked("reserve")) == 3)


async def test_a_round_beyond_a_gap_is_never_bumped_and_the_gap_is_filled(stage: Stage) -> None:
    scripted = ScriptedTarget()
    at_once = AggregatorSettings(window_seconds=0.05, gap_fill_seconds=0)
    scripted.recovered = Recovered(settings=at_once)
    scripted.plan(
        "seal", lambda order: scripted.sealed(order).model_copy(update={"settings": at_once})
    )
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await one_round(aggregator, scripted)
        scripted.show(round_id, RoundState.PENDING, gap=7, undecided="7 nonces are free")
        await aggregator.shows(lambda view: view.held is not None)
        await aggregator.handle.signal("bump_fee")
        await until(lambda: len(scripted.asked("fill")) == 1)
        scripted.include(round_id)
        await aggregator.shows(lambda view: not view.rounds)
    assert not scripted.asked("bump")
    assert len(scripted.asked("reserve")) == 1
    assert scripted.asked("fill")[0].reservation.sequence == 0


async def test_a_round_that_nobody_can_decide_holds_the_target_by_name_and_is_let_go_by_evidence(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await one_round(aggregator, scripted)
        scripted.show(round_id, RoundState.PENDING, undecided="nobody shows it", notes={"a": 1})
        view = await aggregator.shows(lambda view: view.held is not None)
        assert view.held.message == "nobody shows it"  # type: ignore[union-attr]
        await enqueue(aggregator, request(2))
        scripted.show(round_id, RoundState.PENDING)
        await aggregator.shows(lambda view: view.held is None)
        assert len(scripted.asked("reserve")) == 1
        scripted.include(round_id)
        await until(lambda: len(scripted.asked("reserve")) == 2)
    assert scripted.asked("observe")[-1] is not None
    assert any(row.notes == {"a": 1} for one in scripted.asked("observe") for row in one.rounds)


async def test_a_final_round_that_leaves_the_chain_before_its_receipts_say_so_is_sent_again(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await one_round(aggregator, scripted)
        scripted.plan("record", failure(FailureKind.NETWORK, "the disk is full"))
        scripted.include(round_id)
        view = await aggregator.shows(lambda view: bool(view.problems))
        assert "the disk is full" in view.problems[0]
        assert round_id in view.problems[0]
        scripted.records = lambda order: _only_if_shown(scripted, order)
        scripted.show(round_id, RoundState.MISSING)
        await until(lambda: len(scripted.asked("broadcast")) == 2)
        scripted.include(round_id, block=8)
        view = await aggregator.shows(lambda view: not view.rounds)
        assert view.problems == []
    assert len({one.candidate.raw for one in scripted.asked("broadcast")}) == 1
    assert scripted.asked("record")[-1].view.block.number == 8


def _only_if_shown(scripted: ScriptedTarget, order: Record) -> Recorded:
    """Write receipts of what the ledger shows at that moment, and no others."""
    shown = scripted.views[order.round_id]
    if order.state is RecordState.INCLUDED and (
        order.view is None or order.view.block != shown.block
    ):
        raise failure(FailureKind.NETWORK, "it is in no block any more")
    return Recorded(receipts=1)

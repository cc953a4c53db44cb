"""A pen's rounds: from requests to receipts, and everything a ledger can do in between."""

import pytest

from tests.workflows.scripted_pen import SETTINGS, ScriptedPen, failure, request
from tests.workflows.stage import SLOW_LADDER, Stage, Writing, failed_tasks, until
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.ledger import (
    Broadcasted,
    Bumped,
    PenSettings,
    Reservation,
    RoundState,
    SignedCandidate,
    Verdict,
)
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.pen import PenInput
from vaultmesh.domain.steps import (
    Record,
    Recorded,
    RecordState,
    Recovered,
    RecoveredRound,
    Reserved,
    Sealed,
    SealedRound,
    Signed,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def stage(real_stage: Stage) -> Stage:
    """Run on the real server: the time-skipping one wedges a run that cancels an activity."""
    return real_stage


async def enqueue(pen: Writing, *requests: AnchorRequest) -> None:
    """Let requests become due."""
    await pen.handle.signal("enqueue", list(requests))


async def one_round(pen: Writing, desk: ScriptedPen, number: int = 1) -> str:
    """Write a round for one request; returns its id."""
    sent = len(desk.asked("broadcast"))
    await enqueue(pen, request(number))
    await until(lambda: len(desk.asked("broadcast")) > sent)
    return str(desk.asked("broadcast")[-1].round_id)


async def included_round(pen: Writing, desk: ScriptedPen, number: int) -> str:
    """Write a round and have it included, though not final."""
    round_id = await one_round(pen, desk, number)
    desk.include(round_id, final=False, block=number)
    await pen.shows(
        lambda view: any(one.round_id == round_id and one.recorded for one in view.rounds)
    )
    return round_id


async def test_a_request_goes_all_the_way_to_its_record(stage: Stage) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await one_round(pen, desk)
        assert desk.asked("record") == []
        desk.include(round_id)
        await pen.shows(lambda view: not view.rounds and view.waiting == 0)
    assert desk.names == ["recover", "seal", "reserve", "sign", "broadcast", "record"]
    record = desk.asked("record")[0]
    assert record.state is RecordState.INCLUDED
    assert [one.id for one in record.waiting] == ["dao:n1/fast/1000"]
    assert record.view.block.number == 5


async def test_requests_of_one_window_share_a_round(stage: Stage) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await enqueue(pen, *(request(number) for number in range(20)))
        await until(lambda: len(desk.asked("broadcast")) == 1)
    assert len(desk.asked("seal")) == 1
    assert len(desk.asked("seal")[0].requests) == 20


async def test_asking_twice_gives_one_round(stage: Stage) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await one_round(pen, desk)
        await enqueue(pen, request(1))
        desk.include(round_id)
        view = await pen.shows(lambda view: not view.rounds)
    assert view.waiting == 0
    assert len(desk.asked("seal")) == 1


async def test_a_failed_reserve_fails_every_waiting_request_with_kind_and_count(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    desk.plan("reserve", failure(FailureKind.AUTH, "no funds"))
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await enqueue(pen, request(1, failures=2), request(2))
        await until(lambda: len(desk.asked("report_failure")) == 1)
        view = await pen.shows(lambda view: view.held is not None)
        assert view.waiting == 0
        report = desk.asked("report_failure")[0]
        await enqueue(pen, request(1), request(2))
        await until(lambda: len(desk.asked("broadcast")) == 1)
        await pen.shows(lambda view: view.held is None and view.failures == 0)
    assert (report.kind, report.message) == (FailureKind.AUTH, "no funds")
    assert sorted(one.failures for one in report.requests) == [1, 3]
    assert [one.failures for one in desk.asked("seal")[1].requests] == [3, 1]


async def test_a_failed_broadcast_is_tried_again_with_the_same_bytes_and_reported(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    desk.plan("broadcast", failure(FailureKind.NETWORK), failure(FailureKind.NETWORK))
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await enqueue(pen, request())
        await until(lambda: len(desk.asked("broadcast")) == 3)
        await until(lambda: len(desk.asked("report_failure")) == 2)
        view = await pen.shows(lambda view: view.failures == 0)
    assert len({one.candidate.raw for one in desk.asked("broadcast")}) == 1
    assert sorted(one.requests[0].failures for one in desk.asked("report_failure")) == [1, 2]
    assert len(view.rounds) == 1
    assert desk.names.count("sign") == 1


async def test_nothing_is_reserved_while_a_round_is_not_included(stage: Stage) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        first = await one_round(pen, desk, 1)
        await enqueue(pen, request(2))
        await pen.shows(lambda view: view.waiting == 1)
        assert desk.names.count("seal") == 1
        desk.include(first, final=False)
        await until(lambda: len(desk.asked("reserve")) == 2)
    assert desk.asked("reserve")[1].last.sequence == 0


async def test_a_reorganised_round_is_broadcast_again_with_the_same_bytes(stage: Stage) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await included_round(pen, desk, 1)
        desk.show(round_id, RoundState.MISSING)
        await until(lambda: len(desk.asked("broadcast")) == 2)
        desk.include(round_id, block=8)
        await pen.shows(lambda view: not view.rounds)
    assert len({one.candidate.raw for one in desk.asked("broadcast")}) == 1
    states = [one.state for one in desk.asked("record")]
    assert states == [RecordState.INCLUDED, RecordState.REORGED, RecordState.INCLUDED]
    assert desk.asked("record")[-1].view.block.number == 8
    revisions = [one.revision for one in desk.asked("record")]
    assert revisions == sorted(set(revisions))
    assert desk.names.count("reserve") == 1


async def test_reorganised_rounds_are_broadcast_in_order_and_only_the_lowest_is_bumped(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        rounds = [await included_round(pen, desk, number) for number in (1, 2, 3)]
        sent = len(desk.asked("broadcast"))
        for round_id in rounds:
            desk.show(round_id, RoundState.MISSING)
        await until(lambda: len(desk.asked("broadcast")) >= sent + 3)
        again = [one.reservation.sequence for one in desk.asked("broadcast")[sent:]]
        for round_id in rounds:
            desk.show(round_id, RoundState.STUCK)
        await until(lambda: len(desk.asked("bump")) == 1)
        await until(lambda: len(desk.asked("sign")) == 4)
        for round_id in rounds:
            desk.include(round_id, block=9)
        await pen.shows(lambda view: not view.rounds)
    assert again[:3] == [0, 1, 2]
    assert {one.round_id for one in desk.asked("bump")} == {rounds[0]}
    assert len(desk.asked("reserve")) == 3


async def test_a_stuck_round_gets_a_higher_bid_on_the_same_reservation(stage: Stage) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await one_round(pen, desk)
        desk.show(round_id, RoundState.STUCK)
        await until(lambda: len(desk.asked("broadcast")) == 2)
        view = await pen.status()
        assert view.rounds[0].candidates == 2
    first, second = desk.asked("broadcast")
    assert first.reservation == second.reservation
    assert (first.candidate.terms, second.candidate.terms) == ({"bid": 1}, {"bid": 2})
    assert [one.n for one in desk.asked("sign")] == [0, 1]


async def test_an_operator_bumps_and_is_refused_when_nothing_waits(stage: Stage) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        with pytest.raises(Exception, match="update failed"):
            await pen.handle.execute_update("bump_fee")
        await one_round(pen, desk)
        await pen.handle.execute_update("bump_fee")
        await until(lambda: len(desk.asked("broadcast")) == 2)
    assert len(desk.asked("bump")) == 1


async def test_a_reached_fee_cap_holds_the_pen_and_keeps_the_bytes_broadcast(stage: Stage) -> None:
    desk = ScriptedPen()
    desk.plan("bump", Bumped(terms=None, message="the cap is reached"))
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen(backoff=SLOW_LADDER)
        round_id = await one_round(pen, desk)
        desk.show(round_id, RoundState.STUCK)
        view = await pen.shows(lambda view: view.held is not None)
        assert view.held.kind is FailureKind.AUTH  # type: ignore[union-attr]
        desk.include(round_id)
        view = await pen.shows(lambda view: not view.rounds)
    assert view.held is None
    assert len(desk.asked("reserve")) == 1


async def test_a_fee_too_low_asks_for_a_higher_bid(stage: Stage) -> None:
    desk = ScriptedPen()
    desk.plan("broadcast", Broadcasted(verdict=Verdict.FEE_TOO_LOW))
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await enqueue(pen, request())
        await until(lambda: len(desk.asked("broadcast")) == 2)
    assert len(desk.asked("bump")) == 1


async def test_a_lost_round_is_sealed_again_and_nothing_is_reserved_before_it_is_lost(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await one_round(pen, desk)
        desk.show(round_id, RoundState.DISPLACED, foreign=True, message="somebody else's")
        await pen.shows(lambda view: view.held is not None)
        assert len(desk.asked("reserve")) == 1
        desk.show(round_id, RoundState.LOST, foreign=True)
        await until(lambda: len(desk.asked("broadcast")) == 2)
        again = desk.asked("broadcast")[-1].round_id
        await until(lambda: any(one.state is RecordState.LOST for one in desk.asked("record")))
        desk.include(again)
        view = await pen.shows(lambda view: not view.rounds)
    assert desk.asked("seal")[1].reseal == [round_id]
    assert desk.asked("reserve")[1].last.sequence == 0
    answered = [one.id for record in desk.asked("record") for one in record.waiting]
    assert answered == [request().id]
    assert view.held is None


@pytest.mark.parametrize("foreign", [True, False], ids=["to others", "by failed calls"])
async def test_two_rounds_lost_in_a_row_pause_the_target_until_an_operator_resumes(
    stage: Stage, foreign: bool
) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        lost = await one_round(pen, desk)
        desk.show(lost, RoundState.LOST, foreign=foreign, message="nonce 0 was used")
        await until(lambda: len(desk.asked("broadcast")) == 2)
        assert (await pen.status()).paused is None
        desk.show(desk.asked("broadcast")[-1].round_id, RoundState.LOST, foreign=foreign)
        view = await pen.shows(lambda view: view.paused is not None)
        assert "2 rounds in a row" in view.paused.reason  # type: ignore[union-attr]
        assert view.held is not None
        assert len(desk.asked("reserve")) == 2
        await pen.handle.signal("resume")
        await until(lambda: len(desk.asked("reserve")) == 3)


async def test_a_round_beyond_a_gap_is_never_bumped_and_the_gap_is_filled(stage: Stage) -> None:
    desk = ScriptedPen()
    at_once = PenSettings(window_seconds=0.05, gap_fill_seconds=0)
    desk.recovered = Recovered(settings=at_once)
    desk.plan("seal", lambda order: desk.sealed(order).model_copy(update={"settings": at_once}))
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await one_round(pen, desk)
        desk.show(round_id, RoundState.PENDING, gap=7, undecided="7 nonces are free")
        await pen.shows(lambda view: view.held is not None)
        await pen.handle.signal("bump_fee")
        await until(lambda: len(desk.asked("fill")) == 1)
        desk.include(round_id)
        await pen.shows(lambda view: not view.rounds)
    assert not desk.asked("bump")
    assert len(desk.asked("reserve")) == 1
    assert desk.asked("fill")[0].reservation.sequence == 0


async def test_a_round_that_nobody_can_decide_holds_the_target_by_name_and_is_let_go_by_evidence(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await one_round(pen, desk)
        desk.show(round_id, RoundState.PENDING, undecided="nobody shows it", notes={"a": 1})
        view = await pen.shows(lambda view: view.held is not None)
        assert view.held.message == "nobody shows it"  # type: ignore[union-attr]
        await enqueue(pen, request(2))
        desk.show(round_id, RoundState.PENDING)
        await pen.shows(lambda view: view.held is None)
        assert len(desk.asked("reserve")) == 1
        desk.include(round_id)
        await until(lambda: len(desk.asked("reserve")) == 2)
    assert desk.asked("observe")[-1] is not None
    assert any(row.notes == {"a": 1} for one in desk.asked("observe") for row in one.rounds)


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        ("seal", Sealed(stale=True)),
        ("reserve", Reserved(stale=True)),
        ("sign", Signed(stale=True)),
    ],
)
async def test_a_stale_answer_makes_the_pen_recover(
    stage: Stage, step: str, answer: object
) -> None:
    desk = ScriptedPen()
    desk.plan(step, answer)
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await enqueue(pen, request())
        await until(lambda: len(desk.asked("broadcast")) == 1)
    names = desk.names
    assert names.count("recover") == 2
    assert names.index(step) < len(names) - names[::-1].index("recover") - 1


async def test_a_newer_receipt_makes_the_pen_recover(stage: Stage) -> None:
    desk = ScriptedPen()
    desk.plan("record", Recorded(newer=True))
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await one_round(pen, desk)
        desk.include(round_id)
        await until(lambda: desk.names.count("recover") == 2)


async def test_recovery_adopts_open_rounds_and_sends_no_bytes_before_it_looked(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    round_id = "ab" * 16
    desk.recovered = Recovered(
        settings=SETTINGS,
        revision=41,
        last=Reservation(account="0xpen", sequence=7, fields={}),
        rounds=[
            RecoveredRound(
                sealed=SealedRound(
                    round_id=round_id, commitment="0x00", label="b", leaves=1, required_depths=[0]
                ),
                reservation=Reservation(account="0xpen", sequence=7, fields={}),
                candidates=[SignedCandidate(n=0, tx_ref="0xold", raw="0xraw", terms={"bid": 1})],
            )
        ],
    )
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await enqueue(pen, request())
        await until(lambda: len(desk.asked("observe")) == 1)
        assert desk.names == ["recover"]
        desk.show(round_id, RoundState.MISSING)
        await until(lambda: len(desk.asked("broadcast")) == 1)
        desk.include(round_id)
        await until(lambda: len(desk.asked("broadcast")) == 2)
    assert desk.asked("broadcast")[0].candidate.raw == "0xraw"
    assert desk.asked("record")[0].revision > 41
    assert desk.asked("reserve")[0].last.sequence == 7


async def test_a_failed_recovery_reserves_nothing_and_is_tried_again(stage: Stage) -> None:
    desk = ScriptedPen()
    desk.plan("recover", failure(FailureKind.NETWORK, "no storage"))
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await until(lambda: desk.names.count("recover") == 2)
        await one_round(pen, desk)
    assert desk.names[:2] == ["recover", "recover"]


async def test_a_rider_waits_for_the_round_that_holds_its_batches(stage: Stage) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await included_round(pen, desk, 1)
        riders = [{"round_id": round_id, "requests": [0]}]
        desk.plan("seal", Sealed.model_validate({"riders": riders, "settings": SETTINGS}))
        await enqueue(pen, request(2, required_depth=3))
        await until(lambda: desk.names.count("record") == 2)
        desk.include(round_id, depth=1, block=1)
        await pen.shows(lambda view: view.rounds[0].depth == 1)
        desk.include(round_id, depth=3, block=1)
        await pen.shows(lambda view: not view.rounds)
    last = desk.asked("record")[1]
    assert [one.id for one in last.waiting] == [request(2).id]
    assert len(desk.asked("reserve")) == 1


async def test_a_rider_of_a_closed_round_gets_its_receipts_written_again(stage: Stage) -> None:
    desk = ScriptedPen()
    riders = [{"round_id": "cd" * 16, "requests": [0]}]
    desk.plan("seal", Sealed.model_validate({"riders": riders, "settings": SETTINGS}))
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await enqueue(pen, request())
        await until(lambda: desk.names.count("record") == 1)
        await pen.shows(lambda view: view.waiting == 0)
    assert desk.asked("record")[0].state is RecordState.CLOSED


async def test_a_closed_round_is_recorded_beside_the_one_that_answers(stage: Stage) -> None:
    desk = ScriptedPen()
    gone = {"round_id": "cd" * 16, "requests": [0]}
    desk.plan("seal", lambda order: desk.sealed(order, rebuild=gone))
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await one_round(pen, desk, 1)
        await until(lambda: desk.names.count("record") == 1)
        desk.include(round_id)
        await pen.shows(lambda view: not view.rounds and view.waiting == 0)
    again, own = desk.asked("record")[0], desk.asked("record")[-1]
    assert (again.state, again.round_id) == (RecordState.CLOSED, "cd" * 16)
    assert (again.waiting, [one.id for one in again.riders]) == ([], [request(1).id])
    assert (own.round_id, [one.id for one in own.waiting]) == (round_id, [request(1).id])


async def test_requests_of_several_closed_rounds_are_answered_by_the_first(stage: Stage) -> None:
    desk = ScriptedPen()
    riders = [{"round_id": one * 16, "requests": [0]} for one in ("cd", "ef")]
    desk.plan("seal", Sealed.model_validate({"riders": riders, "settings": SETTINGS}))
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await enqueue(pen, request())
        await until(lambda: desk.names.count("record") == 1)
        await pen.shows(lambda view: view.waiting == 0)
    assert [one.round_id for one in desk.asked("record")] == ["cd" * 16]


async def test_covered_requests_are_answered_and_refused_ones_fail(stage: Stage) -> None:
    desk = ScriptedPen()
    refused = [{"request": 1, "reason": "b9: bad root"}]
    desk.plan(
        "seal",
        Sealed.model_validate({"covered": [0], "refused": refused, "settings": SETTINGS}),
    )
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await enqueue(pen, request(1), request(2))
        await until(lambda: {"answer", "report_failure"} <= set(desk.names))
        await pen.shows(lambda view: view.waiting == 0)
    assert [one.id for one in desk.asked("answer")[0].requests] == [request(1).id]
    assert desk.asked("report_failure")[0].message == "b9: bad root"


async def test_a_request_that_fits_only_in_part_stays_for_the_next_round(stage: Stage) -> None:
    desk = ScriptedPen()
    desk.plan("seal", lambda order: desk.sealed(order, partial=[0]))
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        first = await one_round(pen, desk)
        assert (await pen.status()).waiting == 1
        desk.include(first)
        await until(lambda: len(desk.asked("broadcast")) == 2)
        desk.include(desk.asked("broadcast")[1].round_id)
        await pen.shows(lambda view: not view.rounds and view.waiting == 0)
    assert [len(one.waiting) for one in desk.asked("record")] == [0, 1]


async def test_a_paused_pen_seals_nothing_and_its_open_round_goes_on(stage: Stage) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await one_round(pen, desk, 1)
        await pen.handle.signal("pause", "a storm")
        await enqueue(pen, request(2), request(3))
        desk.include(round_id)
        view = await pen.shows(lambda view: not view.rounds)
        assert view.paused.reason == "a storm"  # type: ignore[union-attr]
        assert (view.waiting, desk.names.count("seal")) == (2, 1)
        await pen.handle.signal("withdraw", [request(2)])
        await until(lambda: len(desk.asked("answer")) == 1)
        await pen.handle.signal("resume")
        await until(lambda: len(desk.asked("seal")) == 2)
    assert desk.asked("answer")[0].withdrawn
    assert [one.id for one in desk.asked("seal")[1].requests] == [request(3).id]


async def test_a_request_in_a_signed_round_is_not_withdrawn(stage: Stage) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await one_round(pen, desk)
        await pen.handle.signal("withdraw", [request()])
        desk.include(round_id)
        await pen.shows(lambda view: not view.rounds)
    assert desk.asked("answer") == []
    assert len(desk.asked("record")[0].waiting) == 1


async def test_a_request_whose_cadence_moved_is_let_go_and_its_signed_round_ends_without_it(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await one_round(pen, desk)
        await pen.handle.signal("release", [request()])
        await until(lambda: len(desk.asked("answer")) == 1)
        desk.include(round_id)
        await pen.shows(lambda view: not view.rounds)
    assert desk.asked("answer")[0].withdrawn
    assert desk.asked("record")[0].waiting == []


async def test_4000_requests_are_carried_into_a_new_run_with_an_input_below_1_5_mb(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen(continue_after_events=30)
        await pen.handle.signal("pause")
        requests = [
            AnchorRequest(
                namespace=f"dao:{number:04d}-" + "n" * 40, cadence="strong", slot="1768471200",
                required_depth=64, batches="out/batches/of/one/namespace", root_id="r" * 32,
            )
            for number in range(4_100)
        ]  # fmt: skip
        for start in range(0, 4_100, 500):
            await enqueue(pen, *requests[start : start + 500])
        await until(lambda: sum(len(one.requests) for one in desk.asked("report_failure")) == 100)
        before = len(await stage.runs(pen.handle))
        for _ in range(30):
            await pen.handle.signal("pause")
        await until(lambda: _more_runs(stage, pen, before))
        runs = await stage.runs(pen.handle)
    started = runs[-1][0].workflow_execution_started_event_attributes
    [payload] = started.input.payloads
    carried = PenInput.model_validate_json(payload.data).carried
    assert carried is not None
    assert len(carried.queue) == 4_000
    assert len(payload.data) < 1_500_000
    assert not any(failed_tasks(events) for events in runs)


async def _more_runs(stage: Stage, pen: Writing, before: int) -> bool:
    return len(await stage.runs(pen.handle)) > before


async def test_a_new_run_is_begun_at_safe_points_only_and_nothing_is_written_twice(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen(continue_after_events=25)
        for number in range(1, 6):
            round_id = await one_round(pen, desk, number)
            desk.include(round_id)
            await until(lambda n=number: len(desk.asked("record")) >= n)  # type: ignore[misc]
        await pen.shows(lambda view: not view.rounds)
        runs = await stage.runs(pen.handle)
    assert len(runs) >= 3
    for name in ("seal", "reserve", "sign", "broadcast"):
        assert len(desk.asked(name)) == 5, name
    assert len({one.round_id for one in desk.asked("record")}) == 5
    assert desk.names.count("recover") == 1
    assert [one.last and one.last.sequence for one in desk.asked("reserve")] == [None, 0, 1, 2, 3]
    assert not any(failed_tasks(events) for events in runs)


async def test_a_final_round_that_leaves_the_chain_before_its_receipts_say_so_is_sent_again(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await one_round(pen, desk)
        desk.plan("record", failure(FailureKind.NETWORK, "the disk is full"))
        desk.include(round_id)
        view = await pen.shows(lambda view: bool(view.problems))
        assert "the disk is full" in view.problems[0]
        assert round_id in view.problems[0]
        desk.records = lambda order: _only_if_shown(desk, order)
        desk.show(round_id, RoundState.MISSING)
        await until(lambda: len(desk.asked("broadcast")) == 2)
        desk.include(round_id, block=8)
        view = await pen.shows(lambda view: not view.rounds)
        assert view.problems == []
    assert len({one.candidate.raw for one in desk.asked("broadcast")}) == 1
    assert desk.asked("record")[-1].view.block.number == 8


def _only_if_shown(desk: ScriptedPen, order: Record) -> Recorded:
    """Write receipts of what the ledger shows at that moment, and no others."""
    shown = desk.views[order.round_id]
    if order.state is RecordState.INCLUDED and (
        order.view is None or order.view.block != shown.block
    ):
        raise failure(FailureKind.NETWORK, "it is in no block any more")
    return Recorded(receipts=1)

"""An aggregator's rounds: from requests to receipts, and everything a ledger can do in between."""

import pytest

from tests.workflows.aggregator.scripted_target import SETTINGS, ScriptedTarget, failure, request
from tests.workflows.stage import SLOW_BACKOFF, AggregatorRun, Stage, failed_tasks, until
from vaultmesh.domain.aggregator.ledger_messages import (
    AggregatorSettings,
    Broadcasted,
    Bumped,
    Reservation,
    RoundState,
    SignedCandidate,
    Verdict,
)
from vaultmesh.domain.aggregator.messages import (
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
from vaultmesh.domain.aggregator.state import AggregatorInput
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import AnchorRequest

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def stage(real_stage: Stage) -> Stage:
    """Run on the real server: the time-skipping one wedges a run that cancels an activity."""
    return real_stage


async def enqueue(aggregator: AggregatorRun, *requests: AnchorRequest) -> None:
    """Let requests become due."""
    await aggregator.handle.signal("enqueue", list(requests))


async def one_round(aggregator: AggregatorRun, scripted: ScriptedTarget, number: int = 1) -> str:
    """Write a round for one request; returns its id."""
    sent = len(scripted.asked("broadcast"))
    await enqueue(aggregator, request(number))
    await until(lambda: len(scripted.asked("broadcast")) > sent)
    return str(scripted.asked("broadcast")[-1].round_id)


async def included_round(aggregator: AggregatorRun, scripted: ScriptedTarget, number: int) -> str:
    """Write a round and have it included, though not final."""
    round_id = await one_round(aggregator, scripted, number)
    scripted.include(round_id, final=False, block=number)
    await aggregator.shows(
        lambda view: any(one.round_id == round_id and one.recorded for one in view.rounds)
    )
    return round_id


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


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        ("seal", Sealed(stale=True)),
        ("reserve", Reserved(stale=True)),
        ("sign", Signed(stale=True)),
    ],
)
async def test_a_stale_answer_makes_the_aggregator_recover(
    stage: Stage, step: str, answer: object
) -> None:
    scripted = ScriptedTarget()
    scripted.plan(step, answer)
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await enqueue(aggregator, request())
        await until(lambda: len(scripted.asked("broadcast")) == 1)
    names = scripted.names
    assert names.count("recover") == 2
    assert names.index(step) < len(names) - names[::-1].index("recover") - 1


async def test_a_newer_receipt_makes_the_aggregator_recover(stage: Stage) -> None:
    scripted = ScriptedTarget()
    scripted.plan("record", Recorded(newer=True))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await one_round(aggregator, scripted)
        scripted.include(round_id)
        await until(lambda: scripted.names.count("recover") == 2)


async def test_recovery_adopts_open_rounds_and_sends_no_bytes_before_it_looked(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    round_id = "ab" * 16
    scripted.recovered = Recovered(
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
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await enqueue(aggregator, request())
        await until(lambda: len(scripted.asked("observe")) == 1)
        assert scripted.names == ["recover"]
        scripted.show(round_id, RoundState.MISSING)
        await until(lambda: len(scripted.asked("broadcast")) == 1)
        scripted.include(round_id)
        await until(lambda: len(scripted.asked("broadcast")) == 2)
    assert scripted.asked("broadcast")[0].candidate.raw == "0xraw"
    assert scripted.asked("record")[0].revision > 41
    assert scripted.asked("reserve")[0].last.sequence == 7


async def test_a_failed_recovery_reserves_nothing_and_is_tried_again(stage: Stage) -> None:
    scripted = ScriptedTarget()
    scripted.plan("recover", failure(FailureKind.NETWORK, "no storage"))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await until(lambda: scripted.names.count("recover") == 2)
        await one_round(aggregator, scripted)
    assert scripted.names[:2] == ["recover", "recover"]


async def test_a_late_joiner_waits_for_the_round_that_holds_its_batches(stage: Stage) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await included_round(aggregator, scripted, 1)
        late_joiners = [{"round_id": round_id, "requests": [request(2).id]}]
        scripted.plan(
            "seal", Sealed.model_validate({"late_joiners": late_joiners, "settings": SETTINGS})
        )
        await enqueue(aggregator, request(2, required_depth=3))
        await until(lambda: scripted.names.count("record") == 2)
        scripted.include(round_id, depth=1, block=1)
        await aggregator.shows(lambda view: view.rounds[0].depth == 1)
        scripted.include(round_id, depth=3, block=1)
        await aggregator.shows(lambda view: not view.rounds)
    last = scripted.asked("record")[1]
    assert [one.id for one in last.waiting] == [request(2).id]
    assert len(scripted.asked("reserve")) == 1


async def test_a_late_joiner_of_a_closed_round_gets_its_receipts_written_again(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    late_joiners = [{"round_id": "cd" * 16, "requests": [request(1).id]}]
    scripted.plan(
        "seal", Sealed.model_validate({"late_joiners": late_joiners, "settings": SETTINGS})
    )
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await enqueue(aggregator, request())
        await until(lambda: scripted.names.count("record") == 1)
        await aggregator.shows(lambda view: view.waiting == 0)
    assert scripted.asked("record")[0].state is RecordState.CLOSED


async def test_a_closed_round_is_recorded_beside_the_one_that_answers(stage: Stage) -> None:
    scripted = ScriptedTarget()
    gone = {"round_id": "cd" * 16, "requests": [request(1).id]}
    scripted.plan("seal", lambda order: scripted.sealed(order, rebuild=gone))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await one_round(aggregator, scripted, 1)
        await until(lambda: scripted.names.count("record") == 1)
        scripted.include(round_id)
        await aggregator.shows(lambda view: not view.rounds and view.waiting == 0)
    again, own = scripted.asked("record")[0], scripted.asked("record")[-1]
    assert (again.state, again.round_id) == (RecordState.CLOSED, "cd" * 16)
    assert (again.waiting, [one.id for one in again.late_joiners]) == ([], [request(1).id])
    assert (own.round_id, [one.id for one in own.waiting]) == (round_id, [request(1).id])


async def test_requests_of_several_closed_rounds_are_answered_by_the_first(stage: Stage) -> None:
    scripted = ScriptedTarget()
    late_joiners = [{"round_id": one * 16, "requests": [request(1).id]} for one in ("cd", "ef")]
    scripted.plan(
        "seal", Sealed.model_validate({"late_joiners": late_joiners, "settings": SETTINGS})
    )
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await enqueue(aggregator, request())
        await until(lambda: scripted.names.count("record") == 1)
        await aggregator.shows(lambda view: view.waiting == 0)
    assert [one.round_id for one in scripted.asked("record")] == ["cd" * 16]


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


async def test_4000_requests_are_carried_into_a_new_run_with_an_input_below_1_5_mb(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(continue_after_events=30)
        await aggregator.handle.signal("pause")
        requests = [
            AnchorRequest(
                namespace=f"dao:{number:04d}-" + "n" * 40, cadence="strong", slot="1768471200",
                required_depth=64, batches="out/batches/of/one/namespace", root_id="r" * 32,
            )
            for number in range(4_100)
        ]  # fmt: skip
        for start in range(0, 4_100, 500):
            await enqueue(aggregator, *requests[start : start + 500])
        await until(
            lambda: sum(len(one.requests) for one in scripted.asked("report_failure")) == 100
        )
        before = len(await stage.runs(aggregator.handle))
        for _ in range(30):
            await aggregator.handle.signal("pause")
        await until(lambda: _more_runs(stage, aggregator, before))
        runs = await stage.runs(aggregator.handle)
    started = runs[-1][0].workflow_execution_started_event_attributes
    [payload] = started.input.payloads
    carried = AggregatorInput.model_validate_json(payload.data).carried
    assert carried is not None
    assert len(carried.queue) == 4_000
    assert len(payload.data) < 1_500_000
    assert not any(failed_tasks(events) for events in runs)


async def _more_runs(stage: Stage, aggregator: AggregatorRun, before: int) -> bool:
    return len(await stage.runs(aggregator.handle)) > before


async def test_a_new_run_is_begun_at_safe_points_only_and_nothing_is_written_twice(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(continue_after_events=25)
        for number in range(1, 6):
            round_id = await one_round(aggregator, scripted, number)
            scripted.include(round_id)
            await until(lambda n=number: len(scripted.asked("record")) >= n)  # type: ignore[misc]
        await aggregator.shows(lambda view: not view.rounds)
        runs = await stage.runs(aggregator.handle)
    assert len(runs) >= 3
    for name in ("seal", "reserve", "sign", "broadcast"):
        assert len(scripted.asked(name)) == 5, name
    assert len({one.round_id for one in scripted.asked("record")}) == 5
    assert scripted.names.count("recover") == 1
    assert [one.last and one.last.sequence for one in scripted.asked("reserve")] == [
        None,
        0,
        1,
        2,
        3,
    ]
    assert not any(failed_tasks(events) for events in runs)


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

"""What arrives while something else is under way: nobody is left without an answer, and nothing sleeps too long."""

import asyncio

import pytest

from tests.workflows.aggregator.scripted_target import SETTINGS, ScriptedPen, failure, request
from tests.workflows.aggregator.test_rounds import enqueue, included_round, one_round
from tests.workflows.namespace.scripted_worker import ScriptedWorker
from tests.workflows.stage import SLOW_LADDER, Stage, cadences, until
from vaultmesh.domain.aggregator.ledger_messages import (
    Broadcasted,
    Reservation,
    RoundState,
    SignedCandidate,
    Verdict,
)
from vaultmesh.domain.aggregator.messages import (
    Recorded,
    RecordState,
    Recovered,
    RecoveredRound,
    Sealed,
    SealedRound,
)
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.namespaces.state import Configuration
from vaultmesh.domain.status import NamespaceState

pytestmark = pytest.mark.asyncio(loop_scope="session")
CLOSED_ROUND = "cd" * 16


@pytest.fixture
def stage(real_stage: Stage) -> Stage:
    """Run on the real server, as every test of rounds."""
    return real_stage


def rides_on(round_id: str) -> Sealed:
    """Return a seal's answer: the round holds what the first request owes."""
    riders = [{"round_id": round_id, "requests": [0]}]
    return Sealed.model_validate({"riders": riders, "settings": SETTINGS})


async def test_a_request_that_joins_while_receipts_are_written_is_in_the_next_order(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    desk.gates["record"] = asyncio.Event()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await one_round(pen, desk, 1)
        desk.include(round_id)
        await until(lambda: len(desk.asked("record")) == 1)
        desk.plan("seal", rides_on(round_id))
        await enqueue(pen, request(2))
        await until(lambda: len(desk.asked("seal")) == 2)
        await pen.shows(lambda view: view.waiting == 0)
        desk.gates["record"].set()
        await pen.shows(lambda view: not view.rounds)
    first, second = desk.asked("record")
    assert [one.id for one in first.waiting] == [request(1).id]
    assert [one.id for one in second.waiting] == [request(2).id]
    assert second.view.final


async def test_a_request_that_joins_a_reorganised_round_waits_for_its_new_block(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await included_round(pen, desk, 1)
        desk.gates["seal"] = asyncio.Event()
        desk.plan("seal", rides_on(round_id))
        await enqueue(pen, request(2))
        await until(lambda: len(desk.asked("seal")) == 2)
        desk.show(round_id, RoundState.MISSING)
        await until(lambda: len(desk.asked("record")) == 2)
        desk.gates["seal"].set()
        await until(lambda: len(desk.asked("broadcast")) == 2)
        desk.include(round_id, block=7)
        await pen.shows(lambda view: not view.rounds)
    orders = [(one.state, one.view.block.number) for one in desk.asked("record")]
    assert orders == [
        (RecordState.INCLUDED, 1),
        (RecordState.REORGED, 1),
        (RecordState.INCLUDED, 7),
    ]
    assert [one.id for one in desk.asked("record")[-1].waiting] == [request(2).id]


async def test_receipts_of_a_closed_round_that_failed_are_tried_again_with_all_who_miss_them(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    desk.plan("seal", rides_on(CLOSED_ROUND), rides_on(CLOSED_ROUND), rides_on(CLOSED_ROUND))
    desk.plan("record", failure(FailureKind.NETWORK, "the folder can't be written"))
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await enqueue(pen, request(1))
        await until(lambda: len(desk.asked("record")) == 1)
        await enqueue(pen, request(2))
        await until(lambda: len(desk.asked("seal")) == 2)
        await pen.shows(lambda view: view.waiting == 0)
        await enqueue(pen, request(1))  # asks once more, since nobody answered
        await until(lambda: len(desk.asked("record")) == 2)
    again = desk.asked("record")[1]
    assert sorted(one.id for one in again.waiting) == [request(1).id, request(2).id]
    assert (again.state, again.tries) == (RecordState.CLOSED, 1)


async def test_a_closed_round_that_is_open_again_is_recovered(stage: Stage) -> None:
    desk = ScriptedPen()
    desk.plan("seal", rides_on(CLOSED_ROUND))
    desk.plan("record", Recorded(receipts=1, reopened=[CLOSED_ROUND]))
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await enqueue(pen, request())
        await until(lambda: len(desk.asked("recover")) == 2)
        await one_round(pen, desk, 2)
    assert [one.reopened for one in desk.asked("recover")] == [[], [CLOSED_ROUND]]


async def test_a_transaction_that_goes_missing_while_the_pen_rests_is_sent_again(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen(backoff=SLOW_LADDER)
        round_id = await one_round(pen, desk)
        desk.show(round_id, RoundState.MISSING)  # before the rest after the broadcast has ended
        await until(lambda: len(desk.asked("broadcast")) == 2)
    first, second = desk.asked("broadcast")
    assert first.candidate == second.candidate


async def test_a_recovered_round_that_left_its_block_is_said_to_be_reorganised(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    round_id = "ab" * 16
    claimed = RecoveredRound(
        sealed=SealedRound(
            round_id=round_id, commitment="0x" + "11" * 32, label="b", leaves=1,
            required_depths=[2],
        ),
        reservation=Reservation(account="0xpen", sequence=0, fields={}),
        candidates=[SignedCandidate(n=0, tx_ref="0xt", raw="0xraw", terms={"bid": 1})],
        claimed_block=5,
    )  # fmt: skip
    desk.recovered = Recovered(rounds=[claimed], settings=SETTINGS)
    desk.show(round_id, RoundState.MISSING)
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await enqueue(pen, request())
        await until(lambda: len(desk.asked("broadcast")) == 1)
        desk.include(round_id, block=9)
        await until(lambda: len(desk.asked("record")) >= 2)
    states = [one.state for one in desk.asked("record")]
    assert states[:2] == [RecordState.REORGED, RecordState.INCLUDED]


async def test_a_step_completed_by_hand_with_nonsense_fails_and_is_tried_again(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    desk.gates["sign"] = asyncio.Event()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await enqueue(pen, request())
        await until(lambda: len(desk.asked("sign")) == 1)
        described = (await pen.handle.describe()).raw_description
        (signing,) = described.pending_activities
        await stage.env.client.get_async_activity_handle(
            workflow_id=pen.handle.id, run_id=None, activity_id=signing.activity_id
        ).complete({"candidate": 7})
        await until(lambda: len(desk.asked("report_failure")) == 1)
        desk.gates["sign"].set()
        await one_round(pen, desk)
    report = desk.asked("report_failure")[0]
    assert report.kind is FailureKind.UNKNOWN
    assert "by hand" in report.message


async def test_an_anchor_completed_by_hand_with_nonsense_is_asked_for_again(stage: Stage) -> None:
    behind = ScriptedWorker()
    behind.may_answer.clear()
    async with stage.working(behind.adapters()):
        clock = await stage.clock(cadences(fast="1000d"))
        await until(lambda: len(behind.asked) == 1)
        await stage.env.client.get_async_activity_handle(
            workflow_id=clock.handle.id, run_id=None, activity_id=behind.asked[0].id
        ).complete({})
        await until(lambda: len(behind.asked) == 2)
        behind.may_answer.set()
        view = await clock.shows(lambda view: view.cadences["fast"].in_flight is None)
    assert behind.asked[0] == behind.asked[1]
    assert view.cadences["fast"].last_anchor is not None


async def test_a_reservation_called_consumed_that_no_look_confirms_is_sent_again(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await one_round(pen, desk)
        desk.plan("broadcast", Broadcasted(verdict=Verdict.CONSUMED))
        desk.show(round_id, RoundState.MISSING)
        await until(lambda: len(desk.asked("broadcast")) >= 3)
    assert len({one.candidate.raw for one in desk.asked("broadcast")}) == 1
    assert desk.names.count("sign") == 1


async def test_bids_that_a_node_refuses_one_after_the_other_come_at_the_ladders_pace(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    desk.plan("broadcast", *[Broadcasted(verdict=Verdict.FEE_TOO_LOW)] * 30)
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen(backoff=SLOW_LADDER)
        await enqueue(pen, request())
        await until(lambda: len(desk.asked("broadcast")) == 2)
        await asyncio.sleep(3)
        assert len(desk.asked("broadcast")) == 2
        assert len(desk.asked("bump")) == 2


async def test_a_round_that_a_look_found_before_its_broadcast_was_answered_stays_found(
    stage: Stage,
) -> None:
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        round_id = await included_round(pen, desk, 1)
        desk.gates["broadcast"] = asyncio.Event()
        desk.show(round_id, RoundState.MISSING)
        await until(lambda: len(desk.asked("broadcast")) == 2)
        desk.include(round_id, block=7)
        await until(lambda: len(desk.asked("record")) == 3)
        desk.gates["broadcast"].set()
        await pen.shows(lambda view: not view.rounds)
    states = [one.state for one in desk.asked("record")]
    assert states == [RecordState.INCLUDED, RecordState.REORGED, RecordState.INCLUDED]


# --- clocks


async def test_a_cadence_that_goes_in_the_moment_in_which_it_is_forced_wedges_nothing(
    stage: Stage,
) -> None:
    behind = ScriptedWorker()
    async with stage.working(behind.adapters(), cached=0):
        clock = await stage.clock(cadences(fast="1000d", strong="1000d"))
        await clock.registered("fast")
        await clock.registered("strong")
    given = Configuration(
        namespace=clock.namespace, cadences=cadences(fast="1000d"), config_hash="two"
    )
    await clock.handle.signal("force_anchor", "strong")
    configuring = asyncio.create_task(clock.update("configure", given))
    await asyncio.sleep(1)
    async with stage.working(behind.adapters()):
        await configuring
        view = await clock.shows(lambda view: set(view.cadences) == {"fast"})
    assert view.state is NamespaceState.RUNNING
    assert len(behind.asked) == 3

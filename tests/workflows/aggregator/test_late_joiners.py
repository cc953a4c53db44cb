"""What arrives while something else is under way: nobody is left without an answer, and nothing sleeps too long."""

import asyncio
from collections.abc import Callable

import pytest

from tests.workflows.aggregator.scripted_target import (
    SETTINGS,
    ScriptedTarget,
    enqueue,
    failure,
    included_round,
    one_round,
    request,
)
from tests.workflows.namespace.scripted_worker import ScriptedWorker
from tests.workflows.stage import SLOW_BACKOFF, Stage, cadences, until
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
    Seal,
    Sealed,
    SealedRound,
)
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.namespaces.state import Configuration
from vaultmesh.domain.status import NamespaceState

pytestmark = pytest.mark.asyncio(loop_scope="session")
CLOSED_ROUND = "cd" * 16


def joins(round_id: str) -> Callable[[Seal], Sealed]:
    """Return a seal's answer: the round holds what the first request owes."""

    def answer(order: Seal) -> Sealed:
        late_joiners = [{"round_id": round_id, "requests": [order.requests[0].id]}]
        return Sealed.model_validate({"late_joiners": late_joiners, "settings": SETTINGS})

    return answer


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


async def test_a_request_that_joins_while_receipts_are_written_is_in_the_next_order(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    scripted.gates["record"] = asyncio.Event()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await one_round(aggregator, scripted, 1)
        scripted.include(round_id)
        await until(lambda: len(scripted.asked("record")) == 1)
        scripted.plan("seal", joins(round_id))
        await enqueue(aggregator, request(2))
        await until(lambda: len(scripted.asked("seal")) == 2)
        await aggregator.shows(lambda view: view.waiting == 0)
        scripted.gates["record"].set()
        await aggregator.shows(lambda view: not view.rounds)
    first, second = scripted.asked("record")
    assert [one.id for one in first.waiting] == [request(1).id]
    assert [one.id for one in second.waiting] == [request(2).id]
    assert second.view.final


async def test_a_request_that_joins_a_reorganised_round_waits_for_its_new_block(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await included_round(aggregator, scripted, 1)
        scripted.gates["seal"] = asyncio.Event()
        scripted.plan("seal", joins(round_id))
        await enqueue(aggregator, request(2))
        await until(lambda: len(scripted.asked("seal")) == 2)
        scripted.show(round_id, RoundState.MISSING)
        await until(lambda: len(scripted.asked("record")) == 2)
        scripted.gates["seal"].set()
        await until(lambda: len(scripted.asked("broadcast")) == 2)
        scripted.include(round_id, block=7)
        await aggregator.shows(lambda view: not view.rounds)
    orders = [(one.state, one.view.block.number) for one in scripted.asked("record")]
    assert orders == [
        (RecordState.INCLUDED, 1),
        (RecordState.REORGED, 1),
        (RecordState.INCLUDED, 7),
    ]
    assert [one.id for one in scripted.asked("record")[-1].waiting] == [request(2).id]


async def test_receipts_of_a_closed_round_that_failed_are_tried_again_with_all_who_miss_them(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    scripted.plan("seal", joins(CLOSED_ROUND), joins(CLOSED_ROUND), joins(CLOSED_ROUND))
    scripted.plan("record", failure(FailureKind.NETWORK, "the folder can't be written"))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(backoff=SLOW_BACKOFF)
        await enqueue(aggregator, request(1))
        await until(lambda: len(scripted.asked("record")) == 1)
        await enqueue(aggregator, request(2))
        await until(lambda: len(scripted.asked("seal")) == 2)
        await aggregator.shows(lambda view: view.waiting == 0)
        await enqueue(aggregator, request(1))  # asks once more, since nobody answered
        await until(lambda: len(scripted.asked("record")) == 2)
    again = scripted.asked("record")[1]
    assert sorted(one.id for one in again.waiting) == [request(1).id, request(2).id]
    assert (again.state, again.tries) == (RecordState.CLOSED, 1)


async def test_a_closed_round_that_is_open_again_is_recovered(stage: Stage) -> None:
    scripted = ScriptedTarget()
    scripted.plan("seal", joins(CLOSED_ROUND))
    scripted.plan("record", Recorded(receipts=1, reopened=[CLOSED_ROUND]))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await enqueue(aggregator, request())
        await until(lambda: len(scripted.asked("recover")) == 2)
        await one_round(aggregator, scripted, 2)
    assert [one.reopened for one in scripted.asked("recover")] == [[], [CLOSED_ROUND]]


async def test_a_transaction_that_goes_missing_while_the_aggregator_rests_is_sent_again(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(backoff=SLOW_BACKOFF)
        round_id = await one_round(aggregator, scripted)
        scripted.show(round_id, RoundState.MISSING)  # before the rest after the broadcast has ended
        await until(lambda: len(scripted.asked("broadcast")) == 2)
    first, second = scripted.asked("broadcast")
    assert first.candidate == second.candidate


async def test_a_recovered_round_that_left_its_block_is_said_to_be_reorganised(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    round_id = "ab" * 16
    claimed = RecoveredRound(
        sealed=SealedRound(
            round_id=round_id, commitment="0x" + "11" * 32, label="b", leaves=1,
            required_depths=[2],
        ),
        reservation=Reservation(account="0xaggregator", sequence=0, fields={}),
        candidates=[SignedCandidate(n=0, tx_ref="0xt", raw="0xraw", terms={"bid": 1})],
        claimed_block=5,
    )  # fmt: skip
    scripted.recovered = Recovered(rounds=[claimed], settings=SETTINGS)
    scripted.show(round_id, RoundState.MISSING)
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await enqueue(aggregator, request())
        await until(lambda: len(scripted.asked("broadcast")) == 1)
        scripted.include(round_id, block=9)
        await until(lambda: len(scripted.asked("record")) >= 2)
    states = [one.state for one in scripted.asked("record")]
    assert states[:2] == [RecordState.REORGED, RecordState.INCLUDED]


async def test_a_step_completed_by_hand_with_nonsense_fails_and_is_tried_again(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    scripted.gates["sign"] = asyncio.Event()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await enqueue(aggregator, request())
        await until(lambda: len(scripted.asked("sign")) == 1)
        described = (await aggregator.handle.describe()).raw_description
        (signing,) = described.pending_activities
        await stage.complete(aggregator, signing.activity_id, {"candidate": 7})
        await until(lambda: len(scripted.asked("report_failure")) == 1)
        scripted.gates["sign"].set()
        await one_round(aggregator, scripted)
    report = scripted.asked("report_failure")[0]
    assert report.kind is FailureKind.UNKNOWN
    assert "by hand" in report.message


async def test_an_anchor_completed_by_hand_with_nonsense_is_asked_for_again(stage: Stage) -> None:
    behind = ScriptedWorker()
    behind.may_answer.clear()
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1000d"))
        await until(lambda: len(behind.asked) == 1)
        await stage.complete(namespace, behind.asked[0].id, {})
        await until(lambda: len(behind.asked) == 2)
        behind.may_answer.set()
        view = await namespace.shows(lambda view: view.cadences["fast"].in_flight is None)
    assert behind.asked[0] == behind.asked[1]
    assert view.cadences["fast"].last_anchor is not None


async def test_a_reservation_called_consumed_that_no_look_confirms_is_sent_again(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await one_round(aggregator, scripted)
        scripted.plan("broadcast", Broadcasted(verdict=Verdict.CONSUMED))
        scripted.show(round_id, RoundState.MISSING)
        await until(lambda: len(scripted.asked("broadcast")) >= 3)
    assert len({one.candidate.raw for one in scripted.asked("broadcast")}) == 1
    assert scripted.names.count("sign") == 1


async def test_bids_that_a_node_refuses_one_after_the_other_come_at_the_pace_of_the_backoff(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    scripted.plan("broadcast", *[Broadcasted(verdict=Verdict.FEE_TOO_LOW)] * 30)
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(backoff=SLOW_BACKOFF)
        await enqueue(aggregator, request())
        await until(lambda: len(scripted.asked("broadcast")) == 2)
        await asyncio.sleep(3)  # that nothing more is sent has no event to wait for
        assert len(scripted.asked("broadcast")) == 2
        assert len(scripted.asked("bump")) == 2


async def test_a_round_that_a_look_found_before_its_broadcast_was_answered_stays_found(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await included_round(aggregator, scripted, 1)
        scripted.gates["broadcast"] = asyncio.Event()
        scripted.show(round_id, RoundState.MISSING)
        await until(lambda: len(scripted.asked("broadcast")) == 2)
        scripted.include(round_id, block=7)
        await until(lambda: len(scripted.asked("record")) == 3)
        scripted.gates["broadcast"].set()
        await aggregator.shows(lambda view: not view.rounds)
    states = [one.state for one in scripted.asked("record")]
    assert states == [RecordState.INCLUDED, RecordState.REORGED, RecordState.INCLUDED]


# --- namespaces


async def test_a_cadence_that_goes_in_the_moment_in_which_it_is_forced_wedges_nothing(
    stage: Stage,
) -> None:
    behind = ScriptedWorker()
    async with stage.working(behind.adapters(), cached=0):
        namespace = await stage.namespace(cadences(fast="1000d", strong="1000d"))
        await namespace.registered("fast")
        await namespace.registered("strong")
    given = Configuration(
        namespace=namespace.namespace, cadences=cadences(fast="1000d"), config_hash="two"
    )
    await namespace.handle.signal("force_anchor", "strong")
    configuring = asyncio.create_task(namespace.update("configure", given))
    await asyncio.sleep(1)  # both messages reach the server, while no worker tells so
    async with stage.working(behind.adapters()):
        await configuring
        view = await namespace.shows(lambda view: set(view.cadences) == {"fast"})
    assert view.state is NamespaceState.RUNNING
    assert len(behind.asked) == 3

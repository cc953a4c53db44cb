"""An aggregator learns what is stored: when it starts, and when a step finds more than it knows."""

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
from tests.workflows.stage import Stage, until
from vaultmesh.domain.aggregator.ledger_messages import (
    Reservation,
    RoundState,
    SignedCandidate,
)
from vaultmesh.domain.aggregator.messages import (
    Recorded,
    Recovered,
    RecoveredRound,
    Reserved,
    Sealed,
    SealedRound,
    Signed,
)
from vaultmesh.domain.failures import FailureKind

pytestmark = pytest.mark.asyncio(loop_scope="session")


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
        last=Reservation(account="0xaggregator", sequence=7, fields={}),
        rounds=[
            RecoveredRound(
                sealed=SealedRound(
                    round_id=round_id,
                    commitment="0x" + "11" * 32,
                    label="b",
                    leaves=1,
                    required_depths=[0],
                ),
                reservation=Reservation(account="0xaggregator", sequence=7, fields={}),
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


async def test_whoever_waits_for_a_round_that_can_not_be_read_is_told_and_its_bytes_are_kept(
    stage: Stage,
) -> None:
    """An older copy of the storage lacks its manifest: its receipts can't be written, however often that is tried."""
    scripted = ScriptedTarget()
    reason = "manifest.json is missing; restore it from a backup"
    scripted.plan("record", *[failure(FailureKind.VALIDATION, reason) for _ in range(3)])
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await one_round(aggregator, scripted)
        unread = Recovered(settings=SETTINGS, unreadable=[round_id], problems=[reason])
        scripted.plan("recover", unread)
        scripted.plan("seal", failure(FailureKind.VALIDATION, reason))
        scripted.include(round_id)
        await until(lambda: bool(scripted.asked("report_failure")))
        view = await aggregator.shows(lambda view: view.held is not None)
        assert view.problems[0] == reason
        await aggregator.shows(lambda view: not view.rounds, "the round, once its file is back")
    (told,) = scripted.asked("report_failure")
    assert ([one.id for one in told.requests], told.message) == ([request().id], reason)
    (remembered,) = scripted.asked("recover")[1].remembered
    assert (remembered.round_id, len(remembered.candidates)) == (round_id, 1)
    assert len(scripted.asked("sign")) == 1


async def test_final_rounds_are_remembered_until_others_have_taken_their_place(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await one_round(aggregator, scripted)
        scripted.include(round_id)
        await aggregator.shows(lambda view: not view.rounds)
        scripted.plan("seal", Sealed(stale=True))
        await one_round(aggregator, scripted, 2)
    assert [known.round_id for known in scripted.asked("seal")[1].ended] == [round_id]
    (remembered,) = scripted.asked("recover")[1].remembered
    assert remembered.end is not None
    assert (remembered.round_id, remembered.end.final) == (round_id, True)


async def test_a_round_that_was_included_before_a_recovery_ends_no_backoff_of_what_fails_since(
    stage: Stage,
) -> None:
    """The harm: with every recovery the failures in a row began anew, and what failed was tried without a rest."""
    scripted = ScriptedTarget()
    reason = "the key may not sign"
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        round_id = await included_round(aggregator, scripted, 1)
        known = scripted.asked("broadcast")[0]
        sealed = {"round_id": round_id, "commitment": "0x" + "11" * 32, "label": "b"}
        scripted.recovered = Recovered(
            settings=SETTINGS,
            rounds=[
                RecoveredRound(
                    sealed=SealedRound(**sealed, leaves=1, required_depths=[0]),
                    reservation=known.reservation,
                    candidates=[known.candidate],
                )
            ],
        )
        failed = failure(FailureKind.AUTH, reason)
        scripted.plan("reserve", *[failed, Reserved(stale=True)] * 3, failed)
        for number in range(2, 6):
            await enqueue(aggregator, request(number))
            await aggregator.shows(lambda view, n=number: view.failures == n - 1, f"{number}")
    assert scripted.names.count("recover") == 4
    first, *others = [order.only_differing for order in scripted.asked("record")]
    assert (first, set(others)) == (False, {True})

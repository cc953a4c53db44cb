"""An operator's decision reaches the aggregator: it is written first, and then the storage is read anew."""

import pytest
from temporalio.client import WorkflowUpdateFailedError

from tests.workflows.aggregator.scripted_target import SETTINGS, ScriptedTarget, failure
from tests.workflows.stage import AggregatorRun, Stage, until
from vaultmesh.domain.aggregator.decisions import Decision
from vaultmesh.domain.aggregator.ledger_messages import Reservation, RoundState, SignedCandidate
from vaultmesh.domain.aggregator.messages import RecordState, Recovered, RecoveredRound, SealedRound
from vaultmesh.domain.failures import FailureKind

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROUND = "ab" * 16


async def decide(aggregator: AggregatorRun, **asked: object) -> dict[str, object]:
    """Send the update `resolve`."""
    answer: dict[str, object] = await aggregator.handle.execute_update(
        "resolve", {**asked, "by": "ops"}
    )
    return answer


def open_round(*, lost: bool) -> RecoveredRound:
    sealed = SealedRound(
        round_id=ROUND, commitment="0x" + "cd" * 32, label="b1", leaves=1, required_depths=[0]
    )
    return RecoveredRound(
        sealed=sealed,
        reservation=Reservation(account="0xaggregator", sequence=4, fields={"nonce": 4}),
        candidates=[SignedCandidate(n=0, tx_ref="0x01", raw="0x01", terms={"bid": 1})],
        lost=lost,
    )


def remembered(
    scripted: ScriptedTarget, *rounds: RecoveredRound, problems: tuple[str, ...] = ()
) -> None:
    scripted.recovered = Recovered(
        rounds=list(rounds),
        last=rounds[0].reservation if rounds else None,
        settings=SETTINGS,
        problems=list(problems),
    )


async def test_a_round_that_is_given_up_is_sealed_again_at_another_reservation(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    remembered(scripted, open_round(lost=False))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await aggregator.shows(lambda view: len(view.rounds) == 1)
        remembered(scripted, open_round(lost=True))
        await decide(aggregator, lost=ROUND)
        await until(lambda: bool(scripted.asked("broadcast")))
        scripted.include(scripted.asked("broadcast")[-1].round_id)
        await aggregator.shows(lambda view: not view.rounds)
    assert [(one.decision, one.round_id) for one in scripted.asked("resolve")] == [
        (Decision.LOST, ROUND)
    ]
    assert scripted.asked("seal")[0].reseal == [ROUND]
    assert scripted.asked("seal")[0].rounds[0].lost
    assert [one.reservation.sequence for one in scripted.asked("sign")] == [5]
    states = {one.round_id: one.state for one in scripted.asked("record")}
    assert states[ROUND] is RecordState.LOST


async def test_a_transaction_that_is_adopted_is_observed(stage: Stage) -> None:
    scripted = ScriptedTarget()
    remembered(scripted, open_round(lost=False))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await aggregator.shows(lambda view: len(view.rounds) == 1)
        found = open_round(lost=False)
        adopted = SignedCandidate(n=1, tx_ref="0x02", raw="0x02", terms={"bid": 2})
        remembered(scripted, found.model_copy(update={"candidates": [*found.candidates, adopted]}))
        await decide(aggregator, adopt=[ROUND, "0x02"])
        await aggregator.shows(lambda view: view.rounds[0].candidates == 2)
    (asked,) = scripted.asked("resolve")
    assert (asked.decision, asked.tx_ref, asked.by) == (Decision.ADOPTED, "0x02", "ops")


async def test_problems_are_shown_until_their_round_is_given_up(stage: Stage) -> None:
    scripted = ScriptedTarget()
    remembered(scripted, problems=("out/rounds/x can't be read",))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        view = await aggregator.shows(lambda view: bool(view.problems))
        assert view.problems == ["out/rounds/x can't be read"]
        remembered(scripted)
        await decide(aggregator, forget=ROUND)
        await aggregator.shows(lambda view: view.problems == [])


async def test_what_speaks_against_a_decision_is_told_and_changes_nothing(stage: Stage) -> None:
    scripted = ScriptedTarget()
    remembered(scripted, open_round(lost=False))
    scripted.plan("resolve", failure(FailureKind.VALIDATION, "its bytes could still be mined"))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await aggregator.shows(lambda view: len(view.rounds) == 1)
        with pytest.raises(WorkflowUpdateFailedError) as refusal:
            await decide(aggregator, lost=ROUND)
        assert "could still be mined" in str(refusal.value.cause)
        view = await aggregator.shows(lambda view: bool(view.rounds))
        assert view.rounds[0].state == RoundState.PENDING
    assert scripted.asked("seal") == []


@pytest.mark.parametrize(
    "asked",
    [{}, {"lost": ROUND, "forget": ROUND}, {"adopt": [ROUND]}, {"lose": ROUND}, {"fill": True}],
)
async def test_what_is_no_decision_is_refused_before_it_enters_history(
    stage: Stage, asked: dict[str, object]
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        with pytest.raises(WorkflowUpdateFailedError):
            await decide(aggregator, **asked)
    assert scripted.asked("resolve") == []


async def test_every_operator_is_answered_however_often_the_run_is_left(stage: Stage) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(continue_after_events=30)
        for number in range(8):
            await aggregator.handle.signal("pause", str(number))
            await decide(aggregator, forget=ROUND)
        await aggregator.shows(lambda view: view.paused is not None)
        runs = await stage.runs(aggregator.handle)
    assert len(scripted.asked("resolve")) == 8
    assert len(runs) > 1


async def test_a_gap_is_filled_at_once_when_an_operator_says_so(stage: Stage) -> None:
    scripted = ScriptedTarget()
    remembered(scripted, open_round(lost=False))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await aggregator.shows(lambda view: len(view.rounds) == 1)
        scripted.show(
            ROUND, RoundState.PENDING, gap=1, message="beyond a gap", undecided="beyond a gap"
        )
        await aggregator.shows(lambda view: view.held is not None)
        assert scripted.asked("fill") == []
        await decide(aggregator, fill=True)
        await until(lambda: bool(scripted.asked("fill")))

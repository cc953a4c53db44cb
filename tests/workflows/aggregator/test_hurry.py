"""What an aggregator backs off from is tried at once when an operator or a ledger's return says so."""

import pytest

from tests.workflows.aggregator.scripted_target import (
    ScriptedTarget,
    enqueue,
    failure,
    included_round,
    one_round,
    request,
)
from tests.workflows.stage import Stage, until
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import Backoff
from vaultmesh.domain.names import ENDPOINT_BACK, HURRY

PATIENT = Backoff(base_seconds=600)
"""Nothing is tried again during a test unless somebody hurries."""
DOWN = failure(FailureKind.NETWORK, "no answer in time")
LOCKED = failure(FailureKind.NETWORK, "the folder is locked by process 7")


@pytest.mark.parametrize("signal", [HURRY, ENDPOINT_BACK])
async def test_receipts_that_failed_are_shown_at_once_and_written_when_hurried(
    stage: Stage, signal: str
) -> None:
    scripted = ScriptedTarget()
    scripted.plan("record", LOCKED)
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(backoff=PATIENT)
        round_id = await one_round(aggregator, scripted)
        scripted.include(round_id, final=False)
        await aggregator.shows(lambda view: any("process 7" in line for line in view.problems))
        assert len(scripted.asked("record")) == 1
        await aggregator.handle.signal(signal)
        await aggregator.shows(lambda view: view.rounds[0].recorded and not view.problems)
    first, second = scripted.asked("record")[:2]
    assert (first.tries, second.tries) == (0, 1)
    assert second.revision > first.revision


async def test_requests_that_failed_with_the_ledger_wait_again_once_it_is_back(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    scripted.plan("reserve", DOWN)
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(backoff=PATIENT)
        await enqueue(aggregator, request(1), request(2))
        await until(lambda: len(scripted.asked("report_failure")) == 1)
        await aggregator.handle.signal(ENDPOINT_BACK)
        await until(lambda: len(scripted.asked("broadcast")) == 1)
    waiting = scripted.asked("seal")[-1].requests
    assert [(asked.id, asked.failures) for asked in waiting] == [
        (request(1).id, 1),
        (request(2).id, 1),
    ]


async def test_requests_that_were_taken_back_do_not_return_with_the_ledger(stage: Stage) -> None:
    scripted = ScriptedTarget()
    scripted.plan("reserve", DOWN)
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(backoff=PATIENT)
        await enqueue(aggregator, request(1), request(2))
        await until(lambda: len(scripted.asked("report_failure")) == 1)
        await aggregator.handle.signal("withdraw", [request(1)])
        await aggregator.handle.signal(ENDPOINT_BACK)
        await until(lambda: len(scripted.asked("broadcast")) == 1)
    assert [asked.id for asked in scripted.asked("seal")[-1].requests] == [request(2).id]


@pytest.mark.parametrize("signal", [HURRY, ENDPOINT_BACK])
async def test_a_signed_round_is_sent_at_once_when_the_ledger_is_back(
    stage: Stage, signal: str
) -> None:
    scripted = ScriptedTarget()
    scripted.plan("broadcast", DOWN)
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(backoff=PATIENT)
        await enqueue(aggregator, request())
        await aggregator.shows(lambda view: view.failures == 1)
        await aggregator.handle.signal(signal)
        await until(lambda: len(scripted.asked("broadcast")) == 2)
    first, second = scripted.asked("broadcast")
    assert first.candidate == second.candidate


async def test_a_ledger_that_returns_is_looked_at_anew(stage: Stage) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(backoff=PATIENT)
        await included_round(aggregator, scripted, 1)
        looks = len(scripted.asked("observe"))
        await aggregator.handle.signal(ENDPOINT_BACK)
        await until(lambda: len(scripted.asked("observe")) > looks)


async def test_a_return_that_nobody_waits_for_changes_nothing_and_junk_is_shown(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(backoff=PATIENT)
        await one_round(aggregator, scripted)
        names = scripted.names
        for junk in ({"since": 7}, [], "now"):
            await aggregator.handle.signal(ENDPOINT_BACK, junk)
        await aggregator.shows(
            lambda view: (
                view.last_rejected is not None and "no argument" in view.last_rejected.reason
            )
        )
        for _ in range(3):
            await aggregator.handle.signal(ENDPOINT_BACK)
        await aggregator.shows(lambda view: not view.failures)
        assert scripted.names == names

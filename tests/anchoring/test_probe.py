"""Which answers of a target in trouble mean that trying again may help, and whose failures are noted."""

from dataclasses import replace
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput
from typing_extensions import override

from activities.anchoring.probe import PERIOD_SECONDS, Watch
from activities.anchoring.troubles import NotesTroubles, Troubles
from vaultmesh.domain.aggregator.ledger_messages import Bumped
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import Answer
from vaultmesh.domain.target import Target

TARGET = Target.parse("eip155:1")
POOR, FUNDED = "0x0", "0x9"


def test_a_ledger_that_answers_after_it_did_not_is_worth_a_try_once() -> None:
    watch = Watch()
    for _ in range(3):
        watch.failed()
        assert not watch.is_over
    assert watch.answered("", now=50.0)
    assert not watch.answered("", now=55.0)


def test_a_ledger_that_answers_all_along_is_left_to_the_backoff() -> None:
    watch = Watch()
    assert not watch.answered(POOR, now=0.0)
    assert watch.is_over


def test_what_an_operator_mends_is_worth_a_try_when_it_changes() -> None:
    watch = Watch(needs_operator=True)
    assert [watch.answered(POOR, now) for now in (0.0, 5.0, 10.0)] == [False, False, False]
    assert not watch.is_over
    assert watch.answered(FUNDED, now=15.0)


def test_a_return_that_helped_nothing_is_tried_again_later() -> None:
    watch = Watch(hope_at=10.0)
    assert not watch.answered("", now=10.0 - PERIOD_SECONDS)
    assert not watch.is_over
    assert watch.answered("", now=10.0)


class Step(ActivityInboundInterceptor):
    """Stands for the activity itself."""

    def __init__(self, result: Any) -> None:
        self._result = result

    @override
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


async def noted(name: str, result: Any) -> dict[Target, bool]:
    """Return what is noted of an activity that ends like this."""
    troubles = Troubles()
    step = NotesTroubles(troubles).intercept_activity(Step(result))
    order = Answer(target=TARGET, requests=[])
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, activity_type=name)

    async def run() -> None:
        execution = ExecuteActivityInput(fn=run, args=[order], executor=None, headers={})
        try:
            await step.execute_activity(execution)
        except ApplicationError:
            return

    await environment.run(run)
    return troubles.take()


def failed(kind: FailureKind) -> ApplicationError:
    return ApplicationError("as the test says", type=kind.value)


@pytest.mark.parametrize("kind", FailureKind)
async def test_each_failure_of_a_step_at_a_ledger_is_noted(kind: FailureKind) -> None:
    assert await noted("reserve", failed(kind)) == {TARGET: kind is FailureKind.AUTH}


async def test_a_bid_that_can_not_be_raised_waits_for_an_operator() -> None:
    assert await noted("bump", Bumped(message="no funds")) == {TARGET: True}
    assert await noted("bump", Bumped(terms={"bid": 2})) == {}


async def test_what_asks_no_ledger_is_not_noted() -> None:
    assert await noted("seal", failed(FailureKind.NETWORK)) == {}
    assert await noted("answer", failed(FailureKind.NETWORK)) == {}

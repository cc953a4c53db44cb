"""Which answers of a target in trouble mean that trying again may help, and whose failures are noted."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput
from typing_extensions import override

from activities.anchoring import probe
from activities.anchoring.probe import PERIOD_SECONDS, Probing, Watch
from activities.anchoring.troubles import NotesTroubles, Troubles
from tests.workflows.stage import until
from vaultmesh.domain.aggregator.ledger_messages import Bumped
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import Answer
from vaultmesh.domain.names import aggregator_workflow_id
from vaultmesh.domain.target import Target
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.unforeseen import Unforeseen

TARGET = Target.parse("eip155:1")
POOR, FUNDED = "0x0", "0x9"


def test_a_ledger_that_answers_after_it_did_not_is_worth_a_try_once() -> None:
    watch = Watch()
    for _ in range(3):
        watch.failed()
        assert not watch.is_over
    assert watch.answered("", now=50.0)
    assert not watch.answered("", now=55.0)


def test_why_a_ledger_does_not_answer_is_known_until_it_does() -> None:
    watch = Watch()
    watch.failed("refused")
    assert watch.reason == "refused"
    watch.answered("", now=0.0)
    assert watch.reason == ""


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


class SurprisingLedgers:
    """Targets that answer some questions as nobody foresaw."""

    def __init__(self, **surprises: int) -> None:
        self.surprises = surprises
        """How many questions about a target fail so, by its scheme."""
        self.asked: list[Target] = []

    async def open(self, target: Target) -> "Answering":
        """Open a target."""
        self.asked.append(target)
        left = self.surprises.get(target.scheme, 0)
        self.surprises[target.scheme] = left - 1
        if left > 0:
            message = f"no {target} in the table"
            raise KeyError(message)
        return Answering(str(len(self.asked)))


@dataclass
class Answering:
    """A target that answers."""

    mark: str

    async def probe(self) -> str:
        """Answer otherwise each time, as what an operator mends does."""
        return self.mark


class Aggregators:
    """A client that notes which aggregators are signalled, and whose first list fails as nobody foresaw."""

    def __init__(self) -> None:
        self.signalled: list[str] = []
        self.lists = 0

    async def list_workflows(self, _: str) -> AsyncIterator[object]:
        """List none."""
        self.lists += 1
        if self.lists == 1:
            message = "an answer of another version"
            raise LookupError(message)
        for nobody in ():
            yield nobody

    def get_workflow_handle(self, workflow_id: str) -> Any:
        """Return a handle that notes signals."""

        async def signal(_: str) -> None:
            self.signalled.append(workflow_id)

        return SimpleNamespace(signal=signal)


async def test_an_answer_that_nobody_foresaw_ends_neither_the_worker_nor_the_questions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The harm: one such answer ended every question of the process, and the process."""
    monkeypatch.setattr(probe, "PERIOD_SECONDS", 0.02)
    monkeypatch.setattr(probe, "RECHECK_SECONDS", 0.05)
    client, troubles, unforeseen = Aggregators(), Troubles(), Unforeseen(Metrics())
    other = Target.parse("btc:regtest")
    ledgers = SurprisingLedgers(eip155=2)
    probing = Probing(client, ledgers, troubles, unforeseen)  # type: ignore[arg-type]
    task = asyncio.create_task(probing.run())
    for target in (TARGET, other):
        troubles.note(target, needs_operator=True)
    names = {aggregator_workflow_id(str(target)) for target in (TARGET, other)}
    await until(lambda: set(client.signalled) == names and client.lists > 1)
    assert not task.done()
    task.cancel()
    assert unforeseen.shown() == {
        "probing": "LookupError: an answer of another version",
        f"probing {TARGET}": f"KeyError: 'no {TARGET} in the table'",
    }

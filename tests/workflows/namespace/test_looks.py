"""`anchor` looks what a due slot owes: on real files, whatever the look finds, each slot ends in one outcome."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio import activity
from temporalio.service import RPCError, RPCStatusCode
from typing_extensions import override

from activities.anchoring.replies import Answers, Replies
from activities.anchoring.requests import Requests
from activities.anchoring.signals import Collector
from activities.anchoring.stores import Files
from tests.workflows.aggregator.scripted_target import ScriptedTarget
from tests.workflows.stage import FAST_BACKOFF, NamespaceRun, Stage, until
from vaultmesh.domain.aggregator.messages import Record, Recorded
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.messages import AnchorOutcome, Answer, Nothing, OutcomeStatus
from vaultmesh.domain.names import aggregator_workflow_id
from vaultmesh.domain.namespaces.state import CadenceConfig
from vaultmesh.domain.status import CadenceMemo, CadenceView, NamespaceMemo, SlotOutcome
from vaultmesh.domain.target import Target
from vaultmesh.process.metrics import Metrics
from vaultmesh.storage.batches import BatchIndex
from vaultmesh.storage.files import LocalStore

pytestmark = pytest.mark.asyncio(loop_scope="session")
SLOW_LOOK_SECONDS = 0.5
"""Longer than a look after which `anchor` does not ask whether it is still waited for."""


@pytest.fixture
def stage(real_stage: Stage) -> Stage:
    """Run on the real server: what matters is when signals and answers arrive."""
    return real_stage


class FaultyStore(LocalStore):
    """A storage that hangs or fails when a test says so."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.may_look = threading.Event()
        self.may_look.set()
        self.looks = 0
        self.broken = False

    @override
    def version(self, folder: str) -> str | None:
        self.looks += 1
        self.may_look.wait(60)
        if self.broken:
            raise NetworkFailure("could not list out/batches: the volume is gone")
        return super().version(folder)


class Namespace:
    """One namespace on real files and real `anchor` activities; the aggregator's steps are scripted."""

    def __init__(self, stage: Stage, root: Path) -> None:
        self.stage = stage
        self.root = root
        self.store = FaultyStore(root)
        self.files = Files(root)
        self.files.store = self.store
        self.files.batches = BatchIndex(self.store)
        self.metrics = Metrics()
        self.answers = Answers(stage.env.client, self.metrics)
        self.target = Target.parse(f"eip155:{1_000_000 + id(self) % 1_000_000_000}")
        self.scripted = ScriptedTarget()
        self.scripted.records = lambda _: Recorded(receipts=1)
        self.namespace: NamespaceRun

    def seal(self, batch_id: str = "1761300001") -> None:
        """Owe a batch."""
        batch = {"id": batch_id, "root": f"sha256:{'11' * 32}", "leaves": [f"sha256:{'11' * 32}"]}
        self._write(batch_id, json.dumps({**batch, "createdAt": int(batch_id)}))

    def spoil(self, batch_id: str = "1761300002") -> None:
        """Leave a batch file that can't be anchored."""
        self._write(batch_id, "{")

    def _write(self, batch_id: str, text: str) -> None:
        place = self.root / "out/batches" / f"{batch_id}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    @asynccontextmanager
    async def working(self, every: str = "1s") -> AsyncIterator[NamespaceRun]:
        """Register it; its anchor at registration is over when this begins, unless something is owed."""
        client = self.stage.env.client
        requests = Requests(self.files, Collector(client), self.answers, client)
        adapters = [requests.anchor, requests.ask_again, requests.withdraw]
        aggregator = [one for one in self.scripted.adapters() if one != self.scripted.answer]
        aggregator.append(self.answer)
        async with self.stage.working(adapters, aggregator):
            given = {"fast": CadenceConfig(target=self.target, every=every)}
            self.namespace = await self.stage.namespace(given, backoff=FAST_BACKOFF)
            try:
                yield self.namespace
            finally:
                self.store.may_look.set()

    @activity.defn(name="answer")
    async def answer(self, order: Answer) -> Nothing:
        """Answer from the receipts, as the product does, and note it."""
        await self.scripted.answer(order)
        return await Replies(self.files, self.answers).answer(order)

    async def cadence(self) -> CadenceView:
        return (await self.namespace.status()).cadences["fast"]

    async def include_every_round(self) -> None:
        """Put whatever is sent into a block and answer each record once, until cancelled.

        An answer to an activity that is gone makes the server drop the messages that wait for the workflow: repeated
        without end, no update of an operator would get through.
        """
        included: set[str] = set()
        answered = 0
        while True:
            for sent in self.scripted.asked("broadcast"):
                if sent.round_id not in included:
                    included.add(sent.round_id)
                    self.scripted.include(sent.round_id)
            records = self.scripted.asked("record")
            for record in records[answered:]:
                await self._answer(record)
            answered = len(records)
            await asyncio.sleep(0.05)

    async def _answer(self, record: Record) -> None:
        outcome = AnchorOutcome(
            status=OutcomeStatus.ANCHORED, batch_ids=["1761300001"], batch_count=1, tx_ref="0xab"
        )
        await self.answers.complete(record.target, [(one, outcome) for one in record.waiting])

    async def signals_to_the_aggregator(self) -> int:
        """Return how many signals its workflow ever got; -1 if it never ran."""
        handle = self.stage.env.client.get_workflow_handle(aggregator_workflow_id(str(self.target)))
        try:
            history = await handle.fetch_history()
        except RPCError as error:
            assert error.status is RPCStatusCode.NOT_FOUND
            return -1
        self.stage.started.append(handle)
        enqueued = [
            event
            for event in history.events
            if event.workflow_execution_signaled_event_attributes.signal_name == "enqueue"
        ]
        return len(enqueued)

    async def answers_decided(self) -> int:
        """Return how many answers the aggregator decided on, however often each was sent."""
        handle = self.stage.env.client.get_workflow_handle(aggregator_workflow_id(str(self.target)))
        history = await handle.fetch_history()
        scheduled = [event.activity_task_scheduled_event_attributes for event in history.events]
        return sum(each.activity_type.name == "answer" for each in scheduled)

    def attempted(self) -> float:
        """Return how many anchors were counted as attempted."""
        lines = self.metrics.page().decode().splitlines()
        name = "scheduler_anchors_attempted_total{"
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def settle(place: Namespace, outcome: SlotOutcome, at_least: int) -> CadenceView:
    """Wait until so many slots ended like this; then every slot of the past has exactly one outcome."""
    registered = await place.namespace.shows(
        lambda view: view.cadences["fast"].next_due is not None
    )
    first = registered.cadences["fast"]
    assert first.next_due is not None
    known = sum(first.outcomes.values()) + int(
        first.in_flight is not None and first.in_flight.slot.isdigit()
    )
    view = await place.namespace.shows(
        lambda view: view.cadences["fast"].outcomes[outcome] >= at_least, f"{outcome} {at_least}"
    )
    await place.namespace.update("pause")
    view = await place.namespace.shows(lambda view: view.cadences["fast"].in_flight is None)
    cadence = view.cadences["fast"]
    assert cadence.next_due is not None
    passed = round((cadence.next_due - first.next_due).total_seconds())
    assert sum(cadence.outcomes.values()) == known + passed
    return cadence


async def test_a_backlog_found_in_files_is_anchored_slot_by_slot(
    stage: Stage, tmp_path: Path
) -> None:
    place = Namespace(stage, tmp_path)
    place.seal()
    async with place.working():
        including = asyncio.create_task(place.include_every_round())
        cadence = await settle(place, SlotOutcome.ANCHORED, 2)
        including.cancel()
    assert cadence.last_anchor is not None
    assert await place.signals_to_the_aggregator() >= 3
    assert place.attempted() >= cadence.outcomes[SlotOutcome.ANCHORED]


async def test_a_slot_that_owes_nothing_sends_no_signal_and_counts_no_attempt(
    stage: Stage, tmp_path: Path
) -> None:
    place = Namespace(stage, tmp_path)
    async with place.working():
        cadence = await settle(place, SlotOutcome.NOTHING_NEW, 3)
        memo = NamespaceMemo(
            namespace=place.namespace.namespace,
            cadences={"fast": CadenceMemo(target=str(place.target))},
        )
        place.metrics.listed({memo.namespace: memo})
        assert place.metrics.slots(memo.namespace, "fast")[SlotOutcome.NOTHING_NEW] >= 2
    assert cadence.outcomes[SlotOutcome.ANCHORED] == 0
    assert place.attempted() == 0
    assert len(place.scripted.calls) == 0


async def test_refused_files_fail_the_slot_as_validation_without_the_aggregator(
    stage: Stage, tmp_path: Path
) -> None:
    place = Namespace(stage, tmp_path)
    place.spoil()
    async with place.working() as namespace:
        view = await namespace.shows(lambda view: _failures(view.cadences["fast"]) >= 2)
        failure = view.cadences["fast"].in_flight
        assert failure is not None
        assert failure.last_failure is not None
        assert failure.last_failure.kind == "validation"
        assert "1761300002" in failure.last_failure.message
        await namespace.shows(
            lambda view: view.cadences["fast"].outcomes[SlotOutcome.COALESCED] >= 1
        )
        (tmp_path / "out/batches/1761300002.json").unlink()
        await settle(place, SlotOutcome.NOTHING_NEW, 1)
    assert place.attempted() >= 2
    assert place.scripted.asked("seal") == []


async def test_a_storage_that_fails_keeps_the_slot_open_and_later_ones_coalesce(
    stage: Stage, tmp_path: Path
) -> None:
    place = Namespace(stage, tmp_path)
    place.seal()
    place.store.broken = True
    async with place.working() as namespace:
        view = await namespace.shows(lambda view: _failures(view.cadences["fast"]) >= 2)
        flight = view.cadences["fast"].in_flight
        assert flight is not None
        assert flight.last_failure is not None
        assert flight.last_failure.kind == "network"
        await namespace.shows(
            lambda view: view.cadences["fast"].outcomes[SlotOutcome.COALESCED] >= 1
        )
        assert place.scripted.asked("seal") == []
        place.store.broken = False
        including = asyncio.create_task(place.include_every_round())
        await settle(place, SlotOutcome.ANCHORED, 1)
        including.cancel()
    assert place.attempted() >= 1


async def test_a_pause_during_a_look_ends_the_slot_as_paused_and_no_signal_follows(
    stage: Stage, tmp_path: Path
) -> None:
    place = Namespace(stage, tmp_path)
    async with place.working() as namespace:
        await namespace.shows(
            lambda view: view.cadences["fast"].outcomes[SlotOutcome.NOTHING_NEW] >= 1
        )
        looks = place.store.looks
        place.store.may_look.clear()
        await until(lambda: place.store.looks > looks)
        place.seal()
        await asyncio.sleep(SLOW_LOOK_SECONDS)
        await namespace.update("pause", "the moon")
        view = await namespace.shows(lambda view: view.cadences["fast"].in_flight is None)
        assert view.cadences["fast"].outcomes[SlotOutcome.PAUSED] >= 1
        before = await place.signals_to_the_aggregator()
        place.store.may_look.set()
        await asyncio.sleep(1)
        assert await place.signals_to_the_aggregator() == before == 0
        assert place.scripted.asked("seal") == []
        including = asyncio.create_task(place.include_every_round())
        await namespace.update("resume")
        await settle(place, SlotOutcome.ANCHORED, 1)
        including.cancel()


async def test_a_force_during_a_look_waits_for_it_and_anchors_what_it_did_not_see(
    stage: Stage, tmp_path: Path
) -> None:
    place = Namespace(stage, tmp_path)
    async with place.working("1000d") as namespace:
        await namespace.shows(lambda view: view.cadences["fast"].in_flight is None)
        place.store.may_look.clear()
        looks = place.store.looks
        await namespace.update("force_anchor")
        await until(lambda: place.store.looks > looks)
        forced = (await place.cadence()).in_flight
        assert forced is not None
        await namespace.update("force_anchor")
        place.store.may_look.set()
        view = await namespace.shows(lambda view: view.cadences["fast"].in_flight is None)
        assert view.cadences["fast"].last_anchor is None
        place.seal()
        including = asyncio.create_task(place.include_every_round())
        await namespace.update("force_anchor")
        view = await namespace.shows(lambda view: view.cadences["fast"].last_anchor is not None)
        including.cancel()
    assert sum(view.cadences["fast"].outcomes.values()) == 0
    assert place.attempted() == 1


async def test_a_withdrawal_that_overtakes_its_request_holds(stage: Stage, tmp_path: Path) -> None:
    place = Namespace(stage, tmp_path)
    place.seal()
    async with place.working("1000d") as namespace:
        await until(lambda: bool(place.scripted.asked("seal")))
        including = asyncio.create_task(place.include_every_round())
        await namespace.shows(lambda view: view.cadences["fast"].last_anchor is not None)
        seals = len(place.scripted.asked("seal"))
        request = place.scripted.asked("seal")[0].requests[0].model_copy(update={"slot": "77"})
        aggregator = stage.env.client.get_workflow_handle(aggregator_workflow_id(str(place.target)))
        before = await place.answers_decided()
        await aggregator.signal("withdraw", [request])
        await aggregator.signal("enqueue", [request])

        async def both_answered() -> bool:
            return await place.answers_decided() == before + 2 and len(withdrawn(place)) >= 2

        await until(both_answered, "an answer to both; either may be sent again")
        including.cancel()
    assert set(withdrawn(place)) == {"77"}
    assert len(place.scripted.asked("seal")) == seals


def withdrawn(place: Namespace) -> list[str]:
    """Return the slots that were answered as withdrawn."""
    return [one.requests[0].slot for one in place.scripted.asked("answer") if one.withdrawn]


def _failures(cadence: CadenceView) -> int:
    return cadence.in_flight.failures if cadence.in_flight is not None else 0

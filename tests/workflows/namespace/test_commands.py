"""What operators do to a namespace's workflow, and what its file does."""

import pytest
from temporalio.client import WorkflowUpdateFailedError

from tests.workflows.namespace.scripted_worker import ScriptedWorker
from tests.workflows.stage import (
    TARGET,
    NamespaceRun,
    Stage,
    cadences,
    settled,
    slots_between,
    until,
)
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import FailureNote
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration, ConfigureAnswer
from vaultmesh.domain.status import NamespaceState, NamespaceView, SlotOutcome
from vaultmesh.domain.target import Target

pytestmark = pytest.mark.asyncio(loop_scope="session")


def change(namespace: NamespaceRun, **every: str) -> dict[str, object]:
    """Return a governance payload."""
    cadence = {label: {"target": str(TARGET), "every": text} for label, text in every.items()}
    return {"namespace": namespace.namespace, "cadence": cadence}


def file_of(
    namespace: NamespaceRun, given: dict[str, CadenceConfig], config_hash: str, **more: float
) -> Configuration:
    """Return what a file's part would become."""
    return Configuration(
        namespace=namespace.namespace, cadences=given, config_hash=config_hash, **more
    )


async def test_changing_fast_changes_every_multiple_of_it_in_the_same_step(stage: Stage) -> None:
    behind = ScriptedWorker()
    slow = Target.parse("btc:regtest")
    behind.owed = lambda ask: int(ask.target == slow)
    given = cadences(fast="1d") | {"strong": CadenceConfig(target=slow, every="34*fast")}
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(given)
        await namespace.registered("strong")
        view = await namespace.update("set_cadence", change(namespace, fast="10m"))
        first_due = view.cadences["strong"].next_due
        assert first_due.timestamp() % (34 * 600) == 0
        behind.asked.clear()
        for _ in range(12):
            await stage.skip(hours=1)
        view = await namespace.shows(lambda view: settled(view, first_due, "strong"))
    slots = [int(one.slot) for one in behind.asked]
    assert len(slots) == slots_between(view, first_due, "strong") >= 2
    assert all(slot % (34 * 600) == 0 for slot in slots)


async def test_slots_that_fall_due_while_paused_are_counted_as_paused(stage: Stage) -> None:
    behind = ScriptedWorker()
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1h"))
        first_due = await namespace.registered()
        await namespace.update("pause", "the moon")
        await stage.skip(hours=5)
        view = await namespace.shows(lambda view: settled(view, first_due))
        assert view.state is NamespaceState.PAUSED
        assert view.paused["fast"].reason == "the moon"
        paused = view.cadences["fast"].outcomes[SlotOutcome.PAUSED]
        await namespace.update("resume")
        await stage.skip(hours=2)
        view = await namespace.shows(lambda view: settled(view, first_due))
    assert paused >= 5
    assert view.cadences["fast"].outcomes[SlotOutcome.PAUSED] == paused
    assert view.cadences["fast"].outcomes[SlotOutcome.ANCHORED] >= 2
    assert len(behind.asked) == 1 + view.cadences["fast"].outcomes[SlotOutcome.ANCHORED]


async def test_a_pause_takes_back_a_request_that_is_in_no_round(real_stage: Stage) -> None:
    behind = ScriptedWorker()
    behind.may_answer.clear()
    async with real_stage.working(behind.adapters()):
        namespace = await real_stage.namespace(cadences(fast="1d"))
        await until(lambda: len(behind.asked) == 1)
        await namespace.handle.signal("pause", {"cadence": "fast", "reason": "wait"})
        view = await namespace.shows(lambda view: view.cadences["fast"].in_flight is None)
    assert behind.withdrawn == behind.slots
    assert view.cadences["fast"].last_anchor is None


@pytest.mark.parametrize("how", ["set_cadence", "configure"])
async def test_a_cadence_that_moved_from_a_target_that_never_answers_anchors_at_the_new_one(
    real_stage: Stage, how: str
) -> None:
    behind = ScriptedWorker()
    behind.may_answer.clear()
    elsewhere = Target.parse("btc:regtest")
    moved = {"fast": CadenceConfig(target=elsewhere, every="1d")}
    async with real_stage.working(behind.adapters()):
        namespace = await real_stage.namespace(cadences(fast="1d"))
        await until(lambda: len(behind.asked) == 1)
        governance = change(namespace, fast="1d") | {
            "cadence": {"fast": {"target": str(elsewhere), "every": "1d"}}
        }
        told = {"set_cadence": governance, "configure": file_of(namespace, moved, "moved")}
        await namespace.handle.execute_update(how, told[how])
        await until(lambda: len(behind.asked) == 2)
        behind.may_answer.set()
        await namespace.shows(lambda view: view.cadences["fast"].last_anchor is not None)
    assert [ask.target for ask in behind.looked] == [TARGET, elsewhere]
    assert behind.withdrawn == behind.slots[:1]


async def test_a_pause_lets_a_request_finish_that_is_in_a_signed_round(real_stage: Stage) -> None:
    behind = ScriptedWorker()
    behind.takes_back = False
    behind.may_answer.clear()
    async with real_stage.working(behind.adapters()):
        namespace = await real_stage.namespace(cadences(fast="1d"))
        await until(lambda: len(behind.asked) == 1)
        await namespace.update("pause")
        await until(lambda: len(behind.withdrawn) == 1)
        behind.may_answer.set()
        view = await namespace.shows(lambda view: view.cadences["fast"].last_anchor is not None)
    assert view.paused.keys() == {"fast"}


async def test_force_while_a_request_is_in_flight_asks_again_with_the_same_request(
    real_stage: Stage,
) -> None:
    behind = ScriptedWorker()
    behind.may_answer.clear()
    async with real_stage.working(behind.adapters()):
        namespace = await real_stage.namespace(cadences(fast="1d"))
        await until(lambda: len(behind.asked) == 1)
        await namespace.update("force_anchor", "fast")
        await until(lambda: behind.asked_again == behind.slots)
        behind.may_answer.set()
        await namespace.registered()
    assert len(behind.asked) == 1


async def test_force_anchors_a_paused_cadence_and_counts_no_slot(real_stage: Stage) -> None:
    behind = ScriptedWorker()
    async with real_stage.working(behind.adapters()):
        namespace = await real_stage.namespace(cadences(fast="1d"))
        await namespace.registered()
        await namespace.update("pause")
        await namespace.handle.signal("force_anchor")
        await until(lambda: len(behind.asked) == 2)
        view = await namespace.shows(lambda view: view.cadences["fast"].in_flight is None)
    assert behind.slots[1].startswith("f")
    assert sum(view.cadences["fast"].outcomes.values()) == 0


async def test_force_with_nothing_owed_asks_for_nothing(stage: Stage) -> None:
    behind = ScriptedWorker(owed=0)
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1h"))
        first_due = (await namespace.status()).cadences["fast"].next_due
        assert first_due is not None
        await namespace.update("force_anchor")
        await stage.skip(hours=2)
        await namespace.shows(lambda view: settled(view, first_due))
    assert behind.asked == []


async def test_configure_with_unchanged_content_changes_nothing_even_after_set_cadence(
    stage: Stage,
) -> None:
    behind = ScriptedWorker()
    given = cadences(fast="1h")
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(given)
        await namespace.registered()
        await namespace.update("set_cadence", change(namespace, fast="2h"))
        answer = await namespace.update(
            "configure", file_of(namespace, given, "one"), view=ConfigureAnswer
        )
    assert (answer.change, answer.undone) == ("unchanged", [])
    assert answer.cadences["fast"].every == "2h"


async def test_a_changed_file_undoes_set_cadence_and_says_so(stage: Stage) -> None:
    behind = ScriptedWorker()
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1h", strong="1d"))
        await namespace.registered()
        await namespace.update("set_cadence", change(namespace, fast="2h"))
        changed = file_of(namespace, cadences(fast="1h", strong="2d"), "two")
        answer = await namespace.update("configure", changed, view=ConfigureAnswer)
        again = await namespace.update("configure", changed, view=ConfigureAnswer)
    assert (answer.change, answer.undone) == ("updated", ["fast"])
    assert answer.cadences["fast"].every == "1h"
    assert answer.cadences["strong"].every == "2d"
    assert answer.config_hash == "two"
    assert (again.change, again.undone) == ("unchanged", [])


async def test_a_cadence_that_the_file_adds_is_anchored_once_and_one_it_drops_is_forgotten(
    stage: Stage,
) -> None:
    behind = ScriptedWorker()
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1h", strong="1d"))
        await namespace.registered("strong")
        await namespace.update(
            "configure", file_of(namespace, cadences(fast="1h", cold="7d"), "two")
        )
        view = await namespace.shows(
            lambda view: "cold" in view.cadences and view.cadences["cold"].last_anchor is not None
        )
        assert set(view.cadences) == {"fast", "cold"}
        cold_due = view.cadences["cold"].next_due
        assert cold_due is not None
        await stage.skip(hours=2)
        view = await namespace.shows(
            lambda view: (
                view.cadences["fast"].outcomes[SlotOutcome.ANCHORED] >= 2
                and settled(view, cold_due, "cold")
            )
        )
    cold_slots = slots_between(view, cold_due, "cold")  # none, unless a week began meanwhile
    assert [one.cadence for one in behind.asked].count("cold") == 1 + cold_slots
    assert [one.cadence for one in behind.asked].count("strong") == 1


async def test_stop_drains_and_completes(real_stage: Stage) -> None:
    behind = ScriptedWorker()
    behind.takes_back = False
    behind.may_answer.clear()
    async with real_stage.working(behind.adapters()):
        namespace = await real_stage.namespace(cadences(fast="1s"))
        await until(lambda: len(behind.asked) == 1)
        await namespace.update("stop")
        with pytest.raises(WorkflowUpdateFailedError):
            await namespace.update("force_anchor")
        await namespace.handle.signal("resume")
        view = await namespace.shows(lambda view: view.last_rejected is not None)
        assert "unregistered" in view.last_rejected.reason  # type: ignore[union-attr]
        behind.may_answer.set()
        ended = NamespaceView.model_validate(await namespace.handle.result())
    assert ended.cadences["fast"].last_anchor is not None
    assert len(behind.asked) == 1


async def test_stop_takes_back_a_request_that_is_in_no_round(real_stage: Stage) -> None:
    behind = ScriptedWorker()
    behind.may_answer.clear()
    async with real_stage.working(behind.adapters()):
        namespace = await real_stage.namespace(cadences(fast="1d"))
        await until(lambda: len(behind.asked) == 1)
        await namespace.update("stop")
        await namespace.handle.result()
    assert behind.withdrawn == behind.slots


def failures_of(view: NamespaceView) -> int:
    """Return how often the request in flight has failed."""
    flight = view.cadences["fast"].in_flight
    return flight.failures if flight is not None else -1


async def note(
    namespace: NamespaceRun, behind: ScriptedWorker, failures: int, stage: Stage
) -> None:
    """Tell a namespace that its request failed."""
    now = await stage.now()
    one = FailureNote(
        cadence="fast",
        slot=behind.slots[-1],
        failures=failures,
        kind=FailureKind.NETWORK,
        message="the node is away",
        at=now,
        next_retry=now,
    )
    await namespace.handle.signal("note_failure", one)


async def test_reported_failures_are_shown_survive_a_new_run_and_end_with_success(
    real_stage: Stage,
) -> None:
    stage = (
        real_stage  # the time-skipping server refuses what a message adds after a new run is begun
    )
    behind = ScriptedWorker()
    behind.may_answer.clear()
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1d"), continue_after_events=30)
        await until(lambda: len(behind.asked) == 1)
        first_run = (await namespace.status()).run_id
        for failures in range(1, 12):
            await note(namespace, behind, failures, stage)
            await namespace.shows(lambda view, sent=failures: failures_of(view) == sent)
        view = await namespace.shows(
            lambda view: view.run_id != first_run and failures_of(view) == 11
        )
        flight = view.cadences["fast"].in_flight
        assert flight is not None
        assert flight.last_failure is not None
        assert flight.last_failure.message == "the node is away"
        assert view.state is NamespaceState.BACKING_OFF
        await until(lambda: behind.asked[-1].failures >= 1)
        assert len({request.id for request in behind.asked}) == 1
        behind.may_answer.set()
        view = await namespace.shows(lambda view: view.cadences["fast"].in_flight is None)
    assert view.state is NamespaceState.RUNNING


async def test_a_failure_of_another_request_is_not_counted(real_stage: Stage) -> None:
    behind = ScriptedWorker()
    behind.may_answer.clear()
    async with real_stage.working(behind.adapters()):
        namespace = await real_stage.namespace(cadences(fast="1d"))
        await until(lambda: len(behind.asked) == 1)
        one = FailureNote(
            cadence="fast", slot="12", failures=3, kind=FailureKind.AUTH, message="old",
            at=await real_stage.now(), next_retry=await real_stage.now(),
        )  # fmt: skip
        await namespace.handle.signal("note_failure", one)
        await namespace.handle.signal("resume")
        view = await namespace.status()
    assert view.cadences["fast"].in_flight is not None
    assert view.cadences["fast"].in_flight.failures == 0
    assert view.last_rejected is None

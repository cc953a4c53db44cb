"""Messages that mean nothing: no workflow fails over one, and the last is shown."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowUpdateFailedError
from temporalio.common import RawValue

from tests.workflows.aggregator.scripted_target import ScriptedTarget
from tests.workflows.namespace.scripted_worker import ScriptedWorker
from tests.workflows.stage import Stage, cadences, counted, failed_tasks

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def stage(real_stage: Stage) -> Stage:
    """Run on the real server: what matters is that every message arrives."""
    return real_stage


def raw(data: bytes, encoding: str = "json/plain") -> RawValue:
    """Return an argument as a foreign client may send it."""
    return RawValue(Payload(metadata={"encoding": encoding.encode()}, data=data))


DEEP = b"[" * 3_000 + b"]" * 3_000
PAYLOADS = {
    "not JSON at all": [raw(b"fast")],
    "half an object": [raw(b'{"cadence": ')],
    "nothing": [raw(b"")],
    "bytes": [raw(b"\x00\xff", "binary/plain")],
    "a message of protobuf": [raw(b"\x08\x01", "binary/protobuf")],
    "encrypted": [raw(b"\x01\x02", "binary/encrypted")],
    "no encoding": [RawValue(Payload(data=b"{}"))],
    "an encoding that is not text": [RawValue(Payload(metadata={"encoding": b"\xff"}, data=b"{}"))],
    "not UTF-8": [raw(b'"\xff\xfe"')],
    "half a character": [raw(b'"\\ud800"')],
    "very deep": [raw(DEEP)],
    "a huge number": [raw(b"9" * 6_000)],
    "not a number": [raw(b"NaN")],
    "a number": [raw(b"1")],
    "a list": [raw(b"[1, 2]")],
    "an unknown key": [raw(b'{"cadance": "fast"}')],
    "an unknown cadence": [raw(b'{"cadence": "warm"}')],
    "a cadence that is a number": [raw(b'{"cadence": 7}')],
    "three arguments": [raw(b"null"), raw(b"null"), raw(b"null")],
}


@pytest.mark.parametrize("verb", ["pause", "resume", "force_anchor", "set_cadence", "note_failure"])
async def test_no_malformed_signal_fails_a_namespace_and_each_is_shown(
    stage: Stage, verb: str
) -> None:
    behind = ScriptedWorker(owed=0)
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1d"))
        for arguments in PAYLOADS.values():
            await namespace.handle.signal(verb, args=arguments)
        await namespace.handle.signal("marker", "the last one")
        view = await namespace.shows(
            lambda view: bool(view.last_rejected and view.last_rejected.name == "marker")
        )
        [events] = await stage.runs(namespace.handle)
    assert "knows no message" in view.last_rejected.reason  # type: ignore[union-attr]
    assert not view.paused
    assert failed_tasks(events) == 0


@pytest.mark.parametrize("what", PAYLOADS)
async def test_a_malformed_update_is_refused_before_it_enters_history(
    stage: Stage, what: str
) -> None:
    behind = ScriptedWorker(owed=0)
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1d"))
        for verb in ("resume", "set_cadence", "configure"):
            with pytest.raises(WorkflowUpdateFailedError):
                await namespace.handle.execute_update(verb, args=PAYLOADS[what])
        [events] = await stage.runs(namespace.handle)
    assert failed_tasks(events) == 0
    assert counted(events, "WORKFLOW_EXECUTION_UPDATE_ACCEPTED") == 0


async def test_unknown_updates_and_configurations_of_others_are_refused(stage: Stage) -> None:
    behind = ScriptedWorker(owed=0)
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1d"))
        foreign = {"namespace": "dao:other", "cadences": {}}
        circle = {"fast": {"target": "eip155:1", "every": "2*fast"}}
        for verb, argument in (
            ("reboot", None),
            ("note_failure", None),
            ("configure", foreign),
            ("configure", {"namespace": namespace.namespace, "cadences": circle}),
        ):
            with pytest.raises(WorkflowUpdateFailedError):
                await namespace.handle.execute_update(verb, argument)


async def test_a_malformed_signal_does_not_fail_an_aggregator_and_is_shown(stage: Stage) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        for verb in ("enqueue", "withdraw", "pause", "resume"):
            for arguments in PAYLOADS.values():
                await aggregator.handle.signal(verb, args=arguments)
        await aggregator.handle.signal("marker")
        view = await aggregator.shows(
            lambda view: bool(view.last_rejected and view.last_rejected.name == "marker")
        )
        [events] = await stage.runs(aggregator.handle)
    assert "knows no signal" in view.last_rejected.reason  # type: ignore[union-attr]
    assert view.waiting == 0
    assert failed_tasks(events) == 0


async def test_any_json_leaves_namespace_and_aggregator_alive(stage: Stage) -> None:
    behind, scripted = ScriptedWorker(owed=0), ScriptedTarget()
    examples = made_of_json(60)
    async with stage.working(behind.adapters(), scripted.adapters()):
        namespace = await stage.namespace(cadences(fast="1d"))
        aggregator = await stage.aggregator()
        for number, example in enumerate(examples):
            argument = raw(json.dumps(example).encode())
            verbs = ("pause", "resume", "force_anchor", "set_cadence", "note_failure")
            await namespace.handle.signal(verbs[number % 5], args=[argument])
            await aggregator.handle.signal(
                ("enqueue", "withdraw", "pause")[number % 3], args=[argument]
            )
        for handle in (namespace.handle, aggregator.handle):
            await handle.signal("marker")
        await namespace.shows(
            lambda view: bool(view.last_rejected and view.last_rejected.name == "marker")
        )
        await aggregator.shows(
            lambda view: bool(view.last_rejected and view.last_rejected.name == "marker")
        )
        runs = [(await stage.runs(one.handle))[0] for one in (namespace, aggregator)]
    assert [failed_tasks(events) for events in runs] == [0, 0]


def made_of_json(count: int) -> list[JsonValue]:
    """Return examples of JSON, biased towards what the messages look like."""
    words = st.sampled_from(
        ["cadence", "reason", "namespace", "fast", "target", "every", "slot", "kind", "failures"]
    )
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | words
    values = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
        max_leaves=8,
    )
    found: list[JsonValue] = []

    @settings(
        max_examples=count, database=None, deadline=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(values)
    def gather(value: JsonValue) -> None:
        found.append(value)

    gather()
    return found

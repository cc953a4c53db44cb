"""What a namespace's workflow logs of its operators' orders: each once, also where every task replays all."""

import pytest

from tests.support.log_lines import caught
from tests.workflows.namespace.scripted_worker import ScriptedWorker
from tests.workflows.stage import TARGET, Stage, cadences

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_each_order_is_told_once(stage: Stage) -> None:
    behind = ScriptedWorker()
    with caught(["temporalio.workflow"]) as lines:
        async with stage.working(behind.adapters()):
            namespace = await stage.namespace(cadences(fast="1d"))
            await namespace.registered()
            await namespace.update("pause", {"cadence": "fast", "reason": "the moon"})
            await namespace.handle.signal("pause", {"cadence": "fsat"})
            await namespace.update("resume")
            await namespace.update("force_anchor", {"cadence": "fast", "reason": "a vote"})
            changed = {"fast": {"target": str(TARGET), "every": "2d"}}
            payload = {"namespace": namespace.namespace, "cadence": changed}
            await namespace.update("set_cadence", payload)
            await namespace.shows(lambda view: view.cadences["fast"].in_flight is None)
    told = lines.events(ns=namespace.namespace)
    assert [line["event"] for line in told] == [
        "paused", "rejected", "resumed", "forced", "reconfigured",
    ]  # fmt: skip
    assert (told[0]["label"], told[0]["reason"]) == ("fast", "the moon")
    assert "fsat" in told[1]["err"]
    assert told[3]["reason"] == "a vote"
    assert told[4]["cadences"] == ["fast"]
    assert {line["workflow_id"] for line in told} == {namespace.handle.id}

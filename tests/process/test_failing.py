"""Which workflows can't go on, and why, as a real Temporal server tells it."""

import asyncio
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueRequest
from temporalio.client import Client

from tests.support.broken import plant_raising, raising_worker
from tests.support.replays import Replays
from vaultmesh.domain import freshness
from vaultmesh.domain.names import (
    AGGREGATOR_WORKFLOW,
    JOB_WORKFLOW,
    MEMO_STATUS,
    NAMESPACE_WORKFLOW,
    aggregator_workflow_id,
    namespace_workflow_id,
)
from vaultmesh.domain.status import CadenceMemo, NamespaceMemo
from vaultmesh.process import failing as module
from vaultmesh.process.client import connect
from vaultmesh.process.failing import (
    REPORTED,
    Diagnosis,
    FailingLook,
    diagnose,
    failing,
    one_line,
    reported,
)
from vaultmesh.process.health import health
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.visibility import Visibility

pytestmark = pytest.mark.server
CAUSE = "workflow worker unhandled failure: LookupError: broken on purpose"


def _fresh() -> str:
    return f"dao:{secrets.token_hex(4)}"


async def _start_waiting(client: Client, name: str) -> str:
    """Start a workflow that no worker ever takes; returns its id."""
    workflow_id = namespace_workflow_id(name)
    await client.start_workflow(NAMESPACE_WORKFLOW, id=workflow_id, task_queue="nobody")
    return workflow_id


async def test_a_workflow_task_that_fails_is_told_with_its_cause_in_one_line(
    address: str, replays: Replays
) -> None:
    client, workflow_id = await connect(), namespace_workflow_id(_fresh())
    await plant_raising(client, NAMESPACE_WORKFLOW, workflow_id, replays)
    found = await failing(client, workflow_id)
    assert found is not None
    assert (found.workflow_id, found.workflow_type) == (workflow_id, NAMESPACE_WORKFLOW)
    assert found.cause == CAUSE
    assert workflow_id in found.mend
    await client.get_workflow_handle(workflow_id).terminate()
    assert await failing(client, workflow_id) is None


async def test_many_signals_since_the_failure_hide_no_cause(address: str, replays: Replays) -> None:
    client, workflow_id = await connect(), namespace_workflow_id(_fresh())
    await plant_raising(client, NAMESPACE_WORKFLOW, workflow_id, replays)
    handle = client.get_workflow_handle(workflow_id)
    for _ in range(45):
        await handle.signal("pause")
    found = await failing(client, workflow_id)
    assert found is not None
    assert found.cause == CAUSE


async def test_one_that_only_waits_for_a_worker_is_not_failing(address: str) -> None:
    client = await connect()
    assert await failing(client, await _start_waiting(client, _fresh())) is None
    assert await failing(client, namespace_workflow_id("no:body")) is None


async def test_since_when_a_workflow_waits_is_told_until_a_worker_takes_its_task(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, before = await connect(), datetime.now(UTC)
    workflow_id = await _start_waiting(client, _fresh())
    since = (await diagnose(client, workflow_id)).waiting_since
    assert since is not None
    assert abs(since - before) < timedelta(seconds=20)
    look = FailingLook(client)
    await look.take([workflow_id])
    assert not look.waiting, "a moment is no wait"
    monkeypatch.setattr(freshness, "OVERDUE_AFTER", timedelta(0))
    await asyncio.sleep(0.1)
    await look.take([workflow_id])
    assert look.waiting == {workflow_id: since}
    monkeypatch.setattr(module, "TOLD_FOR_LOOKS", 0)
    assert not look.waiting, "what was not asked about lately is not claimed"
    monkeypatch.undo()
    await client.get_workflow_handle(workflow_id).terminate()
    await look.take([])
    assert not look.waiting
    assert (await diagnose(client, workflow_id)).waiting_since is None


async def test_one_task_that_times_out_is_no_failure_but_several_in_a_row_are(address: str) -> None:
    client, workflow_id = await connect(), namespace_workflow_id(_fresh())
    handle = await client.start_workflow(
        NAMESPACE_WORKFLOW,
        id=workflow_id,
        task_queue=workflow_id,
        task_timeout=timedelta(seconds=1),
    )
    asked = PollWorkflowTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=workflow_id), identity="a test"
    )
    seen: dict[int, bool] = {}
    deadline = time.monotonic() + 60
    while max(seen, default=0) < module.TRIES_WITHOUT_END:
        assert time.monotonic() < deadline
        await client.workflow_service.poll_workflow_task_queue(asked)  # taken, and never answered
        attempt = (await handle.describe()).raw_description.pending_workflow_task.attempt
        seen[attempt] = await failing(client, workflow_id) is not None
    assert seen[2] is False
    assert seen[module.TRIES_WITHOUT_END] is True


async def test_a_server_without_a_list_of_problems_is_told_apart_from_an_empty_list(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPORTED", REPORTED.replace("Temporal", "Unknown"))
    assert await reported(await connect()) is None


async def test_workflows_that_the_server_itself_reports_are_asked_about_first(
    address: str, replays: Replays, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, name = await connect(), _fresh()
    fine, bad = await _start_waiting(client, f"{name}-a"), namespace_workflow_id(f"{name}-z")
    replays.plant("WORKFLOW_WORKER_UNHANDLED_FAILURE", bad)
    async with raising_worker(client, bad):
        await client.start_workflow(NAMESPACE_WORKFLOW, id=bad, task_queue=bad)
        deadline = time.monotonic() + 100
        while bad not in (await reported(client) or ()):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
    assert fine not in (await reported(client) or ())
    first: list[str] = []

    async def noting(client: Client, workflow_id: str) -> Diagnosis:
        first.append(workflow_id)
        return Diagnosis()

    monkeypatch.setattr(module, "diagnose", noting)
    monkeypatch.setattr(module, "ASKED_ABOUT", 1)
    await FailingLook(client).take([fine, bad])
    assert first == [bad]


async def test_each_look_asks_about_a_bounded_number_and_all_have_their_turn(
    address: str, replays: Replays, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await connect()
    running = [await _start_waiting(client, f"dao:{number}-{_fresh()}") for number in range(8)]
    bad = namespace_workflow_id(f"dao:zz-{_fresh()}")
    await plant_raising(client, NAMESPACE_WORKFLOW, bad, replays)
    running.append(bad)
    asked: list[str] = []

    async def counting(client: Client, workflow_id: str) -> Diagnosis:
        asked.append(workflow_id)
        return await diagnose(client, workflow_id)

    monkeypatch.setattr(module, "diagnose", counting)
    monkeypatch.setattr(module, "ASKED_ABOUT", 3)
    monkeypatch.setattr(module, "SUSPECTS", 1)
    look = FailingLook(client)
    for number in range(1, 4):
        await look.take(running)
        assert len(asked) == 3 * number
    assert set(asked) == set(running)
    assert set(look.failing) == {bad}
    await look.take(running)
    assert asked[9:].count(bad) == 1
    await look.take([])
    assert look.failing == {}


async def test_a_worker_shows_both_types_beside_those_that_go_on(
    address: str, replays: Replays
) -> None:
    client, metrics = await connect(), Metrics()
    bad, fine, target = _fresh(), _fresh(), f"eip155:{secrets.randbelow(10**6)}"
    cadences = {"fast": CadenceMemo(target=target, last_anchor=int(time.time()))}
    for name, memo in ((bad, {}), (fine, cadences)):
        content = {MEMO_STATUS: NamespaceMemo(namespace=name, cadences=memo)}
        workflow_id = namespace_workflow_id(name)
        if name == bad:
            await plant_raising(client, NAMESPACE_WORKFLOW, workflow_id, replays, content)
        else:
            await client.start_workflow(
                NAMESPACE_WORKFLOW, id=workflow_id, task_queue="nobody", memo=content
            )
    await plant_raising(client, AGGREGATOR_WORKFLOW, aggregator_workflow_id(target), replays)
    visibility = Visibility(client, metrics, lambda: {bad, "dao:unstarted"})
    deadline = time.monotonic() + 20
    wanted = {namespace_workflow_id(bad), aggregator_workflow_id(target)}
    while not wanted <= set(visibility.snapshot.failing):
        assert time.monotonic() < deadline
        await visibility.refresh()
        await asyncio.sleep(0.2)
    assert visibility.snapshot.missing == ["dao:unstarted"]
    document: dict[str, Any] = dict(
        health(visibility.snapshot, started=time.time(), now=time.time())
    )
    namespaces, targets = document["namespaces"], document["targets"]
    assert namespaces[bad] == {
        "lastAnchor": {}, "backoff": 0, "status": "failing", "cause": CAUSE,
    }  # fmt: skip
    assert namespaces[fine]["status"] == "ok"
    assert namespaces["dao:unstarted"]["status"] == "missing"
    assert targets[target] == {"status": "failing", "cause": CAUSE}
    page = metrics.page().decode()
    assert f'scheduler_workflows_failing{{type="{AGGREGATOR_WORKFLOW}"}} 1.0' in page
    assert "scheduler_namespaces_missing 1.0" in page


async def test_a_job_and_a_maintenance_task_that_can_not_go_on_are_named_and_counted(
    address: str, replays: Replays
) -> None:
    """The harm: the workflow of a job failed each task, and nobody was called: only a job's page said so."""
    client, metrics = await connect(), Metrics()
    ids = {f"job:{secrets.token_hex(4)}", f"maintenance:{secrets.token_hex(4)}"}
    for workflow_id in ids:
        await plant_raising(client, JOB_WORKFLOW, workflow_id, replays)
    visibility, deadline = Visibility(client, metrics), time.monotonic() + 120
    while not ids <= set(visibility.snapshot.failing):  # the server reports a problem after a while
        assert time.monotonic() < deadline
        await visibility.refresh()
        await asyncio.sleep(0.5)
    document: dict[str, Any] = dict(
        health(visibility.snapshot, started=time.time(), now=time.time())
    )
    assert document["status"] == "degraded"
    assert ids <= set(document["failing"])
    assert all(document["jobs"][name] == {"status": "failing", "cause": CAUSE} for name in ids)
    count = len([run for run in visibility.snapshot.failing if run.startswith(("job:", "main"))])
    assert (
        f'scheduler_workflows_failing{{type="{JOB_WORKFLOW}"}} {count}.0' in metrics.page().decode()
    )
    for workflow_id in ids:
        await client.get_workflow_handle(workflow_id).terminate()


async def test_failing_jobs_are_looked_for_in_turn_where_the_server_reports_none(
    address: str, replays: Replays, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None:
        return None

    monkeypatch.setattr(module, "reported", nothing)
    client, name = await connect(), f"job:{secrets.token_hex(4)}"
    await plant_raising(client, JOB_WORKFLOW, name, replays)
    look, deadline = module.JobLook(client), time.monotonic() + 60
    while name not in look.failing:
        assert time.monotonic() < deadline
        await look.take()
        await asyncio.sleep(0.2)
    assert look.failing[name].cause == CAUSE
    await client.get_workflow_handle(name).terminate()


def test_a_cause_is_one_line_of_bounded_length() -> None:
    assert one_line("a\n  b\tc") == "a b c"
    assert len(one_line("x" * 1_000)) == module.LONGEST_CAUSE

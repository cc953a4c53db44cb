"""The list of namespaces that metrics and health are made from, against a real Temporal server."""

import asyncio
import secrets
import time
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from tests.support.replays import replayed_server
from vaultmesh.domain.names import MEMO_STATUS, NAMESPACE_WORKFLOW, namespace_workflow_id
from vaultmesh.domain.status import CadenceMemo, NamespaceMemo
from vaultmesh.process.client import connect
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.visibility import Visibility

pytestmark = pytest.mark.server


def _memo(name: str, failures: int = 0) -> NamespaceMemo:
    cadence = CadenceMemo(target="eip155:31337", failures=failures)
    return NamespaceMemo(namespace=name, cadences={"fast": cadence})


async def _start(client: Client, memo: object, workflow: str = NAMESPACE_WORKFLOW) -> str:
    """Start a workflow that no worker ever takes; returns its namespace."""
    name = f"dao:{secrets.token_hex(4)}"
    content = _memo(name, 2) if memo is None else memo
    await client.start_workflow(
        workflow, id=namespace_workflow_id(name), task_queue="nobody", memo={MEMO_STATUS: content}
    )
    return name


async def _until(visibility: Visibility, name: str, *, shown: bool) -> None:
    deadline = time.monotonic() + 20
    while (name in visibility.snapshot.namespaces) is not shown:
        assert time.monotonic() < deadline, f"{name} shown: {not shown}"
        await visibility.refresh()
        await asyncio.sleep(0.1)


async def test_a_running_namespace_is_shown_with_its_memo_until_it_ends(address: str) -> None:
    client, metrics = await connect(), Metrics()
    visibility = Visibility(client, metrics)
    name = await _start(client, None)
    await _until(visibility, name, shown=True)
    assert visibility.snapshot.namespaces[name] == _memo(name, 2)
    assert metrics.cadences.memos[name] == _memo(name, 2)
    await client.get_workflow_handle(namespace_workflow_id(name)).terminate()
    await _until(visibility, name, shown=False)
    assert name not in metrics.cadences.memos


async def test_workflows_of_other_types_and_memos_that_mean_nothing_are_left_out(
    address: str,
) -> None:
    client = await connect()
    visibility = Visibility(client, Metrics())
    other = await _start(client, None, workflow="AnotherWorkflow")
    strange = await _start(client, ["no memo of ours"])
    name = await _start(client, None)
    await _until(visibility, name, shown=True)
    assert {other, strange}.isdisjoint(visibility.snapshot.namespaces)


async def test_a_list_that_fails_keeps_what_the_last_one_showed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replayed_server(tmp_path) as server:
        monkeypatch.setenv("TEMPORAL_ADDRESS", server.address)
        client = await connect()
        visibility = Visibility(client, Metrics())
        name = await _start(client, None)
        await _until(visibility, name, shown=True)
    before = visibility.snapshot
    with pytest.raises(RPCError):
        await visibility.refresh()
    assert visibility.snapshot is before
    assert name in visibility.snapshot.namespaces

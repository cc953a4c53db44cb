"""Search attributes, on Temporal namespaces of a real server that are made for each test."""

import asyncio
import secrets
import time
from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from vaultmesh.process.client import Unreachable, connect
from vaultmesh.process.search_attributes import NEEDED, SearchAttributesMissing, ensure, missing

pytestmark = pytest.mark.server


@pytest.fixture
async def client(address: str, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Return a client of a Temporal namespace that has just been made."""
    name = f"fresh-{secrets.token_hex(4)}"
    retention = Duration()
    retention.FromTimedelta(timedelta(days=1))
    request = RegisterNamespaceRequest(
        namespace=name, workflow_execution_retention_period=retention
    )
    await (await connect()).workflow_service.register_namespace(request)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", name)
    made = await connect()
    deadline = time.monotonic() + 30
    while True:  # the server takes some seconds to know of it
        try:
            await missing(made)
        except RPCError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        else:
            return made


async def _add(client: Client, name: str, kind: "IndexedValueType.ValueType") -> None:
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=client.namespace, search_attributes={name: kind})
    )


async def test_what_is_missing_is_created_once(client: Client) -> None:
    assert await missing(client) == list(NEEDED)
    assert await ensure(client) == list(NEEDED)
    assert await ensure(client) == []
    assert await missing(client) == []


async def test_what_is_there_already_is_left_as_it_is(client: Client) -> None:
    await _add(client, NEEDED[0], IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
    assert await ensure(client) == list(NEEDED[1:])


async def test_two_workers_that_start_at_once_do_not_disturb_each_other(client: Client) -> None:
    await asyncio.gather(*(ensure(client) for _ in range(4)))
    assert await missing(client) == []


async def test_one_of_another_type_is_told_before_it_wedges_a_workflow(client: Client) -> None:
    await _add(client, NEEDED[1], IndexedValueType.INDEXED_VALUE_TYPE_INT)
    with pytest.raises(SearchAttributesMissing) as caught:
        await ensure(client)
    message = str(caught.value)
    assert NEEDED[1] in message
    assert "starter.py setup" in message
    assert NEEDED[0] not in message


async def test_a_temporal_namespace_that_does_not_exist_is_named(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "no-such-namespace")
    with pytest.raises(Unreachable, match="'no-such-namespace'"):
        await ensure(await connect())

"""Signals of nearly two megabytes: the server ends what has a history of more than fifty, and the service comes back by itself."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from bench.local_system import write_whole
from tests.support.evm_system import AGGREGATOR, TARGET, EvmSystem
from tests.support.marks import FAULTS
from vaultmesh.domain.names import namespace_workflow_id

pytestmark = FAULTS

NAMESPACE = "dao:flooded"
SIGNALS, BYTES = 28, 1_900_000
"""Together more than the 50 MB at which a server ends a workflow."""


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    with EvmSystem(tmp_path_factory.mktemp("flooded")) as running:
        cadence = {"fast": {"target": TARGET, "every": "2s"}}
        document = {"namespaces": {NAMESPACE: {"cadence": cadence}}}
        write_whole(running.root / "vmsh/config/namespaces.yaml", json.dumps(document))
        for workflow_id in (namespace_workflow_id(NAMESPACE), AGGREGATOR):
            running.replays.plant("FORCE_CLOSE_COMMAND", workflow_id)
        running.start_worker()
        yield running


async def flood(client: Client, workflow_id: str) -> None:
    """Send signals that mean nothing, as fast as the server takes them."""
    handle = client.get_workflow_handle(workflow_id)
    argument = {"reason": "x" * BYTES, "unknown": 1}
    await asyncio.gather(
        *(handle.signal("pause", argument) for _ in range(SIGNALS)), return_exceptions=True
    )
    with suppress(
        RPCError
    ):  # some versions of the server look at the size when the next one arrives
        await handle.signal("pause", {"unknown": 1})


async def ended(client: Client, workflow_id: str) -> bool:
    described = await client.get_workflow_handle(workflow_id).describe()
    return described.status is WorkflowExecutionStatus.TERMINATED


def test_what_the_server_ended_for_its_size_starts_again_anchors_go_on_and_nothing_is_paid_twice(
    system: EvmSystem,
) -> None:
    batches = [system.seal(NAMESPACE)]
    system.wait_final(NAMESPACE, *batches)
    system.workers[-1].stop()
    batches.append(system.seal(NAMESPACE))
    workflow_ids = (namespace_workflow_id(NAMESPACE), AGGREGATOR)
    for workflow_id in workflow_ids:
        system.ask(lambda client, name=workflow_id: flood(client, name))
        assert system.ask(lambda client, name=workflow_id: ended(client, name))
    system.start_worker()
    system.wait_final(NAMESPACE, *batches, seconds=180)
    batches.append(system.seal(NAMESPACE))
    system.wait_final(NAMESPACE, *batches)
    system.wait_idle(NAMESPACE)
    system.assert_paid_once({NAMESPACE: batches})


def test_signals_of_nearly_two_megabytes_among_anchors_hold_none_up_for_good(
    system: EvmSystem,
) -> None:
    batches = [system.seal(NAMESPACE)]
    system.wait_final(NAMESPACE, *batches)
    for workflow_id in (AGGREGATOR, namespace_workflow_id(NAMESPACE)):
        batches.append(system.seal(NAMESPACE))
        system.ask(lambda client, name=workflow_id: flood(client, name))
        batches.append(system.seal(NAMESPACE))
    system.wait_final(NAMESPACE, *batches, seconds=180)
    system.wait_idle(NAMESPACE)
    system.assert_paid_once({NAMESPACE: batches})

"""The SDK's own metrics are on the same page, and so are signals that workflows ignored."""

import asyncio
import secrets
import subprocess
from collections.abc import Sequence

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from devnet.promtool import promtool
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.process.client import connect
from vaultmesh.process.metrics import Metrics
from workflows.signals import count_rejected, decoded

pytestmark = pytest.mark.server


@workflow.defn(name="AnotherWorkflow")
class Listening:
    """Takes one signal as the product's workflows do, and ends."""

    def __init__(self) -> None:
        self.heard = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self.heard)

    @workflow.signal(dynamic=True)
    def on_signal(self, name: str, arguments: Sequence[RawValue]) -> None:
        try:
            decoded(arguments)
            raise InvalidValue(name)
        except InvalidValue:
            count_rejected()
        self.heard = True


async def _heard_nonsense(client: Client) -> None:
    """Have a workflow of the product's type reject one signal."""
    queue = f"sdk-{secrets.token_hex(4)}"
    async with Worker(
        client,
        task_queue=queue,
        workflows=[Listening],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        handle = await client.start_workflow(Listening.run, id=queue, task_queue=queue)
        await handle.signal("nonsense")
        await handle.result()


async def test_the_page_has_the_sdks_metrics_and_rejected_signals_once_by_type(
    address: str,
) -> None:
    metrics = Metrics()
    await _heard_nonsense(await connect(sdk=metrics.sdk))
    page = (await asyncio.to_thread(metrics.page)).decode()
    assert 'scheduler_signals_rejected_total{type="AnotherWorkflow"} 1\n' in page
    assert 'scheduler_signals_rejected_total{type="AggregatorWorkflow"} 0\n' in page
    assert page.count("TYPE scheduler_signals_rejected_total") == 1
    assert "\nsignals_rejected" not in page
    for name in ("temporal_request_total", "temporal_workflow_task_execution_latency_seconds"):
        assert f"# TYPE {name} " in page
    checked = await asyncio.to_thread(
        subprocess.run,
        [str(promtool()), "check", "metrics"],
        input=page.encode(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


async def test_two_processes_on_a_machine_do_not_meet_on_a_port(address: str) -> None:
    first, second = Metrics(), Metrics()
    clients = [await connect(sdk=metrics.sdk) for metrics in (first, second)]
    for metrics in (first, second):
        assert b"temporal_request_total" in await asyncio.to_thread(metrics.page)
    assert len(clients) == 2  # the SDK keeps metrics as long as somebody has a client

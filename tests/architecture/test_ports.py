"""Ports are checked, not trusted: each against the activity of its name, both ways."""

import inspect
import typing
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from temporalio import activity
from temporalio.client import Client

from activities.jobs.http_call import HttpCalls
from activities.jobs.run_job import JobRuns
from activities.maintenance.run_task import TaskRuns
from activities.registry import Activity, build
from vaultmesh.domain.names import ANCHORS_QUEUE, JOBS_QUEUE, SCHEDULER_QUEUE
from vaultmesh.process.config_files import AnchorsSource
from vaultmesh.process.metrics import Metrics
from vaultmesh.storage.job_store import JobStore
from workflows import options, ports
from workflows.ports import Port


@pytest.fixture
def by_queue(tmp_path: Path) -> dict[str, list[Activity]]:
    """Return what a worker offers; nothing is opened before it is used, so no server is needed."""
    anchors = AnchorsSource(tmp_path / "anchors.yaml")
    nobody = cast("Client", object())
    runs = JobRuns(cast("JobStore", object()), cast("HttpCalls", object()), timedelta(0))
    tasks = TaskRuns(cast("JobStore", object()), lambda: None, tmp_path)
    by_queue = build(nobody, tmp_path, anchors, Metrics("vmsh")).by_queue
    return {**by_queue, JOBS_QUEUE: [*runs.activities(), *tasks.activities()]}


def name_of(adapter: Activity) -> str:
    """Return the name that an activity is registered under."""
    definition = activity._Definition.must_from_callable(adapter)
    assert definition.name is not None
    return definition.name


def test_every_port_has_an_adapter_and_every_adapter_a_port(
    by_queue: dict[str, list[Activity]],
) -> None:
    offered = [name_of(adapter) for adapters in by_queue.values() for adapter in adapters]
    assert sorted(offered) == sorted(port.name for port in ports.EVERY)


def test_every_port_of_the_module_is_listed() -> None:
    declared = [one for one in vars(ports).values() if isinstance(one, Port)]
    assert sorted(one.name for one in declared) == sorted(one.name for one in ports.EVERY)


@pytest.mark.parametrize("port", ports.EVERY, ids=lambda port: port.name)
def test_a_port_takes_and_gives_what_its_adapter_does(
    port: Port[Any, Any], by_queue: dict[str, list[Activity]]
) -> None:
    adapters = {name_of(one): one for adapters in by_queue.values() for one in adapters}
    adapter = adapters[port.name]
    hints = typing.get_type_hints(adapter)
    parameters = list(inspect.signature(adapter).parameters)
    assert [hints[name] for name in parameters] == [port.takes]
    assert hints["return"] is port.gives


def test_a_ports_options_name_the_queue_that_offers_it(
    by_queue: dict[str, list[Activity]],
) -> None:
    policies = {
        "seal": options.SEAL, "reserve": options.RESERVE, "sign": options.SIGN,
        "broadcast": options.BROADCAST, "bump": options.BUMP, "fill": options.FILL, "record": options.RECORD,
        "recover": options.RECOVER, "resolve": options.RESOLVE, "answer": options.REPLY, "report_failure": options.REPLY,
        "observe": options.OBSERVE_ALONE, "ask_again": options.ASK_AGAIN,
        "withdraw": options.ASK_AGAIN, "anchor": options.anchor(1),
        "run_job": options.run_job(timedelta(1), timedelta(1)),
        "run_task": options.run_task(timedelta(1), timedelta(1), 1),
        "close_run": options.STORE, "record_decision": options.STORE,
    }  # fmt: skip
    queues = {name: policy["task_queue"] for name, policy in policies.items()}
    for queue in (SCHEDULER_QUEUE, ANCHORS_QUEUE, JOBS_QUEUE):
        offered = {name_of(one) for one in by_queue[queue]}
        assert offered == {name for name, named in queues.items() if named == queue}

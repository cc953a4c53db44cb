"""Which runs are dropped from a worker's cache: those alone that a query may have run ahead of their history."""

from types import SimpleNamespace
from typing import cast

import pytest
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.worker import Worker, WorkflowInstanceDetails, WorkflowRunner
from typing_extensions import override

from vaultmesh.process.eviction import EvictingRunner

REPLAYED, LIVE, QUERY, QUERY_WITH_A_TASK = "replayed", "live", "query", "query with a task"
"""What an activation brings: events of a task that was done before, new ones, or a question."""


class PassiveRunner(WorkflowRunner):
    def prepare_workflow(self, defn: object) -> None:
        raise NotImplementedError

    @override
    def create_instance(self, det: WorkflowInstanceDetails) -> "PassiveRunner":  # type: ignore[override]
        return self

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        return WorkflowActivationCompletion(run_id=act.run_id)


def details(run_id: str = "run") -> WorkflowInstanceDetails:
    return cast("WorkflowInstanceDetails", SimpleNamespace(info=SimpleNamespace(run_id=run_id)))


def activation(step: str) -> WorkflowActivation:
    made = WorkflowActivation(run_id="run", is_replaying=step == REPLAYED)
    job = made.jobs.add()
    if step == QUERY:
        job.query_workflow.query_id = "legacy_query"
    elif step == QUERY_WITH_A_TASK:
        job.query_workflow.query_id = "one"
    else:
        job.fire_timer.seq = 1
    return made


@pytest.mark.parametrize(
    ("steps", "dropped"),
    [
        pytest.param([REPLAYED, LIVE, QUERY], 1, id="ahead"),
        pytest.param([REPLAYED, QUERY], 0, id="replayed"),
        pytest.param([LIVE, QUERY, QUERY], 1, id="once"),
        pytest.param([LIVE, QUERY, LIVE, QUERY], 2, id="again"),
        pytest.param([REPLAYED, LIVE, QUERY_WITH_A_TASK], 0, id="query-with-a-task"),
    ],
)
def test_only_a_run_that_a_query_may_have_run_ahead_is_dropped(
    steps: list[str], dropped: int
) -> None:
    asked: list[str] = []
    runner = EvictingRunner(PassiveRunner())
    core = SimpleNamespace(request_workflow_eviction=asked.append)
    runner.serve(cast("Worker", SimpleNamespace(_bridge_worker=core)))
    instance = runner.create_instance(details())
    for step in steps:
        assert instance.activate(activation(step)).run_id == "run"
    assert asked == ["run"] * dropped
    assert runner.evicted == dropped


def test_a_replay_drops_nothing() -> None:
    instance = EvictingRunner(PassiveRunner()).create_instance(details())
    for step in [REPLAYED, LIVE, QUERY]:
        instance.activate(activation(step))


def test_every_run_that_is_kept_is_dropped_at_once() -> None:
    asked: list[str] = []
    runner = EvictingRunner(PassiveRunner())
    core = SimpleNamespace(request_workflow_eviction=asked.append)
    runner.serve(cast("Worker", SimpleNamespace(_bridge_worker=core)))
    kept = [runner.create_instance(details(run_id)) for run_id in ("a", "b", "c")]
    del kept[1]
    runner.evict_all()
    assert sorted(asked) == ["a", "c"]

"""Which runs are dropped from a worker's cache: those alone that a query ran ahead of their history."""

from types import SimpleNamespace
from typing import cast

import pytest
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.worker import Worker, WorkflowInstanceDetails, WorkflowRunner
from typing_extensions import override

from vaultmesh.process.eviction import EvictingRunner

REPLAYED, LIVE = True, False
QUERY = ("query", 0, 0, LIVE)
Step = tuple[str, int, int, bool]
"""What an activation brings, the second of its task, events so far, and whether it is replayed."""


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


def activation(step: Step) -> WorkflowActivation:
    kind, second, events, is_replayed = step
    made = WorkflowActivation(run_id="run", history_length=events, is_replaying=is_replayed)
    made.timestamp.FromSeconds(second)
    job = made.jobs.add()
    if kind == "query":
        job.query_workflow.query_id = "legacy_query"
    elif kind == "query with a task":
        job.query_workflow.query_id = "one"
    else:
        job.fire_timer.seq = 1
    return made


@pytest.mark.parametrize(
    ("steps", "dropped"),
    [
        pytest.param([("timer", 5, 9, REPLAYED), ("timer", 5, 12, LIVE), QUERY], 1, id="ahead"),
        pytest.param([("timer", 5, 9, REPLAYED), QUERY], 0, id="replayed"),
        pytest.param([("timer", 5, 9, REPLAYED), ("timer", 6, 12, LIVE), QUERY], 0, id="own-task"),
        pytest.param([("timer", 5, 9, LIVE), ("timer", 5, 9, LIVE), QUERY], 0, id="same-events"),
        pytest.param(
            [("timer", 5, 9, REPLAYED), ("timer", 5, 12, LIVE), ("query with a task", 0, 0, LIVE)],
            0,
            id="query-with-a-task",
        ),
        pytest.param(
            [("timer", 5, 9, LIVE), ("timer", 5, 12, LIVE), ("timer", 6, 15, LIVE), QUERY],
            0,
            id="caught-up",
        ),
    ],
)
def test_only_a_run_that_a_query_ran_ahead_is_dropped(steps: list[Step], dropped: int) -> None:
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
    for step in [("timer", 5, 9, REPLAYED), ("timer", 5, 12, LIVE), QUERY]:
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

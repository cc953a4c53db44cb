"""Every history that was ever saved replays, and a workflow that decides otherwise is caught."""

import json
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from temporalio.workflow import NondeterminismError

from tests.histories.changed import RestingAggregator, RestingJob, RestingNamespace
from tests.workflows.stage import runner
from vaultmesh.domain.aggregator.rounds import OpenRounds
from vaultmesh.domain.names import AGGREGATOR_WORKFLOW, JOB_WORKFLOW, NAMESPACE_WORKFLOW
from workflows.aggregator.workflow import AggregatorWorkflow
from workflows.jobs.workflow import JobWorkflow
from workflows.namespace.workflow import NamespaceWorkflow

FOLDER = Path(__file__).parent
SAVED = sorted(FOLDER.glob("*/*.json"))


def read(path: Path) -> WorkflowHistory:
    """Return a saved history."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return WorkflowHistory.from_json(content["workflowId"], content["history"])


def replayer(*workflows: type) -> Replayer:
    """Return a replayer with the sandbox of worker.py."""
    return Replayer(
        workflows=list(workflows),
        workflow_runner=runner(),
        data_converter=pydantic_data_converter,
    )


def test_histories_of_all_workflows_are_saved() -> None:
    kinds = {NAMESPACE_WORKFLOW, AGGREGATOR_WORKFLOW, JOB_WORKFLOW}
    assert {path.parent.name for path in SAVED} == kinds


@pytest.mark.parametrize("path", SAVED, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_a_saved_history_replays(path: Path) -> None:
    every = replayer(NamespaceWorkflow, AggregatorWorkflow, JobWorkflow)
    await every.replay_workflow(read(path))


async def test_rounds_that_an_earlier_version_signed_are_not_missed_by_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their files have no numbers: had they some here, all of them would be gone after an upgrade."""
    numbers: list[int] = []
    add = OpenRounds.add

    def noting(self: OpenRounds, *signed: Any) -> None:
        add(self, *signed)
        numbers.append(self.number)

    monkeypatch.setattr(OpenRounds, "add", noting)
    unnumbered = Replayer(
        workflows=[AggregatorWorkflow],
        workflow_runner=UnsandboxedWorkflowRunner(),
        data_converter=pydantic_data_converter,
    )
    for path in FOLDER.glob(f"{AGGREGATOR_WORKFLOW}/1.0.0-*.json"):
        await unnumbered.replay_workflow(read(path))
    assert numbers
    assert not any(numbers)


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        (NAMESPACE_WORKFLOW, RestingNamespace),
        (AGGREGATOR_WORKFLOW, RestingAggregator),
        (JOB_WORKFLOW, RestingJob),
    ],
)
async def test_a_workflow_with_one_more_timer_is_caught(kind: str, changed: type) -> None:
    path = next(path for path in SAVED if path.parent.name == kind)
    with pytest.raises(NondeterminismError):
        await replayer(changed).replay_workflow(read(path))

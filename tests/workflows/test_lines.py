"""What a workflow logs when its task is asked for again: nothing that stands in the log, and whatever is new."""

from typing import TYPE_CHECKING

import pytest

from tests.support.log_lines import caught
from tests.workflows.stage import Stage, cadences, until
from vaultmesh.process import eviction

if TYPE_CHECKING:
    from temporalio.bridge.proto.workflow_activation import WorkflowActivation
    from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion

pytestmark = pytest.mark.asyncio(loop_scope="session")
WORKFLOWS = ["temporalio.workflow"]


class FailingTasks:
    """Has the workflow task fail that a signal comes with, after all of its lines are written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have none fail yet."""
        self._planned: list[str] = []
        self.failed = 0
        activate = eviction._Watched.activate

        def activate_and_fail(
            watched: eviction._Watched, act: "WorkflowActivation"
        ) -> "WorkflowActivationCompletion":
            completion = activate(watched, act)
            signals = {job.signal_workflow.signal_name for job in act.jobs}
            if not act.is_replaying and self._planned and self._planned[0] in signals:
                del self._planned[0]
                self.failed += 1
                completion.failed.failure.message = "planted"
            return completion

        monkeypatch.setattr(eviction._Watched, "activate", activate_and_fail)

    def plan(self, *signals: str) -> None:
        """Have the next task fail that comes with the first of these signals, then with the second, and so on."""
        self._planned += signals


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, stage: Stage) -> FailingTasks:
    """Let workflow tasks fail; the histories are not found wanting for it."""
    stage.replays.plant("WORKFLOW_WORKER_UNHANDLED_FAILURE")
    return FailingTasks(monkeypatch)


async def test_a_task_that_is_asked_for_again_tells_nothing_twice(
    stage: Stage, failing: FailingTasks
) -> None:
    failing.plan("pause", "pause", "nonsense")
    with caught(WORKFLOWS) as lines:
        async with stage.working():
            namespace = await stage.namespace(cadences(fast="9h"))
            await namespace.handle.signal("pause", "the moon")
            await namespace.shows(lambda view: "fast" in view.paused)
            await namespace.handle.signal("nonsense", 1)
            await namespace.shows(lambda view: view.last_rejected is not None)
    assert failing.failed == 3
    assert lines.named(ns=namespace.namespace) == ["paused", "rejected"]


async def test_what_truly_happens_again_is_told_again_also_by_a_task_that_is_asked_for_again(
    stage: Stage, failing: FailingTasks
) -> None:
    with caught(WORKFLOWS) as lines:
        async with stage.working():
            namespace = await stage.namespace(cadences(fast="9h"))
            for turn in range(1, 4):
                failing.plan("pause")
                await namespace.handle.signal("pause", "the moon")
                await until(lambda turn=turn: failing.failed == turn)
                await namespace.shows(lambda view: "fast" in view.paused)
                await namespace.handle.signal("resume")
                await namespace.shows(lambda view: not view.paused)
    assert lines.named(ns=namespace.namespace) == ["paused", "resumed"] * 3


async def test_what_comes_in_between_moves_no_line_to_another_ones_place(
    stage: Stage, failing: FailingTasks
) -> None:
    """The harm: the task comes again with one signal more, and its second line is taken for the first one's repetition."""
    failing.plan("pause")
    with caught(WORKFLOWS) as lines:
        async with stage.working():
            namespace = await stage.namespace(cadences(fast="9h"))
            await namespace.handle.signal("pause", "the moon")
            await until(lambda: failing.failed == 1)
            await namespace.handle.signal("resume")
            await namespace.handle.signal("pause", "the moon")
            await namespace.shows(lambda view: "fast" in view.paused)
            await until(lambda: len(lines.events(ns=namespace.namespace)) > 2)
    assert lines.named(ns=namespace.namespace) == ["paused", "resumed", "paused"]

"""An aggregator goes on in new runs: everybody who waits is carried, and nothing is done twice."""

import pytest

from tests.workflows.aggregator.scripted_target import (
    ScriptedTarget,
    enqueue,
    one_round,
)
from tests.workflows.stage import AggregatorRun, Stage, failed_tasks, until
from vaultmesh.domain.aggregator.state import AggregatorInput
from vaultmesh.domain.messages import AnchorRequest

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_4000_requests_are_carried_into_a_new_run_with_an_input_below_1_5_mb(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(continue_after_events=30)
        await aggregator.handle.signal("pause")
        requests = [
            AnchorRequest(
                namespace=f"dao:{number:04d}-" + "n" * 40, cadence="strong", slot="1768471200",
                required_depth=64, batches="out/batches/of/one/namespace", root_id="r" * 32,
            )
            for number in range(4_100)
        ]  # fmt: skip
        for start in range(0, 4_100, 500):
            await enqueue(aggregator, *requests[start : start + 500])
        await until(
            lambda: sum(len(one.requests) for one in scripted.asked("report_failure")) == 100
        )
        before = len(await stage.runs(aggregator.handle))
        for _ in range(30):
            await aggregator.handle.signal("pause")
        await until(lambda: _more_runs(stage, aggregator, before))
        runs = await stage.runs(aggregator.handle)
    started = runs[-1][0].workflow_execution_started_event_attributes
    [payload] = started.input.payloads
    carried = AggregatorInput.model_validate_json(payload.data).carried
    assert carried is not None
    assert len(carried.waiting.queue) == 4_000
    assert len(payload.data) < 1_500_000
    assert not any(failed_tasks(events) for events in runs)


async def _more_runs(stage: Stage, aggregator: AggregatorRun, before: int) -> bool:
    return len(await stage.runs(aggregator.handle)) > before


async def test_a_new_run_is_begun_at_safe_points_only_and_nothing_is_written_twice(
    stage: Stage,
) -> None:
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(continue_after_events=25)
        for number in range(1, 6):
            round_id = await one_round(aggregator, scripted, number)
            scripted.include(round_id)
            await until(lambda n=number: len(scripted.asked("record")) >= n)  # type: ignore[misc]
        await aggregator.shows(lambda view: not view.rounds)
        runs = await stage.runs(aggregator.handle)
    assert len(runs) >= 3
    for name in ("seal", "reserve", "sign", "broadcast"):
        assert len(scripted.asked(name)) == 5, name
    assert len({one.round_id for one in scripted.asked("record")}) == 5
    assert scripted.names.count("recover") == 1
    assert [one.last and one.last.sequence for one in scripted.asked("reserve")] == [
        None,
        0,
        1,
        2,
        3,
    ]
    assert not any(failed_tasks(events) for events in runs)

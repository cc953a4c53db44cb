"""Saves histories for ever: `python -m tests.histories.save`.

Namespaces and jobs run on the time-skipping server, aggregators on the real one; each of its runs becomes one file,
`<workflow>/<version>-<scenario>-<number>.json`. A file that exists is never written again.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from tests.workflows.aggregator.scripted_target import SETTINGS, ScriptedTarget, failure, request
from tests.workflows.conftest import Server, start_real
from tests.workflows.jobs.scripted_runs import ScriptedRuns
from tests.workflows.jobs.scripted_tasks import ScriptedTasks, task
from tests.workflows.namespace.scripted_worker import ScriptedWorker
from tests.workflows.stage import (
    KEPT,
    SLOW_BACKOFF,
    AggregatorRun,
    JobRun,
    NamespaceRun,
    Stage,
    cadences,
    until,
)
from vaultmesh.domain.aggregator.ledger_messages import RoundState
from vaultmesh.domain.aggregator.messages import Sealed
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.jobs.messages import JobCarried, JobSpec, SlotCounts
from vaultmesh.domain.names import AGGREGATOR_WORKFLOW, JOB_WORKFLOW, NAMESPACE_WORKFLOW
from vaultmesh.process.version import VERSION

FOLDER = Path(__file__).parent
NEVER, EVERY_MINUTE = "0 0 31 2 *", "* * * * *"
Ran = NamespaceRun | AggregatorRun | JobRun
_DONE = "workflow_task_completed_event_attributes"


async def slots(stage: Stage) -> NamespaceRun:
    """Anchor, find nothing, be paused, and be asked for more."""
    behind = ScriptedWorker()
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1h", strong="2*fast"))
        await namespace.registered("strong")
        await stage.skip(hours=3)
        await namespace.update("pause", {"cadence": "fast", "reason": "a test"})
        await stage.skip(hours=2)
        await namespace.handle.signal("resume")
        await namespace.handle.signal("force_anchor", "fast")
        await namespace.handle.signal("pause", 7)
        await namespace.shows(lambda view: view.last_rejected is not None)
        await namespace.update("stop")
        await namespace.handle.result()
    return namespace


async def continued(stage: Stage) -> NamespaceRun:
    """Go through several runs."""
    behind = ScriptedWorker()
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1s"), continue_after_events=40)
        await until(lambda: len(behind.asked) >= 7)
    return namespace


async def idle(stage: Stage) -> NamespaceRun:
    """Find nothing owed for many slots."""
    behind = ScriptedWorker(owed=0)
    async with stage.working(behind.adapters()):
        namespace = await stage.namespace(cadences(fast="1h"))
        await stage.skip(hours=40)
        await namespace.update("stop")
        await namespace.handle.result()
    return namespace


async def reorganised(stage: Stage) -> AggregatorRun:
    """Write, fail, bump, be reorganised, be lost, and end well."""
    scripted = ScriptedTarget()
    scripted.plan("reserve", failure(FailureKind.NETWORK))
    scripted.plan("broadcast", failure(FailureKind.NETWORK))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await aggregator.handle.signal("enqueue", [request(1), request(2)])
        await until(lambda: bool(scripted.asked("report_failure")))
        await aggregator.handle.signal("enqueue", [request(1), request(2)])
        await until(lambda: len(scripted.asked("broadcast")) == 2)
        first = scripted.asked("broadcast")[-1].round_id
        scripted.show(first, RoundState.STUCK)
        await until(lambda: len(scripted.asked("sign")) == 2)
        scripted.include(first, final=False)
        await until(lambda: len(scripted.asked("record")) == 1)
        sent = len(scripted.asked("broadcast"))
        scripted.show(first, RoundState.MISSING)
        await until(lambda: len(scripted.asked("broadcast")) > sent)
        scripted.show(first, RoundState.LOST, foreign=True)
        await until(lambda: scripted.asked("broadcast")[-1].round_id != first)
        scripted.include(scripted.asked("broadcast")[-1].round_id)
        await aggregator.shows(lambda view: not view.rounds)
    return aggregator


async def rewritten(stage: Stage) -> AggregatorRun:
    """Go through several runs."""
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(continue_after_events=25)
        for number in range(1, 4):
            await aggregator.handle.signal("enqueue", [request(number)])
            await until(lambda n=number: len(scripted.asked("broadcast")) == n)  # type: ignore[misc]
            scripted.include(scripted.asked("broadcast")[-1].round_id)
            await until(lambda n=number: len(scripted.asked("record")) >= n)  # type: ignore[misc]
    return aggregator


async def closed_again(stage: Stage) -> AggregatorRun:
    """Have the receipts of closed rounds written again, for requests that two of them hold."""
    scripted = ScriptedTarget()
    late_joiners = [{"round_id": one * 16, "requests": [request(1).id]} for one in ("cd", "ef")]
    scripted.plan("seal", Sealed.model_validate({"late_joiners": late_joiners}))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await aggregator.handle.signal("enqueue", [request(1)])
        await until(lambda: len(scripted.asked("record")) == 1)
        await aggregator.shows(lambda view: view.waiting == 0)
        await aggregator.handle.signal("enqueue", [request(2)])
        await until(lambda: bool(scripted.asked("broadcast")))
        scripted.include(scripted.asked("broadcast")[-1].round_id)
        await aggregator.shows(lambda view: not view.rounds)
    return aggregator


async def closed_beside(stage: Stage) -> AggregatorRun:
    """Have the receipts of a closed round written again beside the round that answers."""
    scripted = ScriptedTarget()
    gone = {"round_id": "cd" * 16, "requests": [request(1).id]}
    scripted.plan("seal", lambda order: scripted.sealed(order, rebuild=gone))
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator()
        await aggregator.handle.signal("enqueue", [request(1)])
        await until(lambda: bool(scripted.asked("record")) and bool(scripted.asked("broadcast")))
        scripted.include(scripted.asked("broadcast")[-1].round_id)
        await aggregator.shows(lambda view: not view.rounds)
    return aggregator


async def overtaken(stage: Stage) -> AggregatorRun:
    """Have a request join a round while its receipts are written, a round reorganised beside a seal, and a rest cut short."""
    scripted = ScriptedTarget()
    async with stage.working(aggregator=scripted.adapters()):
        aggregator = await stage.aggregator(backoff=SLOW_BACKOFF)
        await aggregator.handle.signal("enqueue", [request(1)])
        await until(lambda: len(scripted.asked("broadcast")) == 1)
        first = scripted.asked("broadcast")[0].round_id
        scripted.show(first, RoundState.MISSING)
        await asyncio.sleep(2)
        await aggregator.handle.signal("enqueue", [request(3)])
        await asyncio.sleep(8)
        await aggregator.handle.signal("enqueue", [request(4)])
        await until(lambda: len(scripted.asked("broadcast")) == 2)
        scripted.plan("seal", Sealed(settings=SETTINGS, covered=[request(3).id, request(4).id]))
        scripted.gates["record"] = asyncio.Event()
        scripted.include(first, final=False)
        await until(lambda: len(scripted.asked("record")) == 1)
        await until(lambda: len(scripted.asked("seal")) == 2)
        await aggregator.shows(lambda view: view.waiting == 0)
        for number in (2, 5):
            joining = [{"round_id": first, "requests": [request(number).id]}]
            scripted.plan("seal", Sealed.model_validate({"late_joiners": joining}))
        await aggregator.handle.signal("enqueue", [request(2)])
        await until(lambda: len(scripted.asked("seal")) == 3)
        await aggregator.shows(lambda view: view.waiting == 0)
        scripted.gates["record"].set()
        await asyncio.sleep(1)
        scripted.gates["seal"] = asyncio.Event()
        await aggregator.handle.signal("enqueue", [request(5)])
        await until(lambda: len(scripted.asked("seal")) == 4)
        scripted.show(first, RoundState.MISSING)
        await asyncio.sleep(1)
        scripted.gates["seal"].set()
        await asyncio.sleep(8)
        await aggregator.handle.signal("resume")
        await until(lambda: len(scripted.asked("broadcast")) == 3)
        scripted.include(first, block=7)
        await aggregator.shows(lambda view: not view.rounds)
    return aggregator


def revised(job: JobRun, revision: int, cron: str = EVERY_MINUTE, **changes: Any) -> dict[str, Any]:
    """Return a revision of a job, as `configure` takes it."""
    spec = JobSpec(
        name=job.name, revision=revision, cron=cron, service="mail", endpoint="/run", **changes
    )
    return spec.model_dump(mode="json")


async def asked(stage: Stage) -> JobRun:
    """Run slots, be asked, paused, disabled and given another expression, and end during a run."""
    runs = ScriptedRuns()
    async with stage.working(jobs=runs.adapters()):
        job = await stage.job(EVERY_MINUTE)
        await stage.skip(minutes=3)
        await until(lambda: len(runs.orders) >= 2)
        await job.update("trigger", {"user": "ada"})
        await until(lambda: runs.orders[-1].slot is None)
        await job.handle.signal("pause", {"reason": "a test"})
        await job.shows(lambda view: view.revision > 100)
        await stage.skip(hours=2)
        await job.handle.signal("resume")
        await job.handle.signal("pause", 7)
        await job.shows(lambda view: view.last_rejected is not None and view.revision > 101)
        await job.update("configure", revised(job, 200, enabled=False))
        await stage.skip(minutes=3)
        await job.update("configure", revised(job, 201, "*/20 * * * * *"))
        ran = len(runs.orders)
        await stage.skip(minutes=1)
        await until(lambda: len(runs.orders) > ran)
        runs.seconds = 1.0
        await job.shows(lambda view: view.running is None)
        await job.update("configure", revised(job, 202, NEVER))
        await job.update("trigger")
        await job.shows(lambda view: view.running is not None)
        await job.update("stop", {"revision": 203})
        await job.handle.result()
    return job


async def broken(stage: Stage) -> JobRun:
    """Have no worker for a slot and for a trigger, runs that break, a store that is down, and be paused unheard."""
    runs = ScriptedRuns()
    async with stage.working(cached=0):
        job = await stage.job("* * * * * *", catch_up_seconds=1)
        await job.shows(lambda view: view.missed >= 2)
        await job.update("configure", revised(job, 1, NEVER, catch_up_seconds=1))
        await job.shows(lambda view: view.running is None)
        await job.update("trigger")
        await job.shows(lambda view: view.unwritten == 1)
    runs.close_failures, runs.breaks = 1, True
    async with stage.working(jobs=runs.adapters(), cached=0):
        await stage.skip(seconds=30)
        await job.shows(lambda view: view.unwritten == 0)
        await job.update("trigger")
        await until(lambda: len(runs.closed) > 1)
        runs.breaks, runs.is_written = False, False
        await job.update("trigger")
        await until(lambda: len(runs.closed) > 2)
        runs.is_written, runs.is_dropped, runs.is_skipped = True, True, True
        await job.update("configure", revised(job, 2))
        await stage.skip(minutes=2)
        await job.shows(lambda view: view.skipped > 0)
        await job.update("stop", {"revision": 3})
        await job.handle.result()
    return job


async def anew(stage: Stage) -> JobRun:
    """Begin again after a week that nobody looked, and go through several runs."""
    runs = ScriptedRuns()
    async with stage.working(jobs=runs.adapters()):
        served = (await stage.now()).replace(second=0, microsecond=0) - timedelta(days=7)
        counts = SlotCounts(missed=3, skipped=2, served=served)
        carried = JobCarried(after=served, counts=counts, counts_written=counts)
        job = await stage.job(EVERY_MINUTE, carried, continue_after_events=40)
        await stage.skip(minutes=12)
        await until(lambda: len(runs.orders) >= 12)
    return job


async def tried_again(stage: Stage) -> JobRun:
    """Have a maintenance task's attempts fail, its slots run and pause, and a run that no attempt ended."""
    tasks = ScriptedTasks()
    tasks.failing = 2
    async with stage.working(jobs=tasks.adapters()):
        job = await task(stage, EVERY_MINUTE)
        await job.update("trigger")
        await job.shows(lambda view: view.last_run is not None)
        await stage.skip(minutes=3)
        await job.handle.signal("pause", "a migration")
        await job.shows(lambda view: view.revision > 100)
        await stage.skip(minutes=2)
        tasks.failing = 99
        await job.update("trigger")
        await until(lambda: bool(tasks.closed))
        await job.shows(lambda view: view.unwritten == 0)
        await job.update("stop", {"revision": 203})
        await job.handle.result()
    return job


SCENARIOS: tuple[tuple[str, Callable[[Stage], Awaitable[Ran]]], ...] = (
    (NAMESPACE_WORKFLOW, slots),
    (NAMESPACE_WORKFLOW, continued),
    (NAMESPACE_WORKFLOW, idle),
    (AGGREGATOR_WORKFLOW, reorganised),
    (AGGREGATOR_WORKFLOW, rewritten),
    (AGGREGATOR_WORKFLOW, closed_again),
    (AGGREGATOR_WORKFLOW, closed_beside),
    (AGGREGATOR_WORKFLOW, overtaken),
    (JOB_WORKFLOW, asked),
    (JOB_WORKFLOW, broken),
    (JOB_WORKFLOW, anew),
    (JOB_WORKFLOW, tried_again),
)


async def save_all() -> int:
    """Run every scenario whose histories are not saved yet; returns how many files were written."""
    server, real, written = Server(), await start_real(), 0
    for workflow, scenario in SCENARIOS:
        stem = f"{VERSION}-{scenario.__name__}"
        folder = _folder(workflow)
        if any(folder.glob(f"{stem}-*.json")):
            continue
        stage = Stage(real if workflow == AGGREGATOR_WORKFLOW else await server.usable(), KEPT)
        written += await _save(stage, (await scenario(stage)), folder, stem)
        await stage.close()
    await server.close()
    await real.shutdown()
    return written


def _folder(kind: str) -> Path:
    folder = FOLDER / kind
    folder.mkdir(exist_ok=True)
    return folder


async def _save(stage: Stage, ran: Ran, folder: Path, stem: str) -> int:
    run_id, number = ran.handle.first_execution_run_id, 0
    while run_id:
        handle = stage.env.client.get_workflow_handle(ran.handle.id, run_id=run_id)
        history = await handle.fetch_history()
        if not any(event.HasField(_DONE) for event in history.events):
            return number  # nothing has happened in it yet
        number += 1
        content = {
            "workflowId": ran.handle.id,
            "history": _impersonal(json.loads(history.to_json())),
        }
        text = json.dumps(content, indent=1, sort_keys=True) + "\n"
        (folder / f"{stem}-{number}.json").write_text(text, encoding="utf-8")
        last = history.events[-1]
        run_id = last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return number


def _impersonal(content: JsonValue) -> JsonValue:
    """Leave out what names a machine: who worked, and where in its files something failed."""
    match content:
        case dict():
            return {
                key: {"identity": "a worker", "stackTrace": ""}.get(key, _impersonal(value))
                for key, value in content.items()
            }
        case list():
            return [_impersonal(value) for value in content]
        case _:
            return content


if __name__ == "__main__":
    sys.stderr.write(f"{asyncio.run(save_all())} histories saved\n")

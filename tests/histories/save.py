"""The place where histories are saved for ever: `python -m tests.histories.save`.

Clocks run on the time-skipping server, pens on the real one; each of its runs becomes one file,
`<workflow>/<version>-<scenario>-<number>.json`. A file that exists is never written again.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from pydantic import JsonValue
from vaultmesh.domain.ledger import RoundState
from vaultmesh.domain.steps import Sealed
from vaultmesh.runtime.version import VERSION

from tests.workflows.conftest import Server, start_real
from tests.workflows.scripted_clock import ScriptedWorker
from tests.workflows.scripted_pen import SETTINGS, ScriptedPen, failure, request
from tests.workflows.stage import KEPT, SLOW_LADDER, Clocked, Stage, Writing, cadences, until
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.names import AGGREGATOR_WORKFLOW, NAMESPACE_WORKFLOW

FOLDER = Path(__file__).parent
_DONE = "workflow_task_completed_event_attributes"


async def slots(stage: Stage) -> Clocked:
    """Anchor, find nothing, be paused, and be asked for more."""
    behind = ScriptedWorker()
    async with stage.working(behind.adapters()):
        clock = await stage.clock(cadences(fast="1h", strong="2*fast"))
        await clock.registered("strong")
        await stage.skip(hours=3)
        await clock.update("pause", {"cadence": "fast", "reason": "a test"})
        await stage.skip(hours=2)
        await clock.handle.signal("resume")
        await clock.handle.signal("force_anchor", "fast")
        await clock.handle.signal("pause", 7)
        await clock.shows(lambda view: view.last_rejected is not None)
        await clock.update("stop")
        await clock.handle.result()
    return clock


async def continued(stage: Stage) -> Clocked:
    """Go through several runs."""
    behind = ScriptedWorker()
    async with stage.working(behind.adapters()):
        clock = await stage.clock(cadences(fast="1s"), continue_after_events=40)
        await until(lambda: len(behind.asked) >= 7)
    return clock


async def idle(stage: Stage) -> Clocked:
    """Find nothing owed for many slots."""
    behind = ScriptedWorker(owed=0)
    async with stage.working(behind.adapters()):
        clock = await stage.clock(cadences(fast="1h"))
        await stage.skip(hours=40)
        await clock.update("stop")
        await clock.handle.result()
    return clock


async def reorganised(stage: Stage) -> Writing:
    """Write, fail, bump, be reorganised, be lost, and end well."""
    desk = ScriptedPen()
    desk.plan("reserve", failure(FailureKind.NETWORK))
    desk.plan("broadcast", failure(FailureKind.NETWORK))
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await pen.handle.signal("enqueue", [request(1), request(2)])
        await until(lambda: bool(desk.asked("report_failure")))
        await pen.handle.signal("enqueue", [request(1), request(2)])
        await until(lambda: len(desk.asked("broadcast")) == 2)
        first = desk.asked("broadcast")[-1].round_id
        desk.show(first, RoundState.STUCK)
        await until(lambda: len(desk.asked("sign")) == 2)
        desk.include(first, final=False)
        await until(lambda: len(desk.asked("record")) == 1)
        sent = len(desk.asked("broadcast"))
        desk.show(first, RoundState.MISSING)
        await until(lambda: len(desk.asked("broadcast")) > sent)
        desk.show(first, RoundState.LOST, foreign=True)
        await until(lambda: desk.asked("broadcast")[-1].round_id != first)
        desk.include(desk.asked("broadcast")[-1].round_id)
        await pen.shows(lambda view: not view.rounds)
    return pen


async def rewritten(stage: Stage) -> Writing:
    """Go through several runs."""
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen(continue_after_events=25)
        for number in range(1, 4):
            await pen.handle.signal("enqueue", [request(number)])
            await until(lambda n=number: len(desk.asked("broadcast")) == n)  # type: ignore[misc]
            desk.include(desk.asked("broadcast")[-1].round_id)
            await until(lambda n=number: len(desk.asked("record")) >= n)  # type: ignore[misc]
    return pen


async def closed_again(stage: Stage) -> Writing:
    """Have the receipts of closed rounds written again, for requests that two of them hold."""
    desk = ScriptedPen()
    riders = [{"round_id": one * 16, "requests": [0]} for one in ("cd", "ef")]
    desk.plan("seal", Sealed.model_validate({"riders": riders}))
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await pen.handle.signal("enqueue", [request(1)])
        await until(lambda: len(desk.asked("record")) == 1)
        await pen.shows(lambda view: view.waiting == 0)
        await pen.handle.signal("enqueue", [request(2)])
        await until(lambda: bool(desk.asked("broadcast")))
        desk.include(desk.asked("broadcast")[-1].round_id)
        await pen.shows(lambda view: not view.rounds)
    return pen


async def closed_beside(stage: Stage) -> Writing:
    """Have the receipts of a closed round written again beside the round that answers."""
    desk = ScriptedPen()
    gone = {"round_id": "cd" * 16, "requests": [0]}
    desk.plan("seal", lambda order: desk.sealed(order, rebuild=gone))
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen()
        await pen.handle.signal("enqueue", [request(1)])
        await until(lambda: bool(desk.asked("record")) and bool(desk.asked("broadcast")))
        desk.include(desk.asked("broadcast")[-1].round_id)
        await pen.shows(lambda view: not view.rounds)
    return pen


async def overtaken(stage: Stage) -> Writing:
    """Have a request join a round while its receipts are written, a round reorganised beside a seal, and a rest cut short."""
    desk = ScriptedPen()
    async with stage.working(pen=desk.adapters()):
        pen = await stage.pen(backoff=SLOW_LADDER)
        await pen.handle.signal("enqueue", [request(1)])
        await until(lambda: len(desk.asked("broadcast")) == 1)
        first = desk.asked("broadcast")[0].round_id
        desk.show(first, RoundState.MISSING)
        await asyncio.sleep(2)
        await pen.handle.signal("enqueue", [request(3)])
        await asyncio.sleep(8)
        await pen.handle.signal("enqueue", [request(4)])
        await until(lambda: len(desk.asked("broadcast")) == 2)
        desk.plan("seal", Sealed(settings=SETTINGS, covered=[0, 1]))
        desk.gates["record"] = asyncio.Event()
        desk.include(first, final=False)
        await until(lambda: len(desk.asked("record")) == 1)
        await until(lambda: len(desk.asked("seal")) == 2)
        await pen.shows(lambda view: view.waiting == 0)
        joins = Sealed.model_validate({"riders": [{"round_id": first, "requests": [0]}]})
        desk.plan("seal", joins, joins)
        await pen.handle.signal("enqueue", [request(2)])
        await until(lambda: len(desk.asked("seal")) == 3)
        await pen.shows(lambda view: view.waiting == 0)
        desk.gates["record"].set()
        await asyncio.sleep(1)
        desk.gates["seal"] = asyncio.Event()
        await pen.handle.signal("enqueue", [request(5)])
        await until(lambda: len(desk.asked("seal")) == 4)
        desk.show(first, RoundState.MISSING)
        await asyncio.sleep(1)
        desk.gates["seal"].set()
        await asyncio.sleep(8)
        await pen.handle.signal("resume")
        await until(lambda: len(desk.asked("broadcast")) == 3)
        desk.include(first, block=7)
        await pen.shows(lambda view: not view.rounds)
    return pen


SCENARIOS: tuple[tuple[str, Callable[[Stage], Awaitable[Clocked | Writing]]], ...] = (
    (NAMESPACE_WORKFLOW, slots),
    (NAMESPACE_WORKFLOW, continued),
    (NAMESPACE_WORKFLOW, idle),
    (AGGREGATOR_WORKFLOW, reorganised),
    (AGGREGATOR_WORKFLOW, rewritten),
    (AGGREGATOR_WORKFLOW, closed_again),
    (AGGREGATOR_WORKFLOW, closed_beside),
    (AGGREGATOR_WORKFLOW, overtaken),
)


async def save_all() -> int:
    """Run every scenario whose histories are not saved yet; returns how many files were written."""
    server, real, written = Server(), await start_real(), 0
    for workflow, scenario in SCENARIOS:
        stem = f"{VERSION}-{scenario.__name__}"
        folder = _folder(workflow)
        if any(folder.glob(f"{stem}-*.json")):
            continue
        stage = Stage(await server.usable() if workflow == NAMESPACE_WORKFLOW else real, KEPT)
        written += await _save(stage, (await scenario(stage)), folder, stem)
        await stage.close()
    await server.close()
    await real.shutdown()
    return written


def _folder(kind: str) -> Path:
    folder = FOLDER / kind
    folder.mkdir(exist_ok=True)
    return folder


async def _save(stage: Stage, ran: Clocked | Writing, folder: Path, stem: str) -> int:
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

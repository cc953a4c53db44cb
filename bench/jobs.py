"""Measures jobs that fire often, beside Temporal's Schedules and APScheduler, which call the same handler as often."""

import asyncio
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)

from bench.bursts import next_due
from bench.events import between_timers, history
from bench.figures import Row, at_least, at_most, quantile, unlimited
from bench.job_handler import Call, Handler
from bench.job_system import JobBench, all_started, definition, job_names
from bench.schedules_worker import QUEUE, WORKFLOW
from bench.system import BenchError, cpu_seconds, for_each, sleep_until, until
from devnet.process import Part
from vaultmesh.domain.instants import of_seconds
from vaultmesh.domain.jobs.run import run_id
from vaultmesh.domain.names import job_workflow_id

NEEDS = "server, workers, and APScheduler for its part; about 6 minutes"
APSCHEDULER = "apscheduler"
_EVERY = 5
"""Seconds between two slots of a job; all jobs are due in the same instant."""
_LAG_SECONDS, _CPU_MS, _EVENTS = 1.0, 25.0, 13.0
_WARM_SECONDS = 10.0
_LATE_SECONDS = 10.0
"""After the last slot: what has not been called by then did not fire."""
_SAMPLE = 10
"""Jobs whose histories are read."""
_BEFORE_SECONDS = 1.0
"""Processor time is taken so long before the first slot, until so long before the one after the last."""
Slot = tuple[str, int]
"""A job and an instant at which it was due, in Unix seconds."""


@dataclass(frozen=True, slots=True)
class Fired:
    """What came of the slots of a window."""

    expected: int
    lags: Sequence[float]
    """Seconds from each slot that was called to its call."""
    repeated: int
    """Calls of slots that had been called before."""
    cpu_ms: Mapping[str, float]
    """Milliseconds of each process for each call."""
    events: float | None = None
    """History events for each call; None where nobody counted."""

    @property
    def percent(self) -> float:
        """Share of the slots that were called."""
        return 100 * len(self.lags) / self.expected


def measure(*, quick: bool) -> list[Row]:
    """Measure all three, one after the other; quickly, few jobs for a short time."""
    count, seconds = (10, 10) if quick else (200, 60)
    title = f"{count} jobs every {_EVERY} s for {seconds} s"
    rows = _judged(title, _ours(count, seconds))
    rows += _beside("Temporal Schedules", _schedules(count, seconds))
    if importlib.util.find_spec(APSCHEDULER) is None:
        missing = f"not measured: the package is missing, `pip install '{APSCHEDULER}>=3.11,<4'`"
        return [*rows, unlimited("APScheduler", missing)]
    return rows + _beside("APScheduler, jobs in SQLite", _apscheduler(count, seconds))


def _judged(title: str, fired: Fired) -> list[Row]:
    worker, server = fired.cpu_ms["worker"], fired.cpu_ms["server"]
    return [
        at_least(f"{title}: slots that were called", fired.percent, 100.0, "{:.1f} %"),
        at_most("  called more than once", fired.repeated, 0, "{}"),
        at_most("  slot to call, p99", quantile(fired.lags, 0.99), _LAG_SECONDS, "{:.2f} s"),
        unlimited("  p50, largest", _lags(fired)),
        at_most("  CPU of the worker a run", worker, _CPU_MS, "{:.1f} ms"),
        unlimited("  CPU of the server a run", f"{server:.1f} ms"),
        at_most("  history events a run", fired.events or 0.0, _EVENTS, "{:.1f}"),
    ]


def _beside(name: str, fired: Fired) -> list[Row]:
    parts = " + ".join(f"{used:.1f}" for used in fired.cpu_ms.values())
    repeated = f", {fired.repeated} called again" if fired.repeated else ""
    lag = f"p99 {quantile(fired.lags, 0.99):.2f} s, p50 and largest {_lags(fired)}"
    return [
        unlimited(f"{name}, the same: slots that were called", f"{fired.percent:.1f} %{repeated}"),
        unlimited("  slot to call", lag),
        unlimited(
            f"  CPU of {' + '.join(fired.cpu_ms)} a run",
            f"{sum(fired.cpu_ms.values()):.1f} ms ({parts})",
        ),
    ]


def _lags(fired: Fired) -> str:
    return f"{quantile(fired.lags, 0.5):.2f} s, {max(fired.lags):.2f} s"


# --- three engines -------------------------------------------------------------------------------------------------


def _ours(count: int, seconds: int) -> Fired:
    wanted = job_names(count)
    with JobBench() as system:
        asyncio.run(system.fill([definition(name, f"*/{_EVERY} * * * * *") for name in wanted]))
        worker = system.start_jobs_worker()
        asyncio.run(all_started(system, count))
        window = _Window(wanted, seconds)
        ids = {str(run_id(name, of_seconds(slot))): (name, slot) for name, slot in window.expected}

        def slot_of(call: Call) -> Slot | None:
            return ids.get(call.body["executionId"])

        parts = {"worker": worker, "server": system.temporal.part}
        fired = asyncio.run(window.watch(system.handler, slot_of, parts))
        return replace(fired, events=asyncio.run(_events(system, wanted[:_SAMPLE])))


def _schedules(count: int, seconds: int) -> Fired:
    wanted = job_names(count)
    with JobBench() as system:
        ready = system.folder / "ready"
        command = [sys.executable, "-m", "bench.schedules_worker", str(ready)]
        worker = system.start_part(command, ready.exists)
        asyncio.run(_create_schedules(system, wanted))
        parts = {"worker": worker, "server": system.temporal.part}
        window = _Window(wanted, seconds)
        return asyncio.run(window.watch(system.handler, _said_slot, parts))


async def _create_schedules(system: JobBench, wanted: Sequence[str]) -> None:
    client = await system.client()

    async def create(name: str) -> None:
        await client.create_schedule(name, _schedule(name, system.handler.url))

    await for_each(wanted, create)


def _schedule(name: str, url: str) -> Schedule:
    action = ScheduleActionStartWorkflow(WORKFLOW, args=[name, url], id=name, task_queue=QUEUE)
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(seconds=_EVERY))])
    policy = SchedulePolicy(
        overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(seconds=60)
    )
    return Schedule(action, spec, policy=policy)


def _apscheduler(count: int, seconds: int) -> Fired:
    wanted = job_names(count)
    with JobBench() as system:
        ready, database = system.folder / "ready", system.folder / "apscheduler.db"
        arguments = [str(ready), str(database), system.handler.url, str(_EVERY), *wanted]
        command = [sys.executable, "-m", "bench.apscheduler_process", *arguments]
        process = system.start_part(command, ready.exists)
        window = _Window(wanted, seconds)
        return asyncio.run(window.watch(system.handler, _said_slot, {"process": process}))


def _said_slot(call: Call) -> Slot:
    """Return the slot that a call names itself."""
    return call.body["jobName"], int(call.body["slot"])


# --- one minute of it ----------------------------------------------------------------------------------------------


class _Window:
    """The slots that are watched: some seconds from now, so that everything is warm."""

    def __init__(self, wanted: Sequence[str], seconds: int) -> None:
        self._first = next_due(_EVERY, least=_WARM_SECONDS)
        self._end = self._first + seconds
        slots = range(self._first, self._end, _EVERY)
        self.expected = {(name, slot) for name in wanted for slot in slots}

    async def watch(
        self, handler: Handler, slot_of: Callable[[Call], Slot | None], parts: Mapping[str, Part]
    ) -> Fired:
        """Wait until the window is over, and return what came of it."""
        await sleep_until(self._first - _BEFORE_SECONDS)
        cpu = {name: cpu_seconds(part) for name, part in parts.items()}
        calls_before = len(handler.calls)
        await sleep_until(self._end - _BEFORE_SECONDS)
        used = {name: cpu_seconds(part) - cpu[name] for name, part in parts.items()}
        calls = len(handler.calls) - calls_before

        async def all_called() -> bool:
            return len(self._lags(handler, slot_of)[0]) >= len(self.expected)

        with suppress(BenchError):  # the table says how many were not called
            await until(all_called, "all calls", _LATE_SECONDS)
        lags, repeated = self._lags(handler, slot_of)
        return Fired(
            expected=len(self.expected),
            lags=list(lags.values()) or [float("inf")],
            repeated=repeated,
            cpu_ms={name: 1_000 * seconds / max(calls, 1) for name, seconds in used.items()},
        )

    def _lags(
        self, handler: Handler, slot_of: Callable[[Call], Slot | None]
    ) -> tuple[Mapping[Slot, float], int]:
        """Return how late each slot was called, and how many calls repeated one."""
        lags: dict[Slot, float] = {}
        repeated = 0
        for call in tuple(handler.calls):
            slot = slot_of(call)
            if slot is None or slot not in self.expected:
                continue
            repeated += slot in lags
            lags.setdefault(slot, call.at - slot[1])
        return lags, repeated


async def _events(system: JobBench, wanted: Sequence[str]) -> float:
    """Return how many events a run takes, by the histories of some jobs."""
    client = await system.client()
    taken: list[int] = []
    for name in wanted:
        events = await history(client, job_workflow_id(name))
        taken += map(len, between_timers(events))
    return sum(taken) / len(taken)

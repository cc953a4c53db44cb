"""Makes the runs of maintenance tasks: opens the row, has the task run, closes the row.

1. A run may be tried three times within its deadline, which counts from its first start; a call to a service once. The row is
   opened once and closed once; an attempt after one that died goes on with its row.
2. Each attempt reads the task anew from maintenance.yaml: nothing of the file travels through Temporal.
3. Whoever cancels the run has PostgreSQL end the statement, and the row says `cancelled`. A worker that ends, and a server that
   gave the attempt up, leave the row open: another attempt goes on.
4. What passes by itself (the database is away, an attempt before still holds the lock) is left to another attempt, while there
   is time for one.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.heartbeat import beating
from activities.jobs.run_log import log_start
from activities.jobs.run_rows import (
    STORE_SECONDS,
    Counted,
    RunRows,
    count_nothing,
    made_before,
    start_of,
)
from activities.maintenance.results import end_of, is_passing, unfinished
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.jobs.messages import RunEnd, RunOrder
from vaultmesh.domain.jobs.records import Opened, Opening, RunRecord, RunStart
from vaultmesh.domain.jobs.refusals import StoreError
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy
from vaultmesh.domain.jobs.tasks import task_name
from vaultmesh.domain.maintenance.config import MaintenanceConfig, NamedTask
from vaultmesh.domain.maintenance.outcomes import Beat, Outcome, TaskResult
from vaultmesh.postgres.connection import Database, Order
from vaultmesh.postgres.runs import run_task as run_once
from vaultmesh.storage.job_store import JobStore

AGAIN_AFTER = timedelta(seconds=5)
"""A database that restarts is back by then; an attempt that was given up has heard of it."""
_LEAST_TIME = timedelta(seconds=1)
_LOG = logging.getLogger(__name__)
_NO_DATABASE = Database(SecretStr(""))
"""For tasks that need none."""

Seal = Callable[[NamedTask, TaskResult, int], TaskResult]
RunOnce = Callable[[Database, NamedTask, Order, Beat], Awaitable[TaskResult]]


def seal_nothing(_: NamedTask, result: TaskResult, __: int) -> TaskResult:
    """Leave a result as it is."""
    return result


class TaskRuns:
    """Adapter of the port `run_task`."""

    def __init__(
        self,
        store: JobStore,
        tasks: Callable[[], MaintenanceConfig | None],
        root: Path,
        counted: Counted = count_nothing,
        run_once: RunOnce = run_once,
        *,
        seal: Seal = seal_nothing,
    ) -> None:
        """Write into a store.

        Args:
            store: where rows lie.
            tasks: tells what maintenance.yaml says now; None where there is none. May block.
            root: folder below which relative folders of tasks lie.
            counted: hears of each row that is closed here.
            run_once: has a task run.
            seal: seals what it left, and returns its result with what came of that. May block.
        """
        self._store = store
        self._rows = RunRows(store, counted)
        self._tasks = tasks
        self._root = root
        self._run_once = run_once
        self._seal = seal

    def activities(self) -> list[Callable[..., Any]]:
        """Return what a worker offers on the queue of jobs."""
        return [self.run_task]

    @activity.defn(name="run_task")
    async def run_task(self, order: RunOrder) -> RunEnd:
        """Make one attempt at a run; whatever ends the run is its result.

        Raises:
            ApplicationError: another attempt is to go on.
            asyncio.CancelledError: Temporal gave the attempt up; another one has the run by now.
        """
        if await self._is_paused(order):
            return RunEnd(run_id=order.run_id, slot=order.slot, is_dropped=True, is_skipped=True)
        start = start_of(order)
        opened = await self._rows.opened(order, start)
        if opened is not None and opened.outcome is not Opening.OPENED:
            if not _goes_on(opened):
                return made_before(order, opened)
            began = opened.run.started_at if opened.run is not None else None
            start = start.model_copy(update={"started_at": began or start.started_at})
        progress = _Progress(_began(start))
        start = start.model_copy(update={"started_at": progress.began})
        if activity.info().attempt == 1 or _is_opened(opened):
            log_start(order)
        with progress.told():
            result = await self._attempted(order, start, progress)
            locked = await self._locked_too_often(order, result)
            end = end_of(result, activity.info().attempt, locked)
            closed = await asyncio.shield(self._rows.closed(order, start, end))
        return closed.model_copy(update={"counts": None if opened is None else opened.slots})

    async def _is_paused(self, order: RunOrder) -> bool:
        """Whether a slot is not to be run: somebody paused the task, and its workflow may not have heard of it yet."""
        if order.triggered_by is not TriggeredBy.SCHEDULER or activity.info().attempt > 1:
            return False
        try:
            async with asyncio.timeout(STORE_SECONDS):
                decisions = await self._store.decisions(order.spec.name)
        except (StoreError, TimeoutError):
            return False
        return decisions is not None and decisions.paused is not None

    async def _locked_too_often(self, order: RunOrder, result: TaskResult) -> int | None:
        """Return how many runs in a row a lock may keep out, if it kept out this one and as many before."""
        named = _task_of(await asyncio.to_thread(self._tasks), task_name(order.spec.name))
        if result.outcome is not Outcome.LOCKED or named is None:
            return None
        most = named.task.locked_runs
        try:
            async with asyncio.timeout(STORE_SECONDS):
                page = await self._store.history(order.spec.name, most + 1, 0)
        except (StoreError, TimeoutError):
            return None
        runs = [run for run in page.executions if run.id != order.run_id]
        before = len(list(takewhile(_was_locked, runs)))
        return most if before >= most else None

    async def _attempted(
        self, order: RunOrder, start: RunStart, progress: "_Progress"
    ) -> TaskResult:
        """Have the task run, for as long as its deadline leaves.

        Raises:
            ApplicationError: another attempt is to go on.
            asyncio.CancelledError: the attempt was given up.
        """
        name, kind = task_name(order.spec.name), str(order.spec.config.get("kind", ""))
        until = start.started_at + order.spec.timeout
        left = until - datetime.now(UTC)
        if left < _LEAST_TIME:
            why = f"its deadline, {order.spec.timeout_seconds}s, passed before attempt {activity.info().attempt}"
            return unfinished(name, kind, order.run_id, Outcome.TIMED_OUT, why)
        config = await asyncio.to_thread(self._tasks)
        named = _task_of(config, name)
        if config is None or named is None:
            why = "maintenance.yaml of the worker that took the run does not name it"
            _leave_to_another(why, order, until)
            return unfinished(name, kind, order.run_id, Outcome.FAILED, why)
        task = named.task.model_copy(update={"deadline": min(left, named.task.deadline)})
        asked = Order(order.run_id, order.slot or order.began or start.started_at, self._root)
        database = _NO_DATABASE if config.database is None else Database(config.database)
        result = await self._run_once(database, NamedTask(name, task), asked, progress.note)
        if result.outcome is Outcome.CANCELLED:
            _judge_cancellation(order, until)
        elif is_passing(result):
            _leave_to_another(result.detail or str(result.outcome), order, until)
        elif result.outcome is Outcome.RUNNING and activity.info().attempt > 1:
            _leave_to_another("an attempt before still holds the lock", order, until)
        return await asyncio.to_thread(self._seal, named, result, int(time.time()))


@dataclass
class _Progress:
    """What the attempt tells while it runs."""

    began: datetime
    """Start of the run's first attempt."""
    line: str = "begins"

    def note(self, line: str) -> None:
        """Take a line of progress; it is told with the next beat."""
        self.line = line

    def tell(self) -> None:
        """Beat."""
        details = {
            "began": self.began.isoformat(),
            "attempt": activity.info().attempt,
            "progress": self.line,
        }
        activity.heartbeat(details)

    def told(self) -> AbstractContextManager[None]:
        """Beat now, and every two seconds meanwhile."""
        self.tell()
        return beating(self.tell)


def _began(start: RunStart) -> datetime:
    """Return when the run's first attempt began: as the row has it, or as that attempt told where the store was away."""
    details = activity.info().heartbeat_details
    before = details[0] if details else None
    if isinstance(before, Mapping):
        try:
            return min(start.started_at, datetime.fromisoformat(str(before.get("began"))))
        except (ValueError, TypeError):
            pass
    return start.started_at


def _is_opened(opened: Opened | None) -> bool:
    """Whether this attempt opened the row: the ones before it did not get so far."""
    return opened is not None and opened.outcome is Opening.OPENED


def _goes_on(opened: Opened) -> bool:
    """Whether a row that is there is left by an attempt before at the same run."""
    run = opened.run
    left_open = run is not None and run.status == RunStatus.RUNNING
    return opened.outcome is Opening.EXISTS and left_open and activity.info().attempt > 1


def _was_locked(run: RunRecord) -> bool:
    return isinstance(run.metadata, Mapping) and run.metadata.get("outcome") == Outcome.LOCKED


def _task_of(config: MaintenanceConfig | None, name: str) -> NamedTask | None:
    tasks = () if config is None else config.tasks
    return next((named for named in tasks if named.name == name), None)


def _judge_cancellation(order: RunOrder, until: datetime) -> None:
    """Let a run end as cancelled if somebody asked for it; else leave it to another attempt."""
    why = activity.cancellation_details()
    if why is None or why.cancel_requested:
        return
    if why.not_found or why.timed_out:
        _LOG.warning(
            "attempt given up by Temporal", extra={"execution": activity.info().activity_id}
        )
        raise asyncio.CancelledError
    _leave_to_another("its worker ended", order, until)


def _leave_to_another(why: str, order: RunOrder, until: datetime) -> None:
    """Have another attempt made, if there may be one and there is time for it.

    Raises:
        ApplicationError: there will be one.
    """
    info = activity.info()
    attempts = order.spec.attempts
    if info.attempt >= attempts or datetime.now(UTC) + AGAIN_AFTER + _LEAST_TIME > until:
        return
    message = f"attempt {info.attempt} of {attempts}: {why}; tried again in {AGAIN_AFTER.total_seconds():g} s"
    raise ApplicationError(message, type=FailureKind.NETWORK.value, next_retry_delay=AGAIN_AFTER)

"""Has every task of maintenance.yaml run by a workflow of its own: at the worker's start, and whenever the file changes.

1. What a file says is entered in the job store first; from there the reconciler tells workflows that did not hear of it, and
   starts those that are missing.
2. A worker offers what its file says once, and again when that changes. Two workers with different files do not fight.
3. A task that the file names no more is stopped; its history stays. A file that is refused, or gone, changes nothing.
4. Where the file that we ship stands in, nobody chose its tasks: they are offered only as long as there are no others.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from vaultmesh.domain.jobs.records import Actor, Change
from vaultmesh.domain.jobs.refusals import NotTold, StoreError
from vaultmesh.domain.jobs.tasks import TaskSchedule, task_job_name
from vaultmesh.process.job_workflows import TemporalJobs
from vaultmesh.process.maintenance_source import MaintenanceSource, schedules_of
from vaultmesh.storage.job_store import JobStore

PERIOD_SECONDS = 2.0
"""Between two looks at the file."""
TASK = "offering maintenance tasks"
FILE = "maintenance.yaml"
_LOG = logging.getLogger(__name__)


def _ignore(_: bool) -> None:
    """Take no notice."""


class TaskOffers:
    """Offers tasks for one process."""

    def __init__(
        self,
        store: JobStore,
        jobs: TemporalJobs,
        source: MaintenanceSource,
        by: Actor,
        refused: Callable[[bool], None] = _ignore,
    ) -> None:
        """Enter in a store and tell through Temporal; `refused` hears of each look whether the file is refused."""
        self._store = store
        self._jobs = jobs
        self._source = source
        self._by = by
        self._refused = refused
        self._offered: dict[str, TaskSchedule] | None = None
        self._said = ""

    async def run(self) -> None:
        """Look at the file until cancelled; a store that is away is asked again."""
        while True:
            try:
                await self.once()
            except StoreError as error:
                _LOG.warning("maintenance tasks not offered", extra={"err": str(error)})
            await asyncio.sleep(PERIOD_SECONDS)

    async def once(self) -> None:
        """Offer what changed since the last time.

        Raises:
            StoreError: the store did not take it; all of it is offered again.
        """
        config = await asyncio.to_thread(self._source.look)
        self._say(self._source.refused)
        if config is None:
            return
        tasks = schedules_of(config)
        if tasks == self._offered:
            return
        stands_in = self._source.is_stand_in
        known = {task.name for task in await self._store.tasks() if task.task is not None}
        if stands_in and not known <= {task_job_name(name) for name in tasks}:
            _LOG.info("shipped maintenance tasks left out: others are there")
        else:
            for change in await self._entered(tasks, known):
                await self._tell(change)
        self._offered = tasks

    async def _entered(self, tasks: dict[str, TaskSchedule], known: set[str]) -> list[Change]:
        """Enter what the file says; returns what changed."""
        now = datetime.now(UTC)
        changes = [
            await self._store.offer_task(task_job_name(name), task, self._by, now)
            for name, task in tasks.items()
        ]
        gone = sorted(known - {task_job_name(name) for name in tasks})
        changes += [await self._store.withdraw_task(name, self._by, now) for name in gone]
        return [change for change in changes if change.changed]

    async def _tell(self, change: Change) -> None:
        """Tell a task's workflow; what it does not hear now the reconciler tells."""
        now = change.now
        _LOG.info(
            "maintenance task withdrawn" if now.is_gone else "maintenance task offered",
            extra={"job": now.name, "cron": "" if now.task is None else now.task.cron},
        )
        try:
            await self._jobs.tell(now)
            await self._store.mark_told(now.name, now.revision)
        except NotTold as error:
            _LOG.warning("task's workflow not told", extra={"job": now.name, "err": str(error)})

    def _say(self, refused: str) -> None:
        """Say once that the file is refused, and once that it is in use again."""
        self._refused(bool(refused))
        if refused == self._said:
            return
        if refused:
            extra = {"file": str(self._source.place), "err": "; ".join(refused.splitlines())}
            _LOG.warning("maintenance file refused; what it said before stays in use", extra=extra)
        else:
            _LOG.info("maintenance file in use again", extra={"file": str(self._source.place)})
        self._said = refused

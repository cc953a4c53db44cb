"""Knows which maintenance tasks there are and how each stands, for commands and pages.

Everything is read from the job store, beside what maintenance.yaml says here: that works while Temporal is away.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from vaultmesh.domain.jobs.records import JobRevision
from vaultmesh.domain.jobs.tasks import TaskSchedule, task_job_name, task_name
from vaultmesh.domain.maintenance.listing import TaskReport, task_report

if TYPE_CHECKING:
    from vaultmesh.storage.job_store import JobStore

_LOOKED_AT = 5
"""Newest runs that tell how a task stands: one that runs, and one that ended."""


@dataclass(frozen=True, slots=True)
class KnownTask:
    """A task that the store or the file knows."""

    revision: JobRevision
    """What the store knows; revision 0 if it was never offered."""
    schedule: TaskSchedule | None
    """What was said of it last; None if nobody knows any more."""

    @property
    def why_no_run(self) -> str:
        """Why no worker can be asked for a run; empty if one can."""
        if self.schedule is not None and not self.revision.is_gone:
            return ""
        why = "no worker offers it" if self.schedule is not None else "no file names it any more"
        return f"{why}; workers with role jobs take it up from maintenance.yaml"


async def known_tasks(
    store: "JobStore", in_file: Mapping[str, TaskSchedule]
) -> dict[str, KnownTask]:
    """Return every task that the store knows, or the file here, by their names in order; raises `StoreError`."""
    known = {
        task_name(revision.name): KnownTask(revision, revision.task)
        for revision in await store.tasks()
    }
    for name, schedule in in_file.items():
        if name not in known:
            job = task_job_name(name)
            decisions = await store.decisions(job)
            paused = None if decisions is None else decisions.paused
            revision = JobRevision(name=job, revision=0, definition=None, paused=paused)
            known[name] = KnownTask(revision, schedule)
    return dict(sorted(known.items()))


async def task_reports(
    store: "JobStore", tasks: Mapping[str, KnownTask], now: datetime
) -> list[TaskReport]:
    """Return how tasks stand at an instant; raises `StoreError`."""
    reports: list[TaskReport] = []
    for known in tasks.values():
        page = await store.history(known.revision.name, _LOOKED_AT, 0)
        reports.append(task_report(known.revision, known.schedule, page.executions, now))
    return reports

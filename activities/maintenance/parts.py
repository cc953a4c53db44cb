"""Makes what a worker needs for maintenance tasks: their file, their runs, their metrics. Only one with role `jobs` works on them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from temporalio.client import Client

from activities.jobs.roles import JobParts
from activities.maintenance import offers
from activities.maintenance.offers import TaskOffers
from activities.maintenance.run_task import TaskRuns
from vaultmesh.domain.jobs.messages import RunEnd
from vaultmesh.domain.jobs.records import Actor
from vaultmesh.process.config_files import batches_folder, namespaces_path
from vaultmesh.process.job_workflows import TemporalJobs
from vaultmesh.process.maintenance_metrics import MaintenanceMetrics
from vaultmesh.process.maintenance_source import MaintenanceSource
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.settings import Settings
from vaultmesh.storage.job_store import JobStore
from vaultmesh.storage.seal_archives import ArchiveSeals

BY_FILE = Actor(name=offers.FILE)
"""Who makes a decision that the file makes."""


@dataclass(frozen=True, slots=True)
class MaintenanceParts:
    """What serves maintenance tasks in one process."""

    store: JobStore
    source: MaintenanceSource
    runs: TaskRuns
    metrics: MaintenanceMetrics
    refused: Callable[[bool], None]
    works: bool
    """Whether the process has the role."""

    @classmethod
    def build(cls, jobs: JobParts, settings: Settings, metrics: Metrics) -> "MaintenanceParts":
        """Make them beside what runs jobs; nothing is opened or read yet."""
        source = MaintenanceSource(settings)
        own = MaintenanceMetrics(metrics.registry, settings.metrics_prefix)
        folder = partial(batches_folder, path=namespaces_path(settings))
        seals = ArchiveSeals(settings.root, folder)
        runs = TaskRuns(jobs.store, source.look, settings.root, own.closed, seal=seals.sealed)

        def refused(is_refused: bool) -> None:
            metrics.file_refused(offers.FILE, is_refused=is_refused)

        return cls(jobs.store, source, runs, own, refused, "jobs" in jobs.roles)

    def refusals(self) -> dict[str, Callable[[], str]]:
        """Return what says why the file is not in use as it is now, by its name; nothing where nobody looks at it."""
        return {offers.FILE: lambda: self.source.refused} if self.works else {}

    def activities(self) -> Sequence[Callable[..., Any]]:
        """Return what the worker offers on the queue of jobs."""
        return self.runs.activities()

    def closed(self, job: str, end: RunEnd) -> None:
        """Count a run whose row was closed here."""
        self.metrics.closed(job, end)

    def beside(self, client: Client) -> dict[str, Callable[[], Awaitable[None]]]:
        """Return what runs beside the workers."""
        if not self.works:
            return {}
        jobs = TemporalJobs(client)
        return {offers.TASK: TaskOffers(self.store, jobs, self.source, BY_FILE, self.refused).run}

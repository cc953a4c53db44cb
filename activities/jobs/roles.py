"""Opens what the roles `jobs` and `api` of a worker share: the store, the services and the settings; and makes what runs jobs."""

import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from activities.heartbeat import BEAT_SECONDS
from activities.jobs import reconcile
from activities.jobs.http_call import HttpCalls
from activities.jobs.reconcile import JobReconciler
from activities.jobs.run_job import JobRuns
from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.domain.jobs.refusals import StoreError
from vaultmesh.domain.names import JOBS_QUEUE
from vaultmesh.process.api_settings import ApiSettings
from vaultmesh.process.job_settings import JobSettings
from vaultmesh.process.job_workflows import TemporalJobs
from vaultmesh.process.services import Services
from vaultmesh.process.settings import Settings
from vaultmesh.storage.job_store import JobStore

_LOG = logging.getLogger("worker")
Task = Callable[[], Awaitable[None]]
"""What runs beside the workers until it is cancelled."""


def job_worker(client: Client, runs: JobRuns, drain: timedelta) -> Worker:
    """Return the worker that makes the runs of jobs; after SIGTERM they get `drain` to end."""
    return Worker(
        client,
        task_queue=JOBS_QUEUE,
        activities=runs.activities(),
        max_concurrent_activities=200,
        max_heartbeat_throttle_interval=timedelta(seconds=BEAT_SECONDS),
        graceful_shutdown_timeout=drain,
    )


@dataclass(frozen=True, slots=True)
class JobParts:
    """What the roles `jobs` and `api` need, opened."""

    settings: JobSettings
    api: ApiSettings
    services: Services
    store: JobStore

    @classmethod
    async def open(cls, root: Path) -> "JobParts":
        """Read the environment and open the store.

        Raises:
            ConfigurationError: something there can't be used.
        """
        settings = JobSettings.from_environment(os.environ)
        api = ApiSettings.from_environment(os.environ)
        services = Services.from_environment(os.environ)
        for warning in api.warnings:
            _LOG.warning("job API has a warning", extra={"detail": warning})
        _LOG.info("services known", extra={"services": services.names})
        url = settings.database_url
        try:
            store = await JobStore.open(
                None if url is None else url.get_secret_value(), root, supabase=settings.is_supabase
            )
        except StoreError as error:
            raise ConfigurationError([str(error)]) from error
        for notice in store.notices:
            _LOG.warning("job store has a notice", extra={"detail": notice})
        return cls(settings, api, services, store)

    def beside(self, client: Client, roles: Sequence[str]) -> dict[str, Task]:
        """Return what runs beside the workers."""
        if "jobs" not in roles:
            return {}
        keep = self.settings.keep(made_by_us=self.store.made_by_us)
        jobs = TemporalJobs(client)
        return {reconcile.TASK: JobReconciler(client, self.store, jobs, keep=keep).run}

    def workers(self, client: Client, settings: Settings, roles: Sequence[str]) -> list[Worker]:
        """Return the worker that makes runs, if that is a role."""
        if "jobs" not in roles:
            return []
        calls, drain = HttpCalls(self.services, settings.backoff), self.settings.drain
        return [job_worker(client, JobRuns(self.store, calls, drain), drain)]

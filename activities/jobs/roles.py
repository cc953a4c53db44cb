"""Reads and opens what the roles `jobs` and `api` of a worker share: settings, services, the store; and makes what runs jobs."""

import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from temporalio.client import Client
from temporalio.worker import Worker

from activities.heartbeat import BEAT_SECONDS
from activities.jobs import order_audit, reconcile
from activities.jobs.http_call import HttpCalls
from activities.jobs.order_audit import OrderAudit
from activities.jobs.reconcile import JobReconciler
from activities.jobs.run_job import JobRuns
from activities.jobs.run_rows import Counted, count_nothing
from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.domain.jobs.refusals import StoreError
from vaultmesh.domain.names import JOBS_QUEUE
from vaultmesh.process import job_metrics
from vaultmesh.process.api_settings import ApiSettings
from vaultmesh.process.job_metrics import JobMetrics
from vaultmesh.process.job_settings import JobSettings
from vaultmesh.process.job_workflows import TemporalJobs
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.services import Services
from vaultmesh.process.settings import Settings
from vaultmesh.process.version import build_id
from vaultmesh.storage.job_store import JobStore
from vaultmesh.storage.jobs.core import choose
from vaultmesh.storage.jobs.database import Place
from vaultmesh.storage.users import Users, users_place

_LOG = logging.getLogger("worker")
Part = TypeVar("Part")
Activity = Callable[..., Any]
Task = Callable[[], Awaitable[None]]
"""What runs beside the workers until it is cancelled."""


def job_worker(client: Client, activities: Sequence[Activity], drain: timedelta) -> Worker:
    """Return the worker that makes the runs of jobs; after SIGTERM they get `drain` to end."""
    return Worker(
        client,
        task_queue=JOBS_QUEUE,
        activities=activities,
        max_concurrent_activities=200,
        max_heartbeat_throttle_interval=timedelta(seconds=BEAT_SECONDS),
        graceful_shutdown_timeout=drain,
        build_id=build_id(),
    )


@dataclass(frozen=True, slots=True)
class JobEnvironment:
    """What the environment says of jobs."""

    settings: JobSettings
    api: ApiSettings
    services: Services
    users: Place | None
    """Where the roles of users are looked up; None if that is not needed."""

    @classmethod
    def read(cls, environment: Mapping[str, str], root: Path) -> "JobEnvironment":
        """Read it; `root` is where a store that is a file lies.

        Raises:
            ConfigurationError: with everything in it that can't be used.
        """
        problems: list[str] = []
        settings = _noted(problems, JobSettings.from_environment, environment)
        api = _noted(problems, ApiSettings.from_environment, environment)
        services = _noted(problems, Services.from_environment, environment)
        users = None
        if settings is not None:
            try:
                jobs = choose(settings.stated_url, root, supabase=settings.is_supabase)
                users = _users(api, jobs)
            except StoreError as error:
                problems.append(str(error))
        if problems or settings is None or api is None or services is None:
            raise ConfigurationError(problems)
        return cls(settings, api, services, users)


def _users(api: ApiSettings | None, jobs: Place) -> Place | None:
    """Return where roles of users are looked up; None if no JWT is taken, or a claim holds the role."""
    if api is None or api.jwt is None or api.jwt.role_claim is not None:
        return None
    stated = api.users_database_url
    return users_place(None if stated is None else stated.get_secret_value(), jobs)


def _noted(
    problems: list[str],
    read: Callable[[Mapping[str, str]], Part],
    environment: Mapping[str, str],
) -> Part | None:
    """Return what is read; None, with what is wrong noted, if it can't be used."""
    try:
        return read(environment)
    except ConfigurationError as error:
        problems.extend(error.problems)
        return None


@dataclass(frozen=True, slots=True)
class JobParts:
    """What the roles `jobs` and `api` need, opened."""

    settings: JobSettings
    api: ApiSettings
    services: Services
    store: JobStore
    roles: Sequence[str]
    """Of the process."""
    users: Users | None = None
    """Tell the roles of those who come with a JWT; None if nobody does, or a claim tells."""

    @classmethod
    async def open(cls, root: Path, roles: Sequence[str]) -> "JobParts":
        """Read the environment and open the store.

        Raises:
            ConfigurationError: something there can't be used.
        """
        stated = JobEnvironment.read(os.environ, root)
        settings, api, services = stated.settings, stated.api, stated.services
        for warning in settings.warnings:
            _LOG.warning("setting no longer needed", extra={"detail": warning})
        for warning in api.warnings:
            _LOG.warning("job API has a warning", extra={"detail": warning})
        _LOG.info("services known", extra={"services": services.lines()})
        try:
            store = await JobStore.open(settings.stated_url, root, supabase=settings.is_supabase)
        except StoreError as error:
            raise ConfigurationError([str(error)]) from error
        for notice in store.notices:
            _LOG.warning("job store has a notice", extra={"detail": notice})
        users = None if stated.users is None or "api" not in roles else Users(stated.users)
        return cls(settings, api, services, store, roles, users)

    async def count(self) -> int:
        """Return how many jobs the store has; 0 while it is away, which keeps no other role from its work."""
        try:
            return await self.store.count()
        except StoreError as error:
            _LOG.warning("jobs not counted", extra={"err": str(error)})
            return 0

    def beside(self, client: Client, metrics: Metrics, root: Path) -> dict[str, Task]:
        """Return what runs beside the workers, and shows itself in metrics."""
        reconciles = "jobs" in self.roles
        of_jobs = JobMetrics(metrics, self.store.figures, reconciles=reconciles)
        tasks: dict[str, Task] = {job_metrics.TASK: of_jobs.run}
        if reconciles:
            keep = self.settings.keep(made_by_us=self.store.made_by_us)
            jobs, reconciled = TemporalJobs(client), of_jobs.reconciled
            reconciler = JobReconciler(client, self.store, jobs, keep=keep, reconciled=reconciled)
            tasks[reconcile.TASK] = reconciler.run
        if reconciles or "anchors" in self.roles:
            tasks[order_audit.TASK] = OrderAudit(client, self.store, root).run
        return tasks

    def workers(
        self,
        client: Client,
        settings: Settings,
        others: Sequence[Activity] = (),
        counted: Counted = count_nothing,
    ) -> list[Worker]:
        """Return the worker that makes runs, if that is a role.

        It offers `others` beside the activities of HTTP jobs; `counted` hears of each run whose row is closed here.
        """
        if "jobs" not in self.roles:
            return []
        calls, drain = HttpCalls(self.services, settings.backoff), self.settings.drain
        runs = JobRuns(self.store, calls, drain, counted)
        return [job_worker(client, [*runs.activities(), *others], drain)]

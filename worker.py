"""Puts a worker process together: settings, client, adapters, workflows, and the health server.

Usage: python worker.py [--roles workflows,anchors,jobs,api]
"""

import gc
import signal

if __name__ == "__main__":
    gc.disable()  # while modules load, of which nothing goes away; `run_and_exit` enables it
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while modules load; see starter.py

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, NoReturn, TypeVar

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from typing_extensions import override

from activities.anchoring import probe, resume_rounds, target_looks
from activities.anchoring.probe import Probing
from activities.anchoring.resume_rounds import ResumeRounds
from activities.anchoring.stores import Files
from activities.anchoring.target_looks import TargetLooks
from activities.anchoring.troubles import NotesTroubles
from activities.anchoring.watching import promises_of, watching
from activities.configuration import ANCHORING, OF_JOBS, ROLES, check_configuration, watched_files
from activities.heartbeat import BEAT_SECONDS, Heartbeats
from activities.registry import Adapters, build
from vaultmesh.domain.complaints import did_you_mean
from vaultmesh.domain.errors import ConfigurationError, DomainError
from vaultmesh.domain.log_events import LogEvent, log_event
from vaultmesh.domain.names import (
    ANCHORS_QUEUE,
    JOB_WORKFLOW,
    NAMESPACE_WORKFLOW,
    SCHEDULER_QUEUE,
)
from vaultmesh.process import counts as counts_module
from vaultmesh.process import logs, search_attributes
from vaultmesh.process.client import connect, retention, retention_warning
from vaultmesh.process.connection import Connection
from vaultmesh.process.counts import Counts
from vaultmesh.process.eviction import EvictingRunner
from vaultmesh.process.exiting import run_and_exit
from vaultmesh.process.health import is_silent
from vaultmesh.process.http import HealthServer
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.readiness import Readiness
from vaultmesh.process.reconcile import Reconciler, Sources
from vaultmesh.process.settings import Registering, Settings
from vaultmesh.process.sticky import sticky_timeout
from vaultmesh.process.unforeseen import Unforeseen, end_all
from vaultmesh.process.version import build_id
from vaultmesh.process.visibility import Visibility, running_workflows
from vaultmesh.storage.stopped import StoppedNamespaces
from workflows.aggregator.workflow import AggregatorWorkflow
from workflows.jobs.workflow import JobWorkflow
from workflows.namespace.workflow import NamespaceWorkflow

if TYPE_CHECKING:
    from activities.jobs.roles import JobParts
    from activities.maintenance.parts import MaintenanceParts

PASSED_THROUGH = ("vaultmesh.domain", "pydantic", "pydantic_core", "rfc8785", "typing_extensions")
"""Pure modules that the sandbox does not import anew for every workflow."""
OWN_CODE = ("workflows",)
"""Nor this, which has no state in its modules: a copy for each workflow takes 120 kB and 40 ms. The tests of workflows
run without it, so that the sandbox judges the code there."""
DRAIN = timedelta(seconds=20)
"""Running activities get this long to end after SIGTERM; what does not is tried again elsewhere."""
WORKFLOW_TASKS_AT_ONCE = 16
"""Python runs one at a time: with the SDK's 100 side by side each takes 100 times as long, and is interrupted after 2 s."""

_LOG = logging.getLogger("worker")
Found = TypeVar("Found")
Task = Callable[[], Awaitable[None]]
"""What runs beside the workers until it is cancelled."""


class _Parser(argparse.ArgumentParser):
    """A parser that says also what is wrong with the command line as the process says everything else."""

    @override
    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and exit 2."""
        if sys.stderr.isatty():
            super().error(message)
        complain(message)
        self.exit(2)


def complain(problems: str) -> None:
    """Say why the worker does not run: to people in lines, to a log collector in the form of every log line."""
    if sys.stderr.isatty():
        print(f"worker.py: {logs.without_secrets(problems)}", file=sys.stderr)
    else:
        logs.end(problems.splitlines())


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exit 2 if it means nothing."""
    parser = _Parser(prog="worker.py", description="Run a worker until SIGTERM or Ctrl-C.")
    parser.add_argument(
        "--roles",
        default=",".join(ROLES),
        help="comma list of workflows (needs no keys), anchors, jobs (runs HTTP jobs and maintenance tasks) and api (their API); all by default",
    )
    parsed = parser.parse_args(arguments)
    parsed.roles = [role.strip() for role in parsed.roles.split(",") if role.strip()]
    unknown = sorted(set(parsed.roles) - set(ROLES))
    if unknown or not parsed.roles:
        meant = did_you_mean(unknown[0], ROLES) if unknown else ""
        parser.error(
            f"unknown role {', '.join(unknown) or 'none'}; there are: {', '.join(ROLES)} {meant}".rstrip()
        )
    return parsed


def sandbox() -> EvictingRunner:
    """Return what runs the workflows of a process."""
    shared = (*PASSED_THROUGH, *OWN_CODE)
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*shared)
    return EvictingRunner(SandboxedWorkflowRunner(restrictions=restrictions))


def workers(
    client: Client,
    adapters: Adapters,
    roles: Sequence[str],
    runner: EvictingRunner,
    *,
    heartbeats: Heartbeats,
    sticky: timedelta,
) -> list[Worker]:
    """Return the workers of these roles, one per task queue; `sticky` is how long a task waits for a cached workflow."""
    built, worker = [], partial(Worker, client, build_id=build_id())
    if "workflows" in roles:
        scheduler = worker(
            task_queue=SCHEDULER_QUEUE,
            workflows=[NamespaceWorkflow, AggregatorWorkflow, JobWorkflow],
            activities=adapters.by_queue[SCHEDULER_QUEUE],
            workflow_runner=runner,
            interceptors=[heartbeats],
            max_cached_workflows=1_500,
            max_concurrent_workflow_tasks=WORKFLOW_TASKS_AT_ONCE,
            sticky_queue_schedule_to_start_timeout=sticky,
            max_concurrent_activities=500,
            graceful_shutdown_timeout=DRAIN,
        )
        runner.serve(scheduler)
        built.append(scheduler)
    if "anchors" in roles:
        built.append(
            worker(
                task_queue=ANCHORS_QUEUE,
                activities=adapters.by_queue[ANCHORS_QUEUE],
                interceptors=[heartbeats, NotesTroubles(adapters.troubles)],
                max_concurrent_activities=100,
                max_heartbeat_throttle_interval=timedelta(seconds=BEAT_SECONDS),
                graceful_shutdown_timeout=timedelta(seconds=5),
            )
        )
    return built


async def _prepared_client(metrics: Metrics) -> Client:
    client = await connect(sdk=metrics.sdk)
    await search_attributes.ensure(client)
    try:
        warning = retention_warning(client.namespace, await retention(client))
    except RPCError:
        warning = ""  # a worker needs no right to look
    if warning:
        _LOG.warning("retention is short", extra={"detail": warning})
    return client


async def _until_told_to_end(
    stopped: asyncio.Event, work: Coroutine[None, None, Found]
) -> Found | None:
    """Return what the work gives, or None as soon as the process is told to end."""
    working, ending = asyncio.create_task(work), asyncio.create_task(stopped.wait())
    await asyncio.wait([working, ending], return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if working.done():
        return await working
    working.cancel()
    return None


async def run(roles: Sequence[str], settings: Settings, readiness: Readiness) -> None:
    """Run until SIGTERM or Ctrl-C, then drain."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for caught in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(caught, stopped.set)
    metrics = Metrics(settings.metrics_prefix)
    client = await _until_told_to_end(stopped, _prepared_client(metrics))
    if client is not None:
        await _work(client, roles, settings, stopped, readiness, metrics=metrics)
    log_event(_LOG, LogEvent.STOPPED)


def _reconciled(
    client: Client, roles: Sequence[str], settings: Settings, sources: Sources, metrics: Metrics
) -> tuple[Reconciler, Visibility]:
    """Return what compares files with what runs, and the list of what runs: each needs the other."""
    reconciler = Reconciler(
        client,
        settings,
        sources,
        metrics,
        lambda: visibility.snapshot,
        is_offering="workflows" in roles and settings.registering is Registering.AUTO,
        is_stopping="workflows" in roles,
        changed=lambda: visibility.wake(),  # noqa: PLW0108 - it is made below
    )
    visibility = Visibility(client, metrics, reconciler.expected)
    return reconciler, visibility


def _health(
    settings: Settings,
    metrics: Metrics,
    *,
    visibility: Visibility,
    running: Sequence[Worker],
    reconciler: Reconciler,
    unforeseen: Unforeseen,
    probing: Probing,
    files: Files,
    counts: Counts,
) -> HealthServer:
    return HealthServer(
        settings.metrics_port,
        metrics,
        visibility,
        lambda: all(queue_worker.is_running for queue_worker in running),
        counts,
        desired=lambda: reconciler.state,
        errors=unforeseen.shown,
        unreachable=probing.unreachable,
        unreadable=files.unreadable,
    )


async def _work(
    client: Client,
    roles: Sequence[str],
    settings: Settings,
    stopped: asyncio.Event,
    readiness: Readiness,
    *,
    metrics: Metrics,
) -> None:
    jobs = await _opened_jobs(roles, settings)
    configured, anchors = watched_files(settings, roles, readiness)
    metrics.configured({} if configured.is_stand_in else configured.look())
    adapters = build(client, settings.root, anchors, metrics, configured.folders)
    files = adapters.files
    counts = Counts(files.owed)
    sources = Sources(configured, anchors, StoppedNamespaces(files.store), files.receipts.has_any)
    reconciler, visibility = _reconciled(client, roles, settings, sources, metrics)
    sticky = await _sticky(client, len(configured.names()), jobs)
    runner, heartbeats, unforeseen = sandbox(), Heartbeats(), Unforeseen(metrics)
    running = workers(client, adapters, roles, runner, heartbeats=heartbeats, sticky=sticky)
    probing = Probing(client, adapters.targets, adapters.troubles, unforeseen)
    shown_by = partial(_health, settings, metrics, files=files, counts=counts, probing=probing)
    server = shown_by(
        visibility=visibility, running=running, reconciler=reconciler, unforeseen=unforeseen
    )
    await server.start()
    connection = Connection(client, runner.evict_all, heartbeats.connection_lost)
    beside: dict[str, Task] = {"connection": connection.run, "visibility": visibility.run, "reconciler": reconciler.run}  # fmt: skip
    kept = Kept(roles, running, beside, [server.stop, adapters.targets.close], reconciler.beside)
    if "anchors" in roles:
        resume = ResumeRounds(client, files, adapters.targets, settings, unforeseen)
        kept.beside |= {probe.TASK: probing.run, resume_rounds.TASK: resume.run}
        kept.beside |= _looking_at_targets(adapters, probing, metrics)
    if ANCHORING.intersection(roles):
        promised = promises_of(configured, files, visibility, probing, metrics)
        kept.beside |= watching(promised, visibility, settings.heartbeat_url)
        kept.beside[counts_module.TASK] = partial(counts.run, metrics.cadences.known)
    await _keep_jobs(kept, jobs, client, settings, visibility, metrics=metrics, files=files)
    log_event(_LOG, LogEvent.STARTING, roles=list(roles), root=str(settings.root))
    await _keep_until(stopped, unforeseen, kept)


def _lone_audit(client: Client, settings: Settings, roles: Sequence[str]) -> dict[str, Task]:
    """Return what enters orders in the audit where a process that anchors has no role of jobs."""
    if "anchors" not in roles:
        return {}
    from activities.jobs import lone_audit, order_audit  # noqa: PLC0415 - loads SQLAlchemy too

    return {order_audit.TASK: lone_audit.LoneAudit(client, settings.root).run}


def _looking_at_targets(adapters: Adapters, probing: Probing, metrics: Metrics) -> dict[str, Task]:
    """Return what has metrics show what ledgers say."""
    metrics.targets.unreachable = probing.unreachable
    metrics.targets.tallies = adapters.targets.tallies
    looks = TargetLooks(adapters.files, adapters.targets, metrics.targets)
    return {target_looks.TASK: looks.run}


@dataclass(slots=True)
class Kept:
    """What a process keeps until it is told to end."""

    roles: Sequence[str]
    workers: list[Worker]
    beside: dict[str, Task] = field(default_factory=dict)
    closing: list[Task] = field(default_factory=list)
    """Ends what the others use; the last comes first."""
    refusals: dict[str, Callable[[], str]] = field(default_factory=dict)
    """Why files that are kept here are not in use as they are now, by their names; `/health` says so."""


async def _opened_jobs(roles: Sequence[str], settings: Settings) -> "JobParts | None":
    """Open what the roles `jobs` and `api` need, if the process has one of them."""
    if not OF_JOBS.intersection(roles):
        return None
    from activities.jobs.roles import JobParts  # noqa: PLC0415 - loads SQLAlchemy, which others do without

    return await JobParts.open(settings.root, roles)


async def _sticky(client: Client, namespaces: int, jobs: "JobParts | None") -> timedelta:
    """Return how long a task waits for a cached workflow, by what runs or, after a loss of Temporal, soon will."""
    stored = await jobs.count() if jobs is not None else 0
    return sticky_timeout(
        max(namespaces, await running_workflows(client, NAMESPACE_WORKFLOW)),
        max(stored, await running_workflows(client, JOB_WORKFLOW)),
    )


async def _keep_jobs(
    kept: Kept,
    jobs: "JobParts | None",
    client: Client,
    settings: Settings,
    visibility: Visibility,
    *,
    metrics: Metrics,
    files: Files,
) -> None:
    """Have kept what the roles of jobs need, if the process has one of them, and what enters orders in the audit."""
    if jobs is None:
        kept.beside |= _lone_audit(client, settings, kept.roles)
        return
    kept.closing.insert(0, jobs.store.close)
    from activities.maintenance.parts import MaintenanceParts  # noqa: PLC0415 - loads SQLAlchemy too

    tasks = MaintenanceParts.build(jobs, settings, metrics)
    kept.refusals.update(tasks.refusals())
    kept.beside |= jobs.beside(client, metrics, settings.root) | tasks.beside(client)
    kept.workers += jobs.workers(client, settings, tasks.activities(), tasks.closed)
    if "api" in jobs.roles:
        kept.closing.append(
            await _serve(jobs, tasks, client, settings, visibility=visibility, files=files)
        )


async def _serve(
    jobs: "JobParts",
    tasks: "MaintenanceParts",
    client: Client,
    settings: Settings,
    *,
    visibility: Visibility,
    files: Files,
) -> Task:
    """Start the API of jobs, and the page beside it; returns what stops them.

    Raises:
        PortTaken: somebody else listens there.
    """
    from vaultmesh.api import calls, gates, server  # noqa: PLC0415 - loads SQLAlchemy too
    from vaultmesh.overview.anchoring import AnchoringOverview  # noqa: PLC0415 - others do without
    from vaultmesh.process.job_workflows import TemporalJobs  # noqa: PLC0415 - loads SQLAlchemy too

    parts = calls.Parts(
        store=jobs.store,
        workflows=TemporalJobs(client),
        check_service=jobs.services.find,
        temporal_silent=lambda: is_silent(visibility.snapshot, time.time()),
        anchoring=AnchoringOverview(client, settings, files),
        maintenance=tasks.source,
    )
    api = server.ApiServer(jobs.api, parts, gates=gates.Gates.of(jobs.api, jobs.users))
    await api.start()
    return api.stop


async def _keep_until(stopped: asyncio.Event, unforeseen: Unforeseen, kept: Kept) -> None:
    """Keep workers, and what runs beside them, until the process is told to end; then close what they use."""
    async with AsyncExitStack() as stack:
        for close in kept.closing:
            stack.push_async_callback(close)
        for worker in kept.workers:
            await stack.enter_async_context(worker)
        tasks = [
            asyncio.create_task(unforeseen.keep(name, run), name=name)
            for name, run in kept.beside.items()
        ]
        await stopped.wait()
        await end_all(tasks)


def main(arguments: Sequence[str]) -> int:
    """Run a worker; exit 2 for a configuration that stops the start, 1 for a failure, 0 after SIGTERM."""
    parsed = parse_arguments(arguments)
    try:
        settings = Settings.from_environment(os.environ)
        logs.set_up(settings.log_level)
        activity.logger.activity_info_on_message = (
            False  # fields say it, and sentences are constant
        )
        workflow.logger.workflow_info_on_message = False
        for warning in settings.warnings:
            _LOG.warning("setting no longer needed", extra={"detail": warning})
        readiness = Readiness(settings.root)
        check_configuration(settings, parsed.roles, readiness)
        asyncio.run(run(parsed.roles, settings, readiness))
    except DomainError as error:
        complain(str(error))
        return (
            2
            if isinstance(error, ConfigurationError | search_attributes.SearchAttributesMissing)
            else 1
        )
    return 0


if __name__ == "__main__":
    run_and_exit(lambda: main(sys.argv[1:]))

"""Runs workflows for tests: one time-skipping server, workers with scripted adapters."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.testservice.v1 import LockTimeSkippingRequest, UnlockTimeSkippingRequest
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle, WorkflowHistory
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from tests.support.replays import COUNTED, Replays, cause_of, runner
from vaultmesh.domain.aggregator.state import AggregatorInput
from vaultmesh.domain.jobs.messages import JobCarried, JobInput, JobSpec
from vaultmesh.domain.jobs.views import JobStatusView
from vaultmesh.domain.messages import Backoff
from vaultmesh.domain.names import (
    AGGREGATOR_WORKFLOW,
    ANCHORS_QUEUE,
    JOB_WORKFLOW,
    JOBS_QUEUE,
    NAMESPACE_WORKFLOW,
    SCHEDULER_QUEUE,
    STATUS,
    aggregator_workflow_id,
    job_workflow_id,
    namespace_workflow_id,
)
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration, NamespaceInput
from vaultmesh.domain.status import AggregatorView, NamespaceView
from vaultmesh.domain.target import Target
from vaultmesh.process.eviction import EvictingRunner
from worker import OWN_CODE, WORKFLOW_TASKS_AT_ONCE
from workflows.aggregator.workflow import AggregatorWorkflow
from workflows.jobs.workflow import JobWorkflow
from workflows.namespace.workflow import NamespaceWorkflow

TARGET = Target.parse("eip155:31337")
KEPT = 1_500
"""Workflows that worker.py keeps in memory; with none kept, every workflow task replays the whole history."""
FAST_BACKOFF = Backoff(base_seconds=0.02, cap=3)
"""Timers pass in real time while an activity runs, so the backoff is short."""
SLOW_BACKOFF = Backoff(base_seconds=5, cap=3)
"""For a rest that a test is to see before it ends."""
DEADLINE_SECONDS = 120.0
"""Time for a workflow task that the server lost: it comes again after 10 s."""
ANSWER_WITHIN = timedelta(seconds=12)
"""Time for one answer; a task that the server lost is in it."""
_NOT_YET = (
    RPCStatusCode.FAILED_PRECONDITION,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.DEADLINE_EXCEEDED,
)
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 0.06
"""Between two questions for a state, each longer than the one before: where no workflow is kept, each question replays all."""
HOUR_SECONDS = 3_600
ROOM_SECONDS = 120
"""How long a test may take until it says that hours pass."""
ONE_SKIP = timedelta(hours=4)
_NUMBERS = itertools.count(1)

Adapter = Callable[..., Awaitable[Any]]


def cadences(**every: str) -> dict[str, CadenceConfig]:
    """Return cadences on one target."""
    return {label: CadenceConfig(target=TARGET, every=text) for label, text in every.items()}


async def until(
    fact: Callable[[], bool | Awaitable[bool]],
    what: str = "",
    *,
    seconds: float = DEADLINE_SECONDS,
) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: it was not in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        held = fact()
        if await held if isinstance(held, Awaitable) else held:
            return
        if time.monotonic() > deadline:
            raise AssertionError(what or "not so in time")
        await asyncio.sleep(0.02)


@dataclass
class NamespaceRun:
    """One namespace's workflow."""

    handle: WorkflowHandle[Any, Any]
    namespace: str

    async def status(self) -> NamespaceView:
        """Ask for the state."""
        view: NamespaceView = await _asked(self.handle, NamespaceView)
        return view

    async def update(self, name: str, *arguments: object, view: type[Any] = NamespaceView) -> Any:
        """Send an update."""
        return await self.handle.execute_update(name, args=list(arguments), result_type=view)

    async def registered(self, label: str = "fast") -> datetime:
        """Wait until the anchor at registration is answered; returns when the first slot is due."""
        view = await self.shows(
            lambda view: (
                view.cadences[label].last_anchor is not None
                and view.cadences[label].in_flight is None
            )
        )
        due = view.cadences[label].next_due
        assert due is not None
        return due

    async def shows(self, fact: Callable[[NamespaceView], bool], what: str = "") -> NamespaceView:
        """Wait until the state shows something."""
        return await _shows(self.status, fact, what)


@dataclass
class AggregatorRun:
    """One target's workflow."""

    handle: WorkflowHandle[Any, Any]

    async def status(self) -> AggregatorView:
        """Ask for the state."""
        view: AggregatorView = await _asked(self.handle, AggregatorView)
        return view

    async def shows(self, fact: Callable[[AggregatorView], bool], what: str = "") -> AggregatorView:
        """Wait until the state shows something."""
        return await _shows(self.status, fact, what)


async def _asked(handle: WorkflowHandle[Any, Any], form: type[Any]) -> Any:
    """Ask a workflow for its state, again where the server can't say yet.

    A run whose first task no worker has done within a second is refused. A question that meets a run just as it
    continues as new can stay without an answer (the test server loses it with the old run).
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            return await handle.query(STATUS, result_type=form, rpc_timeout=ANSWER_WITHIN)
        except RPCError as error:
            if error.status not in _NOT_YET or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


async def _shows(ask: Callable[[], Awaitable[Any]], fact: Callable[[Any], bool], what: str) -> Any:
    deadline, pause = time.monotonic() + DEADLINE_SECONDS, FIRST_PAUSE_SECONDS
    while True:
        view = await ask()
        if fact(view):
            return view
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or 'not shown in time'}: {view!r}")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)


@dataclass
class JobRun:
    """One job's workflow."""

    handle: WorkflowHandle[Any, Any]
    name: str

    async def status(self) -> JobStatusView:
        """Ask for the state."""
        view: JobStatusView = await _asked(self.handle, JobStatusView)
        return view

    async def update(self, name: str, *arguments: object) -> JobStatusView:
        """Send an update."""
        view: JobStatusView = await self.handle.execute_update(
            name, args=list(arguments), result_type=JobStatusView
        )
        return view

    async def shows(self, fact: Callable[[JobStatusView], bool], what: str = "") -> JobStatusView:
        """Wait until the state shows something."""
        return await _shows(self.status, fact, what)


@dataclass
class Stage:
    """A server whose time can be skipped, and workers of one cache size."""

    env: WorkflowEnvironment
    cached: int
    started: list[WorkflowHandle[Any, Any]] = field(default_factory=list)
    leaves_runs: bool = False
    """Whether a workflow was started that soon continues as a new run."""
    replays: Replays = field(default_factory=Replays)
    """Judges every history when the test ends."""
    runner: EvictingRunner = field(init=False)
    """Runs the workflows of the newest worker."""

    @asynccontextmanager
    async def working(
        self,
        adapters: Sequence[Adapter] = (),
        aggregator: Sequence[Adapter] = (),
        workflows: Sequence[type] = (NamespaceWorkflow, AggregatorWorkflow, JobWorkflow),
        *,
        jobs: Sequence[Adapter] = (),
        cached: int | None = None,
    ) -> AsyncIterator[None]:
        """Run workers with these adapters; one that another is to follow keeps no workflow cached.

        The server gives tasks to a worker that kept the workflow, also after that worker is gone.
        """
        self.runner = EvictingRunner(runner() if self.cached else runner(*OWN_CODE))
        scheduler = Worker(
            self.env.client,
            task_queue=SCHEDULER_QUEUE,
            workflows=list(workflows),
            activities=list(adapters),
            workflow_runner=self.runner,
            max_cached_workflows=self.cached if cached is None else cached,
            max_concurrent_workflow_tasks=WORKFLOW_TASKS_AT_ONCE,
            max_heartbeat_throttle_interval=timedelta(seconds=0.1),
        )
        self.runner.serve(scheduler)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(scheduler)
            for queue, beside in ((ANCHORS_QUEUE, aggregator), (JOBS_QUEUE, jobs)):
                if beside:
                    worker = Worker(
                        self.env.client,
                        task_queue=queue,
                        activities=list(beside),
                        max_heartbeat_throttle_interval=timedelta(seconds=0.1),
                    )
                    await stack.enter_async_context(worker)
            yield

    async def now(self) -> datetime:
        """Return the server's time."""
        return await self.env.get_current_time()

    async def skip(self, **span: float) -> None:
        """Let time pass at once, in steps: the client gives up a call that takes longer than 30 s."""
        left = timedelta(**span)
        while left > timedelta(0):
            step = min(left, ONE_SKIP)
            left -= step
            await self._skip_once(step)

    async def _skip_once(self, span: timedelta) -> None:
        """Let time pass by one call.

        A run that is left while an activity of it waits keeps the server's time locked for good; what is locked
        while nothing waits is unlocked here.
        """
        sleeping = asyncio.create_task(self.env.sleep(span))
        quiet_looks = 0
        while not (await asyncio.wait([sleeping], timeout=0.25))[0]:
            quiet_looks = quiet_looks + 1 if self.leaves_runs and await self._quiet() else 0
            if quiet_looks > 1:
                await self.env.client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())
                quiet_looks = 0
        await sleeping

    async def _quiet(self) -> bool:
        """Whether no workflow of this test waits for a worker, and time stands still."""
        before = await self.now()
        for handle in self.started:
            current = self.env.client.get_workflow_handle(handle.id)
            described = (await current.describe()).raw_description
            if described.pending_activities or described.HasField("pending_workflow_task"):
                return False
        await asyncio.sleep(0.05)
        return await self.now() - before < timedelta(seconds=1)

    async def skip_without_workers(self, **span: float) -> None:
        """Let time pass while a workflow's task waits for a worker, which else makes the server wait too."""
        service, unlocked = self.env.client.test_service, 0
        before = await self.now()
        sleeping = asyncio.create_task(self.env.sleep(timedelta(**span)))
        await until(lambda: self._passed(before))
        while not (await asyncio.wait([sleeping], timeout=0.3))[0]:
            await service.unlock_time_skipping(UnlockTimeSkippingRequest())
            unlocked += 1
        for _ in range(unlocked):
            await service.lock_time_skipping(LockTimeSkippingRequest())

    async def _passed(self, before: datetime) -> bool:
        return await self.now() - before > timedelta(seconds=30)

    async def namespace(
        self,
        given: dict[str, CadenceConfig],
        *,
        continue_after_events: int = 4_000,
        backoff: Backoff | None = None,
        **more: Any,
    ) -> NamespaceRun:
        """Start a namespace's workflow."""
        await self._away_from_the_hour(given)
        self.leaves_runs = continue_after_events < 4_000
        namespace = f"dao:stage{next(_NUMBERS)}"
        configuration = Configuration(
            namespace=namespace,
            cadences=given,
            config_hash="one",
            continue_after_events=continue_after_events,
            backoff=backoff or Backoff(),
        )
        handle = await self.env.client.start_workflow(
            NAMESPACE_WORKFLOW,
            NamespaceInput(configuration=configuration, **more),
            id=namespace_workflow_id(namespace),
            task_queue=SCHEDULER_QUEUE,
        )
        self.started.append(handle)
        return NamespaceRun(handle, namespace)

    async def _away_from_the_hour(self, given: dict[str, CadenceConfig]) -> None:
        """Let the next slot of a long cadence not become due by chance: each is due on a whole hour."""
        long = any(cadence.every.endswith(("h", "d")) for cadence in given.values())
        if long and self.env.supports_time_skipping:
            left = HOUR_SECONDS - (await self.now()).timestamp() % HOUR_SECONDS
            if left < ROOM_SECONDS:
                await self.env.sleep(timedelta(seconds=left + 1))

    async def aggregator(
        self,
        *,
        continue_after_events: int = 4_000,
        backoff: Backoff = FAST_BACKOFF,
        **more: Any,
    ) -> AggregatorRun:
        """Start a target's workflow."""
        target = Target.parse(f"eip155:{next(_NUMBERS)}")
        given = AggregatorInput(
            target=target, backoff=backoff, continue_after_events=continue_after_events, **more
        )
        handle = await self.env.client.start_workflow(
            AGGREGATOR_WORKFLOW,
            given,
            id=aggregator_workflow_id(str(target)),
            task_queue=SCHEDULER_QUEUE,
        )
        self.started.append(handle)
        return AggregatorRun(handle)

    async def job(self, cron: str, carried: JobCarried | None = None, **more: Any) -> JobRun:
        """Start a job's workflow."""
        name = f"job-{next(_NUMBERS)}"
        spec = JobSpec(name=name, cron=cron, service="mail", endpoint="/run", **more)
        self.leaves_runs = spec.continue_after_events < 4_000
        handle = await self.env.client.start_workflow(
            JOB_WORKFLOW,
            JobInput(spec=spec, carried=carried or JobCarried()),
            id=job_workflow_id(name),
            task_queue=SCHEDULER_QUEUE,
        )
        self.started.append(handle)
        return JobRun(handle, name)

    async def history(self, ran: NamespaceRun | AggregatorRun | JobRun) -> WorkflowHistory:
        """Return the history of the current run."""
        return await self.env.client.get_workflow_handle(ran.handle.id).fetch_history()

    async def complete(
        self, ran: NamespaceRun | AggregatorRun | JobRun, activity_id: str, outcome: object
    ) -> None:
        """End an activity from outside: an `anchor` as an aggregator does, any other as an operator may."""
        handle = self.env.client.get_async_activity_handle(
            workflow_id=ran.handle.id, run_id=None, activity_id=activity_id
        )
        await handle.complete(outcome)

    async def runs(self, handle: WorkflowHandle[Any, Any]) -> list[list[HistoryEvent]]:
        """Return the events of every run, the first one first."""
        found, run_id = [], handle.first_execution_run_id
        while run_id:
            history = await self.env.client.get_workflow_handle(
                handle.id, run_id=run_id
            ).fetch_history()
            events = list(history.events)
            found.append(events)
            last = events[-1]
            run_id = last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
        return found

    async def close(self) -> None:
        """End what a test left running; every history of it replays.

        Raises:
            ReplayError: one does not, or a workflow task failed that the test did not cause.
        """
        for handle in self.started:
            current = self.env.client.get_workflow_handle(handle.id)
            try:
                if (await current.describe()).status is WorkflowExecutionStatus.RUNNING:
                    await current.terminate("end of the test")
            except RPCError as error:
                if "completed" not in str(error):
                    raise
        await self.replays.check_workflows(self.env.client, self.started)


def counted(events: Iterable[HistoryEvent], *kinds: str) -> int:
    """Return how many events are of these kinds."""
    wanted = {EventType.Value(f"EVENT_TYPE_{kind}") for kind in kinds}
    return sum(event.event_type in wanted for event in events)


def scheduled_twice(events: Iterable[HistoryEvent]) -> set[str]:
    """Return the activities' ids that one run scheduled more than once."""
    ids = [
        event.activity_task_scheduled_event_attributes.activity_id
        for event in events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    return {one for one in ids if ids.count(one) > 1}


def failed_tasks(events: Iterable[HistoryEvent]) -> int:
    """Return how many workflow tasks failed, apart from those that a message overtook.

    One that timed out counts if the next one does not complete: a task that the server hands out in the very moment
    in which the worker evicts the run reaches no workflow code (seen with no cached workflows on the time-skipping server).
    """
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    timed_out = EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT
    failed = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    ends = [event for event in events if event.event_type in (completed, timed_out, failed)]
    following = [event.event_type for event in ends[1:]]
    return sum(
        (event.event_type == timed_out and after != completed)
        or (event.event_type == failed and cause_of(event) not in COUNTED)
        for event, after in itertools.zip_longest(ends, following)
    )


def events_of_lost_tasks(events: Iterable[HistoryEvent]) -> int:
    """Return how many events come from workflow tasks that were done again: scheduled, started, and their end."""
    return 3 * counted(events, "WORKFLOW_TASK_TIMED_OUT", "WORKFLOW_TASK_FAILED")


def slots_between(view: NamespaceView, first_due: datetime, label: str = "fast") -> int:
    """Return how many slots became due since `first_due` was the next one."""
    cadence = view.cadences[label]
    next_due = cadence.next_due
    if next_due is None:
        return 0
    period = Configuration(
        namespace=view.namespace,
        cadences={
            name: CadenceConfig(target=TARGET, every=one.every)
            for name, one in view.cadences.items()
        },
    ).periods()[label]
    return (next_due - first_due) // period


def settled(view: NamespaceView, first_due: datetime, label: str = "fast") -> bool:
    """Whether every slot that became due has its outcome."""
    cadence = view.cadences[label]
    return cadence.in_flight is None and sum(cadence.outcomes.values()) == slots_between(
        view, first_due, label
    )

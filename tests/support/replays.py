"""Checks that every history of a Temporal server replays, and that no workflow task failed unless a test caused it.

1. Every test, or fixture that shares a server, ends with this check; so does whoever throws a server's database away.
2. All runs are looked at: closed, terminated, reset and continued ones too.
3. A failed workflow task is a finding. Two causes are none, and are counted: `UNHANDLED_COMMAND` (a message arrived
   meanwhile) and `RESET_WORKFLOW`. So is `FORCE_CLOSE_COMMAND` where a client terminated the workflow, which ends the
   task under way, and `TMPRL1101` where a task came right after it: code that blocks never does, a busy machine does.
   What else a test causes on purpose it says with `plant`.
4. A workflow of a foreign type is a finding unless the test names its type.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from devnet.temporal import TemporalServer
from vaultmesh.domain.names import AGGREGATOR_WORKFLOW, JOB_WORKFLOW, NAMESPACE_WORKFLOW
from worker import OWN_CODE, PASSED_THROUGH
from workflows.aggregator.workflow import AggregatorWorkflow
from workflows.jobs.workflow import JobWorkflow
from workflows.namespace.workflow import NamespaceWorkflow

OURS = {
    NAMESPACE_WORKFLOW: NamespaceWorkflow,
    AGGREGATOR_WORKFLOW: AggregatorWorkflow,
    JOB_WORKFLOW: JobWorkflow,
}
DEADLOCK = "[TMPRL1101]"
"""Begins the failure of a workflow task that took longer than 2 s."""
BUSY = "TMPRL1101"
"""Its cause as `plant` takes it: code that blocks, or a machine that was kept busy."""
SERVER = "history-service"
"""Who terminates a workflow that has grown beyond the server's limits."""
COUNTED = ("UNHANDLED_COMMAND", "RESET_WORKFLOW")
"""Causes that are no finding: a message overtook the task, or somebody reset the workflow."""
_CLOSED = "FORCE_CLOSE_COMMAND"
_CAUSE_PREFIX = "WORKFLOW_TASK_FAILED_CAUSE_"
_FAILED = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
_SCHEDULED = EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED
_COMPLETED = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
_POLL_SECONDS = 0.25
_LISTED_WITHIN_SECONDS = 10.0
"""A new run appears in the list a moment after it started."""
_TRIES = 3
"""A machine that paused does a replay in time when it comes again; code that blocks never does."""
_AT_ONCE = 10
Ref = tuple[str, str]
"""A run: workflow id and run id."""


class ReplayError(AssertionError):
    """Histories do not replay, or hold failed workflow tasks that no test caused."""


def runner(*passed_through: str) -> SandboxedWorkflowRunner:
    """Return the runner of worker.py, with our workflows' own modules inside the sandbox unless they are named.

    Each workflow that begins, or begins again because none is kept, then imports them anew: 25 ms.
    """
    shared = (*PASSED_THROUGH, *passed_through)
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*shared)
    return SandboxedWorkflowRunner(restrictions=restrictions)


def cause_of(event: HistoryEvent) -> str:
    """Return why a workflow task failed: `BUSY`, or the server's name without its prefix."""
    failed = event.workflow_task_failed_event_attributes
    if failed.failure.message.startswith(DEADLOCK):
        return BUSY
    return WorkflowTaskFailedCause.Name(failed.cause).removeprefix(_CAUSE_PREFIX)


def ends_by_termination(events: Sequence[HistoryEvent]) -> bool:
    """Whether a client terminated the workflow before another workflow task; what waited may come in between."""
    if not events or any(event.event_type == _SCHEDULED for event in events):
        return False
    last = events[-1]
    terminated = last.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED
    return terminated and last.workflow_execution_terminated_event_attributes.identity != SERVER


class Replays:
    """What was replayed so far, what was counted, and what a test caused on purpose."""

    def __init__(self, *, foreign: Collection[str] = ()) -> None:
        """Name the types of workflows that are not ours, if there are any."""
        self.foreign = frozenset(foreign)
        self.replayed: dict[Ref, int] = {}
        """Runs that replayed, with the number of their events."""
        self.failed: dict[tuple[str, str, int], str] = {}
        """Causes by workflow id, run id and event id."""
        self._planted: set[Ref] = set()
        self._unreplayable: set[str] = set()

    def plant(self, cause: str, workflow_id: str = "") -> None:
        """Allow workflow tasks to fail by a cause: everywhere, or in one workflow."""
        if cause != BUSY:
            WorkflowTaskFailedCause.Value(_CAUSE_PREFIX + cause)
        self._planted.add((cause, workflow_id))

    def plant_unreplayable(self, workflow_id: str) -> None:
        """Allow a workflow's history not to replay: other code wrote it, to see what operators are shown."""
        self._unreplayable.add(workflow_id)
        self.plant("NON_DETERMINISTIC_ERROR", workflow_id)

    def count(self, cause: str, workflow_id: str = "") -> int:
        """Return how many workflow tasks failed by a cause, everywhere or in one workflow, up to the last check."""
        return sum(
            why == cause and workflow_id in ("", place[0]) for place, why in self.failed.items()
        )

    # --- checks ----------------------------------------------------------------------------------

    def check_at(self, address: str) -> None:
        """Check a server from code that is not async, or that blocks its own event loop.

        Raises:
            ReplayError: as `check` does.
        """

        async def checked() -> None:
            await self.check(await Client.connect(address, data_converter=pydantic_data_converter))

        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, checked()).result()

    def end(self, address: str, error: BaseException | None) -> None:
        """Check a server at the end of a block; findings are added to the error that ended it, if one did.

        Raises:
            ReplayError: as `check` does.
        """
        if error is None:
            self.check_at(address)
            return
        try:
            self.check_at(address)
        except (
            ReplayError,
            RPCError,
            RuntimeError,
        ) as finding:  # the last for a server that is gone
            error.add_note(f"also at the end: {finding}")

    async def check(self, client: Client) -> None:
        """Check every run that the server has.

        Raises:
            ReplayError: some do not replay, or hold findings.
        """
        started = time.monotonic()
        await self._judge(await all_histories(client), started)

    async def check_workflows(
        self, client: Client, handles: Iterable[WorkflowHandle[object, object]]
    ) -> None:
        """Check every run of these workflows, on a server that has no list.

        Raises:
            ReplayError: some do not replay, or hold findings.
        """
        started = time.monotonic()
        runs = {
            (handle.id, handle.first_execution_run_id or handle.result_run_id or "")
            for handle in handles
        }
        await self._judge(await _with_linked(client, runs, {}), started)

    async def _judge(self, histories: dict[Ref, WorkflowHistory], started: float) -> None:
        findings = [text for ref in histories for text in self._findings(ref, histories[ref])]
        fresh = {ref: run for ref, run in histories.items() if self._is_fresh(ref, run)}
        fetched = time.monotonic()
        failures = await replay(fresh)
        self.replayed.update((ref, len(fresh[ref].events)) for ref in fresh if ref not in failures)
        events = sum(len(history.events) for history in fresh.values())
        print(
            f"replayed {len(fresh)} of {len(histories)} histories with {events} events: "
            f"fetched in {fetched - started:.2f} s, replayed in {time.monotonic() - fetched:.2f} s"
        )
        findings += [
            f"{ref[0]} run {ref[1]} does not replay: {why}" for ref, why in failures.items()
        ]
        if findings:
            raise ReplayError("\n".join(findings))

    def _is_fresh(self, ref: Ref, history: WorkflowHistory) -> bool:
        """Whether a run is ours, did anything, and was not replayed as it is now."""
        if ref[0] in self._unreplayable:
            return False
        done = any(event.event_type == _COMPLETED for event in history.events)
        return (
            done and _type_of(history) in OURS and self.replayed.get(ref, 0) != len(history.events)
        )

    def _findings(self, ref: Ref, history: WorkflowHistory) -> list[str]:
        """Return what is wrong with a history by itself, and count what is not."""
        kind, findings = _type_of(history), list[str]()
        if kind in self.foreign:
            return []
        if kind not in OURS:
            findings.append(
                f"{ref[0]} is of type {kind}, which is not ours and was not named foreign"
            )
        for number, event in enumerate(history.events):
            if event.event_type == _FAILED:
                cause = self.failed[(*ref, event.event_id)] = cause_of(event)
                if not self._is_expected(cause, ref[0], history.events[number + 1 :]):
                    message = event.workflow_task_failed_event_attributes.failure.message
                    findings.append(
                        f"{ref[0]} run {ref[1]}: event {event.event_id} is a failed workflow task, {cause}: {message}"
                    )
        return findings

    def _is_expected(self, cause: str, workflow_id: str, following: Sequence[HistoryEvent]) -> bool:
        terminated = cause == _CLOSED and ends_by_termination(following)
        came_right = cause == BUSY and any(event.event_type == _COMPLETED for event in following)
        planted = self._planted & {(cause, ""), (cause, workflow_id)}
        return terminated or came_right or cause in COUNTED or bool(planted)


# --- histories -----------------------------------------------------------------------------------


async def all_histories(client: Client) -> dict[Ref, WorkflowHistory]:
    """Return the history of every run of the server.

    The list lags. It is complete once it names every run that a history or a workflow's description names, and a
    second look finds nothing new.
    """
    histories: dict[Ref, WorkflowHistory] = {}
    before: set[Ref] = set()
    deadline = time.monotonic() + _LISTED_WITHIN_SECONDS
    while True:
        listed = {(run.id, run.run_id) async for run in client.list_workflows()}
        histories = await _with_linked(client, listed, histories)
        if listed == before and set(histories) <= listed:
            return histories
        if time.monotonic() > deadline:
            missing = sorted(set(histories) - listed)
            message = f"the list of workflows did not come to rest; it lacks {missing}"
            raise ReplayError(message)
        before = listed
        await asyncio.sleep(_POLL_SECONDS)


async def _with_linked(
    client: Client, wanted: Iterable[Ref], known: dict[Ref, WorkflowHistory]
) -> dict[Ref, WorkflowHistory]:
    """Return the histories that are known, these, and all that they lead to."""
    histories = dict(known)
    waiting = set(wanted) - set(histories)
    described: set[str] = set()
    while waiting:
        histories |= zip(waiting, await _fetch(client, list(waiting)), strict=True)
        linked = {run for ref in waiting for run in _links(ref[0], histories[ref].events)}
        for workflow_id in {ref[0] for ref in waiting} - described:
            described.add(workflow_id)
            current = await client.get_workflow_handle(workflow_id).describe()
            linked.add((workflow_id, current.run_id))
        waiting = linked - set(histories)
    return histories


async def _fetch(client: Client, refs: list[Ref]) -> list[WorkflowHistory]:
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def fetched(ref: Ref) -> WorkflowHistory:
        async with at_once:
            return await client.get_workflow_handle(ref[0], run_id=ref[1]).fetch_history()

    return await asyncio.gather(*map(fetched, refs))


def _links(workflow_id: str, events: Iterable[HistoryEvent]) -> Iterator[Ref]:
    """Return the runs that a history names: the one before, the one after, the one that a reset made."""
    for event in events:
        yield from (
            (workflow_id, run_id)
            for run_id in (
                event.workflow_execution_started_event_attributes.continued_execution_run_id,
                event.workflow_execution_continued_as_new_event_attributes.new_execution_run_id,
                event.workflow_execution_failed_event_attributes.new_execution_run_id,
                event.workflow_execution_timed_out_event_attributes.new_execution_run_id,
                event.workflow_task_failed_event_attributes.base_run_id,
            )
            if run_id
        )


def _type_of(history: WorkflowHistory) -> str:
    return history.events[0].workflow_execution_started_event_attributes.workflow_type.name


async def replay(histories: dict[Ref, WorkflowHistory]) -> dict[Ref, str]:
    """Replay histories in the sandbox; returns why some did not."""
    waiting, failures = dict(histories), dict[Ref, str]()
    for _ in range(_TRIES):
        failures |= await _replay_once(waiting)
        waiting = {ref: waiting[ref] for ref in waiting if DEADLOCK in failures.get(ref, "")}
        if not waiting:
            break
    return {ref: why for ref, why in failures.items() if why}


async def _replay_once(histories: dict[Ref, WorkflowHistory]) -> dict[Ref, str]:
    """Return why each did not replay; an empty text where it did."""
    if not histories:
        return {}
    replayer = Replayer(
        workflows=list(OURS.values()),
        workflow_runner=runner(*OWN_CODE),
        data_converter=pydantic_data_converter,
    )

    async def each() -> AsyncIterator[WorkflowHistory]:
        for history in histories.values():
            yield history

    failures = []
    async with replayer.workflow_replay_iterator(each()) as results:
        async for result in results:
            failures.append(str(result.replay_failure or ""))  # noqa: PERF401 - in order
    return dict(zip(histories, failures, strict=True))


# --- servers -------------------------------------------------------------------------------------


@contextmanager
def replayed_server(folder: Path, replays: Replays | None = None) -> Iterator[TemporalServer]:
    """Run a server in memory; when the block ends its histories are checked, and it is killed."""
    checks = replays or Replays()
    server = TemporalServer(folder, headless=True)
    server.start()
    try:
        try:
            yield server
        except BaseException as error:
            checks.end(server.address, error)
            raise
        checks.end(server.address, None)
    finally:
        server.kill()


def replay_database(database: Path) -> None:
    """Check the histories in the database of a server that ended; it is copied, and stays as it is.

    Raises:
        ReplayError: some do not replay, or hold findings.
    """
    with tempfile.TemporaryDirectory(prefix="vaultmesh-replays-") as made:
        folder = Path(made)
        for place in database.parent.glob(f"{database.name}*"):
            shutil.copy(place, folder)
        server = TemporalServer(folder, headless=True, database=folder / database.name)
        with server:
            Replays().check_at(server.address)

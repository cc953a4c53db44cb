"""Gives namespaces their workflows: one each, created, updated, or left as it is."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import uuid4

from temporalio.client import (
    Client,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.freshness import in_words
from vaultmesh.domain.names import (
    ATTRIBUTE_NAMESPACE,
    ATTRIBUTE_STATUS,
    CONFIGURE,
    MEMO_DECIDED,
    NAMESPACE_WORKFLOW,
    SCHEDULER_QUEUE,
    namespace_workflow_id,
)
from vaultmesh.domain.namespaces.config import NamespaceSpec
from vaultmesh.domain.namespaces.state import Configuration, ConfigureAnswer, NamespaceInput
from vaultmesh.process.failing import failing
from vaultmesh.process.last_run import LastRun, Past, last_run
from vaultmesh.process.polling import NobodyPolls, worker_polls
from vaultmesh.process.settings import Settings
from vaultmesh.process.updates import cancellable

ANSWER_WITHIN = timedelta(seconds=6)
"""A worker answers an update in milliseconds; without one, the operator is told within ten seconds."""
AT_ONCE = 16
_PAUSE_SECONDS = 1.0
"""After an answer that came at once and said that nobody is there."""
_NO_ANSWER = (
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.FAILED_PRECONDITION,
)
"""The last one: its workflow task fails, or nobody has polled for a while."""
_NAMESPACE = SearchAttributeKey.for_keyword(ATTRIBUTE_NAMESPACE)
_STATUS = SearchAttributeKey.for_keyword(ATTRIBUTE_STATUS)


NO_PAST = Past()
ANSWERED_WITHIN = timedelta(minutes=2)
"""A namespace whose worker is busy is asked again for so long; the other namespaces go on meanwhile."""


class NotRegistered(DomainError):
    """Namespaces did not take their configuration; those of all other namespaces did."""

    def __init__(self, refusals: Mapping[str, str]) -> None:
        """Keep each namespace's reason, and tell a line for each."""
        self.refusals = dict(refusals)
        super().__init__("\n".join(f"{name}: {reason}" for name, reason in self.refusals.items()))


class Change(StrEnum):
    """What became of a namespace's workflow."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Registered:
    """One namespace's registration."""

    namespace: str
    change: Change
    undone: Sequence[str] = field(default_factory=tuple)
    """Cadences whose `set_cadence` the changed file undid."""
    kept: Sequence[str] = field(default_factory=tuple)
    """What operators had decided before its last run was ended, and holds again; a line each."""


async def register(
    client: Client,
    specs: Mapping[str, NamespaceSpec],
    settings: Settings,
    imported: Mapping[str, Mapping[str, datetime]] | None = None,
    progress: Callable[[], None] = lambda: None,
    *,
    past: Past = NO_PAST,
) -> AsyncIterator[Registered]:
    """Bring the workflows of these namespaces up to date, a few at a time, and yield what changed.

    Where a worker is busy, its namespaces are asked again; `progress` is told of each that is done.

    Raises:
        NobodyPolls: an existing workflow did not answer in time, and no worker is there.
        NotRegistered: at the end, if namespaces refused their configuration, or did not answer for minutes.
    """
    at_once, before = asyncio.Semaphore(AT_ONCE), imported or {}

    async def in_turn(spec: NamespaceSpec) -> Registered:
        async with at_once:
            return await register_one(client, spec, settings, before.get(spec.name), past=past)

    tasks = [asyncio.create_task(in_turn(spec)) for spec in specs.values()]
    for task in tasks:
        task.add_done_callback(lambda _: progress())
    refusals: dict[str, str] = {}
    try:
        for task in tasks:
            try:
                registered = await task
            except NotRegistered as refused:
                refusals.update(refused.refusals)
            else:
                yield registered
    finally:
        for task in tasks:
            task.cancel()
    if refusals:
        raise NotRegistered(refusals)


async def register_one(
    client: Client,
    spec: NamespaceSpec,
    settings: Settings,
    imported: Mapping[str, datetime] | None = None,
    *,
    only_start: bool = False,
    past: Past = NO_PAST,
) -> Registered:
    """Bring the workflow of one namespace up to date; `only_start` leaves one that runs as it is.

    A new one goes on with what operators had decided before the last one was ended.

    Raises:
        NobodyPolls: an existing workflow did not answer in time, and no worker is there.
        NotRegistered: it refused its configuration, or is failing.
        NetworkFailure: the storage did not say whether the namespace ran before.
        RPCError: Temporal did not do it.
    """
    configuration = spec.configuration(
        backoff=settings.backoff,
        anchor_timeout=settings.anchor_timeout,
        continue_after_events=settings.continue_after_events,
        keeps=settings.unstated,
    )
    last = await last_run(client, spec.name, past)
    registered = None if last.runs else await _start(client, configuration, imported or {}, last)
    if registered is not None:
        return registered
    if only_start:
        return Registered(spec.name, Change.UNCHANGED)
    return await _configure(client, configuration)


async def _start(
    client: Client, configuration: Configuration, imported: Mapping[str, datetime], last: LastRun
) -> Registered | None:
    """Start a namespace's workflow after its last run; None if somebody else has started one meanwhile."""
    name, decided = configuration.namespace, last.decided.beside(configuration)
    attributes = [SearchAttributePair(_NAMESPACE, name), SearchAttributePair(_STATUS, "ok")]
    start = NamespaceInput(
        configuration=configuration.over(configuration),
        imported=dict(imported),
        decided=decided,
        is_past_unknown=last.is_unknown and not imported,
    )
    try:
        await client.start_workflow(
            NAMESPACE_WORKFLOW,
            start,
            id=namespace_workflow_id(name),
            task_queue=SCHEDULER_QUEUE,
            search_attributes=TypedSearchAttributes(attributes),
            static_summary=f"namespace of {name}",
            memo=None
            if decided.is_nothing
            else {MEMO_DECIDED: decided},  # it may be ended before its first step
        )
    except WorkflowAlreadyStartedError:
        return None
    undone = sorted(set(last.decided.overridden) - set(decided.overridden))
    return Registered(name, Change.CREATED, undone, decided.lines())


async def _configure(client: Client, configuration: Configuration) -> Registered:
    """Send a configuration until it is answered; each time it is the same update, which is carried out once."""
    update, deadline = str(uuid4()), time.monotonic() + ANSWERED_WITHIN.total_seconds()
    while True:
        registered = await _configure_once(client, configuration, update)
        if registered is not None:
            return registered
        if time.monotonic() >= deadline:
            minutes = in_words(ANSWERED_WITHIN)
            silence = f"its workflow did not answer for {minutes}, although a worker polls; register it again"
            raise NotRegistered({configuration.namespace: silence})


async def _configure_once(
    client: Client, configuration: Configuration, update: str
) -> Registered | None:
    """Send a configuration; None if it was not answered in time, although a worker is there."""
    handle = client.get_workflow_handle(namespace_workflow_id(configuration.namespace))
    try:
        with cancellable():
            answer = await handle.execute_update(
                CONFIGURE,
                configuration,
                id=update,
                result_type=ConfigureAnswer,
                rpc_timeout=ANSWER_WITHIN,
            )
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        await _require_busy(client, configuration.namespace, error)
        return None
    except WorkflowUpdateFailedError as error:
        raise NotRegistered({configuration.namespace: _reason(error)}) from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            ended = "its workflow has just ended; register it again"
            raise NotRegistered({configuration.namespace: ended}) from error
        if error.status not in _NO_ANSWER:
            raise
        await _require_busy(client, configuration.namespace, error)
        await asyncio.sleep(_PAUSE_SECONDS)
        return None
    return Registered(configuration.namespace, Change(answer.change), tuple(answer.undone))


async def _require_busy(client: Client, namespace: str, silence: Exception) -> None:
    """Return if a workflow that did not answer has a worker, which is busy then.

    Raises:
        NotRegistered: the workflow is failing.
        NobodyPolls: no worker is there.
    """
    try:
        diagnosis = await failing(client, namespace_workflow_id(namespace))
    except RPCError:
        diagnosis = None
    if diagnosis is not None:
        reason = f"its workflow is failing: {diagnosis.cause}; {diagnosis.mend}"
        raise NotRegistered({namespace: reason}) from silence
    if not await worker_polls(client):
        raise NobodyPolls from silence


def _reason(error: WorkflowUpdateFailedError) -> str:
    """Return in one line why a namespace refused."""
    cause = error.cause
    said = cause.message if isinstance(cause, ApplicationError) else str(cause)
    return f"its workflow refused the configuration: {' '.join(said.split())}"

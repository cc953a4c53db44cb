"""Learns the state of all namespaces for one process: one visibility list, every 15 seconds, and who is failing.

1. The list shows memos, and which workflows run; what is configured but does not run is missing. No file is read here: a
   storage that hangs must not look like a silent Temporal.
2. After it, `FailingLook` asks about some of those that run. With up to 100 of them a failing one is known within some
   30 s, with 1,000 within three minutes; on a server that reports problems itself within 30 s.
3. Whoever changes what runs wakes it, so that the change shows at once.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from pydantic import ValidationError
from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError

from vaultmesh.domain.names import MEMO_STATUS, NAMESPACE_WORKFLOW, namespace_workflow_id
from vaultmesh.domain.namespaces.state import Decided
from vaultmesh.domain.status import NamespaceMemo, TargetMemo, View
from vaultmesh.process.failing import TYPES, Failing, FailingLook, JobLook
from vaultmesh.process.last_run import decided_in
from vaultmesh.process.metrics import Metrics

PERIOD_SECONDS = 15.0
RETRY_SECONDS = 2.0
"""After a list that failed, and until the first one succeeds."""
CHANGED_SECONDS = 1.0
"""So long after a change a list is taken: it lags, and changes come together."""
ANSWER_WITHIN = timedelta(seconds=10)
"""A server that hangs is one that does not answer."""
_QUERY = (
    f"WorkflowType IN ({', '.join(repr(name) for name in TYPES)}) AND ExecutionStatus = 'Running'"
)
_NAMESPACES = f"WorkflowType = '{NAMESPACE_WORKFLOW}' AND ExecutionStatus = 'Running'"
Form = TypeVar("Form", bound=View)
_LOG = logging.getLogger(__name__)


async def running_workflows(client: Client, workflow_type: str) -> int:
    """Return how many workflows of a type run; 0 if Temporal can't count them now, as without its search store."""
    query = f"WorkflowType = '{workflow_type}' AND ExecutionStatus = 'Running'"
    try:
        return (await client.count_workflows(query, rpc_timeout=ANSWER_WITHIN)).count
    except RPCError as error:
        _LOG.warning("running workflows not counted", extra={"err": error.message})
        return 0


@dataclass(slots=True)
class Listing:
    """What one visibility list shows."""

    running: set[str] = field(default_factory=set)
    """Ids of workflows that run."""
    namespaces: dict[str, NamespaceMemo] = field(default_factory=dict)
    targets: dict[str, TargetMemo] = field(default_factory=dict)
    decided: dict[str, Decided] = field(default_factory=dict)
    """What operators decided about namespaces, if anything."""


async def listed(client: Client, query: str = _NAMESPACES) -> Listing:
    """Return which workflows run, and what their memos say; by default of namespaces alone.

    Raises:
        RPCError: Temporal did not answer.
    """
    listing = Listing()
    async for execution in client.list_workflows(query, rpc_timeout=ANSWER_WITHIN):
        listing.running.add(execution.id)
        if execution.workflow_type == NAMESPACE_WORKFLOW:
            memo = await _memo(execution, NamespaceMemo)
            if memo is not None:
                listing.namespaces[memo.namespace] = memo
                with suppress(ValidationError):  # nobody here can go on with it
                    listing.decided[memo.namespace] = await decided_in(execution)
        else:
            resting = await _memo(execution, TargetMemo)
            if resting is not None:
                listing.targets[resting.target] = resting
    return listing


@dataclass(slots=True)
class Snapshot:
    """What the last list showed."""

    taken_at: float = 0.0
    """Unix seconds; 0 before the first."""
    namespaces: Mapping[str, NamespaceMemo] = field(default_factory=dict)
    failing: Mapping[str, Failing] = field(default_factory=dict)
    """By workflow id."""
    missing: Sequence[str] = ()
    """Namespaces that are configured, but have no workflow; sorted."""
    targets: Mapping[str, TargetMemo] = field(default_factory=dict)
    """What aggregators tell of themselves; one that never rested tells nothing."""
    waiting: Mapping[str, datetime] = field(default_factory=dict)
    """Since when workflows wait for a worker, by workflow id; only those that wait for long."""
    running: Collection[str] = frozenset()
    """Ids of all workflows that run."""
    decided: Mapping[str, Decided] = field(default_factory=dict)
    """What operators decided about namespaces that run and say so."""


class Visibility:
    """Keeps the snapshot of one process fresh."""

    def __init__(
        self,
        client: Client,
        metrics: Metrics,
        configured: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        """Know nothing before the first list; `configured` tells at once which namespaces should run, from memory."""
        self._client = client
        self._metrics = metrics
        self._configured = configured
        self._look, self._job_look = FailingLook(client), JobLook(client)
        self._changed = asyncio.Event()
        self.snapshot = Snapshot()

    def wake(self) -> None:
        """Take the next list soon: what runs, or what should run, has changed; what is missing shows at once."""
        if self.snapshot.taken_at:
            self.snapshot = replace(self.snapshot, missing=self._missing(self.snapshot.running))
        self._changed.set()

    def _missing(self, running: Collection[str]) -> list[str]:
        return sorted(
            name for name in self._configured() if namespace_workflow_id(name) not in running
        )

    async def run(self) -> None:
        """Take a list every 15 seconds, and after changes, until cancelled; a failed one keeps the last."""
        while True:
            try:
                await self.refresh()
                await self._rest()
            except RPCError as error:
                _LOG.warning("namespaces not listed", extra={"err": error.message})
                await asyncio.sleep(RETRY_SECONDS)

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), PERIOD_SECONDS)
            await asyncio.sleep(CHANGED_SECONDS)
        self._changed.clear()

    async def refresh(self) -> None:
        """Take one list, then look who is failing.

        Raises:
            RPCError: Temporal did not answer the list.
        """
        now = time.time()
        listing = await listed(self._client, _QUERY)
        missing = self._missing(listing.running)
        before = self.snapshot
        self.snapshot = Snapshot(
            now,
            listing.namespaces,
            before.failing,
            missing,
            listing.targets,
            before.waiting,
            listing.running,
            listing.decided,
        )
        self._metrics.listed(listing.namespaces, len(missing), listing.targets)
        self._metrics.talked_to_temporal(now)
        await self._look_for_failing(listing.running)

    async def _look_for_failing(self, running: Collection[str]) -> None:
        """Bring up to date who is failing; a server that has no time for it is asked again after the next list."""
        try:
            await self._look.take(running)
            await self._job_look.take()
        except* RPCError as errors:
            _LOG.warning(
                "failing workflows not looked for", extra={"err": str(errors.exceptions[0])}
            )
        failing = {**self._look.failing, **self._job_look.failing}
        self.snapshot = replace(self.snapshot, failing=failing, waiting=self._look.waiting)
        self._metrics.found_failing([run.workflow_type for run in failing.values()])


async def _memo(execution: WorkflowExecution, form: type[Form]) -> Form | None:
    """Return what a workflow's memo says; None if there is none of ours."""
    content = await execution.memo_value(MEMO_STATUS, default=None)
    if content is None:
        return None
    try:
        return form.model_validate(content)
    except ValidationError:
        _LOG.warning("memo not understood", extra={"workflow": execution.id})
        return None

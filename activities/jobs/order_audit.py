"""Enters in the audit who gave orders to workflows, and who had namespaces stopped; once in a while, for ever.

1. What was read is marked once its lines are entered: a process that is killed reads again, and no line is entered twice.
   Several processes that do this at once do no harm: workers with role jobs do it, and those with role anchors, so that an
   installation without jobs has its audit, too.
2. Nothing is lost while nobody reads, as long as Temporal keeps the histories.
3. Jobs are looked at more seldom: each of their runs adds to their histories, and most orders about them are decisions in
   their store, which has its own lines.
4. Workers with role jobs delete old lines; where none of them uses the store, whoever enters orders does.
5. The end of the chain is noted below VMSH_ROOT, unless the chain no longer holds what is noted there: that is said.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from temporalio.client import Client
from temporalio.client import WorkflowExecution as Listed
from temporalio.service import RPCError

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.jobs.records import AuditLine
from vaultmesh.domain.jobs.refusals import StoreError
from vaultmesh.domain.names import namespace_workflow_id
from vaultmesh.domain.namespaces.stopped import Entries
from vaultmesh.process.orders import OF_ANCHORING, OF_JOBS, executions, order_line, orders_of
from vaultmesh.storage.audit_checks import keep_head, kept_head
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.job_store import JobStore
from vaultmesh.storage.jobs.audit import Audit
from vaultmesh.storage.stopped import StoppedNamespaces

TASK = "audit of orders"
PERIOD_SECONDS = 30.0
SECONDS_A_RUN = 0.2
"""Of the period, for each run whose history is read: five a second are asked for."""
AT_ONCE = 4
OVERLAP = timedelta(minutes=1)
"""Clocks differ, and a visibility list lags."""
FIRST_LOOK = timedelta(hours=1)
"""The first look ever reads so far back: older histories may be long."""
LINES_A_GO = 200
"""Lines of one transaction: others wait for the end of the chain meanwhile."""
JOBS_PERIOD_SECONDS = 600.0
PRUNE_SECONDS = 3_600.0
LATE = timedelta(hours=1)
"""Orders that nobody read for so long are nobody's business: no worker runs that reads them."""


@dataclass(frozen=True, slots=True)
class Group:
    """Workflows that are looked at together, and the mark of how far."""

    mark: str
    kinds: tuple[str, ...]


ANCHORING = Group("orders", OF_ANCHORING)
JOBS = Group("orders of jobs", OF_JOBS)
_Keyed = tuple[AuditLine, str | None]
_LOG = logging.getLogger(__name__)


class OrderAudit:
    """Reads for one store; used by one event loop."""

    def __init__(
        self, client: Client, store: JobStore, root: Path, *, keep: timedelta | None = None
    ) -> None:
        """Read through a client; decisions to stop namespaces lie below a root.

        Args:
            client: of the namespace in which the workflows run.
            store: gets the lines.
            root: `VMSH_ROOT`.
            keep: how old lines may get; None where others see to that, or all are kept.
        """
        self._client = client
        self._store = store
        self._files = LocalStore(root)
        self._keep = keep
        self._pruned = -PRUNE_SECONDS
        self._was_cut = False

    async def run(self) -> None:
        """Look until cancelled; what is away is asked again."""
        said, of_jobs = "", -JOBS_PERIOD_SECONDS
        while True:
            count, problem = 0, ""
            try:
                count = await self.look((ANCHORING,))
                if time.monotonic() - of_jobs >= JOBS_PERIOD_SECONDS:
                    count += await self.look((JOBS,))
                    of_jobs = time.monotonic()
                await self._prune()
            except (RPCError, StoreError, NetworkFailure, TimeoutError) as error:
                problem = str(error)
            if problem and problem != said:
                _LOG.warning("orders not entered in the audit", extra={"err": problem})
            said = problem
            await asyncio.sleep(max(PERIOD_SECONDS, count * SECONDS_A_RUN))

    async def look(
        self, groups: Sequence[Group] = (ANCHORING, JOBS), at_once: int = AT_ONCE
    ) -> int:
        """Enter what is new, and return of how many runs the history was read.

        Raises:
            RPCError: Temporal did not answer.
            StoreError: the store did not answer.
            NetworkFailure: the storage below VMSH_ROOT failed.
        """
        await self._enter(await asyncio.to_thread(self._decisions))
        count = 0
        for group in groups:
            count += await self._look_at(group, at_once)
        await self._keep_head()
        return count

    async def _look_at(self, group: Group, at_once: int) -> int:
        begun = datetime.now(UTC)
        mark = await self._store.of_audit(lambda audit: audit.mark(group.mark))
        since = begun - FIRST_LOOK if mark is None else mark - OVERLAP
        runs = await executions(self._client, since, group.kinds)
        await self._enter(await self._orders(runs, since, at_once))
        await self._store.of_audit(lambda audit: audit.set_mark(group.mark, begun))
        return len(runs)

    async def _enter(self, lines: list[_Keyed]) -> None:
        lines.sort(key=lambda keyed: keyed[0].at)
        for start in range(0, len(lines), LINES_A_GO):
            portion = lines[start : start + LINES_A_GO]
            await self._store.of_audit(partial(Audit.note_all, lines=portion))

    async def _orders(self, runs: Sequence[Listed], since: datetime, at_once: int) -> list[_Keyed]:
        turns = asyncio.Semaphore(at_once)

        async def read(run: Listed) -> list[_Keyed]:
            async with turns:
                orders = await orders_of(self._client, run, since)
            return [(order.line, order.key) for order in orders]

        return [line for lines in await asyncio.gather(*map(read, runs)) for line in lines]

    def _decisions(self) -> list[_Keyed]:
        """Return the decisions to stop namespaces, which hold also while no workflow can be told."""
        decisions = StoppedNamespaces(self._files).others(Entries({}, 0.0)).values()
        return [
            (
                order_line(
                    decision.at,
                    f"operator {decision.by}",
                    "unregister",
                    namespace_workflow_id(decision.namespace),
                    {"reason": decision.reason},
                ),
                f"stopped:{decision.namespace}:{decision.at.isoformat()}",
            )
            for decision in decisions
        ]

    async def _prune(self) -> None:
        if self._keep is None or time.monotonic() - self._pruned < PRUNE_SECONDS:
            return
        self._pruned = time.monotonic()
        while await self._store.prune_audit(datetime.now(UTC) - self._keep):  # noqa: ASYNC110 - each deletes a portion
            await asyncio.sleep(0)

    async def _keep_head(self) -> None:
        try:
            kept = await asyncio.to_thread(kept_head, self._files)
        except InvalidValue as error:
            self._tell_loss({"err": str(error)})
            return
        if kept is not None and not await self._store.of_audit(lambda audit: audit.holds(kept)):
            self._tell_loss({"entry": kept.entry})
            return
        head = await self._store.of_audit(lambda audit: audit.head())
        await asyncio.to_thread(keep_head, self._files, head)

    def _tell_loss(self, what: Mapping[str, object]) -> None:
        if not self._was_cut:
            _LOG.error("the audit lost entries, or they were changed", extra=what)
        self._was_cut = True

"""Brings the workflows of jobs to what the store says, and the store's rows to what really runs; once in a while, for ever.

1. What somebody changed by SQL is taken over. Revisions that a job's workflow has not heard are told again, also to one that
   had heard them before it was reset, or put back with its database. Workflows that are missing are started; those whose
   job is gone are stopped. The store counts: put back to an older copy, it goes on above what workflows have heard.
2. A row that says `running` although nothing runs it is closed: its fate is unknown.
3. Another scheduler that works on the same database is said, once when it begins and once when it ends.
4. Old runs and old lines of audit are deleted in small portions. Two processes that do all this at once do no harm.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from temporalio.client import Client
from temporalio.service import RPCError

from vaultmesh.domain.jobs.records import JobRevision, RunEnd, RunRecord, RunStart
from vaultmesh.domain.jobs.refusals import NotTold, StoreError
from vaultmesh.domain.jobs.run import (
    TASK_LEFT,
    WORKER_DIED,
    RunStatus,
    TriggeredBy,
    is_of_our_slot,
)
from vaultmesh.domain.jobs.storable import storable_uuid
from vaultmesh.domain.jobs.tasks import is_task
from vaultmesh.domain.names import JOB_WORKFLOW, MEMO_REVISION, job_workflow_id
from vaultmesh.process.client import Unreachable
from vaultmesh.process.job_workflows import TemporalJobs
from vaultmesh.process.search_attributes import SearchAttributesMissing, ensure
from vaultmesh.storage.job_store import JobStore

PERIOD_SECONDS = 15.0
AT_ONCE = 10
"""Workflows that are told at a time."""
ORPHAN_AFTER = timedelta(seconds=60)
"""A row is younger than this while its worker may be starting the call, or its workflow learning of its end."""
FOREIGN_AFTER = timedelta(days=1)
"""A run that another scheduler began is left alone for so long."""
LIST_EVERY = timedelta(minutes=1)
MOST_LISTED = 500
"""More workflows than these are listed once in `LIST_EVERY`, and when their number changed."""
PRUNE_EVERY = timedelta(hours=1)
LOOK_FOR_OTHERS_EVERY = timedelta(minutes=1)
MOST_NAMED = 20
"""Jobs that one line of log names."""
TASK = "reconciling jobs"
_RUNNING = f"WorkflowType = '{JOB_WORKFLOW}' AND ExecutionStatus = 'Running'"
_WITHIN = timedelta(seconds=10)
_LOG = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class JobReconciler:
    """Reconciles for one process."""

    def __init__(
        self,
        client: Client,
        store: JobStore,
        jobs: TemporalJobs,
        *,
        keep: timedelta | None,
        now: Callable[[], datetime] = _now,
        reconciled: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Ask Temporal through a client.

        Args:
            client: of the namespace in which workflows of jobs run.
            store: says what should run.
            jobs: starts and tells workflows.
            keep: how old runs may get; None keeps all.
            now: the clock.
            reconciled: is told after each time how many workflows still differ from what the store says.
        """
        self._client = client
        self._store = store
        self._jobs = jobs
        self._keep = keep
        self._now = now
        self._reconciled = reconciled
        self._prune_at = now()
        self._look_at = now()
        self._others_work = False
        self._listed: dict[str, int] = {}
        self._list_at = now()

    async def run(self) -> None:
        """Reconcile until cancelled; a store or server that is away is asked again."""
        indexed = False
        while True:
            try:
                await self.once()
                if not indexed:
                    await self._make_indexes()
                indexed = True
            except (StoreError, RPCError) as error:
                _LOG.warning("jobs not reconciled", extra={"err": str(error)})
            await asyncio.sleep(PERIOD_SECONDS)

    async def _make_indexes(self) -> None:
        """Have a database that others made indexed for our questions; what it does not allow is said."""
        for line in await self._store.make_indexes():
            _LOG.warning("job store has a notice", extra={"detail": line})

    async def once(self) -> None:
        """Reconcile once.

        Raises:
            StoreError: the store did not answer.
            RPCError: Temporal did not.
        """
        await self._store.take_sql_edits(self._now())
        running = await self._now_running()
        behind = await self._tell(running, await self._revisions(running))
        await self._look_for_others()
        await self._close_orphans()
        await self._prune()
        self._reconciled(behind)

    async def _now_running(self) -> dict[str, int]:
        """Return what `_running` does; where many run, as it was within the last minute, if as many run still.

        A list of 2,000 costs the server of one process a second and a half.
        """
        if len(self._listed) > MOST_LISTED and self._now() < self._list_at:
            counted = await self._client.count_workflows(_RUNNING, rpc_timeout=_WITHIN)
            if counted.count == len(self._listed):
                return self._listed
        self._listed = await self._running()
        self._list_at = self._now() + LIST_EVERY
        return self._listed

    async def _running(self) -> dict[str, int]:
        """Return the ids of the workflows that run, with the highest revision that each has heard."""
        executions = self._client.list_workflows(_RUNNING, rpc_timeout=_WITHIN)
        return {
            execution.id: await execution.memo_value(MEMO_REVISION, 0, type_hint=int)
            async for execution in executions
        }

    async def _revisions(self, running: Mapping[str, int]) -> Sequence[JobRevision]:
        """Return all jobs; the store counts on from what workflows have heard, if an older copy of it was put back."""
        revisions = await self._store.revisions()
        overtaken = False
        for revision in revisions:
            heard = running.get(job_workflow_id(revision.name), 0)
            if heard > revision.revision and await self._store.overtake(revision.name, heard):
                extra = {"job": revision.name, "heard": heard, "stored": revision.revision}
                _LOG.warning("job store was behind a workflow", extra=extra)
                overtaken = True
        return await self._store.revisions() if overtaken else revisions

    async def _tell(self, running: Mapping[str, int], revisions: Sequence[JobRevision]) -> int:
        """Tell every workflow that is missing, or has not heard the newest revision; returns how many could not be."""
        behind = 0
        untold = {revision.name for revision in await self._store.untold()}
        at_once = asyncio.Semaphore(AT_ONCE)
        missing = {revision.name for revision in revisions if _is_missing(revision, running)}
        if missing and not await self._has_search_attributes():
            revisions = [revision for revision in revisions if revision.name not in missing]
            behind = len(missing)

        async def tell(revision: JobRevision) -> bool:
            send = self._jobs.start if revision.name in missing else self._jobs.tell
            async with at_once:
                try:
                    await send(revision)
                    await self._store.mark_told(revision.name, revision.revision)
                    if not revision.is_gone:
                        self._listed[job_workflow_id(revision.name)] = revision.revision
                except NotTold as error:
                    extra = {"job": revision.name, "err": str(error)}
                    _LOG.warning("job's workflow not told", extra=extra)
                    return False
                return True

        heard = await asyncio.gather(
            *(
                tell(revision)
                for revision in revisions
                if revision.name in untold or _has_news(revision, running)
            )
        )
        return behind + heard.count(False)

    async def _has_search_attributes(self) -> bool:
        """Whether workflows can be started: the server may be a new one, which does not know what they set."""
        try:
            await ensure(self._client)
        except (SearchAttributesMissing, Unreachable) as error:
            _LOG.warning("jobs not started", extra={"err": str(error)})
            return False
        return True

    async def _look_for_others(self) -> None:
        """Say once that another scheduler works here, and once that none does any more."""
        now = self._now()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_FOR_OTHERS_EVERY
        left = await self._store.left_to_other(now)
        if left and not self._others_work:
            _LOG.warning("another scheduler works here", extra={"jobs": sorted(left)[:MOST_NAMED]})
        elif self._others_work and not left:
            _LOG.warning("no other scheduler works here any more")
        self._others_work = bool(left)

    # --- rows that run without a runner ----------------------------------------------------------------------------

    async def _close_orphans(self) -> None:
        for row in await self._store.running(self._now() - ORPHAN_AFTER):
            if self._is_settled(row) and not await self._is_under_way(row):
                _LOG.warning(
                    "job execution without a runner closed",
                    extra={"job": row.job_name, "execution": row.id},
                )
                await self._store.close_run(_orphan(row, self._now()))

    def _is_settled(self, row: RunRecord) -> bool:
        """Whether only our own workers could still be at it: another scheduler may be, until the job is moved over."""
        if storable_uuid(row.id) is None:
            return False  # somebody wrote it into a file by hand: no run of ours has such an id
        asked_for = row.triggered_by != TriggeredBy.SCHEDULER and not self._others_work
        ours = is_of_our_slot(row.id) or asked_for
        return ours or row.started_at is None or self._now() - row.started_at > FOREIGN_AFTER

    async def _is_under_way(self, row: RunRecord) -> bool:
        """Whether the job's workflow waits for the run, as far as Temporal knows."""
        handle = self._client.get_workflow_handle(job_workflow_id(row.job_name))
        try:
            described = await handle.describe(rpc_timeout=_WITHIN)
        except RPCError as error:
            if error.status.name == "NOT_FOUND":
                return False
            raise
        pending = described.raw_description.pending_activities
        return any(activity.activity_id == row.id for activity in pending)

    async def _prune(self) -> None:
        now = self._now()
        if self._keep is None or now < self._prune_at:
            return
        self._prune_at = now + PRUNE_EVERY
        for portion in (self._store.prune, self._store.prune_audit):
            while await portion(now - self._keep):  # noqa: ASYNC110 - each deletes a portion
                await asyncio.sleep(0)


def _is_missing(revision: JobRevision, running: Mapping[str, int]) -> bool:
    """Whether a job should have a workflow, and has none."""
    return not revision.is_gone and job_workflow_id(revision.name) not in running


def _has_news(revision: JobRevision, running: Mapping[str, int]) -> bool:
    """Whether a job's workflow is missing or behind, or runs although the job is gone."""
    heard = running.get(job_workflow_id(revision.name))
    if revision.is_gone:
        return heard is not None
    return heard is None or heard < revision.revision


def _orphan(row: RunRecord, now: datetime) -> RunEnd:
    return RunEnd(
        start=RunStart(
            id=uuid.UUID(row.id),
            job_name=row.job_name,
            job_type=row.job_type or "other",
            started_at=row.started_at or now,
            triggered_by=TriggeredBy(row.triggered_by)
            if row.triggered_by in set(TriggeredBy)
            else TriggeredBy.SCHEDULER,
        ),
        status=RunStatus.FAILED,
        completed_at=now,
        error_message=TASK_LEFT if is_task(row.job_name) else WORKER_DIED,
    )

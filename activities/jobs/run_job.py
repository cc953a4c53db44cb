"""Makes the runs of jobs: opens the row, makes the call, closes the row; and writes what could not be written before.

1. A run whose row exists already is not made again: a reset, a restored database or a new workflow calls a slot once.
2. A store that is down delays no call: the call is made as the workflow knows the job, and its end is written later.
3. A call goes on whatever becomes of its workflow or of Temporal, and its row gets the true end: only whoever cancels the
   run, and a worker that ends, cut it off.
4. A slot that another scheduler on the same database begins is left to it.
5. The newest endpoint and config are called; the time-out is the one that the workflow waits for.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity

from activities.jobs.http_call import HttpCalls
from activities.jobs.outlive import outlive
from activities.jobs.run_log import log_end, log_start
from activities.jobs.run_rows import (
    ENDED,
    STORE_SECONDS,
    Counted,
    RunRows,
    count_nothing,
    made_before,
    row_of,
    start_of,
)
from vaultmesh.domain.errors import DomainError, InvalidDocument
from vaultmesh.domain.jobs import answer
from vaultmesh.domain.jobs.call import JobCall
from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.jobs.job import JobDefinition, JobPolicy
from vaultmesh.domain.jobs.messages import (
    BY_SIGNAL,
    CloseOrder,
    DecisionOrder,
    JobKind,
    JobSpec,
    KeptEnd,
    Recorded,
    RunEnd,
    RunOrder,
    Written,
)
from vaultmesh.domain.jobs.other_scheduler import (
    BEGINS_WITHIN,
    LastBegun,
    SlotSpan,
    left_to_other,
    slot_span,
)
from vaultmesh.domain.jobs.records import Actor, Closing, Opened, Opening
from vaultmesh.domain.jobs.refusals import StoreError, UnknownJob
from vaultmesh.domain.jobs.run import CANCELLED, RunStatus, not_called
from vaultmesh.storage.job_store import JobStore

STOPPED_WAITING = not_called("its worker ended while it waited for another scheduler")
LOOK_SECONDS = 1.0
"""Between two looks whether another scheduler has begun a slot."""
_LOG = logging.getLogger(__name__)


class JobRuns:
    """Adapters of the ports `run_job`, `close_run` and `record_decision`."""

    def __init__(
        self,
        store: JobStore,
        calls: HttpCalls,
        drain: timedelta,
        counted: Counted = count_nothing,
    ) -> None:
        """Write into a store, and call through `calls`; a worker that ends gives them `drain`.

        `counted` hears of each row that is closed here.
        """
        self._store = store
        self._rows = RunRows(store, counted)
        self._calls = calls
        self._drain = drain

    def activities(self) -> list[Callable[..., Any]]:
        """Return what a worker offers on the queue of jobs."""
        return [self.run_job, self.close_run, self.record_decision]

    @activity.defn(name="run_job")
    async def run_job(self, order: RunOrder) -> RunEnd:
        """Make one run, once; whatever happens is its result."""
        return await outlive(self._run(order), self._drain)

    async def _run(self, order: RunOrder) -> RunEnd:
        start, span = start_of(order), _span_of(order)
        opened = await self._rows.opened(order, start, span)
        if span is not None and opened is not None and opened.outcome is Opening.WAITS:
            left = await self._waited(order, span)
            if left is not None:
                return left
            start = start_of(order)
            opened = await self._rows.opened(order, start)
        if opened is not None and opened.outcome is not Opening.OPENED:
            return made_before(order, opened)
        log_start(order)
        try:
            called = await self._called(order, opened)
        except asyncio.CancelledError:
            await asyncio.shield(self._rows.closed(order, start, answer.failed(CANCELLED)))
            raise
        end = await self._rows.closed(order, start, called)
        return end.model_copy(update={"counts": None if opened is None else opened.slots})

    async def _waited(self, order: RunOrder, span: SlotSpan) -> RunEnd | None:
        """Give another scheduler its time to begin a slot; returns how that ended, None if the slot is run here."""
        try:
            why = await self._why_left(order, span)
        except asyncio.CancelledError:
            not_made = answer.failed(STOPPED_WAITING)
            return await asyncio.shield(self._rows.closed(order, start_of(order), not_made))
        return None if why is None else _left(order, why)

    async def _why_left(self, order: RunOrder, span: SlotSpan) -> str | None:
        slot = order.slot or datetime.now(UTC)
        while True:
            now = datetime.now(UTC)
            began = await self._last_begun(order.spec.name, span, now)
            sign = began.sign_of_other
            if sign is not None and began.has_begun(span):
                return left_to_other(sign)
            if sign is None or now >= slot + BEGINS_WITHIN:
                return None
            activity.heartbeat()
            await asyncio.sleep(LOOK_SECONDS)

    async def _last_begun(self, name: str, span: SlotSpan, now: datetime) -> LastBegun:
        """Return what tells of another scheduler; a store that is down tells nothing, to that one neither."""
        try:
            async with asyncio.timeout(STORE_SECONDS):
                return await self._store.last_begun(name, span, now)
        except (StoreError, TimeoutError) as error:
            _LOG.warning("other schedulers not looked for", extra={"job": name, "err": str(error)})
            return LastBegun()

    async def _called(self, order: RunOrder, opened: Opened | None) -> answer.RunEnd:
        stored = opened.job if opened is not None else None
        try:
            job = stored.definition if stored is not None else None
            job = _definition_of(order.spec) if job is None else job
        except (InvalidDocument, ValueError) as error:
            return answer.failed(not_called(str(error)))
        job = job.model_copy(update={"policy": _policy_of(order.spec)})
        call = JobCall(job, uuid.UUID(order.run_id), order.triggered_by, order.user)
        return await self._calls.make(call, activity.heartbeat)

    @activity.defn(name="close_run")
    async def close_run(self, order: CloseOrder) -> Written:
        """Write ends and counts that the store does not know; one that it can never take is logged and passed over.

        Raises:
            StoreError: the store is down; all of it may be written again.
        """
        spec = JobSpec(name=order.job, job_type=order.job_type, cron="")
        kept = list[KeptEnd]()
        for end in order.ends:
            closing: Closing | None = None
            try:
                closing = await self._rows.close(order.job, end, row_of(spec, end))
                if closing is Closing.KEPT:
                    kept += await self._kept(order.job, end)
            except StoreError as error:
                if error.may_be_mended:
                    raise
                extra = {"job": order.job, "end": end.model_dump(mode="json"), "err": str(error)}
                _LOG.error("run can't be written to the store", extra=extra)
            if end.started_at is None and closing is not Closing.KEPT:  # nobody has said so yet
                log_end(order.job, end)
        counts = await self._store.pass_slots(order.job, order.counts)
        return Written(run_ids=[end.run_id for end in order.ends], kept=kept, counts=counts)

    async def _kept(self, job: str, end: RunEnd) -> list[KeptEnd]:
        """Return how a run ended by its row, if that says an end."""
        row = await self._store.run(job, uuid.UUID(end.run_id))
        if row is None or row.status not in ENDED:
            return []
        return [KeptEnd(run_id=end.run_id, status=RunStatus(row.status), error=row.error_message)]

    @activity.defn(name="record_decision")
    async def record_decision(self, order: DecisionOrder) -> Recorded:
        """Write what a signal changed already; its workflow needs not be told.

        Raises:
            StoreError: the store is down.
        """
        actor = Actor(name=BY_SIGNAL)
        try:
            if order.paused is not None:
                change = await self._store.pause(order.job, order.paused.reason, actor, order.at)
            else:
                change = await self._store.resume(order.job, actor, order.at)
        except UnknownJob:
            return Recorded()
        except StoreError:
            raise
        except DomainError as error:
            _LOG.warning("decision not recorded", extra={"job": order.job, "err": str(error)})
            return Recorded()
        return Recorded(revision=change.now.revision)


def _span_of(order: RunOrder) -> SlotSpan | None:
    """Return when another scheduler must have begun runs that say something about a run's slot; None if it has none."""
    if order.slot is None or order.spec.kind is not JobKind.HTTP:
        return None
    return slot_span(read_cron(order.spec.cron), order.slot)


def _left(order: RunOrder, why: str) -> RunEnd:
    """Return the end of a slot that another scheduler runs: it is skipped here, and counts no run."""
    return RunEnd(run_id=order.run_id, slot=order.slot, error=why, is_dropped=True, is_skipped=True)


def _definition_of(spec: JobSpec) -> JobDefinition:
    """Return a job as its workflow knows it, for a call that the store can't be asked about.

    Raises:
        ValueError: what the workflow knows is no definition.
    """
    return JobDefinition(
        name=spec.name,
        display_name=spec.name,
        description=spec.name,
        cron_expression=spec.cron,
        enabled=spec.enabled,
        job_type=spec.job_type,
        service=spec.service,
        endpoint=spec.endpoint,
        config=spec.config,
    )


def _policy_of(spec: JobSpec) -> JobPolicy:
    return JobPolicy(
        timeout_seconds=spec.timeout_seconds,
        catch_up_seconds=spec.catch_up_seconds,
        idempotent=spec.attempts > 1,
        max_attempts=spec.attempts,
    )

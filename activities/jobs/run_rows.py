"""Opens and closes the rows of runs for the activities that make them; a store that is down delays none of them."""

import asyncio
import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from activities.jobs.run_log import log_end
from vaultmesh.domain.jobs import answer, records
from vaultmesh.domain.jobs.messages import JobKind, JobSpec, RunEnd, RunOrder
from vaultmesh.domain.jobs.other_scheduler import SlotSpan
from vaultmesh.domain.jobs.records import Closing, Opened, Opening, RunStart
from vaultmesh.domain.jobs.refusals import StoreError
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.maintenance.listing import outcome_of
from vaultmesh.storage.job_store import JobStore

STORE_SECONDS = 2.0
"""A store that does not answer within it is passed over."""
CLOSE_SECONDS = 5.0
MOST_CARRIED = 10_000
"""Bytes of an end that waits for the store; a handler's metadata beyond it is left out."""
ENDED = frozenset({RunStatus.COMPLETED, RunStatus.FAILED})
Counted = Callable[[str, RunEnd], None]
"""Takes the name of a job and how a run of it ended, once for each row that was closed."""
_LOG = logging.getLogger(__name__)


def count_nothing(_: str, __: RunEnd) -> None:
    """Take no notice."""


class RunRows:
    """The rows of runs, as one process opens and closes them."""

    def __init__(self, store: JobStore, counted: Counted = count_nothing) -> None:
        """Write into a store; `counted` hears of each row that was closed here."""
        self._store = store
        self._counted = counted

    async def opened(
        self, order: RunOrder, start: RunStart, span: SlotSpan | None = None
    ) -> Opened | None:
        """Open the run's row; None if the store is down.

        With the `span` of its slot, no row is opened where another scheduler works on the job.
        """
        try:
            async with asyncio.timeout(STORE_SECONDS):
                return await self._store.open_run(start, order.counts, span)
        except (StoreError, TimeoutError) as error:
            extra = {"job": start.job_name, "execution": str(start.id), "err": str(error)}
            _LOG.warning("run not opened in the store", extra=extra)
            return None

    async def closed(self, order: RunOrder, start: RunStart, called: answer.RunEnd) -> RunEnd:
        """Write a run's end; what can't be written is left to `close_run`."""
        end = RunEnd(
            run_id=order.run_id,
            status=called.status,
            slot=order.slot,
            triggered_by=order.triggered_by,
            user=order.user,
            error=called.error,
            started_at=start.started_at,
            completed_at=datetime.now(UTC),
            items_processed=called.items_processed,
            items_succeeded=called.items_succeeded,
            items_failed=called.items_failed,
            metadata=called.metadata,
            outcome=_outcome(order.spec, called),
        )
        log_end(order.spec.name, end)
        bounded = end if _is_short(called) else end.model_copy(update={"metadata": None})
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.close(order.spec.name, end, row_of(order.spec, end, order))
        except (StoreError, TimeoutError) as error:
            extra = {"job": order.spec.name, "execution": order.run_id, "err": str(error)}
            _LOG.warning("run not closed in the store", extra=extra)
            return bounded
        return end.model_copy(update={"is_written": True, "metadata": None})

    async def close(self, job: str, end: RunEnd, row: records.RunEnd) -> Closing:
        """Write the end of a run, and have it counted if it was not written before.

        Raises:
            StoreError: the store is down, or does not take it.
        """
        closing = await self._store.close_run(row)
        if closing is not Closing.KEPT:
            self._counted(job, end)
        return closing


def _outcome(spec: JobSpec, called: answer.RunEnd) -> str | None:
    """Return the outcome of a maintenance task; what a service's handler calls so is its own."""
    said = (called.metadata or {}).get("outcome")
    return said if spec.kind is JobKind.MAINTENANCE and isinstance(said, str) else None


def _is_short(called: answer.RunEnd) -> bool:
    """Whether the handler's metadata may lie in a history until the store is back."""
    return len(called.model_dump_json()) <= MOST_CARRIED


def start_of(order: RunOrder) -> RunStart:
    """Return a run that begins now."""
    return RunStart(
        id=uuid.UUID(order.run_id),
        job_name=order.spec.name,
        job_type=order.spec.job_type,
        started_at=datetime.now(UTC),
        triggered_by=order.triggered_by,
        user=order.user,
        needs_job=order.spec.kind is JobKind.HTTP,
    )


def row_of(spec: JobSpec, end: RunEnd, order: RunOrder | None = None) -> records.RunEnd:
    """Return what is written of a run's end. One that was never called began when it ended."""
    completed_at = end.completed_at or datetime.now(UTC)
    return records.RunEnd(
        start=RunStart(
            id=uuid.UUID(end.run_id),
            job_name=spec.name,
            job_type=spec.job_type,
            started_at=end.started_at or completed_at,
            triggered_by=end.triggered_by,
            slot=end.slot,
            user=end.user,
        ),
        status=end.status,
        completed_at=completed_at,
        items_processed=end.items_processed,
        items_succeeded=end.items_succeeded,
        items_failed=end.items_failed,
        error_message=end.error,
        metadata=end.metadata,
        slots=order.counts if order is not None else None,
    )


def made_before(order: RunOrder, opened: Opened) -> RunEnd:
    """Return the end of a run that is not to be made: its row says how it ended, or nothing is to be counted."""
    row = opened.run
    if row is None or row.status not in ENDED:
        return RunEnd(
            run_id=order.run_id,
            slot=order.slot,
            counts=opened.slots,
            is_dropped=True,
            is_skipped=_is_paused(opened),
        )
    return RunEnd(
        run_id=order.run_id,
        status=RunStatus(row.status),
        slot=order.slot,
        triggered_by=order.triggered_by,
        error=row.error_message,
        outcome=outcome_of(row) if order.spec.kind is JobKind.MAINTENANCE else None,
        started_at=row.started_at,
        completed_at=row.completed_at,
        counts=opened.slots,
        is_written=True,
    )


def _is_paused(opened: Opened) -> bool:
    """Whether a scheduled run is not to be made because the job was paused; one that was disabled has no slots."""
    job = opened.job
    if opened.outcome is not Opening.DROPPED or job is None or job.definition is None:
        return False
    return job.definition.enabled and job.decisions.paused is not None

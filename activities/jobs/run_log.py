"""Logs when each run of a job starts and how it ends, with its execution id, which its handler and its history have too."""

import logging
from datetime import datetime, timedelta

from vaultmesh.domain.instants import write_time
from vaultmesh.domain.jobs.messages import RunEnd, RunOrder
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy
from vaultmesh.domain.log_events import LogEvent, log_event

_LOG = logging.getLogger(__name__)


def log_start(order: RunOrder) -> None:
    """Say that a run's call is made now."""
    fields = _fields_of(order.spec.name, order.run_id, order.triggered_by, order.slot)
    log_event(_LOG, LogEvent.JOB_STARTED, **fields)


def log_end(job: str, end: RunEnd) -> None:
    """Say how a run ended; a failure is a warning."""
    fields = {**_fields_of(job, end.run_id, end.triggered_by, end.slot), "status": end.status.value}
    if end.started_at is not None and end.completed_at is not None:
        took = end.completed_at - end.started_at
        fields["milliseconds"] = round(took / timedelta(milliseconds=1))
    if end.items_processed is not None:
        fields["items"] = end.items_processed
    if end.error is not None:
        fields["error"] = end.error
    level = logging.INFO if end.status is RunStatus.COMPLETED else logging.WARNING
    log_event(_LOG, LogEvent.JOB_ENDED, level, **fields)


def _fields_of(
    job: str, execution: str, triggered_by: TriggeredBy, slot: datetime | None
) -> dict[str, object]:
    """Return what the log says of a run, at its start and at its end."""
    slots = {} if slot is None else {"slot": write_time(slot)}
    return {"job": job, "execution": execution, "triggered_by": triggered_by.value, **slots}

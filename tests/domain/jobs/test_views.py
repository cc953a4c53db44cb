"""The details of a job's workflow say how its runs ended, in the words of whoever ran them."""

from datetime import UTC, datetime

import pytest

from vaultmesh.domain.jobs.messages import JobInput, JobKind, JobSpec, RunEnd
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.jobs.schedule import JobSchedule
from vaultmesh.domain.jobs.views import job_details, job_view

START = datetime(2026, 1, 15, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "outcome", "error", "line"),
    [
        (RunStatus.COMPLETED, None, None, "last run completed, 2026-01-15T10:01:00Z"),
        (RunStatus.COMPLETED, "not needed", None, "last run not needed, 2026-01-15T10:01:00Z"),
        (RunStatus.COMPLETED, "skipped: locked", None, "last run skipped: locked, 2026-01-15T10:01:00Z"),
        (RunStatus.FAILED, "timed out", "timed out: ended at its deadline, 60s",
         "last run timed out, 2026-01-15T10:01:00Z: ended at its deadline, 60s"),
        (RunStatus.FAILED, "cancelled", "cancelled", "last run cancelled, 2026-01-15T10:01:00Z"),
        (RunStatus.FAILED, None, "HTTP 500", "last run failed, 2026-01-15T10:01:00Z: HTTP 500"),
    ],
)  # fmt: skip
def test_a_skip_or_a_time_out_does_not_look_like_a_plain_end(
    status: RunStatus, outcome: str | None, error: str | None, line: str
) -> None:
    spec = JobSpec(name="maintenance:it", cron="* * * * *", kind=JobKind.MAINTENANCE)
    schedule = JobSchedule(JobInput(spec=spec), START)
    at = START.replace(minute=1)
    order = schedule.take(at)
    assert order is not None
    end = RunEnd(
        run_id=order.run_id,
        slot=order.slot,
        status=status,
        outcome=outcome,
        error=error,
        is_written=True,
    )
    schedule.ended(end, at)
    assert line in job_details(job_view(schedule, "", "")).split("\n\n")
    carried = JobSchedule(schedule.carried(), at)
    assert line in job_details(job_view(carried, "", "")).split("\n\n")

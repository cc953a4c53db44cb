"""What metrics expect of jobs follows their expressions, and not a period that they may not have."""

from datetime import UTC, datetime, timedelta

import pytest

from vaultmesh.domain.jobs.decisions import Job
from vaultmesh.domain.jobs.figures import (
    DURATION_BOUNDS,
    CountedRuns,
    Histogram,
    JobFigures,
    RecentRun,
    RunsOfJob,
    figures_of,
)
from vaultmesh.domain.jobs.records import JobRow

FRIDAY = datetime(2026, 3, 6, 9, 0, tzinfo=UTC)
DAY, MAY_TAKE = timedelta(days=1), timedelta(seconds=60 + 300 + 60)


def figures(cron: str, *runs: RecentRun, armed_at: datetime | None = FRIDAY) -> JobFigures:
    row = JobRow(
        job_name="digest", cron_expression=cron, enabled=True, service="mail", endpoint="/digest"
    )
    stored = Job("digest", row).stored()
    assert stored is not None
    return figures_of(stored, CountedRuns(armed_at), RunsOfJob(runs))


def test_a_job_of_working_days_owes_nothing_over_the_weekend() -> None:
    """The harm: a rule of two periods of a day wakes people each Sunday."""
    run = RecentRun("completed", FRIDAY + timedelta(milliseconds=80), 1_000)
    job = figures("0 9 * * 1-5", run)
    assert job.due == FRIDAY + 3 * DAY
    assert job.success_due == FRIDAY + 4 * DAY + MAY_TAKE


def test_a_failure_moves_what_is_due_and_not_what_must_succeed() -> None:
    before = RecentRun("completed", FRIDAY - DAY, 1_000)
    job = figures(
        "0 9 * * *", RecentRun("failed", FRIDAY, 1_000), before, armed_at=FRIDAY - 9 * DAY
    )
    assert job.due == FRIDAY + DAY
    assert job.success_due == FRIDAY + DAY + MAY_TAKE
    assert job.consecutive_failures == 1


@pytest.mark.parametrize("cron", ["0 0 31 2 *", "0 0 30 2 1"])
def test_nothing_is_expected_of_a_job_that_no_date_matches(cron: str) -> None:
    job = figures(cron)
    assert (job.due, job.success_due) == (None, None)


def test_nothing_is_expected_of_a_job_of_which_nobody_knows_since_when_it_is_armed() -> None:
    """The harm: a row that was written by SQL a moment ago is late since 1970."""
    job = figures("* * * * *", armed_at=None)
    assert (job.due, job.success_due) == (None, None)


def test_a_value_at_a_bound_counts_up_to_it_and_one_above_all_only_at_infinity() -> None:
    values = Histogram()
    for seconds in (0.1, 0.11, 9_999.0):
        values = values.with_value(seconds, DURATION_BOUNDS)
    assert [values.up_to(bound) for bound in (0.05, 0.1, 0.5, 3_600.0, float("inf"))] == [
        0, 1, 2, 2, 3,
    ]  # fmt: skip

"""Computes what metrics say of a job, from its row, its newest runs and what was counted as its runs ended.

1. Every instant is an argument, so that all processes that read the same rows show the same.
2. A job is armed while its row can be run, it is enabled and nobody paused it. Of a job that is not, nothing is expected.
3. Nothing is expected of the time before a job was armed: not when it is new, enabled, rescheduled or resumed.
4. A median needs `COMPARED` completed runs before the newest one.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import takewhile

from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.jobs.decisions import Job
from vaultmesh.domain.jobs.job import JobDefinition
from vaultmesh.domain.jobs.records import StoredJob
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.jobs.slots import SlotOutcome, later

RECENT_RUNS = 60
"""Newest runs that are looked at: enough for the median where one in three completes."""
COMPARED = 20
"""Completed runs of which the median is taken."""
DURATION_BOUNDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0)
"""Seconds: a call answers at once, or works up to its time-out (300 s by default)."""
LAG_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Seconds: a slot is called within one, and later than the catch-up window (60 s by default) not at all."""
START_GRACE = timedelta(seconds=60)
"""What a slot is given beyond its window before it counts as late."""
_PERIODS_WITHOUT_SUCCESS = 2
_MOST_REMEMBERED = 8_192
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values there were up to each bound, and their sum, in seconds."""

    counts: Mapping[float, int] = field(default_factory=dict)
    """By upper bound, each without those of lower bounds; infinity holds what is above all."""
    total: float = 0.0

    def with_value(self, seconds: float, bounds: Sequence[float]) -> "Histogram":
        """Return it with one more value."""
        bound = next((bound for bound in bounds if seconds <= bound), float("inf"))
        counts = {**self.counts, bound: self.counts.get(bound, 0) + 1}
        return Histogram(counts, round(self.total + seconds, 3))

    def up_to(self, bound: float) -> int:
        """Return how many values were not above a bound."""
        return sum(count for known, count in self.counts.items() if known <= bound)


@dataclass(frozen=True, slots=True)
class CountedRuns:
    """What is counted of a job as its runs end: of runs that were deleted since, too."""

    armed_at: datetime | None = None
    """When it was armed last; None if nobody noted it."""
    slots_run: int = 0
    durations: Histogram = Histogram()
    lags: Histogram = Histogram()


@dataclass(frozen=True, slots=True)
class RecentRun:
    """A run, as far as figures need it."""

    status: str
    started_at: datetime
    duration_ms: int | None

    @property
    def ended_at(self) -> datetime:
        """When it ended; of a run under way, when it began."""
        return self.started_at + (self.duration_ms or 0) * _MILLISECOND


@dataclass(frozen=True, slots=True)
class JobFigures:
    """What metrics say of one job; what is None has no series."""

    name: str
    completed: int
    failed: int
    slots: Mapping[SlotOutcome, int]
    durations: Histogram
    lags: Histogram
    is_enabled: bool
    is_paused: bool
    consecutive_failures: int
    """Runs in a row that failed, up to `RECENT_RUNS`."""
    last_success: datetime | None
    """When the newest completed run began."""
    last_duration: timedelta | None
    """Of the newest completed run."""
    median_duration: timedelta | None
    """Of the completed runs before that one; None if there are too few."""
    running_since: datetime | None
    catch_up: timedelta | None
    """How late a slot may be called; None where the job is not armed, likewise below."""
    due: datetime | None
    """The first slot that no run has followed; None while a run is under way, too."""
    success_due: datetime | None
    """By when a run must have succeeded: the second slot after the last success, with the time that its run may take."""


@dataclass(frozen=True, slots=True)
class RunsOfJob:
    """What rows say of a job's runs."""

    recent: Sequence[RecentRun] = ()
    """Newest first."""
    last_success: datetime | None = None
    """Where none of the recent ones completed."""
    running_since: datetime | None = None

    @property
    def ended(self) -> Sequence[RecentRun]:
        """Those that ended, newest first."""
        return [run for run in self.recent if run.status in _ENDED]

    @property
    def newest_success(self) -> datetime | None:
        """When the newest completed run began."""
        began = (run.started_at for run in self.recent if run.status == RunStatus.COMPLETED)
        return next(began, self.last_success)


_ENDED = frozenset({RunStatus.COMPLETED, RunStatus.FAILED})


def figures_of(job: StoredJob, counted: CountedRuns, runs: RunsOfJob) -> JobFigures:
    """Return what metrics say of a job."""
    ended, definition = runs.ended, _armed(job)
    durations = [
        run.ended_at - run.started_at for run in ended if run.status == RunStatus.COMPLETED
    ]
    figures = JobFigures(
        name=job.name,
        completed=job.row.successful_runs,
        failed=job.row.failed_runs,
        slots={
            SlotOutcome.RUN: counted.slots_run,
            SlotOutcome.MISSED: job.decisions.missed,
            SlotOutcome.SKIPPED: job.decisions.skipped,
        },
        durations=counted.durations,
        lags=counted.lags,
        is_enabled=job.row.enabled is True,
        is_paused=job.decisions.paused is not None,
        consecutive_failures=len(
            list(takewhile(lambda run: run.status == RunStatus.FAILED, ended))
        ),
        last_success=runs.newest_success,
        last_duration=durations[0] if durations else None,
        median_duration=_median(durations[1 : COMPARED + 1]),
        running_since=runs.running_since,
        catch_up=None,
        due=None,
        success_due=None,
    )
    return (
        figures if definition is None else _with_expected(figures, definition, job, counted, ended)
    )


def _with_expected(
    figures: JobFigures,
    definition: JobDefinition,
    job: StoredJob,
    counted: CountedRuns,
    ended: Sequence[RecentRun],
) -> JobFigures:
    """Return figures with what is expected of a job that is armed."""
    policy = definition.policy
    armed_at = counted.armed_at or job.decisions.served or job.row.created_at
    may_take = policy.catch_up + policy.timeout + START_GRACE
    last_end = max((run.ended_at for run in ended), default=None)
    since = later(armed_at, last_end)
    due = None if figures.running_since is not None else _slot_after(definition, since, 1)
    since_success = later(armed_at, figures.last_success)
    second = _slot_after(definition, since_success, _PERIODS_WITHOUT_SUCCESS)
    success_due = None if second is None else second + may_take
    return replace(figures, catch_up=policy.catch_up, due=due, success_due=success_due)


def _armed(job: StoredJob) -> JobDefinition | None:
    """Return a job's definition if it is armed."""
    if job.definition is None or not job.definition.enabled:
        return None
    return job.definition if job.decisions.paused is None else None


def begins_anew(before: Job, after: Job) -> bool:
    """Whether a change arms a job: what its slots came to before says nothing about it any more."""
    if after.row is None:
        return False
    resumed = before.decisions.paused is not None and after.decisions.paused is None
    return resumed or after.decisions.served != before.decisions.served


def _median(durations: Sequence[timedelta]) -> timedelta | None:
    if len(durations) < COMPARED:
        return None
    return timedelta(seconds=statistics.median(taken.total_seconds() for taken in durations))


def _slot_after(
    definition: JobDefinition, instant: datetime | None, number: int
) -> datetime | None:
    """Return the slot of a number after an instant, counted from 1."""
    if instant is None:
        return None
    return _slot(definition.cron_expression, instant, number)


@lru_cache(maxsize=_MOST_REMEMBERED)
def _slot(expression: str, instant: datetime, number: int) -> datetime | None:
    """Look a slot up once: the same is asked for as long as nothing runs."""
    slots = read_cron(expression).upcoming(instant, number)
    return slots[-1] if len(slots) == number else None

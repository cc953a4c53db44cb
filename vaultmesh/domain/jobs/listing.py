"""Shows a stored job to people and programs: what it is, when it runs next, and why it does not run."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from vaultmesh.domain.instants import write_seconds
from vaultmesh.domain.jobs.job import IsoTime, JobType, JobView
from vaultmesh.domain.jobs.other_scheduler import left_to_other
from vaultmesh.domain.jobs.records import Decision, Pause, RunRecord, StoredJob
from vaultmesh.domain.jobs.run import RunStatus

_STATUSES = {str(status): status for status in RunStatus}
_TYPES = frozenset(map(str, JobType))


class JobReportState(StrEnum):
    """What a job does, as its row and its runs say."""

    RUNNING = "running"
    """A run is under way."""
    WAITING = "waiting"
    """Its next slot will be run."""
    PAUSED = "paused"
    """It is armed, and an operator lets no slot run."""
    LEFT = "left"
    """Another scheduler works on it: a slot is run here only if that one has not begun it."""
    DISABLED = "disabled"
    """It has no slots."""
    NEVER = "never"
    """No date matches its expression."""
    UNUSABLE = "unusable"
    """Its row can't be run."""


class JobReport(JobView):
    """A job as operators see it: as the API lists it, with what was decided about it."""

    state: JobReportState
    why_idle: tuple[str, ...] = ()
    """What keeps its slots from being run, a line each; empty if nothing does."""
    paused: Pause | None = None
    cron_decision: Decision | None = None
    """Who set the expression that stands; null where the service's stands."""
    enabled_decision: Decision | None = None
    client_cron: str | None = None
    """What its service registered last."""
    client_enabled: bool | None = None
    missed: int = 0
    """Slots that came too late to be run."""
    skipped: int = 0
    """Slots that passed during a run or a pause."""
    is_told: bool = Field(default=True)
    """Whether its workflow has heard the newest revision."""
    other_began_at: IsoTime | None = None
    """When another scheduler began a run last, as long as it counts as one that works on this job."""
    running_since: IsoTime | None = None
    execution_id: str | None = None
    """Of the run under way."""


def job_view(job: StoredJob, next_run: datetime | None) -> JobView:
    """Return a job as the API lists it; of a row that somebody wrote by SQL, as much as it says."""
    row, title = job.row, job.row.display_name or job.name
    enabled = row.enabled is True
    return JobView(
        name=job.name,
        display_name=title,
        description=row.description or title,
        cron_expression=row.cron_expression or "",
        enabled=enabled,
        is_running=enabled,
        job_type=row.job_type if row.job_type in _TYPES else JobType.OTHER,
        service=row.service or "",
        endpoint=row.endpoint or "",
        last_run_at=row.last_run_at,
        next_run_at=next_run,
        last_run_status=_STATUSES.get(row.last_run_status or ""),
        last_run_duration=row.last_run_duration_ms,
        total_runs=row.total_runs,
        successful_runs=row.successful_runs,
        failed_runs=row.failed_runs,
        config=row.config if isinstance(row.config, dict) else {},
    )


def job_report(
    job: StoredJob,
    next_run: datetime | None,
    running: RunRecord | None,
    other_began: datetime | None = None,
) -> JobReport:
    """Return a job as operators see it.

    Args:
        job: as it is stored.
        next_run: its next slot; None while it is disabled, or if there is none.
        running: its run under way.
        other_began: when another scheduler that works on it began a run last.
    """
    decisions = job.decisions
    view = job_view(job, next_run)
    decided = {
        "state": _state(job, next_run, running, other_began),
        "why_idle": why_idle(job, next_run, other_began),
        "other_began_at": other_began,
        "paused": decisions.paused,
        "cron_decision": decisions.cron,
        "enabled_decision": decisions.enabled,
        "client_cron": decisions.client_cron,
        "client_enabled": decisions.client_enabled,
        "missed": decisions.missed,
        "skipped": decisions.skipped,
        "is_told": decisions.told >= decisions.revision,
        "running_since": None if running is None else running.started_at,
        "execution_id": None if running is None else running.id,
    }
    return JobReport.model_validate({**view.model_dump(), **decided})


def why_idle(
    job: StoredJob, next_run: datetime | None, other_began: datetime | None = None
) -> tuple[str, ...]:
    """Return what keeps a job's slots from being run, a line each; empty if nothing does."""
    if job.definition is None:
        return (f"its row can't be run: {job.problem}",)
    reasons = []
    if not job.definition.enabled:
        reasons.append(f"disabled{_by(job.decisions.enabled)}")
    elif next_run is None:
        reasons.append(f"no date ever matches {job.definition.cron_expression!r}")
    if (pause := job.decisions.paused) is not None:
        reasons.append(f"paused{_by(pause)}{f': {pause.reason}' if pause.reason else ''}")
    if other_began is not None:
        reasons.append(left_to_other(other_began))
    return tuple(reasons)


def _state(
    job: StoredJob,
    next_run: datetime | None,
    running: RunRecord | None,
    other_began: datetime | None,
) -> JobReportState:
    definition = job.definition
    if running is not None:
        return JobReportState.RUNNING
    if definition is None:
        return JobReportState.UNUSABLE
    if not definition.enabled:
        return JobReportState.DISABLED
    if job.decisions.paused is not None:
        return JobReportState.PAUSED
    if next_run is None:
        return JobReportState.NEVER
    return JobReportState.WAITING if other_began is None else JobReportState.LEFT


def _by(decision: Decision | None) -> str:
    if decision is None:
        return " by its service"
    return f" by {decision.by}, {write_seconds(decision.at)}"

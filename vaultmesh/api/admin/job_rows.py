"""Prepares what pages show of jobs: each with its state in a word, and every reason why it does not run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from vaultmesh.api.calls import Parts
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.jobs.cron_words import in_words
from vaultmesh.domain.jobs.listing import JobReport, JobReportState
from vaultmesh.domain.jobs.records import Pause, StoredJob
from vaultmesh.domain.jobs.refusals import NotTold
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.storage.job_reports import job_reports

STUCK = "stuck"
"""It should run, and something keeps it from that which nobody decided."""
TONES: Mapping[str, str] = {
    JobReportState.RUNNING: "busy",
    JobReportState.WAITING: "good",
    JobReportState.PAUSED: "warn",
    JobReportState.LEFT: "warn",
    JobReportState.DISABLED: "calm",
    JobReportState.NEVER: "bad",
    JobReportState.UNUSABLE: "bad",
    STUCK: "bad",
    RunStatus.COMPLETED: "good",
    RunStatus.FAILED: "bad",
}
"""Class of the stylesheet for each state."""
UNHEARD = (
    "its workflow has not heard the newest decision yet; workers with role jobs tell it within 15 s"
)


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as a page shows it."""

    report: JobReport
    reasons: tuple[str, ...]
    """Why it does not run, or might not; empty if nothing is in its way."""
    is_troubled: bool
    """Whether one of the reasons is nobody's decision."""

    @property
    def name(self) -> str:
        """The job's name."""
        return self.report.name

    @property
    def state(self) -> str:
        """What it does, in a word."""
        is_waiting = self.report.state is JobReportState.WAITING
        return STUCK if self.is_troubled and is_waiting else str(self.report.state)

    @property
    def words(self) -> str:
        """The expression in words; empty if it can't be read."""
        return cron_words(self.report.cron_expression)

    @property
    def success_percent(self) -> int | None:
        """Share of completed runs, rounded down, so that 100 means all; None without runs."""
        total = self.report.total_runs
        return None if not total else 100 * self.report.successful_runs // total

    @property
    def has_failed(self) -> bool:
        """Whether its last run failed."""
        return self.report.last_run_status is RunStatus.FAILED

    @property
    def runs_by_itself(self) -> bool:
        """Whether its next slot will be run."""
        return self.state in (JobReportState.WAITING, JobReportState.RUNNING) and not self.reasons


@dataclass(frozen=True, slots=True)
class PauseGroup:
    """Jobs that one decision paused, together."""

    pause: Pause
    names: tuple[str, ...]


def cron_words(expression: str) -> str:
    """Return an expression in words; empty if it can't be read."""
    try:
        return in_words(read_cron(expression))
    except InvalidValue:
        return ""


async def job_rows(parts: Parts, jobs: Sequence[StoredJob]) -> tuple[list[JobRow], str]:
    """Return jobs as pages show them, and what could not be learned about their workflows; raises `StoreError`."""
    reports = await job_reports(parts.store, jobs, parts.now())
    troubles, unknown = await _troubles(parts, reports)
    return [_row(parts, report, troubles.get(report.name, "")) for report in reports], unknown


async def _troubles(parts: Parts, reports: Sequence[JobReport]) -> tuple[Mapping[str, str], str]:
    """Return what keeps workflows from going on; of a Temporal that is away the frame of the page says enough."""
    usable = [job.name for job in reports if job.state is not JobReportState.UNUSABLE]
    if not usable or parts.temporal_silent():
        return {}, ""
    try:
        return await parts.workflows.troubles(usable), ""
    except NotTold as error:
        return {}, f"{error}: a job below may be stuck without this page saying so."


def _row(parts: Parts, report: JobReport, trouble: str) -> JobRow:
    problems = [problem for problem in (_service_problem(parts, report), trouble) if problem]
    if not report.is_told and not trouble:
        problems.append(UNHEARD)
    is_troubled = bool(problems) or parts.temporal_silent()  # which the frame of the page says once
    return JobRow(report, (*report.why_idle, *problems), is_troubled)


def _service_problem(parts: Parts, report: JobReport) -> str:
    if report.state is JobReportState.UNUSABLE or not report.service:
        return ""
    try:
        parts.check_service(report.service)
    except InvalidValue as error:
        return f"service {error}"
    return ""


def pause_groups(rows: Sequence[JobRow]) -> list[PauseGroup]:
    """Return which jobs are paused, those of one decision together, the newest first."""
    groups: dict[datetime, list[JobRow]] = {}
    for row in rows:
        if row.report.paused is not None:
            groups.setdefault(row.report.paused.at, []).append(row)
    return [
        PauseGroup(pause, tuple(row.name for row in paused))
        for _, paused in sorted(groups.items(), reverse=True)
        if (pause := paused[0].report.paused) is not None
    ]

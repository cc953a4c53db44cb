"""Shows a job's workflow: the answer of its query, its details in the Web UI, and its search attribute."""

from pydantic import Field

from vaultmesh.domain.freshness import Status
from vaultmesh.domain.instants import write_seconds
from vaultmesh.domain.jobs.messages import Rejected
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.jobs.schedule import JobSchedule
from vaultmesh.domain.jobs.slots import JobState
from vaultmesh.domain.status import Instant, PausedView, View


class RunningView(View):
    """The run under way."""

    run_id: str
    triggered_by: str
    slot: Instant | None = None
    since: Instant


class LastRunView(View):
    """The newest run that ended."""

    run_id: str
    status: RunStatus
    outcome: str | None = None
    """Of a maintenance task; None of a job, or if nobody knows."""
    error: str | None = None
    at: Instant


class RejectedView(View):
    """The newest message that meant nothing."""

    message: str
    reason: str
    at: Instant


class JobStatusView(View):
    """Answer of a job's `status`."""

    name: str
    workflow_id: str = ""
    run_id: str = ""
    revision: int
    state: JobState
    cron: str
    enabled: bool
    paused: PausedView | None = None
    next_due: Instant | None = None
    running: RunningView | None = None
    is_asked_for: bool = False
    """Whether a trigger waits for its turn."""
    last_run: LastRunView | None = None
    failures: int = 0
    """Runs in a row that failed."""
    missed: int = 0
    skipped: int = 0
    unwritten: int = 0
    """Ends of runs that the store does not know yet."""
    forgotten_ends: int = 0
    """Ends that it will not hear of: it was away for too long."""
    last_rejected: RejectedView | None = None
    is_stopping: bool = Field(default=False)


def job_view(schedule: JobSchedule, workflow_id: str, run_id: str) -> JobStatusView:
    """Return the state of a job."""
    spec, order, last = schedule.spec, schedule.running, schedule.last_run
    running = None
    if order is not None and schedule.running_since is not None:
        running = RunningView(
            run_id=order.run_id,
            triggered_by=order.triggered_by,
            slot=order.slot,
            since=schedule.running_since,
        )
    waiting = schedule.unwritten(also_counts=False)
    return JobStatusView(
        name=spec.name,
        workflow_id=workflow_id,
        run_id=run_id,
        revision=spec.revision,
        state=schedule.state,
        cron=spec.cron,
        enabled=spec.enabled,
        paused=PausedView(reason=spec.paused.reason, since=spec.paused.at) if spec.paused else None,
        next_due=schedule.next_due(),
        running=running,
        is_asked_for=schedule.waiting is not None,
        last_run=LastRunView(**last.model_dump()) if last is not None else None,
        failures=schedule.failures,
        missed=schedule.counts.missed,
        skipped=schedule.counts.skipped,
        unwritten=len(waiting.ends) if waiting is not None else 0,
        forgotten_ends=schedule.forgotten_ends,
        last_rejected=_rejected(schedule.last_rejected),
        is_stopping=schedule.stopping,
    )


def _rejected(rejected: Rejected | None) -> RejectedView | None:
    return RejectedView(**rejected.model_dump()) if rejected is not None else None


def job_status(schedule: JobSchedule) -> Status:
    """Return the search attribute: it changes with the state, and not with every run."""
    if schedule.spec.paused is not None:
        return Status.PAUSED
    return Status.BACKING_OFF if schedule.failures else Status.OK


def job_details(view: JobStatusView) -> str:
    """Return the state in Markdown, as the Web UI shows it."""
    lines = [f"**{view.name}** {view.state}, `{view.cron}`", *_next_lines(view), *_past_lines(view)]
    if view.last_rejected is not None:
        lines.append(f"rejected {view.last_rejected.message}: {view.last_rejected.reason}")
    return "\n\n".join(lines)


def _next_lines(view: JobStatusView) -> list[str]:
    """Return what the job does now and next."""
    lines = []
    if view.next_due is not None:
        lines.append(f"next run {write_seconds(view.next_due)}")
    if view.paused is not None:
        why = f": {view.paused.reason}" if view.paused.reason else ""
        lines.append(f"paused since {write_seconds(view.paused.since)}{why}")
    if (running := view.running) is not None:
        since = write_seconds(running.since)
        lines.append(f"runs since {since}, {running.triggered_by}, `{running.run_id}`")
    return lines


def _past_lines(view: JobStatusView) -> list[str]:
    """Return how its runs and slots ended."""
    lines = []
    if (last := view.last_run) is not None:
        outcome = last.outcome or last.status
        why = (last.error or "").removeprefix(outcome).removeprefix(": ")
        lines.append(f"last run {outcome}, {write_seconds(last.at)}{f': {why}' if why else ''}")
    if view.failures:
        lines.append(f"failed {view.failures} times in a row")
    if view.missed or view.skipped:
        lines.append(f"slots missed {view.missed}, skipped {view.skipped}")
    if view.unwritten or view.forgotten_ends:
        lost = f"{view.forgotten_ends} that are lost to it"
        lines.append(f"not in the store: {view.unwritten} ends of runs, and {lost}")
    return lines

"""Says how a maintenance task stands, for people and programs: what its workflow does, why it does not run, how it ran last."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from enum import StrEnum

from pydantic import JsonValue, ValidationError

from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.jobs.records import JobRevision, Pause, RunRecord
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.jobs.tasks import TaskSchedule, task_name
from vaultmesh.domain.maintenance.config import Kind
from vaultmesh.domain.maintenance.outcomes import StepResult
from vaultmesh.domain.messages import Wire
from vaultmesh.domain.status import Instant


class TaskState(StrEnum):
    """What a task does now."""

    WAITING = "waiting"
    """It sleeps until its next slot."""
    RUNNING = "running"
    """A run is under way."""
    PAUSED = "paused"
    """An operator lets no slot run."""
    DISABLED = "disabled"
    """The file says `enabled: false`: it has no slots."""
    GONE = "gone"
    """No file names it any more; its history stays."""
    NOT_OFFERED = "not offered"
    """The file names it, and no worker has taken that up yet."""


class TaskRun(Wire):
    """A run of a task, as its row says."""

    execution_id: str
    status: str
    outcome: str | None = None
    """None while it runs, and where nobody could say it."""
    triggered_by: str | None = None
    started_at: Instant | None = None
    duration_ms: int | None = None
    error: str | None = None
    parts: Mapping[str, int] = {}
    """How many parts ended how: done, not needed, denied."""
    answer: str | None = None
    """Of a check or a call that succeeded: what it got, and what its limits are."""


class TaskPause(Wire):
    """Who lets no slot of a task run."""

    by: str
    since: Instant
    reason: str = ""


class TaskReport(Wire):
    """A task as `maintenance status` shows it."""

    task: str
    kind: str
    cron: str
    state: TaskState
    deadline_seconds: int
    next: Instant | None = None
    paused: TaskPause | None = None
    running: TaskRun | None = None
    last_run: TaskRun | None = None
    """The newest that ended."""
    missed: int = 0
    skipped: int = 0


def task_report(
    revision: JobRevision,
    schedule: TaskSchedule | None,
    newest: tuple[RunRecord, ...],
    now: datetime,
) -> TaskReport:
    """Return how a task stands.

    Args:
        revision: what the store knows of it.
        schedule: what was said of it last; None if nobody knows any more.
        newest: its newest runs, the newest first.
        now: the instant.
    """
    running = next((run for run in newest if run.status == RunStatus.RUNNING), None)
    ended = next((run for run in newest if run.status != RunStatus.RUNNING), None)
    state = _state(revision, is_running=running is not None)
    armed = schedule is not None and state in {TaskState.WAITING, TaskState.RUNNING}
    return TaskReport(
        task=task_name(revision.name),
        kind="" if schedule is None else schedule.kind,
        cron="" if schedule is None else schedule.cron,
        state=state,
        deadline_seconds=0 if schedule is None else schedule.timeout_seconds,
        next=read_cron(schedule.cron).next_after(now) if schedule is not None and armed else None,
        paused=_pause(revision.paused),
        running=None if running is None else _run(running),
        last_run=None if ended is None else _run(ended),
        missed=revision.missed,
        skipped=revision.skipped,
    )


def outcome_of(run: RunRecord) -> str | None:
    """Return the outcome that a run's row holds."""
    said = _said(run, "outcome")
    return said if isinstance(said, str) else None


def parts_of(run: RunRecord) -> dict[str, int]:
    """Return how many parts of a run ended how, as its row says."""
    said = _said(run, "parts")
    pairs = said.items() if isinstance(said, dict) else ()
    return {outcome: count for outcome, count in pairs if isinstance(count, int)}


def steps_of(run: RunRecord) -> tuple[StepResult, ...]:
    """Return the parts of a run that did anything, as its row says; what can't be read is left out."""
    said = _said(run, "steps")
    steps: list[StepResult] = []
    for step in said if isinstance(said, list) else ():
        with suppress(ValidationError):
            steps.append(StepResult.model_validate(step))
    return tuple(steps)


def _said(run: RunRecord, key: str) -> JsonValue:
    return run.metadata.get(key) if isinstance(run.metadata, dict) else None


def _answer(run: RunRecord) -> str | None:
    """Return what a check or a call got; of one that failed its error says so."""
    if run.status != RunStatus.COMPLETED or _said(run, "kind") not in (Kind.CHECK, Kind.CALL):
        return None
    return next((step.detail for step in steps_of(run)), None)


def _state(revision: JobRevision, *, is_running: bool) -> TaskState:
    if is_running:
        return TaskState.RUNNING
    if revision.task is None:
        return TaskState.GONE if revision.revision else TaskState.NOT_OFFERED
    if not revision.task.enabled:
        return TaskState.DISABLED
    return TaskState.WAITING if revision.paused is None else TaskState.PAUSED


def _pause(pause: Pause | None) -> TaskPause | None:
    return None if pause is None else TaskPause(by=pause.by, since=pause.at, reason=pause.reason)


def _run(run: RunRecord) -> TaskRun:
    return TaskRun(
        execution_id=run.id,
        status=run.status,
        outcome=outcome_of(run),
        triggered_by=run.triggered_by,
        started_at=run.started_at,
        duration_ms=run.duration_ms,
        error=run.error_message,
        parts=parts_of(run),
        answer=_answer(run),
    )

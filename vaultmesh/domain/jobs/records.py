"""Defines what a job store gives and takes: jobs with what was decided about them, and their runs.

1. The effective expression and state stand in the job's row; what the client registered last is kept beside.
2. Each change of a job has the next revision; a workflow heeds the highest one it heard.
3. A run's keys are in snake_case, as the table's columns and the API's history are.
"""

import uuid
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, JsonValue

from vaultmesh.domain.audit_chain import Head
from vaultmesh.domain.jobs.job import IsoTime, JobDefinition
from vaultmesh.domain.jobs.messages import SlotCounts
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy
from vaultmesh.domain.jobs.tasks import TaskSchedule
from vaultmesh.domain.messages import Wire
from vaultmesh.domain.namespaces.cadence import EPOCH

SQL = "sql"
"""Actor of changes that somebody made in the tables."""


class Actor(Wire):
    """Who changes something."""

    name: str
    """Such as the subject of a token, `service email-service`, `signal`, `operator@host`."""
    claimed_user: str | None = None
    """Whom a body named without proof."""


class Decision(Wire):
    """Who decided something, and when."""

    by: str
    at: datetime


class Pause(Decision):
    """An operator lets no slot of a job run; apart from `enabled`."""

    reason: str = ""


class Decisions(Wire):
    """What stands about a job beside its row."""

    revision: int = 0
    told: int = -1
    """Highest revision that its workflow has heard."""
    served: datetime | None = None
    """Up to where its slots are dealt with: the newest that was run, missed or skipped, or when it began anew."""
    paused: Pause | None = None
    client_cron: str | None = None
    """What its service registered last; null if it never did."""
    client_enabled: bool | None = None
    cron: Decision | None = None
    """Whoever set the expression that stands; null where the client's stands."""
    enabled: Decision | None = None
    deleted: Decision | None = None
    allowed: Decision | None = None
    """An administrator lets another service take the name over, once."""
    missed: int = 0
    skipped: int = 0


class JobRevision(Wire):
    """A job as its workflow must know it."""

    name: str
    revision: int
    definition: JobDefinition | None
    """Null if the job was deleted, is gone, or its row can't be run: then its workflow stops."""
    problem: str = ""
    """Why the row can't be run, and how to mend it."""
    paused: Pause | None = None
    served: datetime | None = None
    missed: int = 0
    skipped: int = 0
    task: TaskSchedule | None = None
    """Of a maintenance task, what maintenance.yaml said last; null once it names the task no more."""

    @property
    def is_gone(self) -> bool:
        """Whether nothing is to run: its workflow stops."""
        return self.definition is None and self.task is None


class JobRow(Wire):
    """A row of `job_schedules`; one that was written by SQL may be partial."""

    model_config = ConfigDict(hide_input_in_errors=True)

    job_name: str
    display_name: str | None = None
    description: str | None = None
    cron_expression: str | None = None
    enabled: bool | None = None
    job_type: str | None = None
    service: str | None = None
    endpoint: str | None = None
    config: JsonValue = None
    last_run_at: datetime | None = None
    last_run_status: str | None = None
    last_run_duration_ms: int | None = None
    total_runs: int = 0
    successful_runs: int = 0
    failed_runs: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None


class StoredJob(Wire):
    """A job's row, and what was decided about it."""

    row: JobRow
    decisions: Decisions
    definition: JobDefinition | None
    """What runs; null if the row can't be run."""
    problem: str = ""
    """Why the row can't be run, and how to mend it."""

    @property
    def name(self) -> str:
        """The job's name."""
        return self.row.job_name


class Change(Wire):
    """What came of a change."""

    now: JobRevision
    """To be told to the job's workflow, also where nothing changed."""
    changed: bool
    """Whether there is a new revision: registering the same again makes none."""


# --- runs ----------------------------------------------------------------------------------------------------------


class RunStart(Wire):
    """A run that is about to be made."""

    id: uuid.UUID
    job_name: str
    job_type: str = "other"
    started_at: datetime
    """By this instant, to the microsecond, a repeated request knows its own row."""
    triggered_by: TriggeredBy = TriggeredBy.SCHEDULER
    slot: datetime | None = None
    """The due instant of a scheduled run, if it is known; no column has it."""
    user: str | None = None
    """Who asked for it; the row takes only an id of the table `users`, or a UUID where there is no such table."""
    needs_job: bool = True
    """Whether it is dropped if the job is gone, or disabled and nobody asked for the run; maintenance tasks have no row."""


class Opening(StrEnum):
    """What came of opening a run's row."""

    OPENED = "opened"
    """The row is ours: make the call."""
    EXISTS = "exists"
    """Somebody has made this run, or makes it: make no call."""
    DROPPED = "dropped"
    """A scheduled run of a job that was disabled, deleted or paused meanwhile: no row, no call."""
    WAITS = "waits"
    """Another scheduler works on the job, and gets its time to begin the slot: no row yet."""


class Opened(Wire):
    """What came of opening a run's row, and what is to be called."""

    outcome: Opening
    job: StoredJob | None = None
    """The job as it stands now."""
    run: "RunRecord | None" = None
    """The row that was there before."""
    slots: SlotCounts | None = None
    """What the job's slots have come to with what the store knew; None if they were not told, or the run is dropped."""


class RunEnd(Wire):
    """How a run ended; holds all of the row, which may never have been opened."""

    start: RunStart
    status: RunStatus
    completed_at: datetime
    items_processed: int | None = None
    items_succeeded: int | None = None
    items_failed: int | None = None
    error_message: str | None = None
    metadata: dict[str, JsonValue] | None = None
    slots: SlotCounts | None = None
    """What the job's slots have come to; written with the run."""


class Closing(StrEnum):
    """What came of closing a run's row."""

    CLOSED = "closed"
    """It ran, or was never opened; now it is closed and counted."""
    REPLACED = "replaced"
    """It said that its fate is unknown; now it says the true end, and the counters are put right."""
    KEPT = "kept"
    """It was closed before; nothing changed."""


class RunRecord(BaseModel):
    """A row of `scheduled_jobs`, with its keys as the API shows them."""

    model_config = ConfigDict(frozen=True)

    id: str
    job_name: str
    job_type: str | None = None
    status: str
    started_at: IsoTime | None = None
    completed_at: IsoTime | None = None
    duration_ms: int | None = None
    items_processed: int | None = None
    items_succeeded: int | None = None
    items_failed: int | None = None
    error_message: str | None = None
    metadata: JsonValue = None
    triggered_by: str | None = None
    triggered_by_user: str | None = None

    def as_start(self) -> RunStart:
        """Return what a clean-up needs to close a row that nobody runs any more."""
        return RunStart(
            id=uuid.UUID(self.id), job_name=self.job_name, started_at=self.started_at or EPOCH
        )


class HistoryPage(BaseModel):
    """Some runs of a job, newest first."""

    model_config = ConfigDict(frozen=True)

    executions: tuple[RunRecord, ...]
    total: int
    """Of all runs that the history holds."""


class RunStats(BaseModel):
    """Sums over a job's runs, with the API's keys; zeros if there are none."""

    model_config = ConfigDict(frozen=True)

    total_executions: int = 0
    successful_executions: int = 0
    failed_executions: int = 0
    avg_duration_ms: float = 0
    total_items_processed: int = 0


class AuditLine(Wire):
    """Who did what to which job."""

    at: datetime
    actor: str
    action: str
    job_name: str
    claimed_user: str | None = None
    execution_id: uuid.UUID | None = None
    detail: JsonValue = None


class AuditEntry(AuditLine):
    """A line of audit with its entry in the chain."""

    line: int
    entry: int | None = None
    """Its number in the chain; None if it stands outside."""
    hash: str | None = None

    def as_line(self) -> AuditLine:
        """Return the line alone."""
        return AuditLine.model_validate(self.model_dump(include=set(AuditLine.model_fields)))


class AuditReport(Wire):
    """Whether the audit is as it was written."""

    problem: str = ""
    """The first thing that is wrong; empty if nothing is known to be."""
    entries: int = 0
    """That are whole, before the problem."""
    head: Head = Head()
    """The last of them."""
    heads_agreed: int = 0
    """Heads that are kept elsewhere and agree."""


class Miscount(Wire):
    """A counter that differs from the rows."""

    job_name: str
    counter: str
    counted: int
    rows: int
    """What the counter should be, by the rows, with those that were pruned."""

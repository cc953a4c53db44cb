"""Defines what travels between a job's workflow, its activities, and whoever changes the job.

Everything here is lenient: a workflow must be able to read what an older or newer process wrote. What people send is
checked before, by `vaultmesh.domain.jobs.job` and `vaultmesh.domain.jobs.commands`.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import Field, JsonValue

from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy
from vaultmesh.domain.messages import Wire

LONGEST_RECENT_TRIGGERS = 20
"""Ids of triggers that a workflow remembers: one that comes twice starts nothing twice."""
MOST_UNCHECKED = 20
"""Stretches of slots that are carried; there are more only while the store is down, and then it knows nothing better."""
MOST_UNWRITTEN = 100
"""Ends of runs that wait for the store; of older ones only their number is kept."""

BY_SIGNAL = "signal"
"""Who made a decision that came as a signal: Temporal does not say more."""


class JobKind(StrEnum):
    """What a job's run does."""

    HTTP = "http"
    """Calls a service."""
    MAINTENANCE = "maintenance"
    """Looks after a PostgreSQL database."""


class JobPause(Wire):
    """Who lets no slot run, since when, and why."""

    by: str = ""
    at: datetime
    reason: str = ""


class JobSpec(Wire):
    """A job as its workflow needs it, at one revision of its row."""

    name: str
    revision: int = 0
    """Rises with every change of the row; a workflow keeps the highest that it heard."""
    kind: JobKind = JobKind.HTTP
    job_type: str = "other"
    cron: str
    enabled: bool = True
    paused: JobPause | None = None
    service: str = ""
    endpoint: str = ""
    config: dict[str, JsonValue] = Field(default_factory=dict)
    timeout_seconds: int = 300
    """Of one run's whole call."""
    catch_up_seconds: int = 60
    """How old a slot may be that still runs."""
    attempts: int = 1
    """How often a call may be sent that may have been received."""
    continue_after_events: int = 4_000

    @property
    def timeout(self) -> timedelta:
        """How long one run's whole call may take."""
        return timedelta(seconds=self.timeout_seconds)

    @property
    def catch_up(self) -> timedelta:
        """How old a slot may be that still runs."""
        return timedelta(seconds=self.catch_up_seconds)


class TriggerOrder(Wire):
    """Somebody wants the job to run now."""

    run_id: str
    user: str | None = None
    """Who asked, as the handler is told; None if nobody said."""


class Stretch(Wire):
    """Slots that a workflow counted together: those after `since` and up to `until`."""

    since: datetime
    until: datetime
    is_missed: bool
    """Whether they were missed; else they were skipped."""


class Unchecked(Wire):
    """What a workflow counted since it last compared its totals with the store.

    One that was reset, or put back with its database, counts slots that it had run before.
    """

    cron: str
    """The expression that they are slots of."""
    stretches: list[Stretch] = Field(default_factory=list)


class SlotCounts(Wire):
    """Totals of a job's slots since it exists. They only rise, so that writing them twice counts nothing twice."""

    missed: int = 0
    skipped: int = 0
    served: datetime | None = None
    """The newest slot that was run, missed or skipped."""
    unchecked: Unchecked | None = None
    """Those of them that the store may know better; always None in what the store says."""
    answers: int = 0
    """Answers of the store that a workflow's totals build on; 0 in what the store says."""


class RunOrder(Wire):
    """Input of `run_job` and of `run_task`: one run, with what to do where the store can't be asked."""

    spec: JobSpec
    run_id: str
    slot: datetime | None = None
    """The due instant of a scheduled run."""
    triggered_by: TriggeredBy = TriggeredBy.SCHEDULER
    user: str | None = None
    counts: SlotCounts = SlotCounts()
    began: datetime | None = None
    """Of a maintenance task's run: the instant that it reckons from, however often it is tried."""


class RunEnd(Wire):
    """How a run ended; the result of `run_job` and of `run_task`."""

    run_id: str
    status: RunStatus = RunStatus.FAILED
    slot: datetime | None = None
    triggered_by: TriggeredBy = TriggeredBy.SCHEDULER
    user: str | None = None
    error: str | None = None
    started_at: datetime | None = None
    """None where nothing was called."""
    completed_at: datetime | None = None
    duration_ms: int | None = None
    items_processed: int | None = None
    items_succeeded: int | None = None
    items_failed: int | None = None
    metadata: dict[str, JsonValue] | None = None
    outcome: str | None = None
    """Of a maintenance task in one word or two, such as `not needed`; None of a job."""
    counts: SlotCounts | None = None
    """What the job's slots have come to with what the store knew; None where it was not asked."""
    is_written: bool = False
    """Whether the row and the counters say so already."""
    is_dropped: bool = False
    """Whether nothing was called because the job was disabled or deleted, or the run was made before: it counts nowhere."""
    is_skipped: bool = False
    """Of a dropped run: whether the job was paused meanwhile, or another scheduler runs the slot, so that it counts as skipped."""


class CloseOrder(Wire):
    """Input of `close_run`: ends and counts that are not in the store yet; may be written any number of times."""

    job: str
    job_type: str = "other"
    ends: list[RunEnd] = Field(default_factory=list)
    counts: SlotCounts = SlotCounts()


class KeptEnd(Wire):
    """How a run ended by its row, where the workflow believes otherwise."""

    run_id: str
    status: RunStatus
    error: str | None = None


class Written(Wire):
    """Result of `close_run`."""

    run_ids: list[str] = Field(default_factory=list)
    """Of the ends that the store has now."""
    kept: list[KeptEnd] = Field(default_factory=list)
    """Those whose rows said already how they ended."""
    counts: SlotCounts | None = None
    """What the job's slots have come to with what the store knew."""


class DecisionOrder(Wire):
    """Input of `record_decision`: what a signal has changed already, so that rows and API say the same."""

    job: str
    paused: JobPause | None = None
    """None: resumed."""
    at: datetime


class Recorded(Wire):
    """Result of `record_decision`."""

    revision: int | None = None
    """Of the row that holds the decision; None if the job has no row any more."""


class Rejected(Wire):
    """A message that meant nothing."""

    message: str
    reason: str
    at: datetime


class LastRun(Wire):
    """What is remembered of the newest run."""

    run_id: str
    status: RunStatus
    outcome: str | None = None
    """Of a maintenance task; None of a job, or if nobody knows."""
    error: str | None = None
    at: datetime


class JobCarried(Wire):
    """What a workflow knows beside its spec, and hands on to its next run."""

    after: datetime | None = None
    """Up to where slots are dealt with; None for a job that begins now."""
    counts: SlotCounts = SlotCounts()
    counts_written: SlotCounts = SlotCounts()
    owed_slot: datetime | None = None
    """A slot that was due when the expression changed."""
    waiting: TriggerOrder | None = None
    recent_triggers: list[str] = Field(default_factory=list)
    last_run: LastRun | None = None
    failures: int = 0
    """Runs in a row that failed."""
    unwritten: list[RunEnd] = Field(default_factory=list)
    forgotten_ends: int = 0
    """Ends that the store never heard of, and that are not carried any more."""
    decisions: list[DecisionOrder] = Field(default_factory=list)
    last_rejected: Rejected | None = None
    stopping: bool = False


class JobInput(Wire):
    """Input of a job's workflow."""

    spec: JobSpec
    carried: JobCarried = JobCarried()

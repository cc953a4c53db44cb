"""Decides what is taken of another store of jobs, and what is told of each job before anything is changed.

1. A job is taken as its row says; what its row leaves out has the defaults of a registration. One that can't run is refused.
2. A job that is here already stays as it is: where it differs, that is refused, and somebody decides which of the two counts.
3. A run is taken once, with its id. One that is still under way there is taken when it has ended; after a day nobody ends it.
4. Slots since the newest scheduled run that was taken are not dealt with yet: the first one here follows that run.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from pydantic.alias_generators import to_camel

from vaultmesh.domain.errors import InvalidValue, described, one_line
from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.jobs.decisions import OWN_COLUMNS, Job, definition_of
from vaultmesh.domain.jobs.job import IsoTime, JobDefinition, check_text
from vaultmesh.domain.jobs.other_scheduler import SILENT_AFTER, slot_span
from vaultmesh.domain.jobs.records import Decisions, JobRow, RunRecord
from vaultmesh.domain.jobs.refusals import DeletedJob, JobRefused
from vaultmesh.domain.jobs.run import WORKER_DIED, RunStatus, TriggeredBy
from vaultmesh.domain.jobs.storable import storable, storable_count, storable_text

ENDS_WITHIN = timedelta(days=1)
"""A run that began earlier and still says `running` was left behind by a crash: its fate is unknown."""
PREVIEWED = 5
"""Next times that are told of a job."""
_STATUSES = frozenset(map(str, RunStatus))
_TRIGGERS = frozenset(map(str, TriggeredBy))
_COUNTS = ("items_processed", "items_succeeded", "items_failed")


class NotTaken(JobRefused):
    """A job or a run of another store can't be taken as it is; says why, and how to mend it."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What the runs of one job come to."""

    completed: int = 0
    failed: int = 0
    running: int = 0
    """Rows that say so."""
    newest_slot: datetime | None = None
    """When the newest scheduled run began."""
    newest_of_other: datetime | None = None
    """The same, of those that are not ours."""


@dataclass(frozen=True, slots=True)
class SourceJob:
    """A job of another store."""

    name: str
    row: JobRow | None
    """None if only what was decided about it is there: it was deleted."""
    decisions: Decisions
    policy: JsonValue
    tally: Tally = Tally()
    beside: Mapping[str, int] | None = None
    """What its counters hold beside the rows, as its store says; None if that store keeps no such account."""

    @property
    def job(self) -> Job:
        """The job as it stands there."""
        return Job(self.name, self.row, self.decisions, self.policy)

    def counters_beside(self) -> dict[str, int]:
        """Return what its counters hold beyond its rows: runs whose rows are gone."""
        row = self.row
        if row is None:
            return {"total": 0, "successful": 0, "failed": 0}
        ended = self.tally.completed + self.tally.failed
        return {
            "total": row.total_runs - ended,
            "successful": row.successful_runs - self.tally.completed,
            "failed": row.failed_runs - self.tally.failed,
        }

    def miscounts(self) -> dict[str, int]:
        """Return the counters that differ from the rows that are known to have been, with the difference."""
        known = self.beside or {}
        differences = {
            name: more - known.get(name, 0) for name, more in self.counters_beside().items()
        }
        return {name: difference for name, difference in differences.items() if difference}


# --- jobs ----------------------------------------------------------------------------------------------------------


def imported(here: Job, source: SourceJob, at: datetime) -> Job:
    """Return a job after it was taken from another store; the same as before if it is here already.

    Raises:
        NotTaken: its row can't be run, or differs from the one that is here.
        DeletedJob: somebody deleted it here.
    """
    if source.row is None:
        return _with_tombstone(here, source)
    definition, problem = definition_of(source.row, source.policy)
    if definition is None:
        message = f"its row can't be run: {problem}"
        raise NotTaken(message)
    if here.decisions.deleted is not None:
        message = (
            f"it was deleted here by {here.decisions.deleted.by} - if it is wanted again, run "
            f"`starter.py jobs allow {here.name}`, then import again"
        )
        raise DeletedJob(message)
    row = _complete(source.row, definition)
    if here.row is not None:
        if differing := differences(here.row, row):
            message = (
                f"it is here already, and differs in {', '.join(differing)}; nothing was changed - to take the other one, run "
                f"`starter.py jobs delete {here.name}` and `jobs allow {here.name}`, then import again"
            )
            raise NotTaken(message)
        return here
    kept = source.decisions.model_copy(
        update={
            "revision": here.decisions.revision,
            "told": here.decisions.told,
            "served": first_slot_after(here, source, at),
            "deleted": None,
        }
    )
    return Job(here.name, row, kept, source.policy if source.policy is not None else {})


def _with_tombstone(here: Job, source: SourceJob) -> Job:
    """Return a job that was deleted there, and nobody knows here: its service must not bring it back."""
    is_known = here.row is not None or here.decisions.revision > 0
    if is_known or source.decisions.deleted is None:
        return here
    decisions = here.decisions.model_copy(update={"deleted": source.decisions.deleted})
    return Job(here.name, None, decisions, here.policy)


def first_slot_after(here: Job, source: SourceJob, at: datetime) -> datetime:
    """Return up to where the slots of a job are dealt with, that is taken now."""
    known = (here.decisions.served, source.decisions.served, source.tally.newest_slot)
    return max(filter(None, known), default=at)


def _complete(row: JobRow, definition: JobDefinition) -> JobRow:
    """Return a row with everything that a registration has: tables of others may demand it."""
    return row.model_copy(
        update={
            "display_name": definition.display_name,
            "description": definition.description,
            "enabled": definition.enabled,
            "job_type": str(definition.job_type),
            "config": definition.config,
        }
    )


def differences(here: JobRow, there: JobRow) -> list[str]:
    """Return the columns in which two rows of a job differ, apart from counters and what its runs write."""
    return [name for name in OWN_COLUMNS if getattr(here, name) != getattr(there, name)]


# --- runs ----------------------------------------------------------------------------------------------------------


def read_run(values: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return a run's columns as they are written here.

    Raises:
        NotTaken: it can't be written; says what is wrong, and how to mend it.
    """
    run_id = _id(values.get("id"))
    if run_id is None:
        message = "its id is no UUID - give it one there"
        raise NotTaken(message)
    run = _record({**values, "id": run_id})
    if run.started_at is None:
        message = "it has no instant in started_at - write one there"
        raise NotTaken(message)
    if run.status not in _STATUSES:
        message = (
            f"its status is {described(run.status)} - write {', '.join(sorted(_STATUSES))} there"
        )
        raise NotTaken(message)
    if run.triggered_by not in {None, *_TRIGGERS}:
        message = f"its triggered_by is {described(run.triggered_by)} - write {', '.join(sorted(_TRIGGERS))} there"
        raise NotTaken(message)
    ended = _ended(run, now)
    error = ended.error_message
    return {
        **ended.model_dump(),
        **{name: storable_count(getattr(ended, name)) for name in _COUNTS},
        "job_type": ended.job_type or "other",
        "error_message": None if error is None else storable_text(error),
        "metadata": storable(ended.metadata),
        "triggered_by": ended.triggered_by or TriggeredBy.SCHEDULER,
        "triggered_by_user": _id(ended.triggered_by_user),
        "created_at": values.get("created_at") or ended.started_at,
    }


def _record(values: Mapping[str, Any]) -> RunRecord:
    try:
        run = RunRecord.model_validate(dict(values))
        check_text(run.job_name)
    except ValidationError as error:
        message = f"{one_line(error, RunRecord)} there"
        raise NotTaken(message) from None
    except InvalidValue as error:
        message = f"its job_name {error} there"
        raise NotTaken(message) from None
    if not run.job_name:
        message = "it names no job - write its job_name there"
        raise NotTaken(message)
    return run


def _ended(run: RunRecord, now: datetime) -> RunRecord:
    """Return a run that has ended; of one that a crash left behind the fate is unknown."""
    if run.status != RunStatus.RUNNING:
        return run
    if run.started_at is not None and now - run.started_at < ENDS_WITHIN:
        message = "it is still under way there - import again when it has ended"
        raise NotTaken(message)
    return run.model_copy(
        update={"status": str(RunStatus.FAILED), "completed_at": now, "error_message": WORKER_DIED}
    )


def _id(text: object) -> str | None:
    try:
        return str(uuid.UUID(str(text)))
    except ValueError:
        return None


# --- what is told --------------------------------------------------------------------------------------------------


class Fate(StrEnum):
    """What becomes of a job that is imported."""

    TAKEN = "taken"
    """It is new here."""
    UNCHANGED = "unchanged"
    """It is here already."""
    REFUSED = "refused"
    """It can't be taken; the reason says why, and how to mend it."""


class ImportedJob(BaseModel):
    """One job of an import, as it is told to people and programs."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, alias_generator=to_camel)

    name: str
    fate: Fate
    reason: str = ""
    """Why it is refused."""
    cron_expression: str = ""
    service: str = ""
    endpoint: str = ""
    enabled: bool = False
    next_runs: tuple[IsoTime, ...] = ()
    """Its next times, at most five."""
    why_idle: tuple[str, ...] = ()
    """Why it will not run."""
    warnings: tuple[str, ...] = ()
    """What deserves a look, a line each."""
    differences: tuple[str, ...] = ()
    """Columns in which it differs from the job that is here."""
    total_runs: int = 0
    running: int = 0
    """Rows there that still say `running`."""
    other_began_at: IsoTime | None = None
    """When another scheduler began a run of it last."""


def told_of_registration(
    definition: JobDefinition, fate: Fate, reason: str, at: datetime, service_problem: str
) -> ImportedJob:
    """Return what is told of a registration.

    Args:
        definition: the job as it will stand, or would.
        fate: what becomes of it.
        reason: why it is refused.
        at: now.
        service_problem: why its service can't be called from here; empty if it can.
    """
    next_runs = _next_runs(definition, at)
    return ImportedJob(
        name=definition.name,
        fate=fate,
        reason=reason,
        cron_expression=definition.cron_expression,
        service=definition.service,
        endpoint=definition.endpoint,
        enabled=definition.enabled,
        next_runs=next_runs,
        why_idle=_why_idle(definition, next_runs),
        warnings=(service_problem,) if service_problem else (),
    )


def told_of_job(
    source: SourceJob, here: Job, at: datetime, service_problem: Callable[[str], str]
) -> ImportedJob:
    """Return what is told of a job of another store, before it is taken."""
    fate, reason = Fate.TAKEN, ""
    try:
        fate = Fate.UNCHANGED if imported(here, source, at) == here else Fate.TAKEN
    except JobRefused as refusal:
        fate, reason = Fate.REFUSED, str(refusal)
    row = source.row or JobRow(job_name=source.name)
    definition, _ = definition_of(row, source.policy)
    known = {
        "total_runs": row.total_runs,
        "running": source.tally.running,
        "other_began_at": source.tally.newest_of_other,
    }
    if definition is None:
        texts = {
            name: getattr(row, name) or "" for name in ("cron_expression", "service", "endpoint")
        }
        report = ImportedJob(name=source.name, fate=fate, reason=reason, **texts)
        return report.model_copy(update={**known, "warnings": _warnings(source, "")})
    report = told_of_registration(definition, fate, reason, at, "")
    paused = source.decisions.paused
    pause = (
        (f"paused by {paused.by}{f': {paused.reason}' if paused.reason else ''}",) if paused else ()
    )
    differing = () if here.row is None else differences(here.row, _complete(row, definition))
    return report.model_copy(
        update={
            **known,
            "why_idle": (*report.why_idle, *pause),
            "warnings": _warnings(source, service_problem(definition.service)),
            "differences": tuple(differing),
        }
    )


def _next_runs(definition: JobDefinition, at: datetime) -> tuple[datetime, ...]:
    if not definition.enabled:
        return ()
    return tuple(read_cron(definition.cron_expression).upcoming(at, PREVIEWED))


def _why_idle(definition: JobDefinition, next_runs: tuple[datetime, ...]) -> tuple[str, ...]:
    if not definition.enabled:
        return ("disabled",)
    return () if next_runs else (f"no date ever matches {definition.cron_expression!r}",)


def _warnings(source: SourceJob, service_problem: str) -> tuple[str, ...]:
    lines = [service_problem] if service_problem else []
    if miscounts := source.miscounts():
        said = ", ".join(f"{name}_runs by {number:+d}" for name, number in miscounts.items())
        lines.append(f"its counters differ from its rows: {said}; they are kept")
    if source.tally.running:
        lines.append(f"{source.tally.running} of its rows still say running")
    return tuple(lines)


def works_on(source: SourceJob, at: datetime) -> bool:
    """Whether another scheduler still begins the runs of a job, as far as its last two slots tell."""
    began = source.tally.newest_of_other
    if began is None:
        return False
    if at - began < SILENT_AFTER:
        return True
    definition, _ = definition_of(source.row or JobRow(job_name=source.name), source.policy)
    slots = () if definition is None else _next_runs(definition, at)
    return (
        bool(slots)
        and definition is not None
        and (began >= slot_span(read_cron(definition.cron_expression), slots[0]).watched_from)
    )

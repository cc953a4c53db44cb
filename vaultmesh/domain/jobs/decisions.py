"""Decides what a change of a job comes to: which of client and administrator wins, and what is kept beside.

1. What an administrator decided (expression, enabled, deleted) wins over what a service registers, until `reset` or `allow`.
2. What a service registers replaces everything else; its expression and state are kept beside where they don't stand.
3. A row that was there before its service registered with us was changed by somebody where it differs: that is a decision too.
4. A name belongs to the service that has it; an administrator lets another one take it over, once.
5. Enabling a job, another expression and a new row begin anew: slots of the time before don't exist.
6. Whoever changes a row by SQL decides as an administrator does; whoever deletes one does not forbid that it comes back.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from pydantic import JsonValue

from vaultmesh.domain.errors import InvalidDocument, described
from vaultmesh.domain.jobs.job import JobDefinition, read_row
from vaultmesh.domain.jobs.records import (
    SQL,
    Decision,
    Decisions,
    JobRevision,
    JobRow,
    Pause,
    StoredJob,
)
from vaultmesh.domain.jobs.refusals import DeletedJob, ForeignName, UnknownJob
from vaultmesh.domain.jobs.tasks import (
    TaskSchedule,
    begins_anew,
    is_task,
    policy_of,
    read_task,
    served_from,
    was_offered,
)

OWN_COLUMNS = (
    "job_name", "display_name", "description", "cron_expression", "enabled", "job_type", "service", "endpoint", "config",
)  # fmt: skip
"""What makes a job; counters and what its runs write are left out."""
_MOST_REMEMBERED = 4_096
"""Definitions that were read; more jobs than that are read again."""


class Action(StrEnum):
    """What was done to a job, in the words of the audit."""

    REGISTER = "register"
    ENABLE = "enable"
    DISABLE = "disable"
    CRON = "cron"
    DELETE = "delete"
    RESET = "reset"
    ALLOW = "allow"
    PAUSE = "pause"
    RESUME = "resume"
    TAKE_OVER = "take over"
    """Its row was there before we were, or was inserted by SQL."""
    IMPORT = "import"
    """It was taken from another store, with its history."""
    OFFER = "offer"
    """maintenance.yaml names the task, or says something else of it."""
    WITHDRAW = "withdraw"
    """maintenance.yaml names the task no more."""
    RUN = "run"
    """A run of a maintenance task ended."""
    SQL_EDIT = "sql edit"
    SQL_DELETE = "sql delete"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as a change meets it, and leaves it."""

    name: str
    row: JobRow | None = None
    decisions: Decisions = field(default_factory=Decisions)
    policy: JsonValue = field(default_factory=dict)

    def existing(self) -> JobRow:
        """Return the job's row; raises `UnknownJob` if there is none."""
        if self.row is None:
            message = f"Job {self.name} not found"
            raise UnknownJob(message)
        return self.row

    def stored(self) -> StoredJob | None:
        """Return it as it is read; None without a row."""
        if self.row is None:
            return None
        definition, problem = definition_of(self.row, self.policy)
        return StoredJob(
            row=self.row, decisions=self.decisions, definition=definition, problem=problem
        )

    def revision(self) -> JobRevision:
        """Return what its workflow must know."""
        stored = self.stored()
        return JobRevision(
            name=self.name,
            revision=self.decisions.revision,
            definition=None if stored is None else stored.definition,
            problem="" if stored is None else stored.problem,
            paused=self.decisions.paused,
            served=self.decisions.served,
            missed=self.decisions.missed,
            skipped=self.decisions.skipped,
            task=read_task(self.policy) if is_task(self.name) else None,
        )

    @property
    def has_workflow(self) -> bool:
        """Whether the job has, or had, a workflow: of a task, whether a file ever named it."""
        return not is_task(self.name) or was_offered(self.policy)


def definition_of(row: JobRow, policy: JsonValue) -> tuple[JobDefinition | None, str]:
    """Return what runs by a row; or None, and why the row can't be run."""
    return _definition(json.dumps([_own(row), policy]))


@lru_cache(maxsize=_MOST_REMEMBERED)
def _definition(text: str) -> tuple[JobDefinition | None, str]:
    """Read a row and a policy once: all jobs are listed often, and expressions take time to read."""
    row, policy = json.JSONDecoder().decode(text)
    try:
        return read_row(row, policy), ""
    except InvalidDocument as error:
        return None, "; ".join(map(str, error.problems))


def _own(row: JobRow) -> dict[str, JsonValue]:
    return {name: getattr(row, name) for name in OWN_COLUMNS}


def row_hash(row: JobRow) -> str:
    """Return what tells a row from an edited one, computed from what was read back: a database rewrites JSON."""
    return hashlib.sha256(json.dumps(_own(row), sort_keys=True).encode()).hexdigest()


# --- what services do ----------------------------------------------------------------------------------------------


def registered(job: Job, definition: JobDefinition, at: datetime) -> Job:
    """Return a job after its service registered it.

    Raises:
        DeletedJob: an administrator deleted it.
        ForeignName: another service has the name.
    """
    _check_may_register(job, definition)
    kept = _with_differences_decided(job, definition, at)
    cron = kept.row.cron_expression if kept.row and kept.decisions.cron else None
    enabled = kept.row.enabled if kept.row and kept.decisions.enabled else None
    row = (kept.row or JobRow(job_name=definition.name)).model_copy(
        update={
            "display_name": definition.display_name,
            "description": definition.description,
            "cron_expression": definition.cron_expression if cron is None else cron,
            "enabled": definition.enabled if enabled is None else enabled,
            "job_type": str(definition.job_type),
            "service": definition.service,
            "endpoint": definition.endpoint,
            "config": definition.config,
        }
    )
    decided = {
        "client_cron": definition.cron_expression,
        "client_enabled": definition.enabled,
        "allowed": None if _is_foreign(job.row, definition) else kept.decisions.allowed,
    }
    policy = definition.policy.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    after = Job(job.name, row, kept.decisions.model_copy(update=decided), policy)
    return _begun_anew(job, after, at)


def _check_may_register(job: Job, definition: JobDefinition) -> None:
    decisions = job.decisions
    if decisions.deleted is not None:
        message = (
            f"Job {job.name} was deleted by {decisions.deleted.by} - an administrator has to allow it again: "
            f"`starter.py jobs allow {job.name}`"
        )
        raise DeletedJob(message)
    if job.row is not None and _is_foreign(job.row, definition) and decisions.allowed is None:
        message = (
            f"Job {job.name} belongs to {described(job.row.service)}, and not to {described(definition.service)} - use another "
            f"name, or let an administrator allow it: `starter.py jobs allow {job.name}`"
        )
        raise ForeignName(message)


def _is_foreign(row: JobRow | None, definition: JobDefinition) -> bool:
    return row is not None and row.service not in {None, "", definition.service}


def _with_differences_decided(job: Job, definition: JobDefinition, at: datetime) -> Job:
    """Keep what stands in a row that its service never registered with us, where it differs: somebody changed it."""
    if job.row is None or job.decisions.client_cron is not None:
        return job
    decision = Decision(by=SQL, at=at)
    decided: dict[str, Decision] = {}
    if job.row.cron_expression not in {None, "", definition.cron_expression}:
        decided["cron"] = decision
    if job.row.enabled not in {None, definition.enabled}:
        decided["enabled"] = decision
    return replace(job, decisions=job.decisions.model_copy(update=decided))


# --- what administrators decide ------------------------------------------------------------------------------------


def with_enabled(job: Job, enabled: bool, decision: Decision) -> Job:
    """Return a job after somebody enabled or disabled it; raises `UnknownJob`."""
    row = job.existing().model_copy(update={"enabled": enabled})
    return _decided(job, row, decision, enabled=decision)


def with_cron(job: Job, expression: str, decision: Decision) -> Job:
    """Return a job after somebody decided its expression, which can be read; raises `UnknownJob`."""
    row = job.existing().model_copy(update={"cron_expression": expression})
    return _decided(job, row, decision, cron=decision)


def reset(job: Job, decision: Decision) -> Job:
    """Return a job with the expression and state that its service registered last; raises `UnknownJob`."""
    row, decisions = job.existing(), job.decisions
    client = {"cron_expression": decisions.client_cron, "enabled": decisions.client_enabled}
    row = row.model_copy(update={key: value for key, value in client.items() if value is not None})
    return _decided(job, row, decision, cron=None, enabled=None)


def deleted(job: Job, decision: Decision) -> Job:
    """Return a job after somebody deleted it: only that and its history stay; raises `UnknownJob`."""
    job.existing()
    kept = job.decisions
    after = Decisions(
        revision=kept.revision,
        told=kept.told,
        missed=kept.missed,
        skipped=kept.skipped,
        deleted=decision,
    )
    return Job(job.name, None, after)


def allowed(job: Job, decision: Decision) -> Job:
    """Return a job that may be registered again, or taken over by another service; raises `UnknownJob`."""
    if job.decisions.deleted is None:
        return _decided(job, job.existing(), decision, allowed=decision)
    return replace(job, decisions=job.decisions.model_copy(update={"deleted": None}))


def paused(job: Job, pause: Pause) -> Job:
    """Return a job after somebody paused it."""
    return replace(job, decisions=job.decisions.model_copy(update={"paused": pause}))


def resumed(job: Job, since: datetime | None = None) -> Job:
    """Return a job after somebody resumed it; with `since` only a pause that began then is ended, and another one stays."""
    if since is not None and (job.decisions.paused is None or job.decisions.paused.at != since):
        return job
    return replace(job, decisions=job.decisions.model_copy(update={"paused": None}))


def _decided(job: Job, row: JobRow, decision: Decision, **decided: Decision | None) -> Job:
    after = replace(job, row=row, decisions=job.decisions.model_copy(update=decided))
    return _begun_anew(job, after, decision.at)


def _begun_anew(before: Job, after: Job, at: datetime) -> Job:
    """Note that no slot before `at` exists, if the job was enabled, has another expression, or is new."""
    if after.row is None:
        return after
    old = before.row
    enabled = after.row.enabled is True and (old is None or old.enabled is not True)
    another = old is None or old.cron_expression != after.row.cron_expression
    if not (enabled or another):
        return after
    served = max(filter(None, (after.decisions.served, at)))
    return replace(after, decisions=after.decisions.model_copy(update={"served": served}))


# --- what maintenance.yaml says ------------------------------------------------------------------------------------


def offered(job: Job, task: TaskSchedule, at: datetime) -> Job:
    """Return a maintenance task as the file says it now; a pause stays."""
    before = read_task(job.policy)
    decisions = job.decisions.model_copy(
        update={"client_cron": task.cron, "client_enabled": task.enabled}
    )
    if begins_anew(before, task):
        served = served_from(decisions.served, at)
        decisions = decisions.model_copy(update={"served": served})
    return replace(job, decisions=decisions, policy=policy_of(task))


def withdrawn(job: Job) -> Job:
    """Return a maintenance task that the file names no more: its workflow stops, its history stays."""
    if read_task(job.policy) is None:
        return job
    decisions = job.decisions.model_copy(update={"client_cron": None, "client_enabled": None})
    return replace(job, decisions=decisions, policy=policy_of(None))


# --- what happens by SQL -------------------------------------------------------------------------------------------


def taken_from_sql(
    job: Job, *, was_known: bool, at: datetime, begun: datetime | None = None
) -> tuple[Job, Action]:
    """Return a job whose row somebody inserted, changed or deleted by SQL.

    Args:
        job: as it stands now.
        was_known: whether we have seen a row of this job before.
        at: when it was noticed.
        begun: when the scheduler before began its newest scheduled run; None if the job was ever ours. Its slots since
            then are nobody's but ours: that one may have been stopped before it was noticed.
    """
    decisions = job.decisions
    if job.row is None:
        kept = decisions.model_copy(
            update={"client_cron": None, "client_enabled": None, "cron": None, "enabled": None}
        )
        return Job(job.name, None, kept.model_copy(update={"served": None})), Action.SQL_DELETE
    decision = Decision(by=SQL, at=at)
    since = at if begun is None or job.row.enabled is not True else min(begun, at)
    decided: dict[str, object] = {
        "deleted": None,
        "served": max(filter(None, (decisions.served, since))),
    }
    if decisions.client_cron is not None:
        if job.row.cron_expression != decisions.client_cron and decisions.cron is None:
            decided["cron"] = decision
        if job.row.enabled != decisions.client_enabled and decisions.enabled is None:
            decided["enabled"] = decision
    action = Action.SQL_EDIT if was_known else Action.TAKE_OVER
    return replace(job, decisions=decisions.model_copy(update=decided)), action


def changes(before: Job, after: Job) -> dict[str, JsonValue]:
    """Return what an audit line says of a change: what differs of a row, as it was and is, without its long texts."""
    columns = ("cron_expression", "enabled", "service", "endpoint")
    old = {} if before.row is None else before.row.model_dump(include=set(columns), mode="json")
    new = {} if after.row is None else after.row.model_dump(include=set(columns), mode="json")
    said: dict[str, JsonValue] = {
        key: {"was": old.get(key), "is": new.get(key)}
        for key in columns
        if old.get(key) != new.get(key)
    }
    if before.decisions.paused != after.decisions.paused:
        said["paused"] = {"was": _reason(before), "is": _reason(after)}
    return said


def _reason(job: Job) -> str | None:
    return None if job.decisions.paused is None else job.decisions.paused.reason

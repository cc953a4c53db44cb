"""Defines a maintenance task as the job store and its workflow know it, and what becomes of it when maintenance.yaml changes.

1. A task has no row in `job_schedules`: it belongs to a file. What the file said last stands in `job_decisions.policy`.
2. Nothing secret is kept here: the database's URL, queries and addresses stay in the file, which each run reads anew.
3. A task that is new, enabled again or has another expression begins at that instant; a pause and the history stay.
"""

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field, JsonValue, ValidationError

from vaultmesh.domain.messages import Wire
from vaultmesh.domain.names import MAINTENANCE_PREFIX

MOST_ATTEMPTS = 3
"""How often a run is tried within its deadline, where it may be repeated."""
TASK_KEY = "task"
"""Key of the policy of a maintenance task; its value is null once the task is gone from the file."""


class TaskSchedule(Wire):
    """When a task runs and for how long; its name says what the file is asked for."""

    kind: str
    cron: str
    enabled: bool = True
    timeout_seconds: Annotated[int, Field(ge=1)] = 60
    """Its deadline: all attempts of a run are within it."""
    catch_up_seconds: Annotated[int, Field(ge=1)] = 60
    """How old a slot may be that still runs."""
    attempts: Annotated[int, Field(ge=1)] = MOST_ATTEMPTS
    """1 of a task that must not be done again if it may have been done: a call."""
    version: str = ""
    """Changes with the task's entry in the file."""

    @property
    def catch_up(self) -> timedelta:
        """How old a slot may be that still runs."""
        return timedelta(seconds=self.catch_up_seconds)

    @property
    def deadline(self) -> timedelta:
        """How long one run may take."""
        return timedelta(seconds=self.timeout_seconds)


def task_job_name(task: str) -> str:
    """Return under which name a task stands among the jobs."""
    return f"{MAINTENANCE_PREFIX}{task}"


def is_task(job: str) -> bool:
    """Whether a job's name is a maintenance task's."""
    return job.startswith(MAINTENANCE_PREFIX)


def task_name(job: str) -> str:
    """Return the task's own name, as the file has it."""
    return job.removeprefix(MAINTENANCE_PREFIX)


def was_offered(policy: JsonValue) -> bool:
    """Whether a file ever named the task of this policy; one that was only paused was not."""
    return isinstance(policy, dict) and TASK_KEY in policy


def read_task(policy: JsonValue) -> TaskSchedule | None:
    """Return what the file said last; None if it names the task no more, or nobody knows."""
    value = policy.get(TASK_KEY) if isinstance(policy, dict) else None
    try:
        return None if value is None else TaskSchedule.model_validate(value)
    except ValidationError:
        return None


def policy_of(task: TaskSchedule | None) -> JsonValue:
    """Return what is kept of a task."""
    return {TASK_KEY: None if task is None else task.model_dump(mode="json")}


def begins_anew(before: TaskSchedule | None, after: TaskSchedule) -> bool:
    """Whether slots of the time before do not exist."""
    if before is None or before.cron != after.cron:
        return True
    return after.enabled and not before.enabled


def served_from(served: datetime | None, at: datetime) -> datetime:
    """Return up to where slots are dealt with, of a task that begins at `at`."""
    return at if served is None else max(served, at)

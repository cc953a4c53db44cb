"""Reads messages to a job's workflow, any JSON at all, as one command or one clear refusal.

1. A function here returns a command or raises InvalidValue; no JSON makes it raise anything else.
2. Surplus arguments and unknown keys are refused: no misspelt command is half obeyed.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pydantic import JsonValue, ValidationError

from vaultmesh.domain.complaints import did_you_mean
from vaultmesh.domain.errors import InvalidValue, bounded_text, described, one_line, only_argument
from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.jobs.messages import JobSpec, TriggerOrder
from vaultmesh.domain.names import CONFIGURE, PAUSE, RESUME, STOP, TRIGGER


@dataclass(frozen=True, slots=True)
class Pause:
    """Let no slot run."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resume:
    """Let slots run again."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """Run the job now; the id is the workflow's to choose where none is given."""

    user: str | None = None
    run_id: str | None = None

    def order(self, run_id: str) -> TriggerOrder:
        """Return the order, with an id of the workflow's own if none was given."""
        return TriggerOrder(run_id=self.run_id or run_id, user=self.user)


@dataclass(frozen=True, slots=True)
class Configure:
    """Take a revision of the job."""

    spec: JobSpec


@dataclass(frozen=True, slots=True)
class Stop:
    """End once a run that is under way has ended; the revision of the row's deletion."""

    revision: int | None = None


Command = Pause | Resume | Trigger | Configure | Stop

SIGNALS = (PAUSE, RESUME, TRIGGER)
UPDATES = (CONFIGURE, TRIGGER, STOP)


def read_signal(name: str, values: Sequence[JsonValue]) -> Command:
    """Return the command that a signal is.

    Raises:
        InvalidValue: unknown name, or arguments that mean nothing.
    """
    match name:
        case "pause":
            return Pause(_text_of(only_argument(values), "reason"))
        case "resume":
            _refuse_any(name, values)
            return Resume()
        case "trigger":
            return _trigger(values)
        case _:
            raise _unknown(name, SIGNALS)


def read_update(name: str, values: Sequence[JsonValue], job: str) -> Command:
    """Return the command that an update of a job's workflow is.

    Raises:
        InvalidValue: unknown name, arguments that mean nothing, or another job's.
    """
    match name:
        case "configure":
            return Configure(_spec(only_argument(values), job))
        case "trigger":
            return _trigger(values)
        case "stop":
            keys = _keys(only_argument(values), ("revision",))
            revision = keys.get("revision")
            if revision is not None and (
                isinstance(revision, bool) or not isinstance(revision, int)
            ):
                message = f"revision is {described(revision)} - send a whole number"
                raise InvalidValue(message)
            return Stop(revision)
        case _:
            raise _unknown(name, UPDATES)


def _trigger(values: Sequence[JsonValue]) -> Trigger:
    keys = _keys(only_argument(values), ("user", "run_id"))
    run_id = keys.get("run_id")
    return Trigger(_user(keys.get("user")), None if run_id is None else _uuid(run_id))


def _user(value: JsonValue) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        message = f"user is {described(value)} - send a text that says who asks, or leave it out"
        raise InvalidValue(message)
    return bounded_text(value, "user")


def _uuid(value: JsonValue) -> str:
    try:
        return str(uuid.UUID(value if isinstance(value, str) else ""))
    except ValueError:
        message = f"run_id is {described(value)} - send a UUID, or leave it out"
        raise InvalidValue(message) from None


def _spec(value: JsonValue, job: str) -> JobSpec:
    try:
        spec = JobSpec.model_validate(value)
    except ValidationError as error:
        message = f"this is no job's definition: {one_line(error, JobSpec)}"
        raise InvalidValue(message) from error
    if spec.name != job:
        message = f"this is the definition of {described(spec.name)}, and not of {described(job)}"
        raise InvalidValue(message)
    read_cron(spec.cron)
    return spec


def _text_of(value: JsonValue, key: str) -> str:
    """Return a text that stands alone or under its key; empty if there is none."""
    if isinstance(value, dict):
        value = _keys(value, (key,)).get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        message = f"{key} is {described(value)} - send a text"
        raise InvalidValue(message)
    return bounded_text(value, key)


def _keys(value: JsonValue, known: Collection[str]) -> dict[str, JsonValue]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        message = f"{described(value)} means nothing here - send an object with {', '.join(known)}, or nothing"
        raise InvalidValue(message)
    for key in value:
        if key not in known:
            message = f"{described(key)} is no key here; {did_you_mean(key, known)} there are: {', '.join(known)}"
            raise InvalidValue(message)
    return value


def _refuse_any(name: str, values: Sequence[JsonValue]) -> None:
    if only_argument(values) is not None:
        message = f"{name} takes nothing"
        raise InvalidValue(message)


def _unknown(name: str, known: Sequence[str]) -> InvalidValue:
    return InvalidValue(f"a job knows no message {described(name)}; there are: {', '.join(known)}")

"""Defines a job: what a service registers, what may be written there, and what is shown of it.

1. Keys are camelCase, as in the API; keys that are not known are ignored, but in `policy`, which is ours alone.
2. The cron expression and the endpoint are kept as they were written.
3. A row that somebody wrote by SQL may be partial; what it leaves out decides nothing.
4. What no table can hold is refused here: NUL, half characters, numbers that are not finite.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from math import isfinite
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    ValidationError,
)
from pydantic.alias_generators import to_camel

from vaultmesh.domain.complaints import did_you_mean
from vaultmesh.domain.errors import InvalidDocument, InvalidValue, Problem, described, problems_of
from vaultmesh.domain.instants import write_time
from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.names import MAINTENANCE_PREFIX

LONGEST_WAIT_SECONDS = 604_800
"""A week: a longer time-out or catch-up window is a slip."""
MOST_ATTEMPTS = 100
LONGEST_NAME = 200
"""Bytes of a job's name: it is part of a workflow id."""

LONGEST_ENDPOINT = 2_000
"""Characters; servers refuse longer request lines."""

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_ENCODED = re.compile("%(2e|2f|5c)", re.IGNORECASE)
_DECODED = {"2e": ".", "2f": "/", "5c": "\\"}
_DOTS = re.compile(r"\.{1,2}(;|$)")
"""A dot segment, also with parameters: some servers take `/..;x/` for one."""
_SERVICE_VARIABLE = re.compile(r"[A-Z0-9][A-Z0-9_]*_SERVICE_URL")
SERVICES_VARIABLE = "JOBS_SERVICES"
"""Environment variable that names services as `name=url,...`."""


class JobType(StrEnum):
    """What kind of work a job does; it decides nothing here."""

    EMAIL = "email"
    CRAWLER = "crawler"
    CLEANUP = "cleanup"
    ANALYTICS = "analytics"
    OTHER = "other"


def check_text(text: str) -> str:
    """Return a text that a table can hold."""
    if "\x00" in text:
        message = "holds a NUL character - remove it"
        raise InvalidValue(message)
    if _HALF_CHARACTER.search(text):
        message = "holds half of a character (a lone surrogate) - write whole characters"
        raise InvalidValue(message)
    return text


def check_name(name: str) -> str:
    """Return a job's name."""
    if name.startswith(MAINTENANCE_PREFIX):
        message = f"begins with {MAINTENANCE_PREFIX}, as maintenance tasks do - use another name"
        raise InvalidValue(message)
    if len(name.encode()) > LONGEST_NAME:
        message = f"is too long - write at most {LONGEST_NAME} bytes"
        raise InvalidValue(message)
    if name != name.strip() or _has_control_characters(name):
        message = "has control characters, or spaces around it - remove them"
        raise InvalidValue(message)
    return name


def check_cron(text: str) -> str:
    """Return a cron expression as it was written, if it can be read."""
    read_cron(text)
    return text


def check_endpoint(endpoint: str) -> str:
    """Return the path that is appended to a service's URL, with its query if it has one.

    It stays on that service and below its URL: dot segments are refused, also where they are encoded.
    """
    if not endpoint.startswith("/"):
        message = "is no path - begin with /, such as /api/jobs/nightly-report"
        raise InvalidValue(message)
    if _has_control_characters(endpoint) or "\\" in endpoint or "#" in endpoint:
        message = "holds a control character, a backslash or # - remove it"
        raise InvalidValue(message)
    if len(endpoint) > LONGEST_ENDPOINT:
        message = f"is too long - write at most {LONGEST_ENDPOINT} characters"
        raise InvalidValue(message)
    path = _ENCODED.sub(lambda match: _DECODED[match[1].lower()], endpoint.partition("?")[0])
    if any(_DOTS.match(segment) for segment in re.split(r"[/\\]", path)):
        message = "holds a segment . or .. - write the path that is meant"
        raise InvalidValue(message)
    return endpoint


def check_config(config: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return a job's own settings, which are handed on as they are."""
    values: list[JsonValue] = [config]
    while values:
        match values.pop():
            case dict() as inner:
                values.extend([*inner.keys(), *inner.values()])
            case list() as entries:
                values.extend(entries)
            case str() as text:
                check_text(text)
            case float() as number if not isfinite(number):
                message = "holds a number that is not finite - write another one"
                raise InvalidValue(message)
            case _:
                pass
    return config


def _has_control_characters(text: str) -> bool:
    return any(unicodedata.category(character) == "Cc" for character in text)


Text = Annotated[str, Field(min_length=1), AfterValidator(check_text)]
JobName = Annotated[Text, AfterValidator(check_name)]
CronExpression = Annotated[Text, AfterValidator(check_cron)]
Endpoint = Annotated[Text, AfterValidator(check_endpoint)]
JobConfig = Annotated[dict[str, JsonValue], AfterValidator(check_config)]
Seconds = Annotated[int, Field(ge=1, le=LONGEST_WAIT_SECONDS)]
IsoTime = Annotated[datetime, PlainSerializer(write_time, return_type=str, when_used="json")]


class _Body(BaseModel):
    """Base of what the API takes and gives: frozen and strict, and clients may send more than we know."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="ignore",
        populate_by_name=True,
        alias_generator=to_camel,
        hide_input_in_errors=True,
    )


class JobPolicy(_Body):
    """How long a job may take, how late it may start, and whether a call may be repeated (S5)."""

    model_config = ConfigDict(extra="forbid")

    timeout_seconds: Seconds = 300
    """Of the whole call."""
    catch_up_seconds: Seconds = 60
    """How old a slot may be that still runs."""
    idempotent: bool = False
    """Whether the job can take the same call twice: then one whose fate is unknown is repeated."""
    max_attempts: Annotated[int, Field(ge=1, le=MOST_ATTEMPTS)] = 1
    """Of one run; heeded for idempotent jobs alone."""

    @property
    def timeout(self) -> timedelta:
        """How long the whole call may take."""
        return timedelta(seconds=self.timeout_seconds)

    @property
    def catch_up(self) -> timedelta:
        """How old a slot may be that still runs."""
        return timedelta(seconds=self.catch_up_seconds)

    @property
    def attempts(self) -> int:
        """How often a call may be sent that may have been received."""
        return self.max_attempts if self.idempotent else 1


class JobDefinition(_Body):
    """A job as its service registers it."""

    name: JobName
    display_name: Text
    description: Text
    cron_expression: CronExpression
    enabled: bool
    job_type: JobType = Field(strict=False)
    service: Text
    """Chooses the URL that the endpoint is appended to."""
    endpoint: Endpoint
    config: JobConfig = Field(default_factory=dict)
    policy: JobPolicy = JobPolicy()

    def next_run(self, after: datetime) -> datetime | None:
        """Return the next slot; None while the job is disabled, or if there is none."""
        return read_cron(self.cron_expression).next_after(after) if self.enabled else None


class JobView(_Body):
    """A job as the API lists it. `isRunning` says that it is armed, as it always did, and not that it is being run."""

    name: str
    display_name: str
    description: str
    cron_expression: str
    enabled: bool
    is_running: bool
    job_type: str
    service: str
    endpoint: str
    last_run_at: IsoTime | None = None
    next_run_at: IsoTime | None = None
    last_run_status: RunStatus | None = Field(default=None, strict=False)
    last_run_duration: int | None = None
    """Milliseconds; 0 is 0, and only a job that never ran has none."""
    total_runs: int = 0
    successful_runs: int = 0
    failed_runs: int = 0
    config: dict[str, JsonValue] = Field(default_factory=dict)


def read_registration(body: JsonValue) -> JobDefinition:
    """Read the body of a registration.

    Raises:
        InvalidDocument: holds everything that is wrong, each at its key.
    """
    if not isinstance(body, Mapping):
        problem = f"the body is {described(body)} - send an object with the job's keys and values"
        raise InvalidDocument([Problem((), problem)])
    try:
        return JobDefinition.model_validate(body, by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidDocument(problems_of(error, JobDefinition)) from None


def read_row(row: Mapping[str, JsonValue], policy: JsonValue = None) -> JobDefinition:
    """Read a row of `job_schedules`, which may be written by SQL with name, expression, service and endpoint alone.

    Args:
        row: its columns by name; what is null has its default.
        policy: what our own table says of the job; null for the defaults.

    Raises:
        InvalidDocument: the job can't run as the row stands; names keys as the API does.
    """
    kinds = {str(kind) for kind in JobType}
    title = row.get("display_name") or row.get("job_name")
    return read_registration(
        {
            "name": row.get("job_name"),
            "displayName": title,
            "description": row.get("description") or title,
            "cronExpression": row.get("cron_expression"),
            "enabled": row.get("enabled") is True,
            "jobType": kind if (kind := row.get("job_type")) in kinds else JobType.OTHER,
            "service": row.get("service"),
            "endpoint": row.get("endpoint"),
            "config": {} if row.get("config") is None else row["config"],
            "policy": {} if policy is None else policy,
        }
    )


def variable_of(service: str, suffix: str) -> str:
    """Return the environment variable of a service: of `email-service` and `URL`, `EMAIL_SERVICE_URL`."""
    return f"{service.upper().replace('-', '_')}_{suffix}"


def unknown_service(service: str, known: Collection[str]) -> str:
    """Return the refusal of a service whose URL nobody named; `known` are the names that have one."""
    meant = did_you_mean(service, known)
    variable = variable_of(service, "URL")
    own = f"set {variable}, or " if is_service_url(variable) else ""
    mend = f"{own}name it in {SERVICES_VARIABLE}"
    return f"{described(service)} has no URL here - {f'{meant} Else {mend}' if meant else mend}"


def is_service_url(variable: str) -> bool:
    """Whether an environment variable is read as a service's URL; others hold addresses of other things."""
    return _SERVICE_VARIABLE.fullmatch(variable) is not None

"""Defines the bodies, queries and answers of the API that no rule of the domain needs."""

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    model_serializer,
)
from pydantic.alias_generators import to_camel

from vaultmesh.domain.errors import LONGEST_MESSAGE, InvalidValue
from vaultmesh.domain.instants import read_time, write_time
from vaultmesh.domain.jobs.job import JobView, check_text
from vaultmesh.domain.jobs.records import RunRecord, RunStats
from vaultmesh.domain.jobs.run import RunStatus

MOST_EXECUTIONS, MOST_DAYS = 100, 365
LARGEST_OFFSET = 1_000_000_000
"""More rows than any history holds."""
_DIGITS = re.compile(r"[0-9]{1,15}")
IsoTime = Annotated[
    datetime, PlainSerializer(write_time, return_type=str), Field(examples=["2026-01-15T10:00:00Z"])
]


class _Form(BaseModel):
    """Base of what is in camelCase; keys that are not known are ignored."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="ignore",
        populate_by_name=True,
        alias_generator=to_camel,
        hide_input_in_errors=True,
    )


def _whole(value: object) -> object:
    """Read digits: what stands in a query is text."""
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, str):
        message = "is not a whole number - write digits, once"
        raise InvalidValue(message)
    return value


_WHOLE = BeforeValidator(_whole)
"""Stands last: so the limits stand in the description, too."""


# --- requests ----------------------------------------------------------------------------------------------------


class TriggerBody(_Form):
    """Who asks for a run; left out where nobody is known."""

    user_id: Annotated[str, Field(max_length=200), AfterValidator(check_text)] = ""


class CronBody(_Form):
    """Another cron expression for a job."""

    cron_expression: Annotated[str, AfterValidator(check_text)]


class PauseBody(_Form):
    """Why jobs are paused."""

    reason: Annotated[
        str, Field(min_length=1, max_length=LONGEST_MESSAGE), AfterValidator(check_text)
    ]


class ResumeBody(_Form):
    """Which pause ends: that of all jobs which were paused at this instant."""

    paused_at: Annotated[IsoTime, BeforeValidator(read_time)]


class HistoryQuery(_Form):
    """Which part of a history is wanted."""

    limit: Annotated[int, Field(ge=1, le=MOST_EXECUTIONS), _WHOLE] = 20
    offset: Annotated[int, Field(ge=0, le=LARGEST_OFFSET), _WHOLE] = 0


class StatsQuery(_Form):
    """Over how many days sums are wanted."""

    days: Annotated[int, Field(ge=1, le=MOST_DAYS), _WHOLE] = 30


class CronQuery(_Form):
    """A cron expression whose next times are wanted."""

    expression: Annotated[str, Field(min_length=1), AfterValidator(check_text)]


# --- answers -----------------------------------------------------------------------------------------------------


class ErrorAnswer(_Form):
    """What a route refuses, or fails at."""

    error: str
    message: str


class MessageAnswer(_Form):
    """What was done."""

    message: str


class RegistrationAnswer(MessageAnswer):
    """A job is registered."""

    success: Literal[True] = True


class CronAnswer(MessageAnswer):
    """A job has another cron expression."""

    cron_expression: str


class DecidedAnswer(MessageAnswer):
    """What was decided about several jobs."""

    jobs: tuple[str, ...]
    """Those that it changed."""
    unheard: tuple[str, ...] = ()
    """Those of them whose workflows have not heard of it yet; workers with role jobs tell them."""


class JobsAnswer(_Form):
    """All jobs, by name."""

    jobs: tuple[JobView, ...]


class RunResult(_Form):
    """How a run ended. Counts that its handler left out are 0, as in the history."""

    success: bool
    """Whether it completed. Of a run that is still under way: whether it was triggered; then `metadata.status` is `running`."""
    items_processed: int | None = None
    items_succeeded: int | None = None
    items_failed: int | None = None
    error: str | None = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict)

    @classmethod
    def of(cls, run: RunRecord) -> "RunResult":
        """Return how a run ended, by its row."""
        return cls(
            success=run.status == RunStatus.COMPLETED,
            items_processed=run.items_processed,
            items_succeeded=run.items_succeeded,
            items_failed=run.items_failed,
            error=run.error_message,
            metadata=run.metadata if isinstance(run.metadata, dict) else {},
        )

    @model_serializer
    def _written(self) -> dict[str, JsonValue]:
        counts = {
            "itemsProcessed": self.items_processed,
            "itemsSucceeded": self.items_succeeded,
            "itemsFailed": self.items_failed,
        }
        sent: dict[str, JsonValue] = {
            name: count for name, count in counts.items() if count is not None
        }
        return {"success": self.success, **sent, "error": self.error, "metadata": self.metadata}


class TriggerAnswer(MessageAnswer):
    """A run was made, or is under way."""

    result: RunResult


class Pagination(_Form):
    """Which part of a history this is."""

    limit: int
    offset: int
    total: int
    has_more: bool


class HistoryAnswer(_Form):
    """Some runs of a job, newest first; none for a job that nobody knows."""

    executions: tuple[RunRecord, ...]
    pagination: Pagination


class Period(_Form):
    """The time that sums are over; `from` is so many days before `to`."""

    days: int
    since: Annotated[IsoTime, Field(alias="from")]
    to: IsoTime


class StatsAnswer(_Form):
    """Sums over a job's runs; zeros for a job that nobody knows."""

    stats: RunStats
    period: Period


class NextRunsAnswer(_Form):
    """What a cron expression means: its next times, in UTC; none if it never comes."""

    cron_expression: str
    next_runs: tuple[IsoTime, ...]


class HealthAnswer(_Form):
    """Whether the API can do its work."""

    status: Literal["healthy", "unhealthy"]
    service: Literal["scheduler-service"] = "scheduler-service"
    timestamp: IsoTime
    version: str
    jobs: int


class UnhealthyAnswer(HealthAnswer):
    """Why the API can't do its work."""

    problems: tuple[str, ...]


class ProbeAnswer(_Form):
    """Whether the process lives, or is ready."""

    status: Literal["alive", "ready", "not ready"]

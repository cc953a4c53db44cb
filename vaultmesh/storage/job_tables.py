"""Defines the tables of HTTP cron jobs for PostgreSQL and SQLite.

1. `job_schedules` and `scheduled_jobs` have the columns of the scheduler that we replace and nothing else, so that its SQL works.
2. What is ours lies in `job_decisions`, `job_figures`, `job_audit` and what begins with its name; a file of SQLite also names
   its host, in `job_host`.
3. Others may have made the first two: a text may be an enum or a UUID there, an instant may lack its time zone, and rows that
   somebody wrote by SQL may be partial. So values are bound without a type of their own, and read leniently.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic_core import from_json
from sqlalchemy import BigInteger, Column, Dialect, Integer, MetaData, Table, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import UserDefinedType
from typing_extensions import override

POSTGRESQL = "postgresql"
_YES = frozenset({"1", "t", "true", "yes", "on"})
_Process = Callable[[Any], Any]


def read_json(value: str | bytes) -> object:
    """Return what a JSON column holds; what can't be read is given back as text, and its reader complains."""
    try:
        return from_json(value)
    except ValueError:
        return value if isinstance(value, str) else value.decode(errors="replace")


class _Column(UserDefinedType[Any]):
    """A column whose name of type depends on the dialect."""

    on_sqlite = "TEXT"
    on_postgresql = "TEXT"

    @override
    def __init_subclass__(cls, **arguments: object) -> None:
        """Let statements be cached: no column has a state of its own. It is asked of each class by itself."""
        super().__init_subclass__(**arguments)
        cls.cache_ok = True

    @override
    def get_col_spec(self, **_: object) -> str:
        return self.on_sqlite


@compiles(_Column, POSTGRESQL)
def _on_postgresql(element: _Column, _compiler: object, **_: object) -> str:
    return element.on_postgresql


class Words(_Column):
    """A text, or an enum where others made the table."""

    @override
    def result_processor(self, dialect: Dialect, coltype: object) -> _Process:
        return lambda value: None if value is None else str(value)


class Id(Words):
    """A UUID; read and written as its text."""

    on_postgresql = "UUID"


class Instant(_Column):
    """An instant in UTC."""

    on_postgresql = "TIMESTAMP WITH TIME ZONE"

    @override
    def bind_processor(self, dialect: Dialect) -> _Process | None:
        return None if dialect.name == POSTGRESQL else _written

    @override
    def result_processor(self, dialect: Dialect, coltype: object) -> _Process:
        return _instant


class Flag(_Column):
    """True or false."""

    on_sqlite = "BOOLEAN"
    on_postgresql = "BOOLEAN"

    @override
    def result_processor(self, dialect: Dialect, coltype: object) -> _Process:
        return lambda value: None if value is None else str(value).lower() in _YES


class Json(_Column):
    """A JSON value; SQL's null where there is none."""

    on_sqlite = "JSON"
    on_postgresql = "JSONB"

    @override
    def bind_processor(self, dialect: Dialect) -> _Process:
        return lambda value: None if value is None else json.dumps(value, ensure_ascii=False)

    @override
    def result_processor(self, dialect: Dialect, coltype: object) -> _Process:
        return lambda value: read_json(value) if isinstance(value, str | bytes) else value


def _written(value: datetime | None) -> str | None:
    """Return an instant as SQLite keeps it: all have the same length, so that they sort as texts."""
    if value is None:
        return None
    return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _instant(value: datetime | str | None) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class _NewId(FunctionElement[str]):
    """The id of a row that somebody inserts by SQL without one."""

    inherit_cache: bool | None = True


@compiles(_NewId, "sqlite")
def _random_id(_element: object, _compiler: object, **_: object) -> str:
    parts = (4, 2, 2, 2, 6)
    return "(" + " || '-' || ".join(f"lower(hex(randomblob({size})))" for size in parts) + ")"


@compiles(_NewId, POSTGRESQL)
def _generated_id(_element: object, _compiler: object, **_: object) -> str:
    return "gen_random_uuid()"


METADATA = MetaData()
_NONE = text("0")
_EMPTY = text("'{}'")
_NOW = text("CURRENT_TIMESTAMP")


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=_NONE)


SCHEDULES = Table(
    "job_schedules",
    METADATA,
    Column("job_name", Words, primary_key=True, nullable=False),
    Column("display_name", Words),
    Column("description", Words),
    Column("cron_expression", Words),
    Column("enabled", Flag, nullable=False, server_default=text("true")),
    Column("job_type", Words, server_default=text("'other'")),
    Column("service", Words),
    Column("endpoint", Words),
    Column("config", Json, server_default=_EMPTY),
    Column("last_run_at", Instant),
    Column("last_run_status", Words),
    Column("last_run_duration_ms", BigInteger),
    Column("next_run_at", Instant),
    Column("total_runs", BigInteger, server_default=_NONE),
    Column("successful_runs", BigInteger, server_default=_NONE),
    Column("failed_runs", BigInteger, server_default=_NONE),
    Column("created_at", Instant, server_default=_NOW),
    Column("updated_at", Instant, server_default=_NOW),
)
"""Jobs: the expression and the state that stand, and counters."""

RUNS = Table(
    "scheduled_jobs",
    METADATA,
    Column("id", Id, primary_key=True, nullable=False, server_default=_NewId()),
    Column("job_name", Words, nullable=False),
    Column("job_type", Words, server_default=text("'other'")),
    Column("status", Words, nullable=False, server_default=text("'running'")),
    Column("started_at", Instant, nullable=False, server_default=_NOW),
    Column("completed_at", Instant),
    Column("duration_ms", BigInteger),
    Column("items_processed", BigInteger, server_default=_NONE),
    Column("items_succeeded", BigInteger, server_default=_NONE),
    Column("items_failed", BigInteger, server_default=_NONE),
    Column("error_message", Words),
    Column("metadata", Json),
    Column("triggered_by", Words, server_default=text("'scheduler'")),
    Column("triggered_by_user", Id),
    Column("created_at", Instant, server_default=_NOW),
)
"""Runs: a row each."""

DECISIONS = Table(
    "job_decisions",
    METADATA,
    Column("job_name", Words, primary_key=True, nullable=False),
    _count("revision"),
    Column("told", BigInteger, nullable=False, server_default=text("-1")),
    Column("row_hash", Words),
    Column("served", Instant),
    Column("paused_by", Words),
    Column("paused_at", Instant),
    Column("paused_reason", Words),
    Column("client_cron", Words),
    Column("client_enabled", Flag),
    Column("cron_by", Words),
    Column("cron_at", Instant),
    Column("enabled_by", Words),
    Column("enabled_at", Instant),
    Column("deleted_by", Words),
    Column("deleted_at", Instant),
    Column("allowed_by", Words),
    Column("allowed_at", Instant),
    Column("policy", Json, nullable=False, server_default=_EMPTY),
    _count("missed"),
    _count("skipped"),
    # What counters hold beside the rows: runs that were pruned, and what they were ahead when we took the job over.
    _count("total_beside"),
    _count("successful_beside"),
    _count("failed_beside"),
    # Runs that began up to here were imported: they say nothing about a scheduler that works here.
    Column("imported_until", Instant),
)
"""What was decided about jobs, and what is known of them beside their rows."""

FIGURES = Table(
    "job_figures",
    METADATA,
    Column("job_name", Words, primary_key=True, nullable=False),
    Column("armed_at", Instant),
    _count("slots_run"),
    # By upper bound in seconds; the rows of runs that count here may be gone.
    Column("durations", Json, nullable=False, server_default=_EMPTY),
    Column("lags", Json, nullable=False, server_default=_EMPTY),
)
"""What metrics say of jobs and no row of a run tells."""

AUDIT = Table(
    "job_audit",
    METADATA,
    Column(
        "id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    Column("at", Instant, nullable=False),
    Column("actor", Words, nullable=False),
    Column("claimed_user", Words),
    Column("action", Words, nullable=False),
    Column("job_name", Words, nullable=False),
    Column("execution_id", Id),
    Column("detail", Json),
)
"""Who did what to a job, a namespace (`namespace:<name>`) or a target (`aggregator:<target>`), appended only; old lines go with the history."""
TABLES_MADE = "tables made"
"""Action of the line of audit by which a database is known as ours."""

CHAIN = Table(
    "job_audit_chain",
    METADATA,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("line", BigInteger, nullable=False, unique=True),
    Column("key", Words, unique=True),
    Column("digest", Words, nullable=False),
    Column("hash", Words, nullable=False),
)
"""Entries that chain the lines of the audit: whoever changes or removes a line breaks it."""

MARKS = Table(
    "job_audit_marks",
    METADATA,
    Column("name", Words, primary_key=True, nullable=False),
    Column("at", Instant, nullable=False),
)
"""Up to when what stands elsewhere was entered in the audit."""

HOST = Table("job_host", MetaData(), Column("host", Words, nullable=False))
"""Which host has a file of SQLite; one row."""

INDEXES: Mapping[str, Mapping[str, str]] = {
    POSTGRESQL: {
        "scheduled_jobs_by_job": "ON scheduled_jobs (job_name, started_at DESC, id) INCLUDE (status, duration_ms, items_processed)",
        "scheduled_jobs_by_start": "ON scheduled_jobs (started_at DESC)",
        "scheduled_jobs_running": "ON scheduled_jobs (started_at) WHERE status = 'running'",
    },
    "sqlite": {
        "scheduled_jobs_by_job": "ON scheduled_jobs (job_name, started_at DESC, id, status, duration_ms, items_processed)",
        "scheduled_jobs_by_start": "ON scheduled_jobs (started_at DESC)",
        "scheduled_jobs_running": "ON scheduled_jobs (started_at) WHERE status = 'running'",
    },
}
"""Our indexes on `scheduled_jobs`, by dialect and name: the columns that history and sums read are all in the first."""

_HISTORY = (
    "CREATE OR REPLACE FUNCTION get_job_execution_history(p_job_name text, p_limit integer DEFAULT 20, p_offset integer DEFAULT 0) "
    "RETURNS SETOF scheduled_jobs LANGUAGE sql STABLE AS $$ SELECT * FROM scheduled_jobs "
    "WHERE job_name = p_job_name ORDER BY started_at DESC, id LIMIT p_limit OFFSET p_offset $$"
)
_STATS = (
    "CREATE OR REPLACE FUNCTION get_job_execution_stats(p_job_name text, p_days integer DEFAULT 30) RETURNS TABLE "
    "(total_executions bigint, successful_executions bigint, failed_executions bigint, avg_duration_ms numeric, total_items_processed bigint) "
    "LANGUAGE sql STABLE AS $$ SELECT count(*), count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed'), "
    "coalesce(round(avg(duration_ms), 2), 0), coalesce(sum(items_processed), 0)::bigint FROM scheduled_jobs "
    "WHERE job_name = p_job_name AND started_at >= now() - make_interval(days => p_days) $$"
)
FUNCTIONS = (_HISTORY, _STATS)
"""What the scheduler that we replace offered in PostgreSQL to whoever asks by SQL; known by their names and what they tell."""

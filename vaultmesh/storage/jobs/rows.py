"""Turns rows of the job tables into values, and values into columns.

All jobs are listed often, and few of their rows have changed since. So jobs are read as the tables store them, compared
with what was read before, and turned into values only where they differ.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from math import isfinite
from typing import Any

from pydantic import JsonValue
from sqlalchemy import Column, ColumnElement, Connection, Row, Text, cast, func, select, type_coerce
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.types import NullType

from vaultmesh.domain.jobs.decisions import OWN_COLUMNS, Action, Job, row_hash
from vaultmesh.domain.jobs.records import (
    Actor,
    AuditLine,
    Decision,
    Decisions,
    JobRevision,
    JobRow,
    Pause,
    RunRecord,
    StoredJob,
)
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.storage.job_tables import DECISIONS, RUNS, SCHEDULES, Json
from vaultmesh.storage.jobs import chain

Values = Mapping[str, Any]

_KEPT = ("revision", "told", "served", "client_cron", "client_enabled", "missed", "skipped")
"""Columns that are fields of `Decisions` under the same name."""
_DECIDED = ("cron", "enabled", "deleted", "allowed")
"""Decisions of which who and when are kept, in two columns each."""
_COUNTERS = ("total_runs", "successful_runs", "failed_runs")
_COUNTS = (*_COUNTERS, "last_run_duration_ms")
_RUN_COUNTS = ("duration_ms", "items_processed", "items_succeeded", "items_failed")
_SCHEDULE_NAMES = tuple(SCHEDULES.columns.keys())
_DECISION_NAMES = tuple(DECISIONS.columns.keys())
RUN_COLUMNS = tuple(RUNS.c[name] for name in RunRecord.model_fields)
READ_RUNS = select(*RUN_COLUMNS)
"""To be narrowed, and read by `run_of`."""
READ_ROWS = select(SCHEDULES)
"""To be narrowed, and read by `row_of`."""
_MOST_REMEMBERED = 4_096
"""Jobs whose rows are kept; each takes some kilobytes."""


def _stored(column: Column[Any]) -> ColumnElement[Any]:
    """Return a column as the table stores it; JSON as its text, in which 1 is not true."""
    return cast(column, Text) if isinstance(column.type, Json) else type_coerce(column, NullType())


_COLUMNS = (*SCHEDULES.columns, *DECISIONS.columns)
_READERS = tuple(column.type.result_processor(DefaultDialect(), None) for column in _COLUMNS)
BOTH = (
    *(_stored(column).label(column.name) for column in SCHEDULES.columns),
    *(_stored(column).label(f"decisions_{column.name}") for column in DECISIONS.columns),
)
"""Columns of both tables about jobs, to be read by `KnownJobs`."""
_SAME = DECISIONS.c.job_name == SCHEDULES.c.job_name
READ_JOBS = select(*BOTH).select_from(SCHEDULES.outerjoin(DECISIONS, _SAME))
"""Of every job that has a row in `job_schedules`; to be narrowed."""
READ_KNOWN = select(*BOTH).select_from(DECISIONS.outerjoin(SCHEDULES, _SAME))
"""Of every job that something was decided about; to be narrowed."""


@dataclass(frozen=True)
class KnownJob:
    """A job as its rows say; what follows from them is computed once."""

    job: Job
    taken_hash: str | None
    """Tells the row that we know from one that somebody edited since."""

    @cached_property
    def stored(self) -> StoredJob | None:
        """The job as it is read; None without a row in `job_schedules`."""
        return self.job.stored()

    @cached_property
    def revision(self) -> JobRevision:
        """What its workflow must know."""
        return self.job.revision()

    @cached_property
    def is_edited(self) -> bool:
        """Whether its row is another one than we know."""
        row = self.job.row
        return self.taken_hash != (None if row is None else row_hash(row))


class KnownJobs:
    """Reads jobs, and remembers them with the rows that they were read from; any thread may use it."""

    def __init__(self) -> None:
        """Know none."""
        self._known: dict[str, tuple[tuple[Any, ...], KnownJob]] = {}

    def read(self, row: Row[Any]) -> KnownJob:
        """Return the job of the columns `BOTH`, of which either table may have none."""
        columns = tuple(row)
        name: str = columns[0] if columns[0] is not None else columns[len(_SCHEDULE_NAMES)]
        before = self._known.get(name)
        if before is not None and before[0] == columns:
            return before[1]
        known = _job_of(columns)
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        self._known[name] = columns, known
        return known


def _job_of(columns: tuple[Any, ...]) -> KnownJob:
    read = [
        value if reader is None else reader(value)
        for reader, value in zip(_READERS, columns, strict=True)
    ]
    values = dict(zip(_SCHEDULE_NAMES, read, strict=False))
    beside = dict(zip(_DECISION_NAMES, read[len(_SCHEDULE_NAMES) :], strict=True))
    known = beside["job_name"] is not None
    there = values["job_name"] is not None
    job = Job(
        name=values["job_name"] if there else beside["job_name"],
        row=row_of(values) if there else None,
        decisions=decisions_of(beside) if known else Decisions(),
        policy=beside["policy"] if known else {},
    )
    return KnownJob(job, beside["row_hash"])


def row_of(values: Values) -> JobRow:
    """Return a row of `job_schedules`; counters that are null, or no number, are 0."""
    read = {name: values[name] for name in JobRow.model_fields}
    read |= {name: whole(read[name]) for name in _COUNTS}
    return JobRow.model_validate(read | {name: read[name] or 0 for name in _COUNTERS})


def decisions_of(values: Values) -> Decisions:
    """Return a row of `job_decisions`."""
    decided = {name: _decision(values, name) for name in _DECIDED}
    paused = _decision(values, "paused")
    pause = None
    if paused is not None:
        pause = Pause(by=paused.by, at=paused.at, reason=values["paused_reason"] or "")
    kept = {name: values[name] for name in _KEPT}
    return Decisions.model_validate({**kept, **decided, "paused": pause})


def _decision(values: Values, name: str) -> Decision | None:
    by, at = values[f"{name}_by"], values[f"{name}_at"]
    return None if by is None or at is None else Decision(by=by, at=at)


def columns_of(job: Job) -> dict[str, Any]:
    """Return what is written of a job in `job_decisions`; counts of slots are left to those who count."""
    decisions = job.decisions
    columns: dict[str, Any] = {
        name: getattr(decisions, name)
        for name in ("revision", "served", "client_cron", "client_enabled")
    }
    pause = decisions.paused
    columns |= {"policy": job.policy, "paused_reason": None if pause is None else pause.reason}
    for name in (*_DECIDED, "paused"):
        decision: Decision | None = getattr(decisions, name)
        columns[f"{name}_by"] = None if decision is None else decision.by
        columns[f"{name}_at"] = None if decision is None else decision.at
    return columns


def own_columns(row: JobRow) -> dict[str, Any]:
    """Return what makes a job in `job_schedules`."""
    return row.model_dump(include=set(OWN_COLUMNS))


def run_of(row: Row[Any]) -> RunRecord:
    """Return a run of the columns `RUN_COLUMNS`."""
    read = dict(row._mapping)  # noqa: SLF001 - its documented name
    return RunRecord.model_validate(read | {name: whole(read[name]) for name in _RUN_COUNTS})


def whole(value: object) -> int | None:
    """Return a number as a whole one: SQLite takes anything into any column, and others may have made it for fractions."""
    if isinstance(value, int | float | Decimal) and isfinite(value):
        return round(value)
    return None


def line_of(by: Actor, action: Action, name: str, at: datetime, detail: JsonValue) -> AuditLine:
    """Return the line of audit of a change."""
    return AuditLine(
        at=at,
        actor=by.name,
        claimed_user=by.claimed_user,
        action=action,
        job_name=name,
        detail=detail,
    )


def write_line(connection: Connection, line: AuditLine, key: str | None = None) -> bool:
    """Enter a line of audit and chain it; tells whether it is new: one with a key is entered once."""
    execution = None if line.execution_id is None else str(line.execution_id)
    values = line.model_dump(exclude={"execution_id"}) | {"execution_id": execution}
    return chain.enter(connection, values, key)


def counted(connection: Connection, name: str) -> dict[str, int]:
    """Return what a job's counters are by its rows."""
    query = (
        select(RUNS.c.status, func.count()).where(RUNS.c.job_name == name).group_by(RUNS.c.status)
    )
    return counters_of((str(status), int(count)) for status, count in connection.execute(query))


def counters_of(ends: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return counters of so many runs by status; those that run count when they end."""
    by_status = dict(ends)
    completed, failed = (
        by_status.get(status, 0) for status in (RunStatus.COMPLETED, RunStatus.FAILED)
    )
    return {"total_runs": completed + failed, "successful_runs": completed, "failed_runs": failed}

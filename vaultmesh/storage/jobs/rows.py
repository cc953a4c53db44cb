"""Turns rows of the job tables into values, and values into columns."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import JsonValue
from sqlalchemy import Connection, Row, func, select

from vaultmesh.domain.jobs.decisions import OWN_COLUMNS, Action, Job
from vaultmesh.domain.jobs.records import (
    Actor,
    AuditLine,
    Decision,
    Decisions,
    JobRow,
    Pause,
    RunRecord,
)
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.storage.job_tables import AUDIT, DECISIONS, RUNS, SCHEDULES

Values = Mapping[str, Any]

_KEPT = ("revision", "told", "served", "client_cron", "client_enabled", "missed", "skipped")
"""Columns that are fields of `Decisions` under the same name."""
_DECIDED = ("cron", "enabled", "deleted", "allowed")
"""Decisions of which who and when are kept, in two columns each."""
_COUNTERS = ("total_runs", "successful_runs", "failed_runs")
_SCHEDULE_NAMES = tuple(SCHEDULES.columns.keys())
_DECISION_NAMES = tuple(DECISIONS.columns.keys())
RUN_COLUMNS = tuple(RUNS.c[name] for name in RunRecord.model_fields)
READ_RUNS = select(*RUN_COLUMNS)
"""To be narrowed, and read by `run_of`."""
READ_ROWS = select(SCHEDULES)
"""To be narrowed, and read by `row_of`."""
BOTH = (
    *SCHEDULES.columns,
    *(column.label(f"decisions_{column.name}") for column in DECISIONS.columns),
)
"""Columns of both tables about jobs, to be read by `job_of`."""


def job_of(row: Row[Any]) -> Job:
    """Return a job of the columns `BOTH`, of which either table may have none."""
    values = dict(zip(_SCHEDULE_NAMES, row, strict=False))
    beside = dict(zip(_DECISION_NAMES, row[len(_SCHEDULE_NAMES) :], strict=True))
    known = beside["job_name"] is not None
    there = values["job_name"] is not None
    return Job(
        name=values["job_name"] if there else beside["job_name"],
        row=row_of(values) if there else None,
        decisions=decisions_of(beside) if known else Decisions(),
        policy=beside["policy"] if known else {},
    )


def row_of(values: Values) -> JobRow:
    """Return a row of `job_schedules`; counters that are null are 0."""
    read = {name: values[name] for name in JobRow.model_fields}
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
    return RunRecord.model_validate(dict(row._mapping))  # noqa: SLF001 - its documented name


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


def write_line(connection: Connection, line: AuditLine) -> None:
    """Enter a line of audit."""
    execution = None if line.execution_id is None else str(line.execution_id)
    values = line.model_dump(exclude={"execution_id"}) | {"execution_id": execution}
    connection.execute(AUDIT.insert().values(values))


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

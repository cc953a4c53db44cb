"""Puts tasks, plans and results of maintenance into words, tables and log lines."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from pydantic import JsonValue
from rich.table import Table
from rich.text import Text

from vaultmesh.cli.output import visible
from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.instants import write_time
from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.log_events import LogEvent, log_event
from vaultmesh.domain.maintenance.config import MaintenanceConfig, NamedTask, tables_named
from vaultmesh.domain.maintenance.outcomes import GOOD, Outcome, StepResult, TaskResult
from vaultmesh.domain.maintenance.plan import Step

_QUIET = frozenset({Outcome.NOT_NEEDED})


def listed(config: MaintenanceConfig, now: datetime) -> list[JsonValue]:
    """Return what is known of each task without asking the database."""
    rows: list[JsonValue] = []
    for named in config.tasks:
        task = named.task
        upcoming = read_cron(task.cron).next_after(now) if task.enabled else None
        rows.append(
            {
                "task": named.name,
                "kind": task.kind.value,
                "enabled": task.enabled,
                "cron": task.cron,
                "next": None if upcoming is None else write_time(upcoming),
                "deadline_seconds": task.deadline.total_seconds(),
                "of": [str(name) for name in tables_named(task)] or None,
            }
        )
    return rows


def task_table(rows: Sequence[JsonValue]) -> Table:
    """Return the table of `maintenance list`."""
    table = Table(box=None, pad_edge=False)
    for head in ("task", "kind", "cron", "next", "deadline", "of"):
        table.add_column(head)
    for row in rows:
        if isinstance(row, Mapping):
            of = row["of"]
            cells = (
                row["task"], row["kind"], row["cron"],
                row["next"] or ("never" if row["enabled"] else "not enabled"),
                f"{row['deadline_seconds']:g}s",
                ", ".join(map(str, of)) if isinstance(of, list) else "–",
            )  # fmt: skip
            table.add_row(*(Text(visible(str(cell))) for cell in cells))
    return table


Plan = tuple[NamedTask, Sequence[Step] | DomainError]
"""A task, and what it would do, or why it can't."""


def planned(plan: Plan) -> JsonValue:
    """Return a task's plan as JSON."""
    named, what = plan
    head: dict[str, JsonValue] = {"task": named.name, "kind": named.task.kind.value}
    if isinstance(what, DomainError):
        return {**head, "steps": [], "error": str(what)}
    return {**head, "steps": [_step(step) for step in what], "error": None}


def _step(step: Step) -> JsonValue:
    return {
        "subject": step.subject,
        "statements": list(step.statements),
        "reason": step.reason,
        "outcome": None if step.outcome is None else step.outcome.value,
        "alert": step.is_alert,
    }


def is_good(plan: Plan) -> bool:
    """Whether a run would not fail for what is known before it begins."""
    _, what = plan
    if isinstance(what, DomainError):
        return False
    return all(step.outcome is None or step.outcome in GOOD for step in what)


def plan_lines(plans: Iterable[Plan]) -> Iterator[str]:
    """Return a plan for people: statements as they are sent, each below why."""
    for named, what in plans:
        yield f"-- {named.name} ({named.task.kind.value})"
        if isinstance(what, DomainError):
            yield visible(f"-- failed: {what}").replace("\n", " ")
            continue
        for step in what:
            outcome = f"{step.outcome}: " if step.outcome is not None else ""
            alert = " (look into it)" if step.is_alert else ""
            yield visible(f"-- {step.subject}: {outcome}{step.reason}{alert}").replace("\n", " ")
            yield from (visible(f"{statement};") for statement in step.statements)


def result_lines(results: Iterable[TaskResult]) -> Iterator[str]:
    """Return results for people: a line for each task, and one for each part of it that did something."""
    for result in results:
        detail = f": {result.detail}" if result.detail else ""
        yield visible(f"{result.task}: {result.outcome}{detail} ({result.seconds:.1f} s)")
        for step in result.steps:
            if step.outcome not in _QUIET:
                rows = f", {step.rows:,} rows" if step.rows is not None else ""
                why = f" - {step.detail}" if step.detail else ""
                line = visible(f"  {step.subject}: {step.outcome}{rows}{why}")
                yield line.replace("\n", " ")
        quiet = sum(step.outcome in _QUIET for step in result.steps)
        if quiet and result.outcome not in _QUIET:
            yield f"  not needed: {quiet}"


def log(logger: logging.Logger, result: TaskResult) -> None:
    """Log a task's end, and each part of it that did not end well."""
    for step in result.steps:
        if logger.isEnabledFor(level := _level(step)):  # there may be thousands that did nothing
            fields = {"task": result.task, **_fields(step)}
            log_event(logger, LogEvent.STEP_ENDED, level, **fields)
    log_event(
        logger,
        LogEvent.TASK_ENDED,
        logging.INFO if result.is_good else logging.ERROR,
        task=result.task,
        run=result.run,
        outcome=result.outcome.value,
        detail=result.detail,
        seconds=result.seconds,
    )


def _level(step: StepResult) -> int:
    match step.outcome:
        case Outcome.NOT_NEEDED:
            return logging.DEBUG
        case Outcome.DONE | Outcome.RUNNING:
            return logging.INFO
        case Outcome.LOCKED:
            return logging.WARNING
        case _:
            return logging.ERROR


def _fields(step: StepResult) -> dict[str, object]:
    return {
        "subject": step.subject,
        "outcome": step.outcome.value,
        "detail": step.detail,
        "rows": step.rows,
        "seconds": round(step.seconds, 3),
        "statements": list(step.statements),
    }

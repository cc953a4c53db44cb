"""Lays maintenance tasks that workers run, and their runs, out for people."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vaultmesh.cli.job_table import took
from vaultmesh.cli.output import visible
from vaultmesh.domain.jobs.records import RunRecord
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.domain.jobs.tasks import task_name
from vaultmesh.domain.maintenance.listing import TaskReport, TaskRun, TaskState, outcome_of
from vaultmesh.domain.namespaces.cadence import EPOCH
from vaultmesh.overview.words import DASH, at, due

_STATUS_COLUMNS = ("task", "kind", "cron", "state", "next run", "last run")
_RUN_COLUMNS = ("started", "task", "by", "outcome", "took", "parts", "error")
_FOLDED = ("task", "cron", "error")
_STYLES: Mapping[str, str] = {
    TaskState.WAITING: "green",
    TaskState.RUNNING: "bold green",
    TaskState.PAUSED: "yellow",
    TaskState.DISABLED: "dim",
    TaskState.GONE: "dim",
    TaskState.NOT_OFFERED: "red",
}
_NOTE_INDENT = 2


def status_table(reports: Sequence[TaskReport], now: datetime) -> list[RenderableType]:
    """Return a line for each task, and below what needs more words."""
    table = _table(_STATUS_COLUMNS)
    for report in reports:
        table.add_row(
            _text(report.task),
            _text(report.kind or DASH),
            _text(report.cron or DASH),
            Text(report.state, style=_STYLES.get(report.state, "")),
            due(report.next, now) if report.next is not None else DASH,
            _last(report.last_run, now),
        )
    notes = [f"{report.task}: {note}" for report in reports for note in _notes(report)]
    return [table, *(Padding(_text(note), (0, 0, 0, _NOTE_INDENT), expand=False) for note in notes)]


def _last(run: TaskRun | None, now: datetime) -> Text:
    if run is None or run.started_at is None:
        return Text(DASH)
    style = "red" if run.status == RunStatus.FAILED else ""
    return Text(f"{run.outcome or run.status} {due(run.started_at, now)}", style=style)


def _notes(report: TaskReport) -> list[str]:
    notes: list[str] = []
    if report.paused is not None:
        why = f": {report.paused.reason}" if report.paused.reason else ""
        notes.append(f"paused by {report.paused.by}, {at(report.paused.since)} UTC{why}")
    if report.running is not None:
        notes.append(f"runs since {at(report.running.started_at)} UTC")
    if report.state is TaskState.NOT_OFFERED:
        notes.append("no worker with role jobs has taken it up yet")
    if report.last_run is not None and report.last_run.error:
        notes.append(report.last_run.error)
    if report.missed or report.skipped:
        notes.append(f"slots missed {report.missed}, skipped {report.skipped}")
    return notes


def state_line(report: TaskReport, now: datetime) -> str:
    """Return a task's state in one line, for what a command left behind."""
    next_run = (
        "" if report.next is None else f"; next run {at(report.next)} UTC ({due(report.next, now)})"
    )
    reason = (
        f": {report.paused.reason}" if report.paused is not None and report.paused.reason else ""
    )
    return f"{report.task}: {report.state}{reason}{next_run}"


def history_table(runs: Sequence[RunRecord]) -> Table:
    """Return a line for each run."""
    table = _table(_RUN_COLUMNS)
    for run in runs:
        failed = run.status == RunStatus.FAILED
        table.add_row(
            at(run.started_at),
            _text(task_name(run.job_name)),
            _text(run.triggered_by or DASH),
            Text(outcome_of(run) or run.status, style="red" if failed else ""),
            took(run.duration_ms),
            DASH if run.items_processed is None else str(run.items_processed),
            _text(run.error_message or ""),
        )
    return table


def newest_first(run: RunRecord) -> tuple[float, str]:
    """Return what runs of several tasks are sorted by."""
    return -(run.started_at or EPOCH).timestamp(), run.id


def run_line(run: RunRecord) -> str:
    """Return how a run ended, in one line."""
    outcome = outcome_of(run) or run.status
    why = f": {run.error_message}" if run.error_message else ""
    return visible(f"{task_name(run.job_name)}: {outcome} after {took(run.duration_ms)}{why}")


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in _FOLDED)
    return table


def _text(text: str) -> Text:
    """Return a text in which a terminal finds no orders."""
    return Text(visible(text))

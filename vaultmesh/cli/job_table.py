"""Lays jobs and their runs out for people, in 80 columns; below a table it says, in whole words, why a job does not run."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vaultmesh.cli.output import visible
from vaultmesh.domain.jobs.listing import JobReport, JobReportState
from vaultmesh.domain.jobs.records import Decision, RunRecord, RunStats
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.overview.words import DASH, at, due, times

_JOB_COLUMNS = ("job", "cron", "state", "next run", "last run", "runs", "failed")
_RUN_COLUMNS = ("started", "by", "status", "took", "items", "error")
_FOLDED = ("job", "cron", "items", "error")
"""Columns that are folded where a terminal is narrow; the others stay whole."""
_STYLES: Mapping[str, str] = {
    JobReportState.WAITING: "green",
    JobReportState.RUNNING: "bold green",
    JobReportState.PAUSED: "yellow",
    JobReportState.LEFT: "yellow",
    JobReportState.DISABLED: "dim",
    JobReportState.NEVER: "red",
    JobReportState.UNUSABLE: "red",
    RunStatus.COMPLETED: "green",
    RunStatus.FAILED: "red",
}
_NOTE_INDENT = 2
_SECOND, _MINUTE = 1_000, 60_000
"""Milliseconds."""
UNHEARD = "its workflow has not heard the newest decision yet; workers with role jobs tell it"


def jobs_table(
    jobs: Sequence[JobReport],
    deleted: Sequence[str],
    now: datetime,
    more: Mapping[str, Sequence[str]] | None = None,
) -> list[RenderableType]:
    """Return a line for each job, and below why some do not run; `more` is said of jobs by their names."""
    table = _table(_JOB_COLUMNS)
    for job in jobs:
        table.add_row(
            _text(job.name),
            _text(job.cron_expression or DASH),
            _state(job.state),
            due(job.next_run_at, now) if not job.why_idle else DASH,
            _last_run(job, now),
            str(job.total_runs),
            str(job.failed_runs) if job.failed_runs else DASH,
        )
    notes = [
        f"{job.name}: {note}"
        for job in jobs
        for note in (*_notes(job), *(more or {}).get(job.name, ()))
    ]
    if deleted:
        notes.append(f"deleted, until somebody allows them: {', '.join(deleted)}")
    return [table, *(Padding(_text(note), (0, 0, 0, _NOTE_INDENT), expand=False) for note in notes)]


def _notes(job: JobReport) -> list[str]:
    return [*job.why_idle, *([] if job.is_told else [UNHEARD])]


def _last_run(job: JobReport, now: datetime) -> Text:
    if job.last_run_at is None:
        return Text(DASH)
    ago = due(job.last_run_at, now)
    if job.last_run_status is RunStatus.FAILED:
        return Text(f"failed {ago}", style=_STYLES[RunStatus.FAILED])
    return Text(ago)


def job_lines(job: JobReport, next_runs: Sequence[datetime], now: datetime) -> list[RenderableType]:
    """Return all that there is to say of a job, a line each."""
    title = _text(job.name)
    title.stylize("bold")
    title.append("  ").append_text(_state(job.state))
    lines = {
        "what": f"{job.display_name} ({job.job_type})",
        "calls": f"{job.service or DASH} {job.endpoint}",
        "cron": f"{job.cron_expression or DASH}{_decided(job.cron_decision, job.client_cron)}",
        "enabled": f"{'yes' if job.enabled else 'no'}{_decided(job.enabled_decision, _yes(job.client_enabled))}",
        "next runs": _next_runs(job, next_runs, now),
        "runs": f"{job.total_runs}: {job.successful_runs} completed, {job.failed_runs} failed",
        "slots": f"{job.missed} missed, {job.skipped} skipped",
        "last run": _past(job),
    }
    if job.running_since is not None:
        lines["runs since"] = f"{at(job.running_since)}, {job.execution_id}"
    width = max(map(len, lines))
    block: list[RenderableType] = [title]
    block += [Padding(_text(note), (0, 0, 0, _NOTE_INDENT), expand=False) for note in _notes(job)]
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(min_width=width, style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, line in lines.items():
        grid.add_row(label, _text(line))
    return [*block, Padding(grid, (0, 0, 0, _NOTE_INDENT), expand=False)]


def _decided(decision: Decision | None, client: str | None) -> str:
    """Return whose decision stands, and what the service wants instead."""
    if decision is None:
        return ""
    wanted = f"; its service registered {client}" if client is not None else ""
    return f" (set by {decision.by}, {at(decision.at)}{wanted})"


def _yes(is_enabled: bool | None) -> str | None:
    return None if is_enabled is None else "yes" if is_enabled else "no"


def _next_runs(job: JobReport, next_runs: Sequence[datetime], now: datetime) -> str:
    if not next_runs or job.why_idle:
        return "none"
    first = f"{at(next_runs[0])} UTC ({due(next_runs[0], now)})"
    return "\n".join([first, *map(at, next_runs[1:])])


def _past(job: JobReport) -> str:
    if job.last_run_at is None:
        return "never"
    return f"{at(job.last_run_at)}, {job.last_run_status or DASH}, {took(job.last_run_duration)}"


def state_line(job: JobReport, now: datetime) -> str:
    """Return a job's state in one line, for what a command left behind."""
    if job.why_idle:
        return f"{job.name}: {'; '.join(job.why_idle)}"
    next_run = f"{at(job.next_run_at)} UTC ({due(job.next_run_at, now)})"
    return f"{job.name}: {job.state}; next run {next_run}"


def preview(expression: str, next_runs: Sequence[datetime], now: datetime) -> str:
    """Return what an expression means, a line for each of its next times."""
    if not next_runs:
        return f"no date ever matches {expression!r}"
    return "\n".join(f"{at(slot)} UTC ({due(slot, now)})" for slot in next_runs)


# --- runs ----------------------------------------------------------------------------------------------------------


def history_table(runs: Sequence[RunRecord]) -> Table:
    """Return a line for each run; their ids are for programs alone: they would take half of the width."""
    table = _table(_RUN_COLUMNS)
    for run in runs:
        status = str(run.status)
        table.add_row(
            at(run.started_at),
            _text(run.triggered_by or DASH),
            _state(status),
            took(run.duration_ms),
            _items(run),
            _text(run.error_message or ""),
        )
    return table


def _items(run: RunRecord) -> str:
    if run.items_processed is None:
        return DASH
    return f"{run.items_processed}{f', {run.items_failed} failed' if run.items_failed else ''}"


def took(milliseconds: float | None) -> str:
    """Return how long something took."""
    if milliseconds is None:
        return DASH
    if milliseconds < _SECOND:
        return f"{milliseconds:.0f} ms"
    seconds = timedelta(milliseconds=milliseconds).total_seconds()
    return f"{seconds:.1f} s" if milliseconds < _MINUTE else f"{seconds / 60:.1f} min"


def run_line(run: RunRecord) -> str:
    """Return how a run ended, in one line."""
    counts = f", {times_of(run.items_processed)}" if run.items_processed is not None else ""
    why = f": {run.error_message}" if run.error_message else ""
    return visible(f"{run.job_name}: {run.status} after {took(run.duration_ms)}{counts}{why}")


def times_of(items: int) -> str:
    """Return how many items there were."""
    return "1 item" if items == 1 else f"{items} items"


def stats_lines(name: str, days: int, stats: RunStats) -> str:
    """Return sums over a job's runs."""
    average = took(stats.avg_duration_ms) if stats.total_executions else DASH
    return visible(
        f"{name}, last {days} days: ran {times(stats.total_executions)}, "
        f"{stats.successful_executions} completed, {stats.failed_executions} failed; "
        f"average {average}; {times_of(stats.total_items_processed)}"
    )


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in _FOLDED)
    return table


def _state(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, ""))


def _text(text: str) -> Text:
    """Return a text in which a terminal finds no orders."""
    return Text(visible(text))

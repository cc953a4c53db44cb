"""Turns measurements into the rows of a table."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import psutil
from rich.console import Console
from rich.table import Table

_WIDTH = 120
_MARKS = {None: "", True: "ok", False: "MISSED"}
_BYTES_PER_MB = 1e6


@dataclass(frozen=True, slots=True)
class Row:
    """One measured thing."""

    what: str
    reach: str
    """What it must reach; empty where it is shown for comparison only."""
    measured: str
    met: bool | None = None
    """Whether it was reached; None where there is nothing to reach."""


def at_most(what: str, value: float, limit: float, form: str, *, more: str = "") -> Row:
    """Return the row of a value that has an upper limit; `form` is like `{:.2f} s`."""
    return Row(what, f"<= {form.format(limit)}", form.format(value) + more, value <= limit)


def at_least(what: str, value: float, limit: float, form: str, *, more: str = "") -> Row:
    """Return the row of a value that has a lower limit."""
    return Row(what, f">= {form.format(limit)}", form.format(value) + more, value >= limit)


def unlimited(what: str, measured: str) -> Row:
    """Return the row of something that has no limit."""
    return Row(what, "", measured)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def spread(values: Sequence[float], form: str) -> str:
    """Return the range of several runs, as an addition to their median."""
    if len(values) == 1:
        return " (1 run)"
    return f" (median of {len(values)}: {form.format(min(values))} to {form.format(max(values))})"


def median(values: Sequence[float]) -> float:
    """Return the middle value."""
    return statistics.median(values)


def megabytes(count: int) -> float:
    """Return bytes as MB."""
    return count / _BYTES_PER_MB


def machine() -> str:
    """Return what the numbers were measured on."""
    load, memory = os.getloadavg()[0], psutil.virtual_memory().total / 2**30
    return (
        f"{psutil.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, load {load:.1f} at the start"
    )


def print_table(title: str, rows: Sequence[Row], under: str, *, judged: bool) -> None:
    """Print the rows; `judged` ones show whether they reach what they must."""
    table = Table(title=title, caption=under, title_justify="left", caption_justify="left")
    table.add_column("what", overflow="fold")
    table.add_column("reach", overflow="fold")
    table.add_column("measured", overflow="fold")
    table.add_column("", width=6)
    for row in rows:
        mark = _MARKS[row.met] if judged else ""
        table.add_row(row.what, row.reach, row.measured, mark)
    Console(width=_WIDTH, highlight=False).print(table)

"""Judges jobs by their rows, read by SQL alone: nothing of the store's own code is used.

1. Every run that the handler was called for has a row, and it was called once; nothing is left running.
2. Counters equal the rows.
3. Each slot since the job was registered is a run, missed or skipped: once.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

Row = dict[str, Any]


class Books:
    """The tables of jobs in one database."""

    def __init__(self, place: Path | str) -> None:
        """Read a file of SQLite, or a URL of PostgreSQL."""
        self.place = place

    def sql(self, query: str, name: str) -> list[Row]:
        """Return rows; `?` stands for the name."""
        if isinstance(self.place, Path):
            with closing(sqlite3.connect(self.place, timeout=30)) as file:
                file.row_factory = sqlite3.Row
                return [dict(row) for row in file.execute(query, (name,))]
        with psycopg.connect(self.place, row_factory=dict_row, autocommit=True) as connection:
            return connection.execute(query.replace("?", "%s"), (name,)).fetchall()  # type: ignore[arg-type]

    def runs(self, name: str) -> list[Row]:
        """Return a job's runs, the first one first."""
        query = "SELECT * FROM scheduled_jobs WHERE job_name = ? ORDER BY started_at, id"
        return [row | {"id": str(row["id"])} for row in self.sql(query, name)]

    def run(self, name: str, run_id: str) -> Row:
        """Return one run."""
        (row,) = [row for row in self.runs(name) if row["id"] == run_id]
        return row

    def open_runs(self, name: str) -> list[Row]:
        """Return the runs whose rows are open."""
        return [row for row in self.runs(name) if row["status"] == "running"]

    def decisions(self, name: str) -> Row:
        """Return what was decided about a job."""
        (row,) = self.sql("SELECT * FROM job_decisions WHERE job_name = ?", name)
        return row

    def schedule(self, name: str) -> Row:
        """Return a job's row."""
        (row,) = self.sql("SELECT * FROM job_schedules WHERE job_name = ?", name)
        return row

    def findings(self, name: str, calls: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return what contradicts rules 1 and 2, given all calls that the handler got."""
        rows = self.runs(name)
        called = Counter(call["executionId"] for call in calls if call["jobName"] == name)
        known = {row["id"] for row in rows}
        found = [f"{run} was called {times} times" for run, times in called.items() if times > 1]
        found += [f"{run} was called and has no row" for run in called if run not in known]
        for row in rows:
            if row["status"] not in {"completed", "failed"}:
                found.append(f"{row['id']} is {row['status']}")
            elif row["status"] == "completed" and not called[row["id"]]:
                found.append(f"{row['id']} is completed and was not called")
        statuses = Counter(row["status"] for row in rows)
        job = self.schedule(name)
        counters = (job["total_runs"], job["successful_runs"], job["failed_runs"])
        if counters != (len(rows), statuses["completed"], statuses["failed"]):
            found.append(f"counters {counters} for {len(rows)} rows: {dict(statuses)}")
        return found

    def slot_findings(self, name: str, period: int) -> list[str]:
        """Return what contradicts rule 3 for a job that is due each `period` seconds since it was registered."""
        line, *_ = self.sql(
            "SELECT at FROM job_audit WHERE job_name = ? AND action = 'register' ORDER BY id", name
        )
        decided = self.decisions(name)
        begun, served = instant(line["at"]), instant(decided["served"])
        due = int(served.timestamp() // period - begun.timestamp() // period)
        run = sum(row["triggered_by"] == "scheduler" for row in self.runs(name))
        missed, skipped = decided["missed"], decided["skipped"]
        if run + missed + skipped == due:
            return []
        return [f"{due} slots until {served}: {run} run, {missed} missed, {skipped} skipped"]


def instant(value: datetime | str) -> datetime:
    """Return an instant of either database."""
    read = datetime.fromisoformat(value) if isinstance(value, str) else value
    return read.astimezone(UTC)


def config_of(row: Row) -> Any:
    """Return the config of a job's row."""
    config = row["config"]
    return json.loads(config) if isinstance(config, str) else config

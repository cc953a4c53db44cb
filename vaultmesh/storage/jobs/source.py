"""Reads another store of jobs: a PostgreSQL of the scheduler that we replace, or any store of ours. Nothing is written there.

1. Columns and tables that are missing count as null and empty; only `job_name` must be there.
2. Each read is a short transaction of its own, so that a pooler in transaction mode does, and nothing there waits for us.
3. Runs are read in pages by id: however many there are, a page is held.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    and_,
    case,
    cast,
    func,
    inspect,
    null,
    or_,
    select,
)
from sqlalchemy import text as sql

from vaultmesh.domain.errors import one_line
from vaultmesh.domain.jobs.importing import SourceJob, Tally
from vaultmesh.domain.jobs.records import Decisions, JobRow, RunRecord
from vaultmesh.domain.jobs.refusals import StoreErrorKind
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy
from vaultmesh.storage.job_tables import DECISIONS, RUNS, SCHEDULES
from vaultmesh.storage.jobs.database import Database, file_place, postgres_place
from vaultmesh.storage.jobs.rows import decisions_of, row_of
from vaultmesh.storage.jobs.takeover import trigger_texts
from vaultmesh.storage.jobs.visibility import check_visible

PAGE = 1_000
"""Runs that are held at a time."""
_VERSION_AT = 15
"""Where a UUID's text says its version."""
_RUN_COLUMNS = (*RunRecord.model_fields, "created_at")
_BESIDE = ("total", "successful", "failed")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A job of another store of which even the row can't be read."""

    name: str
    reason: str


class Source:
    """Another store, opened for reading; every method blocks and may raise `StoreError`."""

    def __init__(self, database: Database) -> None:
        """Read a database."""
        self.database = database
        self._columns: Mapping[str, frozenset[str]] | None = None

    @classmethod
    def at_url(cls, url: str, setting: str) -> "Source":
        """Open a PostgreSQL by its URL, which `setting` holds; nothing is asked yet. Raises `StoreError`."""
        return cls(Database(postgres_place(url, setting)))

    @classmethod
    def at_file(cls, path: Path, setting: str) -> "Source":
        """Open a file of SQLite that exists."""
        return cls(Database(file_place(path.absolute(), setting)))

    @property
    def place(self) -> str:
        """Where it lies, without user or password."""
        return self.database.place.label

    def close(self) -> None:
        """Give the connections back."""
        self.database.close()

    # --- what is there ---------------------------------------------------------------------------------------------

    def require_jobs(self) -> None:
        """Refuse a database that holds no jobs, or hides them from us; raises `StoreError`."""
        if not (self._has(SCHEDULES) or self._has(RUNS)):
            why = f"it has neither {SCHEDULES.name} nor {RUNS.name}"
            raise self.database.failure(why, StoreErrorKind.SCHEMA)
        with self.reading() as connection:
            check_visible(self.database, connection, self._known())

    def counting_trigger(self) -> bool:
        """Whether a trigger on the runs names the counters; it is read and not tried."""
        if not self._has(RUNS):
            return False
        with self.reading() as connection:
            texts = trigger_texts(connection, self.database.dialect)
        return any(SCHEDULES.c.total_runs.name in text for text in texts)

    def is_same(self, other: "Source") -> bool:
        """Whether both are one database, whatever names, poolers and users lead to it."""
        mine, theirs = self.database.place, other.database.place
        if not (mine.is_postgres and theirs.is_postgres):
            paths = [Path(str(place.url.database)) for place in (mine, theirs)]
            both_files = not (mine.is_postgres or theirs.is_postgres)
            return (
                both_files and all(path.exists() for path in paths) and paths[0].samefile(paths[1])
            )
        first, second = (secrets.randbelow(2**31) for _ in range(2))
        with self.reading() as connection, other.reading() as beside:
            connection.execute(sql(f"SELECT pg_advisory_xact_lock({first}, {second})"))
            seen = sql(
                "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = :first AND objid = :second AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            return beside.execute(seen, {"first": first, "second": second}).first() is not None

    # --- jobs ------------------------------------------------------------------------------------------------------

    def jobs(self) -> list[SourceJob | Unreadable]:
        """Return all jobs by name, deleted ones too; rows and their runs are counted at one instant."""
        with self.reading(at_once=True) as connection:
            rows = self._rows(connection, SCHEDULES)
            beside = self._rows(connection, DECISIONS)
            tallies = self._tallies(connection)
        return [
            _job(name, rows.get(name), beside.get(name), tallies.get(name, Tally()))
            for name in sorted({*rows, *(name for name in beside if _is_deleted(beside[name]))})
        ]

    def tallies(self) -> dict[str, Tally]:
        """Return what the runs of each job come to, also of jobs that are gone."""
        with self.reading() as connection:
            return self._tallies(connection)

    def _rows(self, connection: Connection, table: Table) -> dict[str, dict[str, Any]]:
        if not self._has(table):
            return {}
        query = self._select(table, tuple(table.columns.keys()))
        rows = [dict(row) for row in connection.execute(query).mappings()]
        return {str(row["job_name"]): row for row in rows}

    def _tallies(self, connection: Connection) -> dict[str, Tally]:
        if not self._has(RUNS):
            return {}
        status, began = self._column(RUNS, "status"), self._column(RUNS, "started_at")
        by = self._column(RUNS, "triggered_by")
        scheduled = or_(by == TriggeredBy.SCHEDULER, by.is_(None))
        foreign = func.substr(cast(RUNS.c.id, Text), _VERSION_AT, 1) != "5"
        columns = [
            RUNS.c.job_name,
            *(func.sum(case((status == each, 1), else_=0)) for each in _TALLIED),
            func.max(case((scheduled, began))),
            func.max(case((and_(scheduled, foreign), began))),
        ]
        query = select(*columns).group_by(RUNS.c.job_name)
        return {
            str(name): Tally(int(completed), int(failed), int(running), newest, of_other)
            for name, completed, failed, running, newest, of_other in connection.execute(query)
        }

    # --- runs ------------------------------------------------------------------------------------------------------

    def count_runs(self) -> int:
        """Return how many runs there are."""
        if not self._has(RUNS):
            return 0
        with self.reading() as connection:
            return int(connection.execute(select(func.count()).select_from(RUNS)).scalar_one())

    def run_pages(self) -> Iterator[list[dict[str, Any]]]:
        """Return all runs, page by page; one that is inserted meanwhile may be left out."""
        if not self._has(RUNS):
            return
        query = self._select(RUNS, _RUN_COLUMNS).order_by(RUNS.c.id).limit(PAGE)
        last: str | None = None
        while True:
            page = query if last is None else query.where(RUNS.c.id > last)
            with self.reading() as connection:
                rows = [dict(row) for row in connection.execute(page).mappings()]
            if rows:
                yield rows
                last = str(rows[-1]["id"])
            if len(rows) < PAGE:
                return

    # --- reading ---------------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self, *, at_once: bool = False) -> Iterator[Connection]:
        """Read in one transaction that can't write; `at_once`: all of it sees one instant."""
        with self.database.read() as connection:
            if self.database.place.is_postgres:
                level = "ISOLATION LEVEL REPEATABLE READ, " if at_once else ""
                # What the store's own transactions begin with was a query already: the snapshot is taken by a new one.
                connection.rollback()
                connection.exec_driver_sql(f"SET TRANSACTION {level}READ ONLY")
                connection.exec_driver_sql("SET LOCAL timezone = 'UTC'")
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{_STATEMENT_SECONDS}s'")
            yield connection

    def _has(self, table: Table) -> bool:
        return table.name in self._known()

    def _known(self) -> Mapping[str, frozenset[str]]:
        """Return the columns of the tables that are there; one without `job_name` is another program's."""
        if self._columns is None:
            with self.reading() as connection:
                inspector = inspect(connection)
                columns = {
                    table.name: frozenset(
                        str(column["name"]) for column in inspector.get_columns(table.name)
                    )
                    for table in (SCHEDULES, RUNS, DECISIONS)
                    if inspector.has_table(table.name)
                }
            self._columns = {name: names for name, names in columns.items() if "job_name" in names}
        return self._columns

    def _column(self, table: Table, name: str) -> ColumnElement[Any]:
        there = name in self._known()[table.name]
        return table.c[name] if there else null().label(name)

    def _select(self, table: Table, names: tuple[str, ...]) -> Select[Any]:
        return select(*(self._column(table, name) for name in names)).select_from(table)


_TALLIED = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.RUNNING)
_STATEMENT_SECONDS = 60
"""Millions of runs are summed up within it; nobody waits for a read-only transaction."""


def _is_deleted(beside: Mapping[str, Any]) -> bool:
    return beside["deleted_by"] is not None


def _job(
    name: str, row: dict[str, Any] | None, beside: dict[str, Any] | None, tally: Tally
) -> SourceJob | Unreadable:
    try:
        there = None if row is None else row_of(row)
        decisions = Decisions() if beside is None else decisions_of(beside)
    except ValidationError as error:
        return Unreadable(name, f"its row can't be read: {one_line(error, JobRow)} there")
    policy = {} if beside is None or beside["policy"] is None else beside["policy"]
    known = None
    if beside is not None:
        known = {counter: int(beside[f"{counter}_beside"] or 0) for counter in _BESIDE}
        until = beside["imported_until"]
        if until and tally.newest_of_other and tally.newest_of_other <= until:
            tally = replace(tally, newest_of_other=None)
    return SourceJob(name, there, decisions, policy, tally, known)

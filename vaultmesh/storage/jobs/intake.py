"""Takes runs of another store: each once, with its id; what they count is counted in the same transaction.

1. A run that is here already changes nothing, so an import can be repeated.
2. Rows of `job_decisions` are locked first, in the order of their names, as every other writer does.
3. Where a trigger of the database counts, its counters are overwritten: rows that came ended may count there, or not.
4. A row that the database does not take is told, and the others of its batch are taken without it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy import text as sql

from vaultmesh.domain.jobs.records import AuditLine
from vaultmesh.domain.jobs.refusals import StoreError, StoreErrorKind
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy
from vaultmesh.storage.job_tables import DECISIONS, RUNS, SCHEDULES
from vaultmesh.storage.jobs.database import Database
from vaultmesh.storage.jobs.rows import READ_ROWS, counters_of, row_of, write_line
from vaultmesh.storage.jobs.takeover import USERS, Traits

Columns = dict[str, Any]


@dataclass(slots=True)
class TakenRuns:
    """What came of a batch of runs."""

    taken: int = 0
    there: int = 0
    """Runs that were here already."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Id and reason of each that the database does not take."""


class Intake:
    """Runs of another store, written into one database; every method blocks and may raise `StoreError`."""

    def __init__(self, database: Database, traits: Traits) -> None:
        """Use a database as it was found."""
        self._database = database
        self._has_accounts = bool(traits.user_columns)

    def take_runs(self, runs: Sequence[Columns], line: AuditLine) -> TakenRuns:
        """Insert runs that are not here yet, in one transaction with a line of audit."""
        result = TakenRuns()
        try:
            result.taken = self._take(runs, line)
        except StoreError as error:
            if error.kind is not StoreErrorKind.VALUE:
                raise
            if len(runs) == 1:
                result.refused.append((str(runs[0]["id"]), str(error)))
                return result
            for run in runs:
                alone = self.take_runs([run], line)
                result.taken += alone.taken
                result.refused += alone.refused
        result.there = len(runs) - result.taken - len(result.refused)
        return result

    def _take(self, runs: Sequence[Columns], line: AuditLine) -> int:
        names = sorted({run["job_name"] for run in runs})
        with self._database.write() as connection:
            begun = self._database.insert(DECISIONS).on_conflict_do_nothing()
            connection.execute(begun, [{"job_name": name, "policy": {}} for name in names])
            beside = {name: _locked(connection, name) for name in names}
            jobs = {name: _job(connection, name) for name in names}
            new = self._inserted(connection, self._with_accounts(connection, runs))
            if not new:
                return 0
            for name in names:
                of_job = [run for run in new if run["job_name"] == name]
                if of_job:
                    _count(connection, jobs[name], of_job)
                    _note_beside(connection, name, beside[name], of_job)
            write_line(connection, line.model_copy(update={"detail": _said(line, len(new))}))
            return len(new)

    def _inserted(self, connection: Connection, runs: Sequence[Columns]) -> list[Columns]:
        insertion = self._database.insert(RUNS).on_conflict_do_nothing(index_elements=["id"])
        rows = connection.execute(insertion.returning(RUNS.c.id), list(runs)).scalars()
        ids = {str(run) for run in rows}
        return [run for run in runs if run["id"] in ids]

    def _with_accounts(self, connection: Connection, runs: Sequence[Columns]) -> list[Columns]:
        """Return runs whose users the database takes: where it has accounts, only those that exist here."""
        if not self._has_accounts:
            return list(runs)
        users = sorted({run["triggered_by_user"] for run in runs if run["triggered_by_user"]})
        known = set()
        for user in users:
            query = sql(f"SELECT id FROM {USERS} WHERE id = :user")  # noqa: S608 - a constant
            if connection.execute(query, {"user": user}).first() is not None:
                known.add(user)
        return [
            run if run["triggered_by_user"] in known else {**run, "triggered_by_user": None}
            for run in runs
        ]


def _locked(connection: Connection, name: str) -> tuple[datetime | None, datetime | None]:
    query = select(DECISIONS.c.imported_until, DECISIONS.c.served)
    row = connection.execute(query.where(DECISIONS.c.job_name == name).with_for_update()).one()
    return row[0], row[1]


def _job(connection: Connection, name: str) -> Columns | None:
    query = READ_ROWS.where(SCHEDULES.c.job_name == name).with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    job = row_of(dict(row))
    names = ("job_name", "total_runs", "successful_runs", "failed_runs", *_LAST_RUN)
    return {column: getattr(job, column) for column in names}


_LAST_RUN = ("last_run_at", "last_run_status", "last_run_duration_ms")


def _count(connection: Connection, job: Columns | None, runs: Sequence[Columns]) -> None:
    """Count runs of a job that is here; of one that comes later its own counters tell."""
    if job is None:
        return
    more = counters_of(Counter(str(run["status"]) for run in runs).items())
    values = {name: job[name] + count for name, count in more.items()}
    values |= {name: job[name] for name in _LAST_RUN}
    ended = [run for run in runs if run["status"] != RunStatus.RUNNING]
    newest = max(ended, key=lambda run: run["started_at"], default=None)
    if newest and (job["last_run_at"] is None or job["last_run_at"] < newest["started_at"]):
        last_run = (newest["started_at"], newest["status"], newest["duration_ms"])
        values |= dict(zip(_LAST_RUN, last_run, strict=True))
    this = SCHEDULES.c.job_name == job["job_name"]
    connection.execute(SCHEDULES.update().where(this).values(values))


def _note_beside(
    connection: Connection,
    name: str,
    known: tuple[datetime | None, datetime | None],
    runs: Sequence[Columns],
) -> None:
    """Note that these runs were imported, and that their slots are dealt with."""
    until, served = known
    began = [run["started_at"] for run in runs]
    slots = [run["started_at"] for run in runs if run["triggered_by"] == TriggeredBy.SCHEDULER]
    values = {
        "imported_until": max(filter(None, (until, *began))),
        "served": max(filter(None, (served, *slots)), default=None),
    }
    connection.execute(DECISIONS.update().where(DECISIONS.c.job_name == name).values(values))


def _said(line: AuditLine, taken: int) -> dict[str, Any]:
    return {**(line.detail if isinstance(line.detail, dict) else {}), "runs": taken}

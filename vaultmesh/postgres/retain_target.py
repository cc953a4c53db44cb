"""Reads from the catalogue what a retain task deletes from, and refuses what is not as it has to be."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.maintenance.config import RetainTask
from vaultmesh.domain.maintenance.sql_names import SqlName, instant_literal, quoted
from vaultmesh.postgres.catalog import (
    Relation,
    columns_of,
    key_of,
    missing,
    oid_of,
    place,
    relation_of,
)
from vaultmesh.postgres.connection import Session

AGE_TYPES = {
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "date": "date",
}
_ARCHIVE = """
SELECT relkind::text, relpersistence::text, coalesce(pg_partition_root({oid}) = pg_partition_root({source}), false)
FROM pg_class WHERE oid = {oid}
"""


class Unusable(DomainError):
    """A task's table or archive is not as it has to be."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a task deletes from, as the catalogue has it."""

    relation: Relation
    columns: tuple[str, ...]
    key: tuple[str, ...]
    cutoff: datetime
    column: str
    """The age column, as SQL."""
    kind: str
    """Its type, as SQL."""
    bound: str
    """The cut-off as a constant of the age column's type."""
    archive: SqlName | None
    folder: Path | None

    @property
    def old(self) -> str:
        """Condition on a row: it is old."""
        return f"{self.column} < {self.bound}"


async def target_of(session: Session, task: RetainTask) -> Target:
    """Return what the task deletes from.

    Raises:
        Unusable: table, column or archive is not as it has to be.
    """
    oid = await oid_of(session, task.table)
    if oid is None:
        message = f"{task.table}: {missing(session, 'table')}"
        raise Unusable(message)
    relation = await relation_of(session, oid)
    if relation.kind not in "rp":
        message = f"{task.table} is no table - name one in {place(session, 'table')}"
        raise Unusable(message)
    columns = await columns_of(session, oid)
    kind = _age_type(session, task, columns)
    cutoff = session.order.now - task.keep
    bound = (
        f"({instant_literal(cutoff)} AT TIME ZONE 'UTC')::{kind}"
        if kind != "timestamptz"
        else instant_literal(cutoff)
    )
    archive, more = await _archive_table(session, task, relation, tuple(columns))
    folder = None if task.archive is None else task.archive.folder
    return Target(
        relation=relation,
        columns=(*columns, *more),
        key=await key_of(session, oid),
        cutoff=cutoff,
        column=quoted(task.age_column),
        kind=kind,
        bound=bound,
        archive=archive,
        folder=None if folder is None else session.order.root / folder,
    )


def _age_type(session: Session, task: RetainTask, columns: Mapping[str, str]) -> str:
    """Return the type of the column that says how old a row is.

    Raises:
        Unusable: it has none of a date or time.
    """
    kind = AGE_TYPES.get(columns.get(task.age_column, ""))
    if kind is None:
        has = ", ".join(name for name, type_name in columns.items() if type_name in AGE_TYPES)
        message = (
            f"{task.table} has no column {task.age_column} of a date or time - name one of: {has or 'none'}, "
            f"in {place(session, 'ageColumn')}"
        )
        raise Unusable(message)
    return kind


async def _archive_table(
    session: Session, task: RetainTask, source: Relation, columns: tuple[str, ...]
) -> tuple[SqlName | None, tuple[str, ...]]:
    """Return the table that rows go into first, and which generated columns it takes beside all others.

    Raises:
        Unusable: it would lose them, or take them back to where they came from.
    """
    if task.archive is None or task.archive.table is None:
        return None, ()
    name, key = task.archive.table, place(session, "archive.table")
    oid = await oid_of(session, name)
    if oid is None:
        message = f"archive.table {name}: {missing(session, 'archive.table')}"
        raise Unusable(message)
    if why := await _why_no_archive(session, oid, source):
        message = f"archive.table {name} {why} - name another one in {key}"
        raise Unusable(message)
    takes = await columns_of(session, oid)
    if lacks := [column for column in columns if column not in takes]:
        message = f"archive.table {name} lacks what {task.table} has: {', '.join(lacks)} - add it with ALTER TABLE … ADD COLUMN"
        raise Unusable(message)
    every = await columns_of(session, source.oid, also_generated=True)
    more = tuple(column for column in every if column in takes and column not in columns)
    return (await relation_of(session, oid)).name, more


async def _why_no_archive(session: Session, oid: int, source: Relation) -> str:
    """Return why rows are not safe in a table; nothing if they are."""
    [(kind, persistence, is_same_tree)] = await session.rows(
        _ARCHIVE.format(oid=oid, source=source.oid)
    )
    if oid == source.oid:
        return "is the table that rows are deleted from"
    if is_same_tree:
        return f"and {source.name} are parts of one partitioned table, so each row would go back to where it is deleted"
    if kind not in "rp":
        return (
            "is no table of this database, so nothing keeps rows from being lost or written twice"
        )
    return "" if persistence == "p" else "is emptied by a crash of the server: it is not logged"

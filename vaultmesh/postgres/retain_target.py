"""Reads from the catalogue what a retain task deletes from, and refuses what is not as it has to be."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.maintenance.config import RetainTask
from vaultmesh.domain.maintenance.sql_names import SqlName, instant_literal, quoted
from vaultmesh.postgres.catalog import MISSING, Relation, columns_of, key_of, oid_of, relation_of
from vaultmesh.postgres.connection import Session

AGE_TYPES = {
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "date": "date",
}


class Unusable(DomainError):
    """A task's table or archive is not as it has to be."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a task deletes from, as the catalogue has it."""

    relation: Relation
    columns: tuple[str, ...]
    key: tuple[str, ...]
    cutoff: datetime
    old: str
    """Condition on a row: it is old."""
    bound: str
    """The cut-off as a constant of the age column's type."""
    archive: SqlName | None
    folder: Path | None


async def target_of(session: Session, task: RetainTask) -> Target:
    """Return what the task deletes from.

    Raises:
        Unusable: table, column or archive is not as it has to be.
    """
    oid = await oid_of(session, task.table)
    if oid is None:
        message = f"{task.table}: {MISSING}"
        raise Unusable(message)
    relation = await relation_of(session, oid)
    if relation.kind not in "rp":
        message = f"{task.table} is no table - name one"
        raise Unusable(message)
    columns = await columns_of(session, oid)
    kind = AGE_TYPES.get(columns.get(task.age_column, ""))
    if kind is None:
        has = ", ".join(name for name, type_name in columns.items() if type_name in AGE_TYPES)
        message = f"{task.table} has no column {task.age_column} of a date or time - name one of: {has or 'none'}"
        raise Unusable(message)
    cutoff = session.order.now - task.keep
    bound = (
        f"({instant_literal(cutoff)} AT TIME ZONE 'UTC')::{kind}"
        if kind != "timestamptz"
        else instant_literal(cutoff)
    )
    archive, folder = await _archive(session, task, tuple(columns))
    return Target(
        relation=relation,
        columns=tuple(columns),
        key=await key_of(session, oid),
        cutoff=cutoff,
        old=f"{quoted(task.age_column)} < {bound}",
        bound=bound,
        archive=archive,
        folder=folder,
    )


async def _archive(
    session: Session, task: RetainTask, columns: tuple[str, ...]
) -> tuple[SqlName | None, Path | None]:
    """Return where rows go first: a table that takes every column, or a folder."""
    if task.archive is None:
        return None, None
    if task.archive.folder is not None:
        return None, session.order.root / task.archive.folder
    assert task.archive.table is not None  # noqa: S101 - one of both is set
    oid = await oid_of(session, task.archive.table)
    if oid is None:
        message = f"archive.table {task.archive.table}: {MISSING}"
        raise Unusable(message)
    missing = [name for name in columns if name not in await columns_of(session, oid)]
    if missing:
        message = f"archive.table {task.archive.table} lacks what {task.table} has: {', '.join(missing)} - add it with ALTER TABLE … ADD COLUMN"
        raise Unusable(message)
    archive = await relation_of(session, oid)
    if archive.oid == await oid_of(session, task.table):
        message = f"archive.table {task.archive.table} is the table that rows are deleted from - name another one"
        raise Unusable(message)
    return archive.name, None

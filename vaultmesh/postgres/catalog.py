"""Asks the catalogue of a database what is there."""

from collections.abc import Iterable
from dataclasses import dataclass

from vaultmesh.domain.maintenance.sql_names import SqlName, literal
from vaultmesh.postgres.connection import Session

USERS_SCHEMAS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
"""Condition on `pg_namespace n`: what users made."""


def place(session: Session, key: str) -> str:
    """Return where the file says what a task is about, for messages."""
    return f"tasks.{session.task}.{key} in maintenance.yaml"


def missing(session: Session, key: str) -> str:
    """Return that there is nothing of the name that a key has, with its mend."""
    return f"there is none of this name - correct {place(session, key)}, or let its owner grant USAGE on its schema"


async def oids_of(session: Session, names: Iterable[SqlName]) -> dict[SqlName, int | None]:
    """Return the oid of each table, view or index; None where there is none."""
    return {name: await oid_of(session, name) for name in names}


async def oid_of(session: Session, name: SqlName) -> int | None:
    """Return the oid of a table, view or index; None if there is none."""
    rows = await session.rows(f"SELECT to_regclass({literal(name.sql)})::oid::int8")
    oid: int | None = rows[0][0]
    return oid


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or index."""

    oid: int
    name: SqlName
    kind: str
    """`relkind`: r for a table, p for a partitioned one, m for a materialized view, i and I for indexes."""


async def relation_of(session: Session, oid: int) -> Relation:
    """Return what has an oid, which MUST exist."""
    query = (
        "SELECT n.nspname, c.relname, c.relkind::text FROM pg_class c JOIN pg_namespace n "
        f"ON n.oid = c.relnamespace WHERE c.oid = {oid}"
    )
    [(schema, name, kind)] = await session.rows(query)
    return Relation(oid, SqlName(schema, name), kind)


async def columns_of(session: Session, oid: int, *, also_generated: bool = False) -> dict[str, str]:
    """Return the type of each column that can be written, in the table's order; if asked for, of each other one too."""
    generated = "" if also_generated else "AND attgenerated = '' "
    query = (
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
        f"WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped {generated}ORDER BY attnum"
    )
    return {str(name): str(kind) for name, kind in await session.rows(query)}


async def key_of(session: Session, oid: int) -> tuple[str, ...]:
    """Return the columns of a table's primary key; none if it has none."""
    query = (
        "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) "
        f"WHERE i.indrelid = {oid} AND i.indisprimary ORDER BY a.attnum"
    )
    return tuple(str(name) for (name,) in await session.rows(query))

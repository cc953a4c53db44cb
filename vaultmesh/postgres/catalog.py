"""Asks the catalogue of a database what is there."""

from collections.abc import Iterable

from vaultmesh.domain.maintenance.sql_names import SqlName, literal
from vaultmesh.postgres.connection import Session

USERS_SCHEMAS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
"""Condition on `pg_namespace n`: what users made."""
MISSING = "there is none of this name - correct it in maintenance.yaml, or let its owner grant USAGE on its schema"


async def oids_of(session: Session, names: Iterable[SqlName]) -> dict[SqlName, int | None]:
    """Return the oid of each table, view or index; None where there is none."""
    return {name: await oid_of(session, name) for name in names}


async def oid_of(session: Session, name: SqlName) -> int | None:
    """Return the oid of a table, view or index; None if there is none."""
    rows = await session.rows(f"SELECT to_regclass({literal(name.sql)})::oid::int8")
    oid: int | None = rows[0][0]
    return oid


async def name_of(session: Session, oid: int) -> SqlName:
    """Return the whole name of what has an oid."""
    query = f"SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = {oid}"
    (schema, name), *_ = await session.rows(query)
    return SqlName(schema, name)

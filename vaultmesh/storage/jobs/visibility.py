"""Tells whether a database lets us see the rows of jobs at all.

Row-level security hides rows without an error: a user whom no policy names sees empty tables. Jobs that are only hidden must
never pass for jobs that are gone.
"""

from collections.abc import Iterable

from sqlalchemy import Connection
from sqlalchemy import text as sql

from vaultmesh.domain.jobs.refusals import StoreErrorKind
from vaultmesh.storage.jobs.database import Database

_HIDDEN = sql(
    "SELECT c.relname FROM pg_class c WHERE c.oid = ANY (ARRAY(SELECT to_regclass(name) FROM unnest(CAST(:names AS text[])) name)) "
    "AND row_security_active(c.oid) AND NOT EXISTS (SELECT 1 FROM pg_policy p, unnest(p.polroles) role "
    "WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN ('*', 'r') "
    "AND CASE WHEN role = 0 THEN true ELSE pg_has_role(role, 'USAGE') END) ORDER BY c.relname"
)


def check_visible(database: Database, connection: Connection, tables: Iterable[str]) -> None:
    """Refuse tables of which our user sees no row, whatever is in them.

    Raises:
        StoreError: row-level security hides them; says what our user needs.
    """
    if not database.place.is_postgres:
        return
    hidden = [str(name) for name in connection.execute(_HIDDEN, {"names": list(tables)}).scalars()]
    if hidden:
        why = f"row-level security hides all rows of {', '.join(hidden)} from its user, who needs a policy or BYPASSRLS"
        raise database.failure(why, StoreErrorKind.DENIED)

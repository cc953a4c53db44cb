"""Reads the few numbers of a database that alerts need after its tables were vacuumed.

They are read by the run that vacuumed, when it is done: what is dead then, above the setting, could not be cleaned.
"""

from vaultmesh.domain.maintenance.config import VacuumTask
from vaultmesh.domain.maintenance.figures import Figures, Holder
from vaultmesh.postgres.catalog import USERS_SCHEMAS, oids_of
from vaultmesh.postgres.connection import Session

_OLDEST = """
SELECT current_database(), (SELECT max(greatest(age(relfrozenxid), mxid_age(relminmxid)))::int8
FROM pg_class WHERE relkind IN ('r', 'm', 't') AND relpersistence <> 't')
"""
_HELD = """
SELECT coalesce(sum(s.n_dead_tup), 0)::int8
FROM pg_stat_all_tables s JOIN pg_class c ON c.oid = s.relid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {which} AND s.last_vacuum >= clock_timestamp() - interval '{milliseconds} milliseconds'
AND s.n_dead_tup > least(coalesce({own_least}, {least}) + coalesce({own_ratio}, {ratio}) * greatest(c.reltuples, 0),
    nullif({own_most}, -1))
"""
_OWN = "(SELECT option_value::float8 FROM pg_options_to_table(c.reloptions) WHERE option_name = 'autovacuum_vacuum_{what}')"
"""A table's own storage parameter, which counts more than the task's setting."""
_HOLDER = """
SELECT who FROM (
  SELECT CASE WHEN backend_type = 'walsender' THEN 'standby' ELSE 'transaction' END, greatest(age(backend_xmin), age(backend_xid))
  FROM pg_stat_activity WHERE pid <> pg_backend_pid()
  UNION ALL SELECT 'prepared transaction', age(transaction) FROM pg_prepared_xacts
  UNION ALL SELECT 'replication slot', age(xmin) FROM pg_replication_slots
) AS holders (who, age) WHERE age IS NOT NULL ORDER BY age DESC LIMIT 1
"""


async def figures(session: Session, task: VacuumTask, seconds: float) -> Figures:
    """Return the numbers after a run of `task` that took so many seconds.

    Raises:
        psycopg.Error: as the server has it.
    """
    which = USERS_SCHEMAS
    if isinstance(task.tables, tuple):
        oids = [str(oid) for oid in (await oids_of(session, task.tables)).values() if oid]
        which = f"c.oid IN ({', '.join(oids) or 'NULL'})"
    [(database, age)] = await session.rows(_OLDEST)
    query = _HELD.format(
        which=which,
        milliseconds=int(1_000 * seconds) + 1,
        least=task.min_dead,
        ratio=task.dead_ratio,
        own_least=_OWN.format(what="threshold"),
        own_ratio=_OWN.format(what="scale_factor"),
        own_most=_OWN.format(what="max_threshold"),
    )
    [(held,)] = await session.rows(query)
    holders = await session.rows(_HOLDER) if held else []
    holder = Holder(holders[0][0]) if holders else Holder.NOTHING_KNOWN
    return Figures(database=database, oldest_age=age or 0, held_dead=held, held_by=holder)

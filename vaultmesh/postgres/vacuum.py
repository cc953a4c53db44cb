"""Keeps tables vacuumed and analysed: reads what the server counts, decides for each table, and sends what is needed."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg

from vaultmesh.domain.maintenance.config import VacuumTask
from vaultmesh.domain.maintenance.outcomes import Outcome
from vaultmesh.domain.maintenance.plan import PARTITIONED, Step, TableStatistics, decide
from vaultmesh.domain.maintenance.sql_names import SqlName
from vaultmesh.postgres.catalog import USERS_SCHEMAS, missing, oid_of, oids_of, place
from vaultmesh.postgres.connection import Session
from vaultmesh.postgres.figures import figures
from vaultmesh.postgres.work import Work, carry_out

_TABLES = """
SELECT n.nspname, c.relname, c.relkind::text, c.reltuples::float8, c.relpages,
       coalesce(s.n_dead_tup, 0), coalesce(s.n_mod_since_analyze, 0), coalesce(s.n_ins_since_vacuum, 0),
       CASE WHEN c.relkind = 'p' THEN 0 ELSE greatest(age(c.relfrozenxid), age(t.relfrozenxid)) END,
       CASE WHEN c.relkind = 'p' THEN 0 ELSE greatest(mxid_age(c.relminmxid), mxid_age(t.relminmxid)) END,
       greatest(s.last_analyze, s.last_autoanalyze),
       CASE WHEN c.relkind = 'p' THEN (
           SELECT max(greatest(l.last_analyze, l.last_autoanalyze))
           FROM pg_partition_tree(c.oid) p JOIN pg_stat_all_tables l ON l.relid = p.relid WHERE p.isleaf) END,
       EXISTS (SELECT FROM pg_stat_progress_vacuum v WHERE v.relid = c.oid)
           OR EXISTS (SELECT FROM pg_stat_progress_analyze a WHERE a.relid = c.oid),
       c.relkind = 'r' AND c.relhassubclass AND current_setting('server_version_num')::int >= 180000,
       c.reloptions
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' AND {which}
ORDER BY n.nspname, c.relname
"""
_NO_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT (c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't') AND {which} ORDER BY 1, 2
"""
_DEAD = "SELECT coalesce((SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = {oid}), 0)"
_HOLDERS = """
SELECT * FROM (
  SELECT 'process ' || pid || ' (' || coalesce(nullif(application_name, ''), usename::text, '?') || '), in a transaction since '
      || to_char(xact_start, 'YYYY-MM-DD HH24:MI:SS'), age(backend_xmin) AS age
  FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
  UNION ALL SELECT 'prepared transaction ' || gid, age(transaction) FROM pg_prepared_xacts
  UNION ALL SELECT 'replication slot ' || slot_name, greatest(age(xmin), age(catalog_xmin)) FROM pg_replication_slots
) AS holders (who, age) WHERE age IS NOT NULL ORDER BY age DESC LIMIT 1
"""


async def plan(session: Session, task: VacuumTask) -> list[Step]:
    """Return what each table needs."""
    steps: list[Step] = []
    which = USERS_SCHEMAS
    if isinstance(task.tables, tuple):
        oids = await oids_of(session, task.tables)
        steps += [
            Step(str(name), reason=missing(session, "tables"), outcome=Outcome.FAILED)
            for name, oid in oids.items()
            if oid is None
        ]
        which = f"c.oid IN ({', '.join(str(oid) for oid in oids.values() if oid) or 'NULL'})"
        no_table = f"is nothing that can be vacuumed - name tables or materialized views in {place(session, 'tables')}"
        steps += [
            Step(str(SqlName(schema, name)), reason=no_table, outcome=Outcome.FAILED)
            for schema, name in await session.rows(_NO_TABLES.format(which=which))
        ]
    rows = await session.rows(_TABLES.format(which=which))
    return steps + [decide(_statistics(row), task) for row in rows]


async def run(work: Work, task: VacuumTask) -> None:
    """Give each table what it needs, and say what a VACUUM could not clean."""
    began = time.monotonic()
    for step in await plan(work.session, task):
        result = await carry_out(work, step)
        if result.outcome is Outcome.DONE and step.statements[0].startswith("VACUUM"):
            left = await _left(work.session, step)
            if left:
                work.results[-1] = result.model_copy(update={"detail": f"{result.detail}; {left}"})
    with suppress(psycopg.Error):  # the work is done: an alert less is no failure
        work.figures = await figures(work.session, task, time.monotonic() - began)


async def _left(session: Session, step: Step) -> str:
    """Return why rows stay dead after a VACUUM; nothing if none do."""
    oid = None if step.name is None else await oid_of(session, step.name)
    dead = (await session.rows(_DEAD.format(oid=oid)))[0][0] if oid else 0
    if not dead:
        return ""
    holders = await session.rows(_HOLDERS)
    who = f": {holders[0][0]} may still see them" if holders else ""
    return f"{dead:,} rows stay dead{who}"


def _statistics(row: Sequence[Any]) -> TableStatistics:
    schema, name, kind, rows, pages, dead, changed, inserted, age, multixact_age = row[:10]
    analyzed, partitions_analyzed, is_busy, descends, options = row[10:]
    return TableStatistics(
        name=SqlName(schema, name),
        relkind=PARTITIONED if kind == PARTITIONED else kind,
        rows=rows,
        pages=pages,
        dead=dead,
        changed=changed,
        inserted=inserted,
        age=age,
        multixact_age=multixact_age,
        analyzed=analyzed,
        partitions_analyzed=partitions_analyzed,
        is_busy=is_busy,
        descends=descends,
        options=dict(option.partition("=")[::2] for option in options or ()),
    )

"""Drops partitions that are old as a whole: detached beside the work that goes on, archived, then dropped.

A partition is marked by a comment before it is detached. One that a killed run left detached is known by it, and dropped by
the next run.
"""

import re
import time
from dataclasses import dataclass

from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.maintenance.config import RetainTask
from vaultmesh.domain.maintenance.outcomes import Outcome
from vaultmesh.domain.maintenance.plan import Step
from vaultmesh.domain.maintenance.sql_names import SqlName, literal
from vaultmesh.postgres.archive import (
    FileArchive,
    NotArchived,
    Rows,
    column_list,
    into_file,
    roll_back,
)
from vaultmesh.postgres.catalog import Relation
from vaultmesh.postgres.connection import Sent, Session
from vaultmesh.postgres.retain_target import Target
from vaultmesh.postgres.work import Work, attempt

MARK = "vmsh:retain: to be archived and dropped; was a partition of "
_BOUND = re.compile(r"FOR VALUES FROM \(.+\) TO \(('(?:[^']|'')+')\)")
_PARTITIONS = """
SELECT c.oid::int8, n.nspname, c.relname, pg_get_expr(c.relpartbound, c.oid), i.inhdetachpending
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_partitioned_table p ON p.partrelid = i.inhparent
WHERE i.inhparent = {oid} AND c.relkind = 'r' AND p.partstrat = 'r' AND p.partnatts = 1 AND p.partdefid = 0
  AND p.partattrs[0] = (SELECT attnum FROM pg_attribute WHERE attrelid = {oid} AND attname = {column})
ORDER BY c.relname
"""
_DETACHED = """
SELECT c.oid::int8, n.nspname, c.relname FROM pg_description d JOIN pg_class c ON c.oid = d.objoid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE d.classoid = 'pg_class'::regclass AND d.objsubid = 0 AND d.description = {mark}
  AND c.relkind = 'r' AND NOT c.relispartition ORDER BY c.relname
"""


_DETACHING = """
SELECT n.nspname, c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.inhparent = {oid} AND i.inhdetachpending
"""


class Detaching(DomainError):
    """Another partition is being detached, which is a lock in all but name."""

    sqlstate = "55P03"


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition whose rows are all old."""

    oid: int
    name: SqlName
    is_attached: bool = True
    is_detaching: bool = False
    """Whether somebody's detaching was interrupted."""


async def whole_and_old(session: Session, task: RetainTask, target: Target) -> list[Partition]:
    """Return the partitions that end before the cut-off, and those that a killed run left detached.

    At most `maxRows` rows are in them; others are left to batches. A table with a default partition has none: PostgreSQL
    detaches nothing from it without locking it.
    """
    relation = target.relation
    if relation.kind != "p":
        return []
    old, left = [], task.max_rows
    for partition in [*await _detached(session, relation), *await _ending(session, task, target)]:
        some = f"SELECT 1 FROM ONLY {partition.name.sql} LIMIT {left + 1}"
        [(rows,)] = await session.rows(f"SELECT count(*) FROM ({some}) AS some_rows")
        if rows <= left:
            left -= rows
            old.append(partition)
    return old


async def _detached(session: Session, relation: Relation) -> list[Partition]:
    rows = await session.rows(_DETACHED.format(mark=literal(_mark(relation))))
    return [Partition(oid, SqlName(schema, name), is_attached=False) for oid, schema, name in rows]


async def _ending(session: Session, task: RetainTask, target: Target) -> list[Partition]:
    """Return the partitions whose upper bound is not after the cut-off."""
    query = _PARTITIONS.format(oid=target.relation.oid, column=literal(task.age_column))
    ending = []
    for oid, schema, name, expression, detaching in await session.rows(query):
        match = _BOUND.fullmatch(expression or "")
        if match and (await session.rows(f"SELECT {match[1]} <= {target.bound}"))[0][0]:
            ending.append(Partition(oid, SqlName(schema, name), is_detaching=detaching))
    return ending


def step(target: Target, partition: Partition) -> Step:
    """Return what is sent to archive and drop a partition."""
    statements = (*_detach_statements(target, partition), *_drop_statements(target, partition))
    reason = f"all of its rows are older than {target.cutoff:%Y-%m-%d %H:%M:%S} UTC"
    return Step(str(partition.name), statements, reason, name=partition.name)


def _detach_statements(target: Target, partition: Partition) -> tuple[str, ...]:
    if not partition.is_attached:
        return ()
    parent, name = target.relation.name.sql, partition.name.sql
    how = "FINALIZE" if partition.is_detaching else "CONCURRENTLY"
    mark = literal(_mark(target.relation))
    return (
        f"COMMENT ON TABLE {name} IS {mark}",
        f"ALTER TABLE {parent} DETACH PARTITION {name} {how}",
    )


def _drop_statements(target: Target, partition: Partition) -> tuple[str, ...]:
    name = partition.name.sql
    drop = f"DROP TABLE {name}"
    lock = f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE"
    if target.archive is not None:
        columns = column_list(target.columns)
        copy = f"INSERT INTO {target.archive.sql} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM ONLY {name}"
        return "BEGIN", lock, f"SELECT count(*) FROM ONLY {name}", copy, drop, "COMMIT"
    if target.folder is not None:
        return (
            "BEGIN",
            lock,
            into_file(f"FROM ONLY {name}", target.columns, deletes=False),
            drop,
            "COMMIT",
        )
    return (drop,)


async def drop(work: Work, target: Target, partition: Partition, files: FileArchive | None) -> int:
    """Archive and drop a partition; return how many rows went."""
    planned = step(target, partition)

    async def action() -> Sent:
        begin = time.monotonic()
        if files is not None:
            await files.settle()
        present = await _present(work.session, partition)
        if present is None:
            return Sent((), 0, (), 0.0)
        await _wait_its_turn(work.session, target, present)
        for statement in _detach_statements(target, present):
            await work.session.send(statement)
        count = await _archive_and_drop(work.session, target, present, files)
        return Sent((), count, (), time.monotonic() - begin)

    result = await attempt(work, planned, action)
    return (result.rows or 0) if result.outcome is Outcome.DONE else 0


async def _present(session: Session, partition: Partition) -> Partition | None:
    """Return a partition as it is now: an attempt before may have come some way."""
    rows = await session.rows(
        "SELECT c.relispartition, coalesce((SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = c.oid), false) "
        f"FROM pg_class c WHERE c.oid = {partition.oid}"
    )
    if not rows:
        return None
    (attached, detaching), *_ = rows
    return Partition(partition.oid, partition.name, is_attached=attached, is_detaching=detaching)


async def _wait_its_turn(session: Session, target: Target, partition: Partition) -> None:
    """Leave a partition attached while another one is being detached: PostgreSQL detaches one of a table at a time.

    Raises:
        Detaching: another one is.
    """
    if not partition.is_attached or partition.is_detaching:
        return
    for schema, name in await session.rows(_DETACHING.format(oid=target.relation.oid)):
        other, parent = SqlName(schema, name), target.relation.name
        message = (
            f"{other} is being detached, and the others wait for it - end what reads {parent} for so long; "
            f"if nobody detaches it any more: ALTER TABLE {parent.sql} DETACH PARTITION {other.sql} FINALIZE"
        )
        raise Detaching(message)


async def _archive_and_drop(
    session: Session, target: Target, partition: Partition, files: FileArchive | None
) -> int:
    statements = _drop_statements(target, partition)
    if files is not None:
        source = f"FROM ONLY {partition.name.sql}"
        rows = Rows(source, target.columns, target.cutoff, target.relation.name, target.key)
        lock, drop_table = statements[1], statements[-2]
        return await files.move(rows, before=(lock,), after=(drop_table,), deletes=False)
    if target.archive is None:
        [(count,)] = await session.rows(f"SELECT count(*) FROM ONLY {partition.name.sql}")
        await session.send(statements[-1])
        return int(count)
    _, lock, counting, copy, drop_table, _ = statements
    await session.send("BEGIN")
    try:
        await session.send(lock)
        [(count,)] = await session.rows(counting)
        if (await session.send(copy)).count != count:
            message = f"the archive took fewer rows than {partition.name} has, so nothing was changed - look for a trigger or rule of the archive that leaves rows out"
            raise NotArchived(message)
        await session.send(drop_table)
        await session.send("COMMIT")
    except BaseException:
        await roll_back(session)
        raise
    return int(count)


def _mark(relation: Relation) -> str:
    return f"{MARK}{relation.name}"

"""Builds bloated indexes anew beside the work that goes on, one at a time, and removes what an interrupted build left.

1. `REINDEX INDEX CONCURRENTLY` builds a second index, which needs its room on the disk, and waits for older transactions.
2. Interrupted, it leaves an invalid index, `…_ccnew` or `…_ccold`, that slows every write. It is dropped, before and after.
3. An invalid index of any other name is somebody's own: it is told, and left.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from vaultmesh.domain.maintenance.config import ReindexTask
from vaultmesh.domain.maintenance.outcomes import Outcome
from vaultmesh.domain.maintenance.plan import Step
from vaultmesh.domain.maintenance.sql_names import SqlName, quoted
from vaultmesh.postgres.catalog import USERS_SCHEMAS, missing, oids_of, place, relation_of
from vaultmesh.postgres.connection import Session
from vaultmesh.postgres.work import Work, carry_out, carry_out_all

FULL = 90.0
"""Percent of a leaf page that a new B-tree index fills."""
_SMALLEST_PAGES = 16
"""Smaller indexes are never bloated enough to matter."""
_LEFT_BEHIND = re.compile(r".*_cc(new|old)[0-9]*")
_NO_EXTENSION = "needs the extension pgstattuple to see which indexes are bloated - let an administrator run CREATE EXTENSION pgstattuple, or list indexes"
_INDEXES = """
SELECT c.oid::int8, n.nspname, c.relname, c.relpages, a.amname, i.indisvalid, i.indisexclusion, c.relkind::text,
       EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.relid = i.indrelid)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_am a ON a.oid = c.relam WHERE {which} ORDER BY n.nspname, c.relname
"""
_EXTENSION = """
SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pgstattuple'
"""
_NEIGHBOURS = "i.indrelid IN (SELECT indrelid FROM pg_index WHERE indexrelid IN ({oids}))"


@dataclass(frozen=True, slots=True)
class _Index:
    oid: int
    name: SqlName
    pages: int
    method: str
    is_valid: bool
    is_exclusion: bool
    kind: str
    is_being_built: bool

    @property
    def is_left_behind(self) -> bool:
        """Whether an interrupted build left it."""
        return not self.is_valid and bool(_LEFT_BEHIND.fullmatch(self.name.name))


async def plan(session: Session, task: ReindexTask) -> list[Step]:
    """Return which left-overs go, and which indexes are built anew."""
    return [*await _clean_up(session, task), *await _rebuild(session, task)]


async def run(work: Work, task: ReindexTask) -> None:
    """Remove left-overs, build indexes anew, and remove what a failed attempt left."""
    await carry_out_all(work, await _clean_up(work.session, task))
    for step in await _rebuild(work.session, task):
        await carry_out(work, step)
        if step.outcome is None:  # also after success: an attempt before it may have failed
            left = await _clean_up(work.session, task)
            await carry_out_all(work, [each for each in left if each.outcome is None])


async def _clean_up(session: Session, task: ReindexTask) -> list[Step]:
    steps = []
    for index in await _indexes(session, await _scope(session, task)):
        subject = str(index.name)
        if index.is_left_behind and index.is_being_built:
            steps.append(Step(subject, reason="is being built", outcome=Outcome.RUNNING))
        elif index.is_left_behind:
            statement = f"DROP INDEX CONCURRENTLY {index.name.sql}"
            reason = "an interrupted build left it: invalid, and slows writes"
            steps.append(Step(subject, (statement,), reason, name=index.name))
        elif not index.is_valid and not index.is_being_built and index.kind == "i":
            reason = "is invalid and not ours to drop - drop it, or build it anew"
            steps.append(Step(subject, reason=reason, outcome=Outcome.NOT_NEEDED, is_alert=True))
    return steps


async def _rebuild(session: Session, task: ReindexTask) -> list[Step]:
    if isinstance(task.indexes, tuple):
        return await _listed(session, task, task.indexes)
    schema = await _extension(session)
    if schema is None:
        return [Step("indexes", reason=_NO_EXTENSION, outcome=Outcome.FAILED)]
    indexes = await _indexes(session, USERS_SCHEMAS)
    return [
        await _measured(session, task, index, schema)
        for index in indexes
        if index.is_valid and index.kind == "i" and index.method == "btree"
    ]


async def _listed(session: Session, task: ReindexTask, names: Sequence[SqlName]) -> list[Step]:
    """Return a step for each index of a list: measured if that can be done, else built anew."""
    schema = await _extension(session)
    steps = []
    for name, oid in (await oids_of(session, names)).items():
        if oid is None:
            steps.append(
                Step(str(name), reason=missing(session, "indexes"), outcome=Outcome.FAILED)
            )
            continue
        indexes = await _indexes(session, await _leaves(session, oid))
        if not indexes:
            steps.append(
                Step(
                    str(name),
                    reason=f"is no index - name one in {place(session, 'indexes')}",
                    outcome=Outcome.FAILED,
                )
            )
        steps += [await _measured(session, task, index, schema) for index in indexes]
    return steps


async def _measured(session: Session, task: ReindexTask, index: _Index, schema: str | None) -> Step:
    subject = str(index.name)
    if index.is_exclusion:
        reason = "belongs to an exclusion constraint, which can't be built anew beside the work that goes on"
        return Step(subject, reason=reason, outcome=Outcome.NOT_NEEDED)
    if index.is_being_built:
        return Step(subject, reason="its table gets an index now", outcome=Outcome.RUNNING)
    reason = "is listed"
    if schema is not None and index.method == "btree":
        bloat = await _bloat(session, index, schema)
        if bloat < task.min_bloat:
            reason = f"{bloat:.0%} bloat, below minBloat {task.min_bloat:.0%}"
            return Step(subject, reason=reason, outcome=Outcome.NOT_NEEDED)
        reason = f"{bloat:.0%} bloat, minBloat is {task.min_bloat:.0%}"
    statement = f"REINDEX INDEX CONCURRENTLY {index.name.sql}"
    return Step(subject, (statement,), reason, name=index.name)


async def _bloat(session: Session, index: _Index, schema: str) -> float:
    """Return which share of an index's pages is empty beyond what a new one leaves."""
    if index.pages < _SMALLEST_PAGES:
        return 0.0
    query = f"SELECT avg_leaf_density FROM {quoted(schema)}.pgstatindex({index.oid}::regclass)"
    [(density,)] = await session.rows(query)
    full = float(density) if not math.isnan(density) else FULL  # NaN: it has no leaves
    return max(0.0, 1.0 - full / FULL)


async def _extension(session: Session) -> str | None:
    rows = await session.rows(_EXTENSION)
    return str(rows[0][0]) if rows else None


async def _scope(session: Session, task: ReindexTask) -> str:
    """Return a condition on indexes: those of every table that the task touches."""
    if not isinstance(task.indexes, tuple):
        return USERS_SCHEMAS
    oids = [oid for oid in (await oids_of(session, task.indexes)).values() if oid is not None]
    return _NEIGHBOURS.format(oids=", ".join(map(str, oids)) or "0")


async def _leaves(session: Session, oid: int) -> str:
    """Return a condition that holds for an index, or for the parts of a partitioned one."""
    if (await relation_of(session, oid)).kind != "I":
        return f"c.oid = {oid}"
    return f"c.oid IN (SELECT relid FROM pg_partition_tree({oid}) WHERE isleaf)"


async def _indexes(session: Session, which: str) -> list[_Index]:
    rows = await session.rows(_INDEXES.format(which=which))
    return [_Index(row[0], SqlName(row[1], row[2]), *row[3:]) for row in rows]

"""Deletes rows that are old, in small transactions beside whoever uses the table, and archives them before if asked to.

1. The cut-off is fixed when the run begins. A task can't name one that is younger than `minKeep`, nor delete more than `maxRows`.
2. Rows that somebody has locked are passed over, and left to the next run.
3. Whole partitions that are old go at once: detached beside the work that goes on, archived, dropped.
"""

import asyncio
import time
from functools import partial

from vaultmesh.domain.maintenance.archived import DATA, NOTE
from vaultmesh.domain.maintenance.config import RetainTask
from vaultmesh.domain.maintenance.outcomes import Outcome, StepResult
from vaultmesh.domain.maintenance.plan import Step
from vaultmesh.domain.maintenance.sql_names import SqlName, literal
from vaultmesh.postgres import partitions
from vaultmesh.postgres.archive import (
    FileArchive,
    Rows,
    into_file,
    into_table,
    move_into_table,
)
from vaultmesh.postgres.catalog import Relation, relation_of
from vaultmesh.postgres.connection import Sent, Session
from vaultmesh.postgres.replicas import wait_for_replicas
from vaultmesh.postgres.retain_target import Target, target_of
from vaultmesh.postgres.work import Work, carry_out, carry_out_all, ended_early, tried

_SHARE_OF_DEADLINE = 0.05
"""No batch is begun in the last part of a task's time: it would be cut off."""
_LEAVES = """
SELECT c.oid::int8 FROM pg_partition_tree({oid}) t JOIN pg_class c ON c.oid = t.relid
WHERE t.isleaf AND c.relkind = 'r' ORDER BY c.oid
"""
_ELSEWHERE = """
SELECT n.nspname, c.relname, 'is a foreign table' FROM pg_partition_tree({oid}) t JOIN pg_class c ON c.oid = t.relid
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE t.isleaf AND c.relkind NOT IN ('r', 'p')
UNION ALL SELECT n.nspname, c.relname, 'inherits from it' FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.inhparent = {oid} AND NOT c.relispartition ORDER BY 1, 2
"""
_INDEXED = """
SELECT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = {oid} AND i.indisvalid AND i.indkey[0] =
  (SELECT attnum FROM pg_attribute WHERE attrelid = {oid} AND attname = {column}))
"""


async def plan(session: Session, task: RetainTask) -> list[Step]:
    """Return the partitions that would go at once, and of every other table how many rows are old."""
    target = await target_of(session, task)
    steps = await _left_over(session, target)
    whole = await partitions.whole_and_old(session, task, target)
    steps += [partitions.step(target, partition) for partition in whole]
    oids = {partition.oid for partition in whole}
    for leaf in await _leaves(session, target.relation):
        if leaf.oid not in oids:
            steps.append(await _leaf_step(session, task, target, leaf))
    return steps + await _left_alone(session, target.relation)


async def run(work: Work, task: RetainTask) -> None:
    """Settle what a killed run left, then delete what is old; raises `DomainError` where nothing can be deleted."""
    target = await target_of(work.session, task)
    files = None if target.folder is None else FileArchive(work.session, target.folder)
    left = task.max_rows
    if files is not None and (settled := await files.settle()):
        work.add(_settled(target, settled))
    if not await wait_for_replicas(work):
        work.add(_behind(target))
        return
    whole = await partitions.whole_and_old(work.session, task, target)
    for partition in whole:
        left -= await partitions.drop(work, target, partition, files)
    tried_already = {partition.oid for partition in whole}
    for leaf in await _leaves(work.session, target.relation):
        if left > 0 and leaf.oid not in tried_already:
            step = await _looked_at(work, task, target, leaf)
            if step is not None:
                left -= await _Batches(work, task, target, leaf, files).run(step, left)
    await carry_out_all(work, await _left_alone(work.session, target.relation))
    if files is not None:
        _forget_files(work, task, files)


async def _looked_at(work: Work, task: RetainTask, target: Target, leaf: Relation) -> Step | None:
    """Return what is to do with one table; None if that can't be seen, which does not stop the next one.

    Raises:
        Stopped: the connection is gone and can't be had again.
    """
    steps: list[Step] = []

    async def look() -> Sent:
        steps.append(await _leaf_step(work.session, task, target, leaf))
        return Sent((), -1, (), 0.0)

    result, stop = await tried(work, Step(str(leaf.name)), look)
    if result.outcome is not Outcome.DONE:
        work.add(result)
    if stop is not None:
        raise stop
    return steps[-1] if steps else None


async def _leaves(session: Session, relation: Relation) -> list[Relation]:
    """Return the tables that hold rows: the partitions, or the table itself."""
    if relation.kind != "p":
        return [relation]
    rows = await session.rows(_LEAVES.format(oid=relation.oid))
    return [await relation_of(session, oid) for (oid,) in rows]


async def _left_alone(session: Session, relation: Relation) -> list[Step]:
    """Return a step for each table whose rows a query of the task's table shows, and which the task leaves alone."""
    return [
        Step(
            str(SqlName(schema, name)),
            reason=f"{why}, and its rows stay - give it a task of its own",
            outcome=Outcome.NOT_NEEDED,
            is_alert=True,
        )
        for schema, name, why in await session.rows(_ELSEWHERE.format(oid=relation.oid))
    ]


async def _left_over(session: Session, target: Target) -> list[Step]:
    """Return a step for each file that a killed run left."""
    if target.folder is None:
        return []
    pending = FileArchive(session, target.folder).folder.pending(session.task)
    return [
        Step(
            str(target.folder),
            reason=f"transaction {manifest.xid} of an interrupted run is settled first",
            outcome=Outcome.NOT_NEEDED,
        )
        for manifest in pending
    ]


async def _leaf_step(session: Session, task: RetainTask, target: Target, leaf: Relation) -> Step:
    """Return what is to do with one table."""
    name = leaf.name
    count_query = f"SELECT count(*) FROM (SELECT 1 FROM ONLY {name.sql} WHERE {target.old} LIMIT {task.max_rows + 1}) AS old"
    [(count,)] = await session.rows(count_query)
    cutoff = f"{target.cutoff:%Y-%m-%d %H:%M:%S} UTC"
    if not count:
        return Step(str(name), reason=f"no rows older than {cutoff}", outcome=Outcome.NOT_NEEDED)
    rows = f"more than {task.max_rows:,}" if count > task.max_rows else f"{count:,}"
    reason = f"{rows} rows older than {cutoff}, in batches of {task.batch:,}"
    [(indexed,)] = await session.rows(
        _INDEXED.format(oid=leaf.oid, column=literal(task.age_column))
    )
    if not indexed:
        reason += f"; no index begins with {task.age_column}, so each batch reads the whole table"
    limit = min(task.batch, task.max_rows)
    return Step(str(name), statements(target, leaf, limit), reason, name=name)


def statements(target: Target, leaf: Relation, limit: int) -> tuple[str, ...]:
    """Return what one batch sends."""
    delete = delete_of(target, leaf, limit)
    if target.archive is not None:
        return "BEGIN", into_table(delete, target.columns, target.archive), "COMMIT"
    if target.folder is not None:
        return "BEGIN", into_file(delete, target.columns, deletes=True), "COMMIT"
    return (delete,)


def delete_of(target: Target, leaf: Relation, limit: int) -> str:
    """Return the deletion of one batch: a row is known by its place only within the statement that locked it."""
    table = leaf.name.sql
    column = target.old.partition(" < ")[0]
    return (
        f"DELETE FROM ONLY {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM ONLY {table} WHERE {target.old} "
        f"ORDER BY {column} LIMIT {limit} FOR UPDATE SKIP LOCKED)) AND {target.old}"
    )


class _Batches:
    """Deletes the old rows of one table, batch by batch."""

    def __init__(
        self,
        work: Work,
        task: RetainTask,
        target: Target,
        leaf: Relation,
        files: FileArchive | None,
    ) -> None:
        self._work = work
        self._task = task
        self._target = target
        self._leaf = leaf
        self._files = files
        self._deleted = 0
        self._behind = False
        self._in_use = 0

    async def run(self, step: Step, most: int) -> int:
        """Delete at most so many rows, keep the result, and return how many they were."""
        if step.outcome is not None:
            await carry_out(self._work, step)
            return 0
        begin = time.monotonic()
        try:
            result, stop, why = await self._all(step, most)
        except asyncio.CancelledError:
            self._work.add(ended_early(step, time.monotonic() - begin, self._deleted))
            raise
        seconds = time.monotonic() - begin
        detail = why if result.outcome is Outcome.DONE else result.detail
        more = {"rows": self._deleted, "seconds": seconds, "detail": detail}
        self._work.add(result.model_copy(update=more))
        if stop is not None:
            raise stop
        return self._deleted

    async def _all(self, step: Step, most: int) -> tuple[StepResult, Exception | None, str]:
        while True:
            limit = min(self._task.batch, most - self._deleted)
            result, stop = await tried(self._work, step, partial(self._batch, limit))
            if stop is not None or result.outcome is not Outcome.DONE:
                return result, stop, ""
            if why := self._why_enough(result, most):
                return result, None, why
            await asyncio.sleep(self._task.pause.total_seconds())

    async def _batch(self, limit: int) -> Sent:
        """Delete one batch. Tried again after a lost connection, it first asks what became of the one before."""
        begin = time.monotonic()
        session, target = self._work.session, self._target
        if not await wait_for_replicas(self._work):
            self._behind = True
            return Sent((), 0, (), 0.0)
        if self._files is not None:
            self._deleted += await self._files.settle()
        delete = delete_of(target, self._leaf, limit)
        if target.archive is not None:
            count = await move_into_table(
                session, into_table(delete, target.columns, target.archive)
            )
        elif self._files is not None:
            rows = Rows(delete, target.columns, target.cutoff, target.relation.name, target.key)
            count = await self._files.move(rows)
        else:
            count = (await session.send(delete)).count
        self._deleted += count
        if not count:
            [(self._in_use,)] = await session.rows(
                f"SELECT count(*) FROM (SELECT 1 FROM ONLY {self._leaf.name.sql} WHERE {target.old} LIMIT {self._task.batch}) AS old"
            )
        self._work.beat(f"{self._leaf.name}: {self._deleted:,} rows")
        return Sent((), count, (), time.monotonic() - begin)

    def _why_enough(self, last: StepResult, most: int) -> str:
        """Return why no other batch is begun; nothing if one is."""
        cutoff = f"{self._target.cutoff:%Y-%m-%d %H:%M:%S} UTC"
        if self._behind:
            return f"older than {cutoff}; replicas are behind; more is left for the next run"
        if not last.rows:
            more = f"; {self._in_use:,} rows stay: they are in use, or a trigger keeps them"
            return f"older than {cutoff}{more if self._in_use else ''}"
        if self._deleted >= most:
            return f"older than {cutoff}; ended at maxRows, {self._task.max_rows:,}; more may be left for the next run"
        spare = _SHARE_OF_DEADLINE * self._task.deadline.total_seconds()
        next_end = time.monotonic() + self._task.pause.total_seconds() + last.seconds
        if next_end >= self._work.ends - spare:
            return f"older than {cutoff}; ended near its deadline; more is left for the next run"
        return ""


def _settled(target: Target, rows: int) -> StepResult:
    detail = "of an interrupted run; it had deleted them, so their file got its name"
    return StepResult(subject=str(target.folder), outcome=Outcome.DONE, rows=rows, detail=detail)


def _behind(target: Target) -> StepResult:
    detail = "replicas were behind all the time; nothing was deleted"
    return StepResult(subject=str(target.relation.name), outcome=Outcome.LOCKED, detail=detail)


def _forget_files(work: Work, task: RetainTask, files: FileArchive) -> None:
    """Delete archived files that are older than the archive's own `keep`; a sealed manifest stays, as what it proves."""
    if task.archive is None or task.archive.keep is None:
        return
    paths = files.folder.older_than(work.order.now - task.archive.keep, work.session.task)
    for path in paths:
        path.unlink()
        if task.archive.seal_to is None:
            path.with_name(path.name.removesuffix(DATA) + NOTE).unlink(missing_ok=True)
    if paths:
        detail = f"{len(paths)} files are older than archive.keep, and deleted"
        work.add(StepResult(subject=str(files.folder.path), outcome=Outcome.DONE, detail=detail))

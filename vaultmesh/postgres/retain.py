"""Deletes rows that are old, in small transactions beside whoever uses the table, and archives them before if asked to.

1. The cut-off is fixed when the run begins. A task can't name one that is younger than `minKeep`, nor delete more than `maxRows`.
2. Rows that somebody has locked are passed over, and left to the next run.
3. Whole partitions that are old go at once: detached beside the work that goes on, archived, dropped.
"""

from vaultmesh.domain.maintenance.archived import DATA, NOTE
from vaultmesh.domain.maintenance.config import RetainTask
from vaultmesh.domain.maintenance.outcomes import Outcome, StepResult
from vaultmesh.domain.maintenance.plan import Step
from vaultmesh.domain.maintenance.sql_names import SqlName, literal
from vaultmesh.postgres import partitions
from vaultmesh.postgres.archive import FileArchive, writing
from vaultmesh.postgres.archive_files import Folder
from vaultmesh.postgres.batches import Batches, Leaf, statements
from vaultmesh.postgres.catalog import Relation
from vaultmesh.postgres.connection import Sent, Session
from vaultmesh.postgres.replicas import wait_for_replicas
from vaultmesh.postgres.retain_target import Target, target_of
from vaultmesh.postgres.work import Work, carry_out_all, tried

_LEAVES = """
SELECT c.oid::int8, n.nspname, c.relname, EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
  JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
  WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree' AND a.attname = {column}),
  ARRAY(SELECT DISTINCT rn.nspname || '.' || r.relname FROM pg_constraint k JOIN pg_class r ON r.oid = k.conrelid
  JOIN pg_namespace rn ON rn.oid = r.relnamespace WHERE k.confrelid = c.oid AND k.contype = 'f' AND k.confdeltype = 'c' ORDER BY 1)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND (c.oid = {oid} OR c.oid IN (SELECT relid FROM pg_partition_tree({oid}) WHERE isleaf)) ORDER BY c.oid
"""
_ELSEWHERE = """
SELECT n.nspname, c.relname, 'is a foreign table' FROM pg_partition_tree({oid}) t JOIN pg_class c ON c.oid = t.relid
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE t.isleaf AND c.relkind NOT IN ('r', 'p')
UNION ALL SELECT n.nspname, c.relname, 'inherits from it' FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE i.inhparent = {oid} AND NOT c.relispartition ORDER BY 1, 2
"""


async def plan(session: Session, task: RetainTask) -> list[Step]:
    """Return the partitions that would go at once, and of every other table how many rows are old."""
    target = await target_of(session, task)
    steps = await _left_over(session, target)
    whole = await partitions.whole_and_old(session, task, target)
    steps += [partitions.step(target, partition) for partition in whole]
    oids = {partition.oid for partition in whole}
    for leaf in await _leaves(session, task, target):
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
    for leaf in await _leaves(work.session, task, target):
        if left > 0 and leaf.oid not in tried_already:
            step = await _looked_at(work, task, target, leaf)
            if step is not None:
                left -= await Batches(work, task, target, leaf, files).run(step, left)
    await carry_out_all(work, await _left_alone(work.session, target.relation))
    if files is not None:
        with writing(files.folder.path, "what was deleted is archived there"):
            files.folder.sync()
            _forget_files(work, task, files)


async def _looked_at(work: Work, task: RetainTask, target: Target, leaf: Leaf) -> Step | None:
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


async def _leaves(session: Session, task: RetainTask, target: Target) -> list[Leaf]:
    """Return the tables that hold rows: the partitions, or the table itself."""
    query = _LEAVES.format(oid=target.relation.oid, column=literal(task.age_column))
    rows = await session.rows(query)
    return [
        Leaf(oid, SqlName(schema, name), indexed, tuple(referring))
        for oid, schema, name, indexed, referring in rows
    ]


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
    folder = Folder(target.folder)
    pending = [manifest.xid for manifest in folder.pending(session.task)]
    return [
        Step(
            str(target.folder),
            reason=f"transaction {xid} of an interrupted run is settled first",
            outcome=Outcome.NOT_NEEDED,
        )
        for xid in (*folder.lost_claims(), *pending)
    ]


async def _leaf_step(session: Session, task: RetainTask, target: Target, leaf: Leaf) -> Step:
    """Return what is to do with one table."""
    name = leaf.name
    count_query = f"SELECT count(*) FROM (SELECT 1 FROM ONLY {name.sql} WHERE {target.old} LIMIT {task.max_rows + 1}) AS old"
    [(count,)] = await session.rows(count_query)
    cutoff = f"{target.cutoff:%Y-%m-%d %H:%M:%S} UTC"
    if not count:
        return Step(str(name), reason=f"no rows older than {cutoff}", outcome=Outcome.NOT_NEEDED)
    rows = f"more than {task.max_rows:,}" if count > task.max_rows else f"{count:,}"
    reason = f"{rows} rows older than {cutoff}, in batches of {task.batch:,}"
    if not leaf.is_indexed:
        reason += f"; no index begins with {task.age_column}, so each batch reads the whole table"
    reason += leaf.goes_too
    limit = min(task.batch, task.max_rows)
    return Step(str(name), statements(target, leaf, limit), reason, name=name)


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

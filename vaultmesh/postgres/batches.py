"""Deletes the old rows of one table in batches, each a transaction of its own.

1. A pass looks for old rows from the oldest one on. Each batch of it begins where the one before began, and so behind what
   earlier ones deleted: entries of deleted rows stay in the index until a VACUUM, and a scan from the start walks over all of them.
2. Where a batch begins is a setting of the connection, which the batch itself sets. It goes back when the batch's transaction
   does, and is gone with the connection: then a new pass begins.
3. Rows that came late with an old age, or that somebody held when a batch passed them, are behind the pass. So passes go on
   until one deletes nothing.
4. Between two batches is a pause, at least as long as the batch was: whoever uses the table has half of the time for himself.
"""

import asyncio
import time
from dataclasses import dataclass
from functools import partial

from vaultmesh.domain.maintenance.config import RetainTask
from vaultmesh.domain.maintenance.outcomes import Outcome, StepResult
from vaultmesh.domain.maintenance.plan import Step
from vaultmesh.domain.maintenance.sql_names import SqlName
from vaultmesh.postgres.archive import (
    FileArchive,
    Rows,
    into_file,
    into_table,
    move_into_table,
)
from vaultmesh.postgres.connection import Sent
from vaultmesh.postgres.replicas import wait_for_replicas
from vaultmesh.postgres.retain_target import Target
from vaultmesh.postgres.work import Work, carry_out, ended_early, tried

FROM_THE_START = ("SET enable_sort = off", "SET vmsh.since = '-infinity'")
"""What begins a pass. A server that thinks few rows are old, as of a table that nobody analysed, would read and sort them all for each
batch: so it walks along the index.
"""
_SHARE_OF_DEADLINE = 0.05
"""No batch is begun in the last part of a task's time: it would be cut off."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A table that holds rows itself: no partitioned one."""

    oid: int
    name: SqlName
    is_indexed: bool
    """Whether an index leads to the oldest rows; else each batch reads the whole table, wherever it begins."""
    referring: tuple[str, ...] = ()
    """Tables whose rows the server deletes with those that they refer to."""

    @property
    def goes_too(self) -> str:
        """Words about rows of other tables that no archive gets; nothing if there are none."""
        if not self.referring:
            return ""
        return f"; rows of {', '.join(self.referring)} that refer to them go too (ON DELETE CASCADE), into no archive"


def statements(target: Target, leaf: Leaf, limit: int) -> tuple[str, ...]:
    """Return what a pass sends first, and then one batch, which is repeated."""
    delete = delete_of(target, leaf, limit)
    begin = FROM_THE_START if leaf.is_indexed else ()
    if target.archive is not None:
        return *begin, "BEGIN", into_table(delete, target.columns, target.archive), "COMMIT"
    if target.folder is not None:
        return *begin, "BEGIN", into_file(delete, target.columns, deletes=True), "COMMIT"
    return *begin, delete


def delete_of(target: Target, leaf: Leaf, limit: int) -> str:
    """Return the deletion of one batch: a row is known by its place only within the statement that locked it.

    `IS TRUE` keeps the server from looking for the rows by their age a second time.
    """
    table, column = leaf.name.sql, target.column
    since = f"{column} >= current_setting('vmsh.since')::{target.kind} AND "
    batch = (
        f"SELECT ctid, {column} FROM ONLY {table} WHERE {since if leaf.is_indexed else ''}{target.old} "
        f"ORDER BY {column} LIMIT {limit} FOR UPDATE SKIP LOCKED"
    )
    remember = f" HAVING set_config('vmsh.since', min({column})::text, false) IS NOT NULL"
    places = f"SELECT array_agg(ctid) FROM ({batch}) AS batch{remember if leaf.is_indexed else ''}"
    return (
        f"DELETE FROM ONLY {table} WHERE ctid = ANY (({places})::tid[]) AND ({target.old}) IS TRUE"
    )


class Batches:
    """Deletes the old rows of one table, batch by batch."""

    def __init__(
        self,
        work: Work,
        task: RetainTask,
        target: Target,
        leaf: Leaf,
        files: FileArchive | None,
    ) -> None:
        """Delete nothing yet."""
        self._work = work
        self._task = task
        self._target = target
        self._leaf = leaf
        self._files = files
        self._deleted = 0
        self._behind = False
        self._in_use = 0
        self._pass_on: object = None
        """The connection that knows where the pass under way goes on; None before a pass."""
        self._took = 0.0
        """Seconds of the last batch, without what it waited for before."""
        self._is_done = False
        """Whether a batch that looked from the start deleted nothing."""

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
            await asyncio.sleep(self._rest())

    async def _batch(self, limit: int) -> Sent:
        """Delete one batch. Tried again after a lost connection, it first asks what became of the one before."""
        begin = time.monotonic()
        if not await wait_for_replicas(self._work):
            self._behind = True
            return Sent((), 0, (), 0.0)
        if self._files is not None:
            self._deleted += await self._files.settle()
        is_from_the_start = await self._begins_a_pass()
        since = time.monotonic()
        count = await self._delete(limit)
        self._took = time.monotonic() - since
        self._deleted += count
        if count < limit:
            self._pass_on = None
        if not count and is_from_the_start:
            self._is_done = True
            [(self._in_use,)] = await self._work.session.rows(
                f"SELECT count(*) FROM (SELECT 1 FROM ONLY {self._leaf.name.sql} WHERE {self._target.old} LIMIT {self._task.batch}) AS old"
            )
        self._work.beat(f"{self._leaf.name}: {self._deleted:,} rows")
        return Sent((), count, (), time.monotonic() - begin)

    async def _begins_a_pass(self) -> bool:
        """Whether the next batch looks from the start; has the connection know it."""
        if not self._leaf.is_indexed:
            return True
        session = self._work.session
        if self._pass_on is session.connection:
            return False
        for statement in FROM_THE_START:
            await session.send(statement)
        self._pass_on = session.connection
        return True

    async def _delete(self, limit: int) -> int:
        session, target = self._work.session, self._target
        delete = delete_of(target, self._leaf, limit)
        if target.archive is not None:
            moving = into_table(delete, target.columns, target.archive)
            return await move_into_table(session, moving)
        if self._files is not None:
            rows = Rows(delete, target.columns, target.cutoff, target.relation.name, target.key)
            return await self._files.move(rows)
        return (await session.send(delete)).count

    def _rest(self) -> float:
        return max(self._task.pause.total_seconds(), self._took)

    def _why_enough(self, last: StepResult, most: int) -> str:
        """Return why no other batch is begun; nothing if one is."""
        cutoff = f"{self._target.cutoff:%Y-%m-%d %H:%M:%S} UTC{self._leaf.goes_too}"
        if self._behind:
            return f"older than {cutoff}; replicas are behind; more is left for the next run"
        if self._is_done:
            more = f"; {self._in_use:,} rows stay: they are in use, or a trigger keeps them"
            return f"older than {cutoff}{more if self._in_use else ''}"
        if self._deleted >= most:
            return f"older than {cutoff}; ended at maxRows, {self._task.max_rows:,}; more may be left for the next run"
        spare = _SHARE_OF_DEADLINE * self._task.deadline.total_seconds()
        next_end = time.monotonic() + self._rest() + last.seconds
        if next_end >= self._work.ends - spare:
            return f"older than {cutoff}; ended near its deadline; more is left for the next run"
        return ""

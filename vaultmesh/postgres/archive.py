"""Moves rows into an archive so that each is deleted and archived once, whatever dies in between.

1. Into a table: one statement deletes and inserts; counts are compared before the commit.
2. Into a file: rows stream out of `COPY (DELETE … RETURNING …)`; file and manifest are on the disk before the commit, and get
   their name after it, which lasts at the latest from the end of the run on.
3. What a crash left is settled before anything else: the server says whether its transaction was committed.
4. Where the server can't know, as after a restore from an older copy, the file is kept, and the operator asked.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg

from vaultmesh.domain.errors import DomainError, in_one_line
from vaultmesh.domain.maintenance.archived import DATA, PENDING, Manifest
from vaultmesh.domain.maintenance.sql_names import SqlName, literal, quoted, read_sql_name
from vaultmesh.postgres.archive_files import Folder, RowFile, keys_of
from vaultmesh.postgres.connection import LOCK_SECONDS, NoConnection, Session

_SERVER = (
    "SELECT (pg_control_system()).system_identifier::text, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), "
    "current_database(), pg_current_wal_lsn()::text"
)
_COMMIT_LASTS = (
    "set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'local' "
    "ELSE current_setting('synchronous_commit') END, true)"
)
"""For one transaction: a crash of the server must not undo a commit after which a file got its name."""
_COMMITTED, _IN_PROGRESS = "committed", "in progress"
_MOST_KEYS, _KEYS_AT_ONCE = 5_000, 500
_AGAIN_SECONDS = 0.2


Statements = Sequence[str]


class NotArchived(DomainError):
    """Rows could not be archived, so they were not deleted."""


class Unsettled(DomainError):
    """Nobody but an operator can know whether the rows of a file were deleted."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Which rows go into an archive."""

    source: str
    """SQL that deletes or reads them, up to and without `RETURNING` or a list of columns."""
    columns: tuple[str, ...]
    cutoff: datetime
    table: SqlName
    """As the task names it, whichever partition they are in."""
    key: tuple[str, ...] = ()


def column_list(columns: Sequence[str]) -> str:
    """Return columns as SQL."""
    return ", ".join(quoted(column) for column in columns)


def into_table(delete: str, columns: Sequence[str], target: SqlName) -> str:
    """Return the statement that moves rows into a table, and counts both sides."""
    listed = column_list(columns)
    return (
        f"WITH gone AS ({delete} RETURNING {listed}), kept AS (INSERT INTO {target.sql} ({listed}) "
        f"OVERRIDING SYSTEM VALUE SELECT {listed} FROM gone RETURNING 1) "
        "SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM kept)"
    )


def into_file(source: str, columns: Sequence[str], *, deletes: bool) -> str:
    """Return the statement whose rows are a file."""
    listed = column_list(columns)
    query = f"{source} RETURNING {listed}" if deletes else f"SELECT {listed} {source}"
    return f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER true, ENCODING 'UTF8')"


async def move_into_table(session: Session, statement: str) -> int:
    """Send what `into_table` returned; return how many rows it moved.

    Raises:
        NotArchived: the archive took fewer rows than were deleted; nothing is changed.
    """
    await session.send("BEGIN")
    try:
        [(gone, kept)] = await session.rows(statement)
        if gone != kept:
            message = f"{gone} rows were deleted and {kept} archived, so nothing was changed - look for a trigger or rule of the archive that leaves rows out"
            raise NotArchived(message)
        await session.send("COMMIT")
    except BaseException:
        await roll_back(session)
        raise
    return int(gone)


@contextmanager
def writing(folder: Path, so_far: str) -> Iterator[None]:
    """Have a folder that can't be written fail the task with what that means, and how to mend it.

    Raises:
        NotArchived: as said.
    """
    try:
        yield
    except OSError as error:
        message = f"{folder}: {error.strerror or error}; {so_far} - make it writable, or name another folder"
        raise NotArchived(message) from error


async def roll_back(session: Session) -> None:
    """End a transaction without its changes, if there is one still."""
    with suppress(psycopg.Error, NoConnection):
        if not session.is_broken:
            await session.send("ROLLBACK")


class FileArchive:
    """The files of one task's archive."""

    def __init__(self, session: Session, folder: Path) -> None:
        """Use a folder; nothing is looked at yet."""
        self._session = session
        self.folder = Folder(folder)
        self._is_settled = False

    async def settle(self) -> int:
        """Name or remove what an interrupted run or attempt left, and return how many rows of it turned out to be archived.

        Nothing is looked at while the last thing that was done here ended well.

        Raises:
            Unsettled: an operator has to say.
            ArchiveDamaged: a file is not what was noted.
            NotArchived: the folder can't be written.
        """
        if self._is_settled:
            return 0
        self.folder.check(self._session.order.root)
        with writing(self.folder.path, "nothing was deleted"):
            rows = await self._settle_each()
        self._is_settled = True
        return rows

    async def _settle_each(self) -> int:
        self.folder.drop_scratch(self._session.task)
        await self._forget_lost_claims()
        rows = 0
        for manifest in self.folder.pending(self._session.task):
            if await self._fate(manifest) == _COMMITTED:
                self.folder.keep(manifest)
                rows += manifest.rows or 0
            else:
                self.folder.drop(manifest)
        return rows

    async def move(
        self, rows: Rows, *, before: Statements = (), after: Statements = (), deletes: bool = True
    ) -> int:
        """Write rows into a file, delete them, and return how many; none leaves no file.

        Args:
            rows: which ones.
            before: statements of the same transaction, sent before any row is read.
            after: statements of the same transaction, sent once the rows are on the disk.
            deletes: whether `rows.source` deletes; else `after` does.

        Raises:
            NotArchived: the file could not be written, and nothing is changed; or it could not be named.
        """
        self._is_settled = False  # until the end: whatever comes between has to be settled
        manifest: Manifest | None = None
        try:
            for statement in ("BEGIN", *before):
                await self._session.send(statement)
            manifest = await self._begin(rows)
            noted = await self._moved(manifest, rows, after, deletes=deletes)
        except OSError as error:
            await roll_back(self._session)
            self._forget(manifest)
            message = f"{self.folder.path}: {error.strerror or error}; what this batch would have deleted stays - make room, or name another folder"
            raise NotArchived(message) from error
        except (psycopg.Error, DomainError):
            await roll_back(self._session)
            # A commit may have been heard on a connection that broke: `settle` asks first.
            if not self._session.is_broken:
                self._forget(manifest)
            raise
        with writing(self.folder.path, "the next run names what this batch archived"):
            if noted.rows or not deletes:
                self.folder.keep(noted)
            else:
                self.folder.drop(noted)
        self._is_settled = True
        return noted.rows or 0

    async def _moved(
        self, manifest: Manifest, rows: Rows, after: Sequence[str], *, deletes: bool
    ) -> Manifest:
        """Write rows to the disk, then commit; of no rows nothing is left."""
        noted = await self._write(manifest, into_file(rows.source, rows.columns, deletes=deletes))
        for statement in after:
            await self._session.send(statement)
        await self._session.send("COMMIT" if noted.rows or not deletes else "ROLLBACK")
        return noted

    async def _begin(self, rows: Rows) -> Manifest:
        """Note what is about to be deleted, by which transaction."""
        query = f"{_SERVER}, pg_current_xact_id()::text, {_COMMIT_LASTS}"
        [(identifier, timeline, database, position, xid, _)] = await self._session.rows(query)
        manifest = Manifest(
            task=self._session.task,
            table=str(rows.table),
            key=rows.key,
            columns=rows.columns,
            cutoff=rows.cutoff,
            xid=xid,
            system_identifier=identifier,
            timeline=timeline,
            database=database,
            wal_position=position,
        )
        self.folder.claim(manifest)
        return manifest

    async def _write(self, manifest: Manifest, statement: str) -> Manifest:
        file = RowFile(self.folder.data(manifest, pending=True))
        try:
            async with self._session.connection.cursor() as cursor:
                async with cursor.copy(statement.encode()) as copy:
                    async for block in copy:
                        file.write(block)
                count = cursor.rowcount
            digest = file.finish()
        finally:
            file.close()
        noted = manifest.model_copy(update={"rows": count, "sha256": digest})
        self.folder.note_written(noted)
        return noted

    def _forget(self, manifest: Manifest | None) -> None:
        """Remove a half-written file, if that can be done; else the next run does it."""
        if manifest is not None:
            with suppress(OSError):
                self.folder.drop(manifest)

    async def _fate(self, manifest: Manifest) -> str:
        """Return whether the rows of a pending file were deleted.

        Raises:
            Unsettled: nobody but an operator can know.
        """
        [(identifier, timeline, database, _)] = await self._session.rows(_SERVER)
        here = (manifest.system_identifier, manifest.timeline, manifest.database)
        if here != (identifier, timeline, database):
            raise self._unsettled(
                manifest, "it was written beside another database, or before this one was restored"
            )
        position = literal(manifest.wal_position)
        [(older,)] = await self._session.rows(f"SELECT pg_current_wal_lsn() < {position}::pg_lsn")
        if older:
            raise self._unsettled(manifest, "the database was put back from an older copy since")
        status = await self._status_of(manifest)
        if status == _COMMITTED and await self._are_there(manifest):
            raise self._unsettled(manifest, "rows of it are in the table still")
        return status

    async def _forget_lost_claims(self) -> None:
        """Remove files whose manifest a power cut took: their rows stay, since the manifest is on the disk before the commit.

        Raises:
            Unsettled: the server says that it was committed; the disk does not keep what it promises.
        """
        for xid in self.folder.lost_claims():
            status = None
            with suppress(psycopg.errors.DataError):  # the server lost even the number
                status = await self._status(xid)
            if status == _COMMITTED:
                place = self.folder.path / f"{PENDING}{xid}{DATA}"
                message = (
                    f"{place}: its manifest is gone, and a transaction of this number was committed, so whether its rows are deleted can't be told. "
                    "If they are in their table still, or it holds none, delete it and its .json; else move both to a safe place. Nothing is deleted until then"
                )
                raise Unsettled(message)
            self.folder.drop_lost(xid)

    async def _status_of(self, manifest: Manifest) -> str:
        try:
            status = await self._status(manifest.xid)
        except psycopg.errors.DataError as error:
            raise self._unsettled(manifest, in_one_line(str(error), 100)) from error
        if status is None:
            why = "its transaction is so old that the server forgot how it ended"
            raise self._unsettled(manifest, why)
        return status

    async def _status(self, xid: str) -> str | None:
        """Return how a transaction ended; None if the server forgot.

        Raises:
            NotArchived: it goes on.
            psycopg.errors.DataError: there was none yet.
        """
        end = time.monotonic() + LOCK_SECONDS
        while True:
            [(status,)] = await self._session.rows(f"SELECT pg_xact_status({literal(xid)}::xid8)")
            if status != _IN_PROGRESS:
                return None if status is None else str(status)
            if time.monotonic() >= end:
                message = "the transaction of a killed run goes on - run the task again"
                raise NotArchived(message)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _are_there(self, manifest: Manifest) -> bool:
        """Whether any row of a file is still in its table, which a committed deletion can't leave."""
        place = self.folder.data(manifest, pending=True)
        if not manifest.key or not place.exists():
            return False
        keys = keys_of(place, manifest, _MOST_KEYS)
        names = column_list(manifest.key)
        for begin in range(0, len(keys), _KEYS_AT_ONCE):
            values = ", ".join(
                f"({', '.join(literal(value) for value in key)})"
                for key in keys[begin : begin + _KEYS_AT_ONCE]
            )
            table = _sql_of(manifest.table)
            query = f"SELECT EXISTS (SELECT FROM {table} WHERE ({names}) IN ({values}))"
            if (await self._session.rows(query))[0][0]:
                return True
        return False

    def _unsettled(self, manifest: Manifest, why: str) -> Unsettled:
        data = self.folder.data(manifest, pending=True)
        stem = manifest.stem
        return Unsettled(
            f"{data}: {why}, so whether its rows are deleted can't be told. Compare it with {manifest.table}: if they are gone there, rename it and its "
            f".json to {stem}.csv.gz and {stem}.json; if they are there, delete both. Nothing is deleted until then"
        )


def _sql_of(name: str) -> str:

    return read_sql_name(name).sql

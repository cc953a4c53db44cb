"""Writes a dump of a database, proves that it can be read, and keeps the newest ones.

1. The dump is written to a file that ends in `.part`, and gets its name when `pg_restore` has listed all of it.
2. Its SHA-256 lies beside it. Old dumps go after that, never the last one.
3. With `verifyRestore` it is restored into a database that is made for it, and every table has the rows that it had in the
   snapshot of the dump.
4. The password goes to the programs in their environment, where only we may read it.
"""

import asyncio
import os
import re
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

from vaultmesh.domain.errors import DomainError, in_one_line
from vaultmesh.domain.maintenance.archived import DUMP, HASH, is_backup_of
from vaultmesh.domain.maintenance.config import BackupTask
from vaultmesh.domain.maintenance.outcomes import Outcome, StepResult
from vaultmesh.domain.maintenance.plan import Step
from vaultmesh.domain.maintenance.sql_names import LONGEST_NAME, literal, quoted
from vaultmesh.postgres.archive_files import Folder, hash_of
from vaultmesh.postgres.catalog import USERS_SCHEMAS
from vaultmesh.postgres.connection import APPLICATION, Sent, Session, lock_key
from vaultmesh.postgres.work import Work, attempt

PART = ".part"
_DEBIAN = Path("/usr/lib/postgresql")
_END_SECONDS = 5
_DENIED = re.compile(r"permission denied for|affected by row-level security")
_LONGEST_WORDS = 300
_TABLES = f"""
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND {USERS_SCHEMAS}
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY n.nspname, c.relname
"""


class BackupFailed(DomainError):
    """There is no new backup."""


class BackupDenied(BackupFailed):
    """A program may not read what it was to dump; it has no SQLSTATE to say so."""

    sqlstate = "42501"


@dataclass(frozen=True, slots=True)
class _Programs:
    folder: Path | None

    def path(self, name: str) -> str:
        """Return where a program is.

        Raises:
            BackupFailed: nowhere.
        """
        if self.folder is not None:
            program = self.folder / name
            if program.is_file():
                return str(program)
        elif (program_on_path := shutil.which(name)) is not None:
            return program_on_path
        else:
            versions = [
                path for path in _DEBIAN.glob(f"*/bin/{name}") if path.parents[1].name.isdecimal()
            ]
            if versions:
                return str(max(versions, key=lambda path: int(path.parents[1].name)))
        place = f"in {self.folder}" if self.folder is not None else "on the PATH"
        message = f"{name} is not {place} - install PostgreSQL's client programs, or name their folder in programs"
        raise BackupFailed(message)


async def plan(session: Session, task: BackupTask) -> list[Step]:
    """Return which file is written, and which go."""
    folder = session.order.root / task.folder
    old = (
        _dumps(folder, session)[: -(task.keep - 1) or None]
        if task.keep > 1
        else _dumps(folder, session)
    )
    reason = (
        f"pg_dump -Fc, then pg_restore --list{', then a restore' if task.verify_restore else ''}"
    )
    steps = [Step(str(_place(folder, session)), reason=reason)]
    return steps + [Step(str(path), reason=f"goes: {task.keep} are kept") for path in old]


async def run(work: Work, task: BackupTask) -> None:
    """Write a backup, and let the oldest go."""
    folder = work.order.root / task.folder
    place = _place(folder, work.session)
    step = Step(str(place), reason="readable to its end")

    async def action() -> Sent:
        begin = time.monotonic()
        rows = await _write(work, task, place)
        return Sent((), rows, (), time.monotonic() - begin)

    result = await attempt(work, step, action)
    if result.outcome is Outcome.DONE:
        _forget(work, task, place)


async def _write(work: Work, task: BackupTask, place: Path) -> int:
    """Write a backup beside its hash; return how many rows a restore of it had, -1 if there was none."""
    programs = _Programs(None if task.programs is None else Path(task.programs))
    part = place.with_name(place.name + PART)
    Folder(place.parent).check(work.order.root, "folder")
    _sweep(place.parent, work.session)
    await _end_orphans(work.session)
    try:
        part.touch(mode=0o600)  # pg_dump keeps it: nobody else may read the rows
        rows = await _dump_and_verify(work.session, task, programs, part)
        await asyncio.to_thread(_flush, part)
        digest = await asyncio.to_thread(hash_of, part)
        hash_file = place.with_name(place.name + HASH)
        hash_file.write_text(f"{digest}  {place.name}\n", encoding="utf-8")
        await asyncio.to_thread(_flush, hash_file)
        part.replace(place)
        await asyncio.to_thread(Folder(place.parent).sync)
    except OSError as error:
        message = f"{place.parent}: {error.strerror or error} - make room, or name another folder"
        raise BackupFailed(message) from error
    finally:
        part.unlink(missing_ok=True)
    return rows


async def _dump_and_verify(
    session: Session, task: BackupTask, programs: _Programs, part: Path
) -> int:
    """Write the dump of one snapshot, and compare what comes out of it with that snapshot."""
    await session.send("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    try:
        # Both wait longer than a statement and an idle transaction may: the deadline of the task ends them.
        for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
            await session.send(f"SET LOCAL {name} = 0")
        [(snapshot,)] = await session.rows("SELECT pg_export_snapshot()")
        counts = await _counts(session) if task.verify_restore else {}
        wait = str(task.lock_timeout.total_seconds() * 1_000 // 1)
        arguments = (
            "-Fc",
            f"--snapshot={snapshot}",
            f"--lock-wait-timeout={wait.partition('.')[0]}",
            "-f",
            str(part),
        )
        await _run(session, programs.path("pg_dump"), *arguments, connects=True)
        await _run(session, programs.path("pg_restore"), "--list", str(part))
    finally:
        with suppress(psycopg.Error, DomainError):
            await session.send("ROLLBACK")
    if not task.verify_restore:
        return -1
    await _restore(session, programs, part, counts)
    return sum(counts.values())


async def _restore(
    session: Session, programs: _Programs, part: Path, counts: Mapping[str, int]
) -> None:
    """Restore a dump into a database of its own, and compare the rows of every table.

    Raises:
        BackupFailed: it can't be restored, or has other rows.
    """
    begin = await _scratch(session)
    scratch = f"{begin}{session.order.run}"[:LONGEST_NAME]
    await _drop_scratch(session, begin)
    await session.send(f"CREATE DATABASE {quoted(scratch)} TEMPLATE template0")
    try:
        await _run(
            session, programs.path("pg_restore"), "--exit-on-error", "--no-owner", "--no-acl", str(part),
            connects=True, database=scratch,
        )  # fmt: skip
        conninfo = make_conninfo(session.database.url.get_secret_value(), dbname=scratch)
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as restored:
            for table, count in counts.items():
                cursor = await restored.execute(f"SELECT count(*) FROM ONLY {table}".encode())
                row = await cursor.fetchone()
                if row is None or row[0] != count:
                    message = f"restored, {table} has {row and row[0]} rows, not {count} - the backup is not kept"
                    raise BackupFailed(message)
    finally:
        with suppress(psycopg.Error):
            await session.send(f"DROP DATABASE IF EXISTS {quoted(scratch)} WITH (FORCE)")


async def _end_orphans(session: Session) -> None:
    """End the programs of killed runs of this task: they would dump, for hours perhaps, into a file that has gone."""
    begin = f"{APPLICATION}:{session.task}:"
    own = literal(session.application)
    await session.send(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user "
        f"AND starts_with(application_name, {literal(begin)}) AND application_name <> {own}"
    )


async def _scratch(session: Session) -> str:
    """Return how the names of databases begin that this task of this database makes to restore into."""
    [(oid,)] = await session.rows(
        "SELECT oid::int8 FROM pg_database WHERE datname = current_database()"
    )
    return f"vmsh_verify_{oid}_{lock_key(session.task) & 0xFFFFFFFF:08x}_"


async def _drop_scratch(session: Session, begin: str) -> None:
    """Drop what killed runs of this task restored: its runs never overlap, so nobody else uses it."""
    query = f"SELECT datname FROM pg_database WHERE starts_with(datname, {literal(begin)})"
    for (name,) in await session.rows(query):
        await session.send(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")


async def _counts(session: Session) -> dict[str, int]:
    counts = {}
    for schema, name in await session.rows(_TABLES):
        table = f"{quoted(schema)}.{quoted(name)}"
        counts[table] = int((await session.rows(f"SELECT count(*) FROM ONLY {table}"))[0][0])
    return counts


async def _run(
    session: Session,
    program: str,
    *arguments: str,
    connects: bool = False,
    database: str | None = None,
) -> None:
    """Run a program to its end; cancelled, it is ended too.

    Raises:
        BackupFailed: it failed, with the end of what it said.
    """
    environment = dict(os.environ)
    if connects:
        environment |= _connection_of(session, database)
        arguments = ("--no-password", *(("-d", database) if database else ()), *arguments)
    process = await asyncio.create_subprocess_exec(
        program, *arguments, env=environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, errors = await process.communicate()
    except asyncio.CancelledError:
        await _end(process)
        raise
    if process.returncode:
        words = in_one_line(errors.decode(errors="replace"), _LONGEST_WORDS)
        message = f"{Path(program).name} failed: {words}"
        raise BackupDenied(message) if _DENIED.search(words) else BackupFailed(message)


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), _END_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def _connection_of(session: Session, database: str | None) -> dict[str, str]:
    """Return the variables by which PostgreSQL's programs connect as we do: libpq knows which setting each one is."""
    url = session.database.url.get_secret_value()
    variables = {
        option.envvar.decode(): option.val.decode()
        for option in Conninfo.parse(url.encode())
        if option.envvar and option.val is not None
    }
    return (
        variables
        | {"PGAPPNAME": session.application}
        | ({"PGDATABASE": database} if database else {})
    )


def _place(folder: Path, session: Session) -> Path:
    return folder / f"{session.task}-{session.order.now.astimezone(UTC):%Y%m%dT%H%M%SZ}{DUMP}"


def _dumps(folder: Path, session: Session) -> list[Path]:
    """Return a task's backups, the oldest first: only those that have a hash count."""
    return sorted(
        path
        for path in folder.glob(f"*{DUMP}")
        if is_backup_of(session.task, path.name) and path.with_name(path.name + HASH).exists()
    )


def _flush(path: Path) -> None:
    """Have a file survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path, session: Session) -> None:
    """Remove what killed runs of this task left; its runs never overlap."""
    for path in folder.glob(f"*{PART}"):
        if is_backup_of(session.task, path.name.removesuffix(PART)):
            path.unlink(missing_ok=True)


def _forget(work: Work, task: BackupTask, place: Path) -> None:
    """Delete the oldest backups; the one that was just proven always stays, whatever the clock said before."""
    others = [path for path in _dumps(place.parent, work.session) if path != place]
    for path in others[: max(len(others) - (task.keep - 1), 0)]:
        path.unlink()
        path.with_name(path.name + HASH).unlink(missing_ok=True)
        work.add(
            StepResult(
                subject=str(path), outcome=Outcome.DONE, detail=f"deleted: {task.keep} are kept"
            )
        )

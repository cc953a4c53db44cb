"""Makes the tables of HTTP cron jobs, or takes over those that are there.

1. Tables that others made are used as they are; one that lacks a column is refused by name.
2. Whoever may not create tables gets the SQL to run, in one line.
3. On tables of others indexes are made one at a time, beside their use; without the right to it we say so and go on.
4. Whether a trigger counts runs is tried, in a transaction that is undone: its text need not say so.
5. A file of SQLite names its host: its locks and its memory are of one machine.
"""

import socket
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Table, inspect, select
from sqlalchemy import text as sql
from sqlalchemy.schema import CreateTable

from vaultmesh.domain.jobs.refusals import StoreError, StoreErrorKind
from vaultmesh.domain.jobs.run import RunStatus
from vaultmesh.storage.job_tables import (
    AUDIT,
    FUNCTIONS,
    HOST,
    INDEXES,
    METADATA,
    POSTGRESQL,
    RUNS,
    SCHEDULES,
    TABLES_MADE,
)
from vaultmesh.storage.jobs import chain
from vaultmesh.storage.jobs.database import APPLICATION, Database
from vaultmesh.storage.jobs.visibility import check_visible

USERS = "users"
"""Table of whoever has accounts, where it lies in the same database."""

_LOCK = 7_301_001
"""Number of the advisory lock under which one process at a time makes tables."""
_PROBE = "vmsh-probe-"


@dataclass(frozen=True, slots=True)
class Traits:
    """What a database turned out to be."""

    made_by_us: bool
    counted_by_trigger: bool
    user_columns: frozenset[str]
    """Columns of the table `users`; none if there is no such table."""
    notices: tuple[str, ...]


def take_over(database: Database) -> Traits:
    """Make the tables that are missing and look at those that are there.

    Raises:
        StoreError: no right to make tables or to see their rows, or they have another form.
    """
    notices: list[str] = []
    if database.place.is_postgres:
        missing = _missing(database)
        if missing:
            _make(database, missing)
            notices.append(f"made the tables {', '.join(table.name for table in missing)}")
        with database.read() as connection:
            check_visible(database, connection, METADATA.tables)
    else:
        _prepare_file(database)
    _begin_chain(database)
    counted = _counts_by_trigger(database)
    if counted:
        notices.append("a trigger on scheduled_jobs counts runs: the counters are left to it")
    with database.read() as connection:
        made = select(AUDIT.c.id).where(AUDIT.c.action == TABLES_MADE).limit(1)
        ours = connection.execute(made).first() is not None
        inspector = inspect(connection)
        columns = inspector.get_columns(USERS) if inspector.has_table(USERS) else []
    names = frozenset(str(column["name"]) for column in columns)
    return Traits(ours, counted, names if "id" in names else frozenset(), tuple(notices))


# --- tables --------------------------------------------------------------------------------------------------------


def _missing(database: Database) -> list[Table]:
    """Return the tables that are not there yet; refuses those that are and lack columns."""
    with database.read() as connection:
        return _missing_in(connection, database)


def _missing_in(connection: Connection, database: Database) -> list[Table]:
    inspector = inspect(connection)
    missing: list[Table] = []
    for table in METADATA.sorted_tables:
        if not inspector.has_table(table.name):
            missing.append(table)
            continue
        there = {column["name"] for column in inspector.get_columns(table.name)}
        lacking = [column.name for column in table.columns if column.name not in there]
        if lacking:
            why = f"the table {table.name} lacks {', '.join(lacking)}: it is another program's, or another version's"
            raise database.failure(why, StoreErrorKind.SCHEMA)
    return missing


def _make(database: Database, missing: list[Table]) -> None:
    statements = [
        *(_line(str(_create(table).compile(database.engine))) for table in missing),
        *(_index(database, name) for name in INDEXES[database.dialect] if RUNS in missing),
        *(FUNCTIONS if RUNS in missing and database.place.is_postgres else ()),
    ]
    try:
        with database.write() as connection:
            if database.place.is_postgres:
                connection.execute(sql(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            still = _missing_in(connection, database)
            for statement in statements:
                connection.exec_driver_sql(statement)
            if RUNS in still:
                _note_made(connection)
    except StoreError as error:
        if error.kind is not StoreErrorKind.DENIED:
            raise
        statements += _grants(database, missing)
        message = (
            f"job store {database.place.label}: its user may not create tables - let somebody who may run: "
            f"{'; '.join(statements)};"
        )
        raise StoreError(message, StoreErrorKind.DENIED) from None


def _grants(database: Database, missing: list[Table]) -> list[str]:
    """Return what gives our user its rights on tables that another one makes."""
    with database.read() as connection:
        quote = connection.dialect.identifier_preparer.quote_identifier
        user = quote(str(connection.execute(sql("SELECT current_user")).scalar()))
    names = ", ".join(table.name for table in missing)
    grants = [f"GRANT SELECT, INSERT, UPDATE, DELETE ON {names} TO {user}"]
    if AUDIT in missing:
        grants.append(f"GRANT USAGE ON SEQUENCE {AUDIT.name}_id_seq TO {user}")
    return grants


def _note_made(connection: Connection) -> None:
    line = {
        "at": datetime.now(UTC),
        "actor": APPLICATION,
        "action": TABLES_MADE,
        "job_name": "",
    }
    chain.enter(connection, line)


def _begin_chain(database: Database) -> None:
    """Chain the lines of audit that were there before the chain."""
    with database.read() as connection:
        is_begun = chain.is_begun(connection)
    if not is_begun:
        with database.write() as connection:
            chain.begin(connection, APPLICATION)


def _create(table: Table) -> CreateTable:
    return CreateTable(table, if_not_exists=True)


def _line(statement: str) -> str:
    return " ".join(statement.split()).replace("( ", "(").replace(" )", ")")


def _index(database: Database, name: str, *, beside: bool = False) -> str:
    how = "CONCURRENTLY " if beside else ""
    return f"CREATE INDEX {how}IF NOT EXISTS {name} {INDEXES[database.dialect][name]}"


# --- indexes -------------------------------------------------------------------------------------------------------


def make_indexes(database: Database) -> tuple[str, ...]:
    """Make the indexes that are missing, one at a time and beside the tables' use; returns what people should know.

    Takes as long as the table is long. Raises `StoreError` if the database is away.
    """
    return tuple(_notices_of_indexes(database))


def _notices_of_indexes(database: Database) -> Iterator[str]:
    with database.read() as connection:
        there = {str(index["name"]) for index in inspect(connection).get_indexes(RUNS.name)}
        invalid = _invalid_indexes(connection, database)
    for name in INDEXES[database.dialect]:
        if name in invalid:
            yield (
                f"the index {name} is invalid: it is being made, or that was cut off - if nobody makes it, run "
                f"DROP INDEX CONCURRENTLY {name}; and start again"
            )
        elif name not in there:
            yield _made(database, name)


def _made(database: Database, name: str) -> str:
    statement = _index(database, name, beside=database.place.is_postgres)
    try:
        with database.autocommit() as connection:
            connection.exec_driver_sql(statement)
    except StoreError as error:
        if error.kind is not StoreErrorKind.DENIED:
            raise
        return (
            f"its user may not make the index {name}, without which history is slower: {statement};"
        )
    return f"made the index {name}"


def _invalid_indexes(connection: Connection, database: Database) -> set[str]:
    if not database.place.is_postgres:
        return set()
    query = sql(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE i.indrelid = to_regclass('scheduled_jobs') AND NOT i.indisvalid"
    )
    return {str(name) for name in connection.execute(query).scalars()}


# --- triggers ------------------------------------------------------------------------------------------------------

_TRIGGERS = {
    POSTGRESQL: "SELECT p.prosrc FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid "
    "WHERE t.tgrelid = to_regclass('scheduled_jobs') AND NOT t.tgisinternal AND t.tgenabled <> 'D'",
    "sqlite": "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'scheduled_jobs'",
}


def trigger_texts(connection: Connection, dialect: str) -> list[str]:
    """Return the texts of what is triggered by a change of a run."""
    return [str(text) for text in connection.exec_driver_sql(_TRIGGERS[dialect]).scalars()]


class _Undo(Exception):
    """Leaves a transaction that is not to be kept."""


def _counts_by_trigger(database: Database) -> bool:
    """Whether a trigger counts a run that ends."""
    with database.read() as connection:
        texts = trigger_texts(connection, database.dialect)
    if not texts:
        return False
    counted = False
    try:
        with database.write() as connection:
            counted = _counts_a_run(connection)
            raise _Undo
    except _Undo:
        return counted
    except StoreError as error:
        if error.kind not in {StoreErrorKind.VALUE, StoreErrorKind.SCHEMA}:
            raise
        return any(
            SCHEDULES.c.total_runs.name in text for text in texts
        )  # the tables refuse the probe


def _counts_a_run(connection: Connection) -> bool:
    name, run, now = f"{_PROBE}{uuid.uuid4()}", str(uuid.uuid4()), datetime.now(UTC)
    job = {"job_name": name, "display_name": name, "description": name, "job_type": "other"}
    job |= {"cron_expression": "0 0 31 2 *", "service": name, "endpoint": "/"}
    connection.execute(
        SCHEDULES.insert().values(
            **job, config={}, enabled=False, total_runs=0, successful_runs=0, failed_runs=0
        )
    )
    running = {"id": run, "job_name": name, "job_type": "other", "started_at": now}
    connection.execute(
        RUNS.insert().values(**running, status=RunStatus.RUNNING, triggered_by="scheduler")
    )
    ended = {"status": RunStatus.COMPLETED, "completed_at": now, "duration_ms": 0}
    connection.execute(RUNS.update().where(RUNS.c.id == run).values(**ended))
    counter = select(SCHEDULES.c.total_runs).where(SCHEDULES.c.job_name == name)
    return bool(connection.execute(counter).scalar())


# --- the file ------------------------------------------------------------------------------------------------------


def check_host(path: Path) -> None:
    """Refuse a file that another host has, before its log is touched.

    Raises:
        StoreError: it belongs to another host.
    """
    if not path.exists() or not path.stat().st_size:
        return
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as file:
            row = file.execute("SELECT host FROM job_host").fetchone()
    except sqlite3.Error:
        return  # its table is still in the log alone, or it is no database: opening it tells
    _check(path, None if row is None else str(row[0]))


def _check(path: Path, host: str | None) -> None:
    here = socket.gethostname()
    if host not in {None, here}:
        message = (
            f"job store {path}: the file belongs to the host {host!r}, and this is {here!r} - several hosts need one PostgreSQL: "
            f"set JOBS_DATABASE_URL; if the file has moved here for good, run: "
            f'sqlite3 {path} "DROP TABLE job_host"'
        )
        raise StoreError(message, StoreErrorKind.SETTING)


def _prepare_file(database: Database) -> None:
    path = Path(str(database.place.url.database))
    with database.autocommit() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    with database.write() as connection:
        connection.execute(_create(HOST))
        host = connection.execute(select(HOST.c.host)).scalar()
        _check(path, host)
        if host is None:
            connection.execute(HOST.insert().values(host=socket.gethostname()))
    missing = _missing(database)
    if missing:
        _make(database, missing)
    with database.autocommit() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

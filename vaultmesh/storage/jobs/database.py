"""Opens transactions on the database of HTTP cron jobs, and gives each of its failures one of few kinds.

1. PostgreSQL may stand behind a pooler that gives a connection for one transaction: nothing is prepared, and what a transaction
   needs is set in it.
2. SQLite has one writer: threads of this process queue for it, other processes are waited for.
3. No message holds what was written, nor the URL.
"""

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.types.datetime import TimestamptzLoader
from psycopg.types.json import set_json_loads
from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy import text as sql
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from typing_extensions import override

from vaultmesh.domain.complaints import did_you_mean
from vaultmesh.domain.jobs.refusals import StoreError, StoreErrorKind
from vaultmesh.domain.log_in import refused_log_in
from vaultmesh.storage.job_tables import POSTGRESQL, read_json

THREADS = 4
"""Of the store alone; as many connections."""
BUSY_SECONDS = 2
"""How long a lock of others is waited for: who waits for an anchor waits for none of it."""
STATEMENT_SECONDS = 8
"""How long one statement may take; sums over years take less than one."""
CONNECT_SECONDS = 3
_SILENCE_MS = 8_000
"""How long a connection may leave sent bytes unanswered."""
_IDLE_SECONDS = 240
"""Older connections are replaced: poolers and firewalls drop idle ones in silence."""
APPLICATION = "vmsh:jobs"
SETTING = "JOBS_DATABASE_URL"
"""What names the database, unless a command does."""

_POSTGRES_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
_BEGIN = sql(
    f"SELECT set_config('lock_timeout', '{BUSY_SECONDS}s', true), "
    f"set_config('statement_timeout', '{STATEMENT_SECONDS}s', true), set_config('timezone', 'UTC', true)"
)
_READ_ONLY = sql("SHOW transaction_read_only")
_READ_ONLY_STATE = "25006"
_MAKE_WRITABLE = (
    "it is tried again; name the primary, or end what makes it read-only, such as a full disk"
)
_PASSING_CLASSES = ("08", "25", "40", "53", "55", "57", "58")
"""Of SQLSTATE: connections, read-only servers, deadlocks, resources, locks, operators and time-outs, the disk."""
_KINDS_BY_STATE: Mapping[str, StoreErrorKind] = {
    "22": StoreErrorKind.VALUE,
    "23": StoreErrorKind.VALUE,
    "28": StoreErrorKind.SETTING,
    "3D": StoreErrorKind.SETTING,
    "42": StoreErrorKind.SCHEMA,
    "42501": StoreErrorKind.DENIED,
}
_KINDS_BY_CODE: Mapping[int, StoreErrorKind] = {
    sqlite3.SQLITE_READONLY: StoreErrorKind.DENIED,
    sqlite3.SQLITE_PERM: StoreErrorKind.DENIED,
    sqlite3.SQLITE_AUTH: StoreErrorKind.DENIED,
    sqlite3.SQLITE_ERROR: StoreErrorKind.SCHEMA,
    sqlite3.SQLITE_CORRUPT: StoreErrorKind.SCHEMA,
    sqlite3.SQLITE_NOTADB: StoreErrorKind.SCHEMA,
    sqlite3.SQLITE_CONSTRAINT: StoreErrorKind.VALUE,
    sqlite3.SQLITE_MISMATCH: StoreErrorKind.VALUE,
    sqlite3.SQLITE_TOOBIG: StoreErrorKind.VALUE,
}
_PRIMARY_CODE = 0xFF
_MENDS: Mapping[StoreErrorKind, str] = {
    StoreErrorKind.DOWN: "it is tried again; see whether it is up and who locks it",
    StoreErrorKind.DENIED: "give its user the right, or name another user",
    StoreErrorKind.SCHEMA: "see whether it is the database that is meant",
    StoreErrorKind.SETTING: "correct {setting}",
    StoreErrorKind.VALUE: "it does not take this value",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a database lies."""

    url: URL
    label: str
    """Without user, password or parameters."""
    secrets: tuple[str, ...] = ()
    """What no message may hold."""
    setting: str = SETTING
    """What names it, for people."""
    name: str = "job store"
    """What it is called in messages."""

    @property
    def is_postgres(self) -> bool:
        """Whether it is PostgreSQL."""
        return self.url.drivername.startswith(POSTGRESQL)


def file_place(path: Path, setting: str = SETTING) -> Place:
    """Return the place of a file of SQLite."""
    return Place(URL.create("sqlite", database=str(path)), str(path), setting=setting)


def postgres_place(text: str, setting: str = SETTING) -> Place:
    """Read the URL of a PostgreSQL, which `setting` holds.

    Raises:
        StoreError: another form; the text is not repeated, since it may hold a password.
    """
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):
        why = "can't be read"
        raise _bad_url(setting, why) from None
    if url.drivername not in _POSTGRES_SCHEMES:
        why = f"is no URL of PostgreSQL. {did_you_mean(url.drivername, _POSTGRES_SCHEMES)}".rstrip(
            ". "
        )
        raise _bad_url(setting, why)
    if "@" in (url.host or ""):
        why = "has @ in its user or password"
        raise _bad_url(setting, why)
    if not url.database:
        why = "names no database"
        raise _bad_url(setting, why)
    port = f":{url.port}" if url.port else ""
    raw = text.partition("://")[2].rpartition("@")[0].partition(":")[2]
    plain = {str(url.password or ""), raw, unquote(raw), *_hidden_parameters(url)}
    secrets = plain | {quote(secret, safe="") for secret in plain}
    label = f"{url.host or 'local socket'}{port}/{url.database}"
    place = url.set(drivername=f"{POSTGRESQL}+psycopg")
    hidden = tuple(sorted(filter(None, secrets), key=len, reverse=True))
    return Place(place, label, hidden, setting)


def _hidden_parameters(url: URL) -> Iterator[str]:
    for key, value in url.query.items():
        if "pass" in key:
            yield from [value] if isinstance(value, str) else value


def _bad_url(setting: str, why: str) -> StoreError:
    message = (
        f"{setting} {why} - write postgresql://user:password@host:5432/database with odd characters of the password "
        "percent-encoded (@ as %40)"
    )
    if setting == SETTING:
        message += ", or leave it out for a file below VMSH_ROOT"
    return StoreError(message, StoreErrorKind.SETTING)


class Database:
    """One database and its connections; used by the store's threads."""

    def __init__(self, place: Place) -> None:
        """Connect to nothing yet."""
        self.place = place
        self._writer = threading.Lock()
        self.engine = _postgres_engine(place) if place.is_postgres else _sqlite_engine(place)

    @property
    def dialect(self) -> str:
        """`postgresql` or `sqlite`."""
        return self.engine.dialect.name

    def insert(self, table: Table) -> PostgresInsert | SqliteInsert:
        """Return an insertion that knows ON CONFLICT."""
        if self.place.is_postgres:
            return postgresql_dialect.insert(table)
        return sqlite_dialect.insert(table)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Read in one transaction; raises `StoreError`."""
        with self._translated(), self._begun(write=False) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Write in one transaction, which is undone if an error leaves it; raises `StoreError`."""
        with self._translated():
            if self.place.is_postgres:
                with self._begun(write=True) as connection:
                    yield connection
                return
            if not self._writer.acquire(timeout=BUSY_SECONDS):
                why = "other threads write to it"
                raise self.failure(why, StoreErrorKind.DOWN)
            try:
                with self._begun(write=True) as connection:
                    yield connection
            finally:
                self._writer.release()

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """Run statements that can't be part of a transaction; raises `StoreError`."""
        engine = self.engine
        if self.place.is_postgres:  # connections of SQLite are so by themselves
            engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        with self._translated(), engine.connect() as connection:
            yield connection

    def check_writable(self) -> None:
        """Refuse a PostgreSQL that answers and takes no writes: a replica, or a server whose disk is full; raises `StoreError`."""
        if not self.place.is_postgres:
            return
        with self.read() as connection:
            if connection.execute(_READ_ONLY).scalar() == "on":
                why = "it takes no writes"
                raise self._failure(why, StoreErrorKind.DOWN, _MAKE_WRITABLE)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def failure(self, why: str, kind: StoreErrorKind) -> StoreError:
        """Return an error of a kind, with the mend that belongs to it."""
        return self._failure(why, kind, _MENDS[kind].format(setting=self.place.setting))

    def _failure(self, why: str, kind: StoreErrorKind, mend: str) -> StoreError:
        return StoreError(f"{self.place.name} {self.place.label}: {why}; {mend}", kind)

    @contextmanager
    def _begun(self, *, write: bool) -> Iterator[Connection]:
        with self._connected(write=write) as connection:
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def _connected(self, *, write: bool) -> Connection:
        """Return a connection with a transaction begun; one that was dropped meanwhile is replaced."""
        for last in (False, True):
            connection = self.engine.connect()
            try:
                self._begin(connection, write=write)
            except DBAPIError as error:
                connection.close()
                if last or not error.connection_invalidated:
                    raise
            else:
                return connection
        raise AssertionError

    def _begin(self, connection: Connection, *, write: bool) -> None:
        if self.place.is_postgres:
            connection.execute(_BEGIN)
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeout as error:
            why = "all connections are busy"
            raise self.failure(why, StoreErrorKind.DOWN) from error
        except DBAPIError as error:
            raise self._translation(error.orig) from None
        except SQLAlchemyError as error:
            raise self.failure(type(error).__name__, StoreErrorKind.SCHEMA) from None
        except (psycopg.Error, sqlite3.Error) as error:
            raise self._translation(error) from None
        except (UnicodeError, OverflowError) as error:
            raise self.failure(type(error).__name__, StoreErrorKind.VALUE) from None
        except OSError as error:
            raise self.failure(str(error.strerror), StoreErrorKind.DOWN) from error

    def _translation(self, error: BaseException | None) -> StoreError:
        if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
            refused = refused_log_in(str(error), self.place.setting)
            if refused is not None:
                why = self._without_secrets(refused.why)
                return self._failure(why, StoreErrorKind.SETTING, refused.mend)
        if isinstance(error, psycopg.Error) and error.sqlstate == _READ_ONLY_STATE:
            return self._failure(self._said(error), StoreErrorKind.DOWN, _MAKE_WRITABLE)
        return self.failure(self._said(error), _kind(error))

    def _said(self, error: BaseException | None) -> str:
        """Return what the database says, in one line, without values and secrets."""
        primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        return self._without_secrets(primary or str(error))

    def _without_secrets(self, text: str) -> str:
        line = " ".join(text.split())
        for secret in self.place.secrets:
            line = line.replace(secret, "***")
        return line[:300]


def _kind(error: BaseException | None) -> StoreErrorKind:
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        return StoreErrorKind.SETTING  # libpq refuses what stands in the URL
    if isinstance(error, psycopg.DataError) and error.sqlstate is None:
        return StoreErrorKind.VALUE
    if isinstance(error, psycopg.Error):
        state = error.sqlstate or "08"
        if state.startswith(_PASSING_CLASSES):
            return StoreErrorKind.DOWN
        known = _KINDS_BY_STATE.get(state) or _KINDS_BY_STATE.get(state[:2])
        return known or StoreErrorKind.SCHEMA
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return StoreErrorKind.VALUE if isinstance(error, sqlite3.Error) else StoreErrorKind.DOWN
    return _KINDS_BY_CODE.get(code & _PRIMARY_CODE, StoreErrorKind.DOWN)


class _InstantLoader(Loader):
    """Reads what Python has no instant for, `infinity` or years BC, as null: one row would keep all others from being read.

    It asks the library's own loader, which is quick.
    """

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        """Read a type of column by the loader that it has otherwise."""
        super().__init__(oid, context)
        usual = psycopg.adapters.get_loader(oid, self.format) or TimestamptzLoader
        self._usual = usual(oid, context)

    @override
    def load(self, data: Buffer) -> object:
        try:
            return self._usual.load(data)
        except psycopg.DataError:
            return None


def _postgres_engine(place: Place) -> Engine:
    arguments = {
        "prepare_threshold": None,
        "application_name": APPLICATION,
        "connect_timeout": CONNECT_SECONDS,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": _SILENCE_MS,
    }
    engine = create_engine(
        place.url,
        connect_args=arguments,
        hide_parameters=True,
        pool_size=THREADS,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS,
        pool_recycle=_IDLE_SECONDS,
        use_native_hstore=False,
    )

    @event.listens_for(engine, "connect")
    def _read_leniently(connection: psycopg.Connection, _record: object) -> None:
        set_json_loads(read_json, connection)
        for instants in ("timestamptz", "timestamp"):
            connection.adapters.register_loader(instants, _InstantLoader)

    return engine


def _sqlite_engine(place: Place) -> Engine:
    engine = create_engine(
        place.url,
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None, "check_same_thread": False},
        hide_parameters=True,
        pool_size=THREADS,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS,
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: object) -> None:
        # A killed process loses nothing; with the machine's power the last instants may go, and the rows are closed later.
        connection.execute("PRAGMA synchronous = NORMAL")

    return engine

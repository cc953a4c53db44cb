"""Connects to the database of a maintenance task, and sends it one statement at a time.

1. Every setting is given at connect, so none is lost on the way: name, time-outs, keepalives, and the check by which the server
   notices within a second that we are gone.
2. Nothing is prepared, and there is no transaction around a statement unless the caller begins one.
3. What a pooler lends for one transaction is refused: advisory locks and settings would go astray there.
4. Cancelling the task that waits for a statement cancels the statement; the connection stays usable.
5. No message holds the URL or the password.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from vaultmesh.domain.errors import ConfigurationError, DomainError, in_one_line
from vaultmesh.domain.log_in import refused_log_in
from vaultmesh.domain.maintenance.config import Defaults

SETTING = "DATABASE_URL"
"""What names the database, in messages."""
APPLICATION = "vmsh:maintenance"
LOCK_SPACE = 7_301
"""First number of every advisory lock of ours."""
LOCK_SECONDS = 3.0
"""How long a lock is asked for: the server needs up to a second to notice that its last holder was killed."""
OLDEST_SERVER = 150_000
_LOCK_AGAIN_SECONDS = 0.25
_CONNECT_SECONDS = 5
_CONNECT_AGAIN_SECONDS = (0.5, 1.0, 2.0)
"""Waits between attempts to connect: a server that restarts is back after them."""
_CLIENT_CHECK = "client_connection_check_interval"
_IDLE_IN_TRANSACTION = timedelta(minutes=1)
_LONGEST_APPLICATION = 63
_READ_ONLY = ", set_config('default_transaction_read_only', 'on', false)"
_POOLERS = "unsupported startup parameter"
_UNKNOWN_OPTION = re.compile(
    r"(unrecognized configuration|invalid value for) parameter \"[^\"]*\"(: \"[^\"]*\")?"
)
_POOLER = (
    "this is a pooler in transaction mode, which loses settings and locks between statements - name the "
    f"database itself in {SETTING}, or a pooler's port in session mode that passes options on"
)


class NoConnection(DomainError):
    """The database can't be reached, or the connection broke."""


class Refused(ConfigurationError):
    """The database can't be used as it is named: another setting mends it."""

    def __init__(self, why: str) -> None:
        """Keep why, with its mend."""
        super().__init__([why])


@dataclass(frozen=True, slots=True)
class Database:
    """Where a database is."""

    url: SecretStr

    @property
    def place(self) -> str:
        """Host, port and name, for people."""
        parts = urlsplit(self.url.get_secret_value())
        return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass(frozen=True, slots=True)
class Order:
    """What a run was asked for, the same in each of its attempts."""

    run: str
    """Its id: a UUID, or what tells it from others."""
    now: datetime
    """When it was asked for, aware; ages are counted from it."""
    root: Path
    """Folder below which relative folders lie."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What the server said beside the result of a statement."""

    severity: str
    """In English, whatever the server's language."""
    sqlstate: str
    message: str
    function: str
    """Of the server's source, that said it."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a statement."""

    rows: Sequence[tuple[Any, ...]]
    """What it returned."""
    count: int
    """Rows that it changed; -1 if it changes none."""
    notices: Sequence[Notice]
    seconds: float
    words: str = ""
    """What came of it, where its result is to say so."""


@dataclass(slots=True)
class Session:
    """One connection of a run; it is opened anew after it broke."""

    database: Database
    task: str
    settings: Defaults
    order: Order
    read_only: bool = False
    """Whether every transaction of it only reads."""
    version: int = 0
    """The server's, such as 150004."""
    remarks: list[str] = field(default_factory=list)
    """What an operator may want to know of this server."""
    _connection: "psycopg.AsyncConnection[tuple[Any, ...]] | None" = None
    _notices: list[Notice] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            NoConnection: the database can't be reached.
            Refused: it does not let us in, or it is a pooler.
        """
        await self.open()
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Close the connection, and with it every lock."""
        await self.close()

    async def open(self) -> None:
        """Connect, again and again for a few seconds while the server is away; raises as `__aenter__` does."""
        await self.close()
        for wait in (*_CONNECT_AGAIN_SECONDS, None):
            try:
                self._connection = await self._connected()
                break
            except NoConnection:
                if wait is None:
                    raise
                await asyncio.sleep(wait)
        await self._check()

    async def close(self) -> None:
        """Close the connection if there is one."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    @property
    def connection(self) -> "psycopg.AsyncConnection[tuple[Any, ...]]":
        """The connection itself, for a stream of rows."""
        if self._connection is None:
            message = "the connection is closed"
            raise NoConnection(message)
        return self._connection

    @property
    def is_open(self) -> bool:
        """Whether it was opened, and not closed since."""
        return self._connection is not None and not self._connection.closed

    @property
    def is_broken(self) -> bool:
        """Whether it was opened, and has to be opened anew."""
        connection = self._connection
        return connection is not None and (connection.broken or connection.closed)

    async def send(self, statement: str, *, alone: bool = False) -> Sent:
        """Send a statement as it is, and wait for its end.

        Args:
            statement: SQL; nothing in it is replaced.
            alone: whether the server refuses a text that holds a second statement.

        Raises:
            psycopg.Error: as the server has it.
            NoConnection: there is no connection.
        """
        begin = time.monotonic()
        self._notices.clear()
        async with self.connection.cursor(binary=alone) as cursor:
            await cursor.execute(statement.encode())
            rows = await cursor.fetchall() if cursor.description else []
            return Sent(rows, cursor.rowcount, tuple(self._notices), time.monotonic() - begin)

    async def rows(self, query: str) -> Sequence[tuple[Any, ...]]:
        """Return the rows of a query; raises as `send` does."""
        return (await self.send(query)).rows

    async def lock(self) -> bool:
        """Take the task's lock for as long as the connection lives; False if somebody else keeps it."""
        end = time.monotonic() + LOCK_SECONDS
        query = f"SELECT pg_try_advisory_lock({LOCK_SPACE}, {lock_key(self.task)})"
        while True:
            if (await self.rows(query))[0][0]:
                return True
            if time.monotonic() >= end:
                return False
            await asyncio.sleep(_LOCK_AGAIN_SECONDS)

    async def _connected(self) -> "psycopg.AsyncConnection[tuple[Any, ...]]":
        try:
            return await self._connect(check_client=True)
        except psycopg.Error as error:
            if _CLIENT_CHECK in str(error) and "unsupported startup" not in str(error):
                return await self._without_client_check(error)
            raise self._no_connection(error) from error

    async def _without_client_check(
        self, error: psycopg.Error
    ) -> "psycopg.AsyncConnection[tuple[Any, ...]]":
        try:
            connection = await self._connect(check_client=False)
        except psycopg.Error:
            raise self._no_connection(error) from error
        self.remarks.append(
            f"the server's system has no {_CLIENT_CHECK}: what a killed run began goes on until it ends by itself"
        )
        return connection

    async def _connect(self, *, check_client: bool) -> "psycopg.AsyncConnection[tuple[Any, ...]]":
        own = conninfo_to_dict(self.database.url.get_secret_value())
        options = [str(own["options"])] if own.get("options") else []
        options += [f"-c {name}={value}" for name, value in self._options(check_client).items()]
        connection = await psycopg.AsyncConnection.connect(
            self.database.url.get_secret_value(),
            autocommit=True,
            prepare_threshold=None,
            application_name=self.application,
            client_encoding="UTF8",
            connect_timeout=_CONNECT_SECONDS,
            options=" ".join(options),
            keepalives=1,
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
        )
        connection.add_notice_handler(self._keep_notice)
        return connection

    @property
    def application(self) -> str:
        """The name under which the server lists the run; its id stays whole."""
        room = _LONGEST_APPLICATION - len(APPLICATION) - len(self.order.run) - 2
        return f"{APPLICATION}:{self.task[: max(room, 1)]}:{self.order.run}"

    def _options(self, check_client: bool) -> dict[str, str]:
        return {
            **({_CLIENT_CHECK: "1000"} if check_client else {}),
            "lock_timeout": _milliseconds(self.settings.lock_timeout),
            "statement_timeout": _milliseconds(self.settings.statement_timeout),
            "idle_in_transaction_session_timeout": _milliseconds(_IDLE_IN_TRANSACTION),
            # Between two batches, and while a program restores a dump, the task's lock must not go.
            "idle_session_timeout": "0",
            # Rows that a policy hides would pass for rows that are not there: the server refuses instead.
            "row_security": "off",
            "timezone": "UTC",
            "datestyle": "ISO",
            # As pg_dump has it: other settings of a role or a database write numbers and intervals that are read back as others.
            "extra_float_digits": "3",
            "intervalstyle": "postgres",
            # What was skipped succeeds, and a warning alone says so.
            "client_min_messages": "notice",
            # Compiling a question to the catalogue takes longer than answering it: a second over 5,000 tables.
            **({} if self.read_only else {"jit": "off"}),
        }

    def _keep_notice(self, notice: psycopg.errors.Diagnostic) -> None:
        """Copy a notice: the driver's own goes away when this returns."""
        self._notices.append(
            Notice(
                severity=notice.severity_nonlocalized or "",
                sqlstate=notice.sqlstate or "",
                message=in_one_line(notice.message_primary or ""),
                function=notice.source_function or "",
            )
        )

    async def _check(self) -> None:
        """Refuse a server that is too old, and whatever lost our settings on the way."""
        query = (
            "SELECT current_setting('server_version_num')::int, current_setting('application_name'), "
            "(SELECT setting FROM pg_settings WHERE name = 'lock_timeout'), "
            # from PostgreSQL 17 on; as an option of a connection it would keep older servers from answering
            "(SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout')"
            # as an option of a connection it would keep `target_session_attrs=read-write` from any server
            f"{_READ_ONLY if self.read_only else ''}"
        )
        (self.version, application, lock_timeout, *_), *_ = await self.rows(query)
        if (application, lock_timeout) != (
            self.application,
            _milliseconds(self.settings.lock_timeout),
        ):
            raise Refused(_POOLER)
        if self.version < OLDEST_SERVER:
            message = f"the server is PostgreSQL {self.version // 10_000}; maintenance needs 15 or newer - upgrade it"
            raise Refused(message)

    def _no_connection(self, error: psycopg.Error) -> DomainError:
        text = str(error)
        if _POOLERS in text:
            return Refused(_POOLER)
        if match := _UNKNOWN_OPTION.search(text):
            ours = any(f'"{name}"' in match[0] for name in self._options(check_client=True))
            return Refused(_POOLER if ours else f"{match[0]} - correct options in {SETTING}")
        refusal = refused_log_in(text, SETTING)
        if refusal is not None:
            return Refused(f"{refusal.why} - {refusal.mend}")
        if isinstance(
            error, psycopg.ProgrammingError
        ):  # it quotes what it can't read, password and all
            return Refused(
                f"{SETTING} can't be read as a URL - write postgresql://user:password@host:5432/database"
            )
        return NoConnection(in_one_line(f"can't be reached: {text}", 300))


def lock_key(task: str) -> int:
    """Return the second number of a task's advisory lock; the same for every version of this product."""
    return int.from_bytes(sha256(f"vmsh:maintenance:{task}".encode()).digest()[:4], signed=True)


def _milliseconds(duration: timedelta) -> str:
    return str(max(duration // timedelta(milliseconds=1), 1))

"""Serves as a job's handler over real sockets, obeys or misbehaves on request, and keeps every byte that it got."""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from devnet.ports import LOOPBACK

DONE = {"success": True, "itemsProcessed": 3, "itemsSucceeded": 2, "itemsFailed": 1}


@dataclass
class Connection:
    """One connection to a handler."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    received: bytes = b""
    sent: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether the handler saw the other side go, or is done itself."""

    async def read_head(self) -> None:
        """Read up to the end of the headers."""
        self.received += await self.reader.readuntil(b"\r\n\r\n")

    async def read_request(self) -> None:
        """Read one whole request."""
        await self.read_head()
        missing = int(self.headers.get("content-length", "0")) - len(self.body)
        self.received += await self.reader.readexactly(missing)

    async def send(self, content: bytes) -> None:
        """Send bytes, once there is room for them."""
        self.writer.write(content)
        await self.writer.drain()
        self.sent += len(content)

    async def wait_until_left(self) -> None:
        """Wait until the other side has gone; keep what it sends meanwhile."""
        while piece := await self.reader.read(65_536):
            self.received += piece

    def reset(self) -> None:
        """Break the connection with a RST."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    @property
    def request_line(self) -> str:
        """The first line that came."""
        return self.received.split(b"\r\n", 1)[0].decode("ascii")

    @property
    def headers(self) -> dict[str, str]:
        """The headers that came, by their names in small letters."""
        lines = self.received.partition(b"\r\n\r\n")[0].decode("ascii").split("\r\n")[1:]
        pairs = [line.split(": ", 1) for line in lines]
        named = {name.lower(): value for name, value in pairs}
        assert len(named) == len(pairs), "a header came twice"
        return named

    @property
    def body(self) -> bytes:
        """What came after the headers."""
        return self.received.partition(b"\r\n\r\n")[2]

    @property
    def content(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


Behaviour = Callable[[Connection], Awaitable[None]]


class Handler:
    """A server on a free port; its n-th connection is served by the n-th behaviour, or by the last one."""

    def __init__(
        self, *behaviours: Behaviour, tls: ssl.SSLContext | None = None, port: int = 0
    ) -> None:
        self._behaviours = behaviours or (answers(DONE),)
        self._tls = tls
        self.port = port
        self._serving: list[asyncio.Task[None]] = []
        self.connections: list[Connection] = []

    async def __aenter__(self) -> "Handler":
        self._server = await asyncio.start_server(
            self._serve, LOOPBACK, self.port, ssl=self._tls, limit=2**22
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop_listening()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def stop_listening(self) -> None:
        """Refuse every further connection."""
        self._server.close()

    @property
    def url(self) -> str:
        """The service's URL."""
        return f"{'https' if self._tls else 'http'}://{LOOPBACK}:{self.port}"

    @property
    def calls(self) -> int:
        """How many requests came whole."""
        return sum(b"\r\n\r\n" in connection.received for connection in self.connections)

    @property
    def only(self) -> Connection:
        """The only connection that there was."""
        (connection,) = self.connections
        return connection

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.append(task)
        connection = Connection(reader, writer)
        self.connections.append(connection)
        behaviour = self._behaviours[min(len(self.connections), len(self._behaviours)) - 1]
        try:
            await behaviour(connection)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side has gone, or the test is over
        finally:
            connection.closed.set()
            writer.close()


# --- behaviours ----------------------------------------------------------------------------------------------------


def reply(
    body: bytes, *headers: str, status: str = "200 OK", kind: str = "application/json"
) -> bytes:
    """Return a whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    if kind:
        lines.append(f"Content-Type: {kind}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def sends(*pieces: bytes, stays: bool = False) -> Behaviour:
    """Read the request, send bytes, then close, or keep the connection open for ever."""

    async def behaviour(connection: Connection) -> None:
        await connection.read_request()
        for piece in pieces:
            await connection.send(piece)
        if stays:
            await connection.wait_until_left()

    return behaviour


def answers(content: object, status: str = "200 OK") -> Behaviour:
    """Answer with JSON, and leave it to the other side to close."""
    return sends(reply(json.dumps(content).encode(), status=status), stays=True)


def sends_for_ever(first: bytes, then: bytes, *, every: float = 0.0) -> Behaviour:
    """Read the request, send a beginning, and then the same bytes again and again."""

    async def behaviour(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(first)
        while True:
            await connection.send(then)
            await asyncio.sleep(every)

    return behaviour


async def closes_at_once(connection: Connection) -> None:
    """Close an accepted connection before anything is read."""


async def resets_at_once(connection: Connection) -> None:
    """Break an accepted connection before anything is read."""
    connection.reset()


async def closes_after_head(connection: Connection) -> None:
    """Close once the headers came."""
    await connection.read_head()


async def resets_after_head(connection: Connection) -> None:
    """Break once the headers came."""
    await connection.read_head()
    connection.reset()


async def closes_after_request(connection: Connection) -> None:
    """Close once the request came."""
    await connection.read_request()


async def resets_after_request(connection: Connection) -> None:
    """Break once the request came."""
    await connection.read_request()
    connection.reset()


async def hangs(connection: Connection) -> None:
    """Take the request and never answer."""
    await connection.read_request()
    await connection.wait_until_left()


async def never_speaks(connection: Connection) -> None:
    """Take what comes and say nothing, not even for TLS."""
    await connection.wait_until_left()


def breaks_in_mid_answer(content: bytes, *, resets: bool) -> Behaviour:
    """Send a part of an answer, then end."""

    async def behaviour(connection: Connection) -> None:
        await connection.read_request()
        await connection.send(content)
        if resets:
            connection.reset()

    return behaviour


def answers_unread(content: bytes) -> Behaviour:
    """Answer once the headers came, read nothing more, and keep the connection."""

    async def behaviour(connection: Connection) -> None:
        connection.received += await connection.reader.read(100)
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined] # a read transport
        await connection.send(content)
        await asyncio.Event().wait()

    return behaviour


# --- what the known handlers check ---------------------------------------------------------------------------------


def refusals_of_email_service(content: Any, execution_header: str) -> list[str]:
    """Return what email-service finds wrong with a call; it answers 500 to it."""
    return _refusals(content, execution_header, {"scheduler", "manual"})


def refusals_of_user_service(content: Any, execution_header: str) -> list[str]:
    """Return what user-service finds wrong with a call; it answers 500 to it."""
    return _refusals(content, execution_header, {"scheduler", "manual", "admin"})


def _refusals(content: Any, execution_header: str, known: set[str]) -> list[str]:
    """Check as a schema of theirs does: optional means that the key may be missing, and not that it may be null."""
    rules = {
        "jobName": isinstance(content.get("jobName"), str),
        "config": isinstance(content.get("config", {}), dict),
        "executionId": isinstance(content.get("executionId"), str),
        "triggeredBy": content.get("triggeredBy") in known,
        "triggeredByUser": isinstance(content.get("triggeredByUser", ""), str),
        "header": execution_header == content.get("executionId") == str(UUID(execution_header)),
        "no more": set(content) <= {
            "jobName", "config", "executionId", "triggeredBy", "triggeredByUser",
        },
    }  # fmt: skip
    return [rule for rule, kept in rules.items() if not kept]

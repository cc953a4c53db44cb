"""Talks HTTP for all ledgers: one client with bounds, one table from status to kind of failure, one rest for the broken.

1. A request is sent once; whoever wants a repetition asks again. Redirects are not followed (T8).
2. Errors name an endpoint by scheme, host and port only: paths and passwords are credentials.
3. Each request names this product, since providers turn away the names of libraries.
4. Each is counted by host, with the time it took.
"""

import os
import re
import socket
import time
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from ssl import SSLError

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector
from pydantic import JsonValue
from pydantic_core import from_json

from vaultmesh.domain.failures import AnchorError, AuthFailure, FailureKind, NetworkFailure
from vaultmesh.domain.tally import Tally
from vaultmesh.ledgers.failures import failure_of, public_url, shown
from vaultmesh.process.version import VERIFIER

UNREACHABLE = (ClientError, TimeoutError, OSError, ValueError)
"""What a request that got no usable answer raises."""
_FORBIDDEN = 403
_UNAUTHORISED = frozenset({401, 402, _FORBIDDEN, 407})
_TEMPORARY = frozenset({408, 425, 429})
_FIRST_REDIRECT, _FIRST_SERVER_ERROR = 300, 500
LARGEST_REPLY = 16 * 1024 * 1024
"""Bytes; a Bitcoin block in hex and an EVM block with the hashes of its transactions stay below."""
_KEEP_ALIVE_SECONDS = 5.0
"""Below the idle limits of usual reverse proxies, so that a call rarely meets a connection that is being closed."""
_CONNECTIONS = 16
_HEADERS = {"User-Agent": VERIFIER}
_PAGE = re.compile(rb"\s*<(!doctype html|html|head|body)\b", re.IGNORECASE)
_BEHIND_A_PROXY = (
    "with a web page: a proxy or a firewall in front of it turned us away, and not the service itself; "
    "look whether it blocks this address, or use another URL"
)


def kind_of_status(status: int, *, is_page: bool = False) -> FailureKind:
    """Return the kind of failure that an HTTP status means where it comes without the reply that was wanted.

    `is_page` says whether a page for people came with it.
    """
    if status == _FORBIDDEN and is_page:
        return FailureKind.NETWORK
    if status in _UNAUTHORISED:
        return FailureKind.AUTH
    if status in _TEMPORARY or not _FIRST_REDIRECT <= status < _FIRST_SERVER_ERROR:
        return FailureKind.NETWORK
    return FailureKind.VALIDATION


def reason(error: BaseException) -> str:
    """Return in a few safe words why a request got no answer."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(cause, socket.gaierror):
        return "its name is not known"
    if not isinstance(cause, OSError):
        return type(error).__name__
    text = cause.strerror or ""
    if cause.errno and not isinstance(cause, SSLError):
        text = os.strerror(cause.errno)  # asyncio's own text names the address instead
    return shown(text) or type(error).__name__


def host_of(url: str) -> str:
    """Return host and port of a URL, as metrics name an endpoint."""
    return public_url(url).partition("://")[2]


def counted_at(urls: Iterable[str], tally: Tally | None = None) -> Tally:
    """Return a tally that shows the hosts of these URLs before anything is sent there."""
    tally = Tally() if tally is None else tally
    for url in urls:
        tally.endpoint(host_of(url))
    return tally


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What came back."""

    status: int
    content_type: str
    body: bytes

    @property
    def is_page(self) -> bool:
        """Whether it is a page for people: what stands in front of a service answers with those."""
        return self.content_type == "text/html" or _PAGE.match(self.body) is not None

    @property
    def kind(self) -> FailureKind:
        """The kind of failure that it is where something else was wanted."""
        return kind_of_status(self.status, is_page=self.is_page)

    @property
    def is_error(self) -> bool:
        """Whether it says that there is no answer; bitcoind sends what it means by JSON-RPC with status 500."""
        has_content = self.content_type == "application/json" and self.status not in _TEMPORARY
        return self.status in _UNAUTHORISED or not (self.status < _FIRST_REDIRECT or has_content)

    @property
    def is_turned_away(self) -> bool:
        """Whether somebody in front of the service sent it instead."""
        return self.status == _FORBIDDEN and self.is_page


class Client:
    """Sends requests in one session, which the first of them makes in its event loop."""

    def __init__(
        self,
        seconds: float,
        *,
        largest: int = LARGEST_REPLY,
        keep_alive: bool = True,
        tally: Tally | None = None,
    ) -> None:
        """Bound requests by `seconds` and replies by `largest` bytes; `keep_alive` lets requests share connections.

        `tally` counts what is sent.
        """
        self._tally = Tally() if tally is None else tally
        self._limit = ClientTimeout(total=seconds)
        self._largest = largest
        self._keep_alive = keep_alive
        self._session: ClientSession | None = None

    async def post(self, url: str, data: bytes, headers: Mapping[str, str]) -> HttpReply:
        """Send one POST and return the reply, whatever its status.

        Raises:
            ClientError: the connection broke.
            TimeoutError: no whole reply in time.
            OSError: it could not be reached.
            ValueError: the reply is too large.
        """
        return await self._counted(url, self._post(url, data, headers))

    async def _post(self, url: str, data: bytes, headers: Mapping[str, str]) -> HttpReply:
        async with self._opened().post(
            url, data=data, headers=headers, timeout=self._limit, allow_redirects=False
        ) as reply:
            body = bytearray()
            async for piece in reply.content.iter_any():
                body += piece
                if len(body) > self._largest:
                    message = "the reply is too large"
                    raise ValueError(message)
            return HttpReply(reply.status, reply.content_type, bytes(body))

    async def head(self, url: str) -> HttpReply:
        """Send one HEAD and return the reply, which has no body; raises as `post`."""
        return await self._counted(url, self._head(url))

    async def _head(self, url: str) -> HttpReply:
        async with self._opened().head(url, timeout=self._limit, allow_redirects=False) as reply:
            return HttpReply(reply.status, reply.content_type, b"")

    async def _counted(self, url: str, sending: Awaitable[HttpReply]) -> HttpReply:
        """Count a request, with its time and whether it failed."""
        endpoint, began = self._tally.endpoint(host_of(url)), time.monotonic()
        try:
            reply = await sending
        except UNREACHABLE:
            endpoint.errors += 1
            raise
        else:
            endpoint.errors += reply.is_error
            return reply
        finally:
            endpoint.durations.observe(time.monotonic() - began)

    async def close(self) -> None:
        """Close the connections; a later request makes new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> ClientSession:
        self._session = self._session or ClientSession(
            connector=self._connector(), headers=_HEADERS
        )
        return self._session

    def _connector(self) -> TCPConnector:
        seconds = _KEEP_ALIVE_SECONDS if self._keep_alive else None
        return TCPConnector(
            limit=_CONNECTIONS, keepalive_timeout=seconds, force_close=not self._keep_alive
        )


def json_rpc_reply(
    label: str, method: str, reply: HttpReply, credentials: str
) -> dict[str, JsonValue]:
    """Return a JSON-RPC reply, which holds `result` or `error`.

    Raises:
        AuthFailure: the endpoint wants other credentials; `credentials` says where they are.
        NetworkFailure: it is overloaded or broken, or a proxy in front of it answered.
        ValidationFailure: it is no JSON-RPC endpoint.
    """
    status = reply.status
    if reply.is_turned_away:
        message = f"{label} answered {method} with HTTP {status} {_BEHIND_A_PROXY}"
        raise NetworkFailure(message)
    if status in _UNAUTHORISED:
        message = f"{label} refused {method} with HTTP {status}: check {credentials}"
        raise AuthFailure(message)
    if status in _TEMPORARY:
        message = f"{label} answered {method} with HTTP {status}: asked too often or overloaded"
        raise NetworkFailure(message)
    try:
        answer = from_json(reply.body)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and ("error" in answer or "result" in answer):
        return answer
    message = f"{label} answered {method} with HTTP {status} and no JSON-RPC reply"
    raise failure_of(reply.kind, message)


def refused(label: str, reply: HttpReply, wanted: str) -> AnchorError:
    """Return the failure of an endpoint that answered with something else than what was wanted."""
    message, kind = f"{label} answered with HTTP {reply.status}", reply.kind
    if reply.is_turned_away:
        return failure_of(kind, f"{message} {_BEHIND_A_PROXY}")
    advice = {
        FailureKind.AUTH: ": check the URL's credentials",
        FailureKind.NETWORK: ": overloaded, broken, or asked too often",
    }.get(kind, f" and no {wanted}: check the URL")
    return failure_of(kind, message + advice)


class Rest:
    """Lets an endpoint that failed rest: it is asked last, longer with each failure in a row."""

    def __init__(self, first_seconds: float, longest_seconds: float) -> None:
        """Rest so long after the first failure, doubled with each further one up to the longest."""
        self._first = first_seconds
        self._longest = longest_seconds
        self._failures = 0
        self._until = 0.0

    @property
    def is_on(self) -> bool:
        """Whether it failed a moment ago."""
        return time.monotonic() < self._until

    def begin(self) -> None:
        """Rest after a failure."""
        rest = min(self._first * 2 ** min(self._failures, 10), self._longest)
        self._failures += 1
        self._until = time.monotonic() + rest

    def end(self) -> None:
        """Rest no more: it answered."""
        self._failures, self._until = 0, 0.0

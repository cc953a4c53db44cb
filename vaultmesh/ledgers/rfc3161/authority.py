"""Talks to time-stamp authorities: one POST with bounds, spacing, and rest for the broken.

1. A request is sent once; whoever wants a repetition asks again. Redirects are not followed (T8).
2. What is not a reply by HTTP's own account is refused before anything is parsed (T2).
3. An authority that failed rests, longer with each failure in a row: it is asked last, and alone if nobody else is left.
4. Errors name an authority by scheme, host and port only: paths and passwords may be credentials.
"""

import asyncio
import time
from datetime import UTC, datetime

from aiohttp import ClientError
from typing_extensions import override

from vaultmesh.domain.failures import NetworkFailure, ValidationFailure
from vaultmesh.ledgers.failures import public_url
from vaultmesh.ledgers.http import UNREACHABLE, Client, Rest, reason, refused
from vaultmesh.ledgers.rfc3161.core.judge import Window
from vaultmesh.ledgers.rfc3161.core.token import LARGEST_REPLY
from vaultmesh.process.logs import register_url
from vaultmesh.process.request_log import logged

QUERY_TYPE, REPLY_TYPE = "application/timestamp-query", "application/timestamp-reply"
CALL_SECONDS = 10.0
"""Authorities answer within a second; beyond that another one is asked."""
REST_SECONDS, LONGEST_REST_SECONDS = 15.0, 240.0
"""After the first failure, and the most after many: doubled each time."""
_HEADERS = {"Content-Type": QUERY_TYPE, "Accept": REPLY_TYPE}
_BROKEN = frozenset({500, 502, 503, 504})
"""501 is what a server says that knows no HEAD."""
_GOOD = frozenset({200, 201})
"""201 is what one widespread server says."""


class Authority:
    """One authority."""

    def __init__(self, url: str, spacing_seconds: float, client: Client) -> None:
        """Remember where; connects with the first request, through a client that is shared."""
        self.label = public_url(url)
        self.root = b""
        """The pinned root that its last good reply led to, DER; empty before the first."""
        register_url(url)
        self._url = url
        self._spacing_seconds = spacing_seconds
        self._client = client
        self._rest = Rest(REST_SECONDS, LONGEST_REST_SECONDS)
        self._free_at = 0.0
        self._turn = asyncio.Lock()

    @override
    def __repr__(self) -> str:
        """Name the authority without its credentials."""
        return f"Authority({self.label})"

    @property
    def rests(self) -> bool:
        """Whether it failed a moment ago."""
        return self._rest.is_on

    def failed(self) -> None:
        """Let it rest."""
        self._rest.begin()

    def served(self, root: bytes) -> None:
        """End its rest: what it sent was good, and led to that root."""
        self.root = root
        self._rest.end()

    async def ask(self, request: bytes) -> tuple[bytes, Window]:
        """Send a request when its turn has come, and return the reply and when it was under way.

        Raises:
            NetworkFailure: no answer in time, or one that says to try again.
            AuthFailure: it wants other credentials.
            ValidationFailure: what it sent is no time-stamp reply, or too large.
        """
        async with self._turn:
            await asyncio.sleep(max(self._free_at - time.monotonic(), 0.0))
            self._free_at = time.monotonic() + self._spacing_seconds
            sent = datetime.now(UTC)
            try:
                reply = await self._post(request)
            except (ClientError, TimeoutError, OSError) as error:
                message = f"{self.label} could not be reached: {reason(error)}"
                raise NetworkFailure(message) from None
            except ValueError:
                message = f"{self.label} sent more than {LARGEST_REPLY} bytes: check the URL"
                raise ValidationFailure(message) from None
            return reply, Window(sent, datetime.now(UTC))

    async def probe(self) -> None:
        """Ask whether it answers, for no stamp: any status but those of a broken server does.

        Raises:
            NetworkFailure: it does not.
        """
        with logged(self.label, "HEAD") as asked:
            try:
                reply = await self._client.head(self._url)
            except UNREACHABLE as error:
                asked.broke(reason(error))
                message = f"{self.label} could not be reached: {reason(error)}"
                raise NetworkFailure(message) from None
            asked.answered(reply.status)
        if reply.status in _BROKEN:
            raise refused(self.label, reply, "time stamp")

    async def _post(self, request: bytes) -> bytes:
        with logged(self.label, "POST") as asked:
            try:
                reply = await self._client.post(self._url, request, _HEADERS)
            except UNREACHABLE as error:
                asked.broke(reason(error))
                raise
            asked.answered(reply.status)
        if reply.status not in _GOOD:
            raise refused(self.label, reply, "time stamp")
        if reply.content_type != REPLY_TYPE:
            message = (
                f"{self.label} sent {reply.content_type[:60]}, not {REPLY_TYPE}: check the URL"
            )
            raise ValidationFailure(message)
        return reply.body

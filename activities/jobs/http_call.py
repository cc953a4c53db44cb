"""Makes the HTTP call of one run of a job, and says how the run ended.

1. Each attempt has a connection of its own. Until that stands nothing was sent; from then on the handler may have received
   the call.
2. What was not sent is tried again up to three times. What may have been received is sent again only if the job says that
   it can take the same call twice, also where a gateway answered in the handler's stead.
3. All attempts and the waits between them end with the job's time-out; none follows a redirect.
4. Once any attempt may have been received, the run's text never says that it was not called.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from http import HTTPStatus
from io import BytesIO
from ssl import SSLCertVerificationError, SSLError
from types import SimpleNamespace

from aiohttp import (
    ClientError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    TraceConfig,
    TraceConnectionCreateEndParams,
)
from yarl import URL

from activities.heartbeat import beating
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.jobs.answer import Answer, RunEnd, failed, read_answer
from vaultmesh.domain.jobs.call import (
    EXECUTION_HEADER,
    SIGNATURE_HEADER,
    JobCall,
    signature,
    url_of,
)
from vaultmesh.domain.jobs.run import (
    ANSWER_TOO_LARGE,
    CONNECTION_BROKE,
    LARGEST_ANSWER,
    NOT_HTTP,
    no_answer,
    not_called,
)
from vaultmesh.domain.messages import Backoff
from vaultmesh.ledgers.http import reason
from vaultmesh.process.logs import without_secrets
from vaultmesh.process.request_log import logged
from vaultmesh.process.services import Service, Services
from vaultmesh.process.version import VERIFIER

CONNECT_SECONDS = 10.0
"""Name, connection and TLS: a host that is up takes less than one."""
CONNECT_AGAIN = 3
"""Times: a service that is being restarted is back within the 8.5 s that they take."""
CONNECT_BACKOFF = Backoff(base_seconds=1.0)
"""1.6, 2.6, 4.2 s."""
_GATEWAY = frozenset(
    {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
"""What stands in front of a handler answers so; nobody knows what the handler did."""
_LARGE = 64_000
"""Bytes of an answer that is read beside the event loop, since it takes more than a few milliseconds."""
_BROKEN = (ClientError, OSError, ValueError)
"""What a call raises that got no usable answer; a time-out is an OSError."""
_LOG = logging.getLogger(__name__)


class HttpCalls:
    """Makes the calls of jobs to the services that are known here."""

    def __init__(self, services: Services, backoff: Backoff) -> None:
        """Call nothing else than `services`; `backoff` delays what is sent again although it may have been received."""
        self._services = services
        self._backoff = backoff

    async def make(self, call: JobCall, beat: Callable[[], None]) -> RunEnd:
        """Make one run's call and return how the run ended, whatever the handler does.

        `beat` is called every two seconds meanwhile. Cancelling ends the call at once: its connection is closed.
        """
        try:
            service = self._services.find(call.job.service)
        except InvalidValue as error:
            return failed(not_called(str(error)))
        with beating(beat):
            return await _Run(call, service, self._backoff).end()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """How one attempt ended."""

    end: RunEnd
    received: bool
    """Whether the handler may have received it."""
    settled: bool = False
    """Whether the handler answered, so that its fate is known."""


class _Run:
    """Makes the attempts of one run."""

    def __init__(self, call: JobCall, service: Service, backoff: Backoff) -> None:
        self._call = call
        self._service = service
        self._backoff = backoff
        self._url = URL(url_of(service.url, call.job.endpoint), encoded=True)
        self._body = call.body
        self._limit = call.job.policy.timeout
        self._connected = False
        self._received: RunEnd | None = None
        """How the last attempt ended that may have been received."""
        self._unsent = 0
        self._sent = 0

    async def end(self) -> RunEnd:
        seconds = self._limit / timedelta(seconds=1)
        try:
            async with asyncio.timeout(seconds) as clock, self._session() as session:
                return await self._attempts(session, clock.when() or 0.0)
        except TimeoutError:
            if self._connected or self._received:
                return failed(no_answer(self._limit))
            return failed(not_called(f"{self._service.url}: no connection within {seconds:g} s"))

    async def _attempts(self, session: ClientSession, deadline: float) -> RunEnd:
        while True:
            attempt = await self._attempt(session)
            if attempt.received:
                self._sent += 1
                self._received = attempt.end
            else:
                self._unsent += 1
            wait = self._wait_after(attempt)
            if wait is None or asyncio.get_running_loop().time() + wait >= deadline:
                return self._received or attempt.end
            _LOG.info(
                "job call failed, trying again",
                extra={
                    "job": self._call.job.name,
                    "execution": str(self._call.execution_id),
                    "why": attempt.end.error,
                    "seconds": round(wait, 1),
                },
            )
            await asyncio.sleep(wait)

    def _wait_after(self, attempt: _Attempt) -> float | None:
        """Return how many seconds to wait until the next attempt; None if there is none."""
        if attempt.settled:
            return None
        if attempt.received:
            if self._sent >= self._call.job.policy.attempts:
                return None
            delay = self._backoff.delay(self._sent, FailureKind.NETWORK)
        else:
            if self._unsent > CONNECT_AGAIN:
                return None
            delay = CONNECT_BACKOFF.delay(self._unsent, FailureKind.NETWORK)
        return delay / timedelta(seconds=1)

    async def _attempt(self, session: ClientSession) -> _Attempt:
        self._connected = False
        try:
            answer = await self._post(session)
        except _BROKEN as error:
            return self._broken(error)
        if answer is None:
            return _Attempt(failed(ANSWER_TOO_LARGE), received=True, settled=True)
        if len(answer.body) > _LARGE:
            end = await asyncio.to_thread(read_answer, answer, without_secrets)
        else:
            end = read_answer(answer, without_secrets)
        return _Attempt(end, received=True, settled=answer.status not in _GATEWAY)

    def _broken(self, error: Exception) -> _Attempt:
        if self._connected:
            is_http = not isinstance(error, ClientResponseError)
            return _Attempt(failed(CONNECTION_BROKE if is_http else NOT_HTTP), received=True)
        why = f"{self._service.url}: {_why_not_connected(error)}"
        return _Attempt(failed(not_called(why)), received=False)

    async def _post(self, session: ClientSession) -> Answer | None:
        """Send the call once; None if its answer is too large."""
        body = BytesIO(self._body)  # sent piece by piece: a large one holds up nobody
        with logged(self._service.url, "POST") as asked:
            async with session.post(
                self._url, data=body, headers=self._headers(), allow_redirects=False
            ) as reply:
                asked.answered(reply.status)
                return await _answer_of(reply)

    def _headers(self) -> Mapping[str, str]:
        headers = {
            "Content-Type": "application/json",
            EXECUTION_HEADER: str(self._call.execution_id),
        }
        if token := self._service.token:
            headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        if key := self._service.hmac_key:
            headers[SIGNATURE_HEADER] = signature(
                key.get_secret_value(), int(time.time()), self._body
            )
        return headers

    def _session(self) -> ClientSession:
        """Return a session that keeps nothing: no connection, no cookie, no compressed answer."""
        trace = TraceConfig()
        trace.on_connection_create_end.append(self._note_connection)
        return ClientSession(
            connector=TCPConnector(force_close=True),
            cookie_jar=DummyCookieJar(),
            headers={"User-Agent": VERIFIER, "Accept-Encoding": "identity"},
            timeout=ClientTimeout(total=None, connect=CONNECT_SECONDS),
            auto_decompress=False,
            trace_configs=[trace],
        )

    async def _note_connection(
        self, _: ClientSession, __: SimpleNamespace, ___: TraceConnectionCreateEndParams
    ) -> None:
        self._connected = True


def _why_not_connected(error: Exception) -> str:
    cause = error.__cause__
    match error, cause:
        case TimeoutError(), _:
            return f"no connection within {CONNECT_SECONDS:g} s"
        case _, SSLCertVerificationError(verify_message=words):
            return f"its certificate is refused ({words})"
        case _, SSLError(reason=str(words)):
            return f"TLS failed ({words.lower().replace('_', ' ')})"
        case _:
            return reason(error)


async def _answer_of(reply: ClientResponse) -> Answer | None:
    """Return what a handler answered; of a failure only the status is read; None if it is too large."""
    body = bytearray()
    headers = reply.headers
    answer = Answer(
        reply.status,
        reply.reason or "",
        headers.get("Content-Type", ""),
        headers.get("Content-Encoding", "").removeprefix("identity"),
    )
    if answer.is_ok:
        async for piece in reply.content.iter_any():
            body += piece
            if len(body) > LARGEST_ANSWER:
                return None
    return replace(answer, body=bytes(body))

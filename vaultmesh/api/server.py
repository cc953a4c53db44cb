"""Serves the job API over HTTP beside a worker.

    server = ApiServer(settings, parts)
    await server.start()
    …
    await server.stop()

A request goes this way: preflight, path, rate limit, access, body, route. Every refusal has the form that clients know.
"""

import logging
import re
import time
from collections.abc import Awaitable, Callable
from urllib.parse import unquote_to_bytes

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel

from vaultmesh.api import headers
from vaultmesh.api.answers import BadRequest, Refused, json_answer, not_found
from vaultmesh.api.auth import Gate
from vaultmesh.api.bodies import MOST_BYTES, READ_WITHIN_SECONDS, read_body
from vaultmesh.api.calls import Call, Parts
from vaultmesh.api.clients import client_of
from vaultmesh.api.gates import Gates
from vaultmesh.api.jobs import no_such_job
from vaultmesh.api.openapi import DOCUMENT_PATH, PAGE_PATH, Description
from vaultmesh.api.rate_limit import Allowance, RateLimit
from vaultmesh.api.routes import ROUTES, Route
from vaultmesh.domain.errors import DomainError, InvalidValue
from vaultmesh.domain.jobs.job import LONGEST_NAME, check_text
from vaultmesh.domain.jobs.refusals import JobRefused, StoreError, StoreErrorKind, UnknownJob
from vaultmesh.process.api_settings import ApiSettings
from vaultmesh.process.http import PortTaken

IDLE_SECONDS = 75
"""A connection that sends no whole request is closed after it; longer than proxies keep one."""
STOP_WITHIN_SECONDS = 10.0
"""Requests under way get this long to end; nobody waits for a run any more by then."""
_UNSAFE = re.compile(r"%(?![0-9a-fA-F]{2})")
_WITH_BODY = ("POST", "PUT", "DELETE")
_ALLOWANCE = web.RequestKey("allowance", Allowance)
_LOG = logging.getLogger(__name__)
_WIRE_LOG = logging.getLogger(f"{__name__}.wire")
Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiServer:
    """The job API of one process."""

    def __init__(
        self,
        settings: ApiSettings,
        parts: Parts,
        *,
        gates: Gates | None = None,
        clock: Callable[[], float] = time.monotonic,
        body_within_seconds: float = READ_WITHIN_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """Serve these parts; `gates` admit administrators, as the settings say unless they are given."""
        self._settings = settings
        self._parts = parts
        self._gates = gates or Gates.of(settings)
        self._gate = Gate(settings, self._gates)
        self._limit = RateLimit(
            settings.rate_limit, settings.rate_window_milliseconds / 1_000, clock
        )
        self._body_within_seconds = body_within_seconds
        self._idle_seconds = idle_seconds
        self._description = Description.of(ROUTES)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            PortTaken: somebody else does, or the address is none of this machine.
        """
        runner = web.AppRunner(
            self._app(),
            access_log=None,
            keepalive_timeout=self._idle_seconds,
            shutdown_timeout=STOP_WITHIN_SECONDS,
            auto_decompress=False,
            logger=_WIRE_LOG,
        )
        await runner.setup()
        host, port = self._settings.host, self._settings.port
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            message = f"{host} port {port} can't be used for the job API: {error.strerror or error}; free it, or set API_PORT or API_HOST"
            raise PortTaken(message) from error
        self._runner = runner

    @property
    def port(self) -> int:
        """The port it listens on; asked for as 0, it is a free one."""
        if self._runner is None or not self._runner.addresses:
            return self._settings.port
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening; triggers that wait are answered that their runs go on."""
        self._parts.stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._gates.close()

    # --- a request's way -------------------------------------------------------------------------------------------

    def _app(self) -> web.Application:
        app = web.Application(
            middlewares=[_refusals, self._screen],
            client_max_size=MOST_BYTES,
        )
        app.on_response_prepare.append(self._add_headers)
        for route in ROUTES:
            path = re.sub(r"\{(\w+)\}", r"{\1:[^/]+}", route.path)
            app.router.add_route(route.method, path, self._endpoint(route))
            if route.method == "GET":
                app.router.add_route("HEAD", path, self._endpoint(route))
        app.router.add_get(DOCUMENT_PATH, self._document)
        app.router.add_get(PAGE_PATH, self._page)
        return app

    @web.middleware
    async def _screen(self, request: web.Request, handler: Next) -> web.StreamResponse:
        """Let no request through that is not for a route, or comes too often."""
        if request.method == "OPTIONS":
            return headers.preflight(request)
        _check_path(request)
        if request.match_info.http_exception is not None:
            return not_found(request)
        return await handler(request)

    def _endpoint(self, route: Route) -> Next:
        async def answer(request: web.Request) -> web.StreamResponse:
            if route.limited:
                self._count(request)
            caller = await self._gate.admit(request, route.access)
            body = None
            if request.method in _WITH_BODY:
                body = await read_body(request, self._body_within_seconds)
            _check_name(request.match_info.get("jobName", ""))
            return await _answer(route, Call(self._parts, request, caller, body))

        return answer

    def _count(self, request: web.Request) -> None:
        allowance = self._limit.take(client_of(request, self._settings.trusted_proxies))
        if allowance is not None:
            request[_ALLOWANCE] = allowance
            if allowance.exceeded:
                raise allowance.refusal()

    async def _add_headers(self, request: web.Request, answer: web.StreamResponse) -> None:
        answer.headers.pop("Server", None)  # it names the library's version
        for name, value in headers.SECURITY.items():
            answer.headers.setdefault(name, value)
        allowed = headers.cors(request.headers.get("Origin"), self._settings.allowed_origins)
        for name, value in allowed.items():
            answer.headers.setdefault(name, value)
        if _ALLOWANCE in request:
            answer.headers.update(request[_ALLOWANCE].headers)

    async def _document(self, request: web.Request) -> web.Response:
        self._count(request)
        return json_answer(self._description.document)

    async def _page(self, request: web.Request) -> web.Response:
        self._count(request)
        return self._description.page()


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether the library reports something else than bytes of a stranger that are no request."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


_WIRE_LOG.addFilter(_is_ours)


@web.middleware
async def _refusals(request: web.Request, handler: Next) -> web.StreamResponse:
    """Answer what was refused, and what nobody foresaw, in the form that clients know."""
    try:
        return await handler(request)
    except (BadRequest, Refused) as error:
        return error.answer()
    except Exception as error:  # noqa: BLE001 - one request that fails ends no other
        _LOG.error("request failed", exc_info=error, extra={"path": request.path})
        message = "something failed that nobody foresaw - the log says what"
        return Refused(500, "Internal server error", message).answer()


async def _answer(route: Route, call: Call) -> web.StreamResponse:
    """Return what a route answers, or refuses under its own heading."""
    try:
        answer = await route.handler(call)
    except (BadRequest, Refused):
        raise
    except UnknownJob:
        raise Refused(404, route.failure, f"Job {call.name} not found") from None
    except (InvalidValue, JobRefused) as error:
        raise Refused(400, route.failure, str(error)) from error
    except StoreError as error:
        status = 400 if error.kind is StoreErrorKind.VALUE else 500
        raise Refused(status, route.failure, str(error)) from error
    except DomainError as error:
        raise Refused(500, route.failure, str(error)) from error
    return json_answer(answer) if isinstance(answer, BaseModel) else answer


def _check_path(request: web.Request) -> None:
    """Refuse a path whose escapes mean nothing."""
    path = request.raw_path.partition("?")[0]
    try:
        if _UNSAFE.search(path):
            raise ValueError
        unquote_to_bytes(path.encode(errors="surrogateescape")).decode()
    except ValueError:
        message = f"'{path}' is not a valid url component"
        raise BadRequest(400, message) from None


def _check_name(name: str) -> None:
    """Refuse a name that no job can have, before any database is asked for it."""
    try:
        check_text(name)
        fits = len(name.encode()) <= LONGEST_NAME
    except ValueError:
        fits = False
    if not fits:
        raise no_such_job(name)

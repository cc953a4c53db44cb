"""Answers Prometheus and Kubernetes for a worker: /metrics, /health, /livez, /readyz."""

import asyncio
import gzip
import time
from collections.abc import Callable, Mapping

from aiohttp import web

from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.status import NamespaceMemo
from vaultmesh.process.counts import SCRAPE_WAITED_SECONDS, Counts
from vaultmesh.process.desired import DesiredState
from vaultmesh.process.health import UNHEALTHY, health, is_silent
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.visibility import Visibility

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - Prometheus and the kubelet come from outside the pod
_FAST = 1
"""Level of compression: a page of a thousand namespaces is a thirtieth of its size after 20 ms."""
_METRICS_FORM = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}


class PortTaken(DomainError):
    """Another program listens on the port."""


class HealthServer:
    """The HTTP server of one worker."""

    def __init__(
        self,
        port: int,
        metrics: Metrics,
        visibility: Visibility,
        polls: Callable[[], bool],
        counts: Counts | None = None,
        *,
        desired: Callable[[], DesiredState] = DesiredState,
        errors: Callable[[], Mapping[str, str]] = dict,
        unreachable: Callable[[], Mapping[str, str]] = dict,
        unreadable: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """Serve on a port; `polls` tells whether the worker takes work, `counts` what namespaces owe, `desired` what files say.

        `errors` tells what went wrong in the worker's own tasks, `unreachable` which targets do not answer it,
        `unreadable` of which targets it can't read how many signed rounds.
        """
        self._port = port
        self._metrics = metrics
        self._visibility = visibility
        self._polls = polls
        self._counts = counts
        self._desired = desired
        self._errors = errors
        self._unreachable = unreachable
        self._unreadable = unreadable
        self._started = time.time()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            PortTaken: somebody else does.
        """
        app = web.Application()
        app.router.add_get("/metrics", self._page)
        app.router.add_get("/health", self._health)
        app.router.add_get("/livez", self._live)
        app.router.add_get("/readyz", self._ready)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, ANY_ADDRESS, self._port).start()
        except OSError as error:
            await runner.cleanup()
            message = f"port {self._port} can't be used for metrics: {error.strerror or error}; free it or set METRICS_PORT"
            raise PortTaken(message) from error
        self._runner = runner

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _page(self, request: web.Request) -> web.Response:
        """Write the page in a thread: the event loop goes on with the workers' business meanwhile."""
        if self._counts is not None:
            counts = await self._counts.current(self._memos(), SCRAPE_WAITED_SECONDS)
            self._metrics.counted(counts)
        is_small = "gzip" in request.headers.get("Accept-Encoding", "")
        body = await asyncio.to_thread(self._written, is_small)
        coding = {"Content-Encoding": "gzip"} if is_small else {}
        return web.Response(body=body, headers={**_METRICS_FORM, **coding})

    def _memos(self) -> dict[str, NamespaceMemo]:
        """Return what is counted, the same whoever asks: what is configured, and what runs."""
        return {**self._metrics.cadences.known(), **self._visibility.snapshot.namespaces}

    def _written(self, is_small: bool) -> bytes:
        page = self._metrics.page()
        return gzip.compress(page, _FAST) if is_small else page

    async def _health(self, _: web.Request) -> web.Response:
        snapshot = self._visibility.snapshot
        counts = await self._counts.current(self._memos()) if self._counts else None
        document = health(
            snapshot,
            started=self._started,
            now=time.time(),
            counts=counts,
            desired=self._desired(),
            errors=self._errors(),
            unreachable=self._unreachable(),
            unreadable=self._unreadable(),
        )
        return web.json_response(document, status=503 if document["status"] == UNHEALTHY else 200)

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _ready(self, _: web.Request) -> web.Response:
        ready = self._polls() and not is_silent(self._visibility.snapshot, time.time())
        return web.json_response(
            {"status": "ready" if ready else "not ready"}, status=200 if ready else 503
        )

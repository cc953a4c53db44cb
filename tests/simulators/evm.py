"""Misbehaves on request as an EVM provider: a proxy before a real node that lies, loses, hangs, refuses."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Self

from aiohttp import ClientSession, web
from pydantic import JsonValue

Limit = Callable[[JsonValue], bool]
"""From parameters to whether a call is answered."""
Forge = Callable[[JsonValue, JsonValue], JsonValue]
"""From parameters and the true result to the one that is told."""


class LyingProvider:
    """A JSON-RPC proxy on a free loopback port; obeys until told otherwise, per method or for all (`*`)."""

    def __init__(self, upstream: str) -> None:
        """Pass everything on to `upstream`."""
        self.upstream = upstream
        self.url = ""
        self.calls: Counter[str] = Counter()
        self.agents: set[str] = set()
        """Programs that have called."""
        self._forged: dict[str, Forge] = {}
        self._refused: dict[str, dict[str, JsonValue]] = {}
        self._limits: dict[str, Limit] = {}
        self._lost: set[str] = set()
        self._hung: set[str] = set()
        self._status: dict[str, tuple[int, JsonValue]] = {}
        self._freed = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start serving."""
        self._session = ClientSession()
        app = web.Application()
        app.router.add_post("/{tail:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *details: object) -> None:
        """Stop serving; calls that hang are let go."""
        self._freed.set()
        await self._runner.cleanup()
        await self._session.close()

    def forge(self, method: str, forged: Forge) -> None:
        """Tell something else than the truth."""
        self._forged[method] = forged

    def refuse(
        self, method: str, text: str, *, code: int = -32000, unless: Limit | None = None
    ) -> None:
        """Answer with an error, `unless` the parameters are such that it does answer; the node never sees the call."""
        self._refused[method] = {"code": code, "message": text}
        if unless is not None:
            self._limits[method] = unless

    def lose_reply(self, method: str) -> None:
        """Let the node act, then cut the connection."""
        self._lost.add(method)

    def hang(self, method: str) -> None:
        """Never answer."""
        self._hung.add(method)

    def fail_with_status(self, method: str, status: int, document: JsonValue = None) -> None:
        """Answer with an HTTP status and a page, or with a document."""
        self._status[method] = status, document

    def obey(self) -> None:
        """Misbehave no more."""
        for rules in (self._forged, self._refused, self._status, self._limits):
            rules.clear()
        self._lost.clear()
        self._hung.clear()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        call = await request.json()
        method = call["method"]
        self.calls[method] += 1
        self.agents.add(request.headers.get("User-Agent", ""))
        if self._hung & {method, "*"}:
            await self._freed.wait()
        failure = self._status.get(method, self._status.get("*"))
        if failure is not None:
            return _failed(*failure)
        refusal, allowed = self._refused.get(method), self._limits.get(method)
        if refusal is not None and not (allowed and allowed(call["params"])):
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "error": refusal})
        async with self._session.post(self.upstream, json=call) as reply:
            answer = await reply.json()
        if method in self._lost and request.transport is not None:
            request.transport.close()
        if method in self._forged and "result" in answer:
            answer["result"] = self._forged[method](call["params"], answer["result"])
        return web.json_response(answer)


def _failed(status: int, document: JsonValue) -> web.Response:
    if document is None:
        return web.Response(status=status, text="<html>no</html>", content_type="text/html")
    return web.json_response(document, status=status)

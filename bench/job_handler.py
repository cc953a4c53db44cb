"""Answers the calls of jobs in a thread of the benchmark, and keeps when each came."""

import asyncio
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pydantic_core import from_json

from bench.system import BenchError
from devnet.ports import LOOPBACK, free_port

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_BODY = b'{"success":true,"itemsProcessed":1}'
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_BODY), _BODY)
)
_START_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call."""

    at: float
    """Unix seconds at which its head was there."""
    body: dict[str, Any]


class Handler:
    """A service that succeeds at once, or after `seconds` of the job's config."""

    def __init__(self) -> None:
        """Choose a port."""
        self.port = free_port()
        self.calls: list[Call] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{LOOPBACK}:{self.port}"

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(_START_SECONDS)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Listen no more."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_START_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._answer, LOOPBACK, self.port, backlog=1_000)

    async def _end(self) -> None:
        """Close the port, and cut off who waits for an answer."""
        if self._server is not None:
            self._server.close()
        waiting = asyncio.all_tasks() - {asyncio.current_task()}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(_HEAD_END)
            at = time.time()
            body = from_json(await reader.readexactly(_length(head)))
            self.calls.append(Call(at, body))
            await asyncio.sleep(body.get("config", {}).get("seconds", 0))
            writer.write(_ANSWER)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # who called is gone
        finally:
            writer.close()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(_LENGTH):
            return int(line.removeprefix(_LENGTH))
    message = "a call came without its length"
    raise BenchError(message)

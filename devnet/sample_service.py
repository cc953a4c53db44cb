"""Runs a small HTTP service with three jobs: one works, one takes a while, one fails.

1. It runs in threads of whoever starts it, on the loopback address, and ends with them.
2. A job is a POST with a JSON object; its answer says how many items were worked on, and why some were not.
3. What is waited for can be cut short: `hurry` has every call answered at once.
"""

import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from typing_extensions import override

from devnet.ports import LOOPBACK

WORKS, SLOW, FAILS = "/jobs/works", "/jobs/slow", "/jobs/fails"
"""Paths of the jobs."""
WAIT_KEY = "seconds"
"""Key of a call's `config`: how long the slow job takes."""
WHY = "1 of 2 items failed, as this sample always does"
_LONGEST_SECONDS = 60.0
_LARGEST_BODY = 1_000_000
_IDLE_SECONDS = 10.0
_LOOK_SECONDS = 0.1
"""How soon the server hears that it is closed."""


class SampleService:
    """The service; it can be called from its start until it is closed."""

    def __init__(self) -> None:
        """Listen nowhere yet."""
        self._server: _Server | None = None
        self._thread = threading.Thread(target=self._serve, name="sample service", daemon=True)

    @property
    def url(self) -> str:
        """Its URL, without a slash at the end; empty before its start."""
        return f"http://{LOOPBACK}:{self._server.server_address[1]}" if self._server else ""

    def start(self) -> None:
        """Answer on a free port from now on."""
        self._server = _Server()
        self._thread.start()

    def hurry(self) -> None:
        """Have every call answered at once, those under way too."""
        if self._server is not None:
            self._server.hurried.set()

    def close(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            self.hurry()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def _serve(self) -> None:
        if self._server is not None:
            self._server.serve_forever(_LOOK_SECONDS)


class _Server(ThreadingHTTPServer):
    """Answers each call in a thread of its own, which ends with the process."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), _Call)
        self.hurried = threading.Event()


class _Call(BaseHTTPRequestHandler):
    """One call of a job."""

    server: _Server  # type: ignore[mutable-override] # nobody else makes one
    timeout: ClassVar[float | None] = _IDLE_SECONDS
    server_version = "sample-service"
    sys_version = ""

    def do_POST(self) -> None:
        """Do what the path says."""
        body = self._body()
        if body is None:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": "the body is no JSON object"})
        elif self.path == WORKS:
            self._answer(HTTPStatus.OK, _result(3))
        elif self.path == SLOW:
            self.server.hurried.wait(_seconds(body))
            self._answer(HTTPStatus.OK, _result(1))
        elif self.path == FAILS:
            self._answer(HTTPStatus.OK, {**_result(2, failed=1), "error": WHY})
        else:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "there is no such job"})

    def _body(self) -> dict[str, Any] | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LARGEST_BODY:
            return None
        try:
            body = json.loads(self.rfile.read(int(length)))
        except ValueError:
            return None
        return body if isinstance(body, dict) else None

    def _answer(self, status: HTTPStatus, content: dict[str, object]) -> None:
        text = json.dumps(content).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        except OSError:
            self.close_connection = True  # who called has gone

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: this process has other things to show."""


def _result(items: int, *, failed: int = 0) -> dict[str, object]:
    return {
        "success": not failed,
        "itemsProcessed": items,
        "itemsSucceeded": items - failed,
        "itemsFailed": failed,
    }


def _seconds(body: dict[str, Any]) -> float:
    """Return how long a call asks to wait."""
    config = body.get("config")
    wanted = config.get(WAIT_KEY, 0) if isinstance(config, dict) else 0
    if not isinstance(wanted, int | float):
        return 0.0
    return min(max(float(wanted), 0.0), _LONGEST_SECONDS)

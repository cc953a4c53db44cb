"""Answers as the local time-stamp authority: a program of its own, one reply of openssl's per POST.

Run with `python devnet/tsa_server.py --folder F --port P`. Replies are made one at a time: the file with the last
serial number is not safe for two. With `--faults`, `POST /fault` makes the next replies go wrong (`FAULTS`).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

LOOPBACK = "127.0.0.1"
QUERY, REPLY = "application/timestamp-query", "application/timestamp-reply"
LARGEST_QUERY = 64 * 1024
"""Bytes; a query takes about 70."""
OPENSSL_SECONDS = 10.0
OVERSIZED_BYTES = 2 << 20
FAULTS = {
    "error": "HTTP 500",
    "slow": "the right reply, after `seconds`",
    "garbage": "bytes that are no reply, as a reply",
    "html": "a web page with HTTP 200",
    "refusal": "a well-formed rejection with HTTP 200",
    "foreign": "a reply of another authority, with another root",
    "replay": "the reply to the query before",
    "redirect": "HTTP 302 to the same place",
    "oversized": "2 MiB",
    "denied": "HTTP 403",
    "untyped": "the right reply with another content type",
    "silent": "the connection is closed without a word",
}


class Authority:
    """Makes replies below one folder."""

    def __init__(self, folder: Path) -> None:
        """Use the configuration and certificates that `devnet.tsa` made there."""
        self._folder = folder
        self._lock = threading.Lock()
        self._fault: dict[str, object] = {}
        self.last = b""
        """The last right reply."""
        self.queries = 0
        """Queries so far."""

    def set_fault(self, fault: dict[str, object]) -> None:
        """Go wrong from now on, as said, for so many `times` (0: until told otherwise)."""
        with self._lock:
            self._fault = dict(fault)

    def next_fault(self) -> dict[str, object]:
        """Return what goes wrong now, and count it."""
        with self._lock:
            self.queries += 1
            fault = dict(self._fault)
            times = fault.get("times", 0)
            if isinstance(times, int) and times > 0:
                self._fault = {} if times == 1 else {**fault, "times": times - 1}
            return fault

    def reply(self, query: bytes, configuration: str = "tsa.cnf") -> bytes:
        """Return the reply to a query; empty if openssl could make none."""
        with self._lock, tempfile.TemporaryDirectory(dir=self._folder) as place:
            asked, answered = Path(place) / "query.tsq", Path(place) / "reply.tsr"
            asked.write_bytes(query)
            command = ["openssl", "ts", "-reply", "-config", str(self._folder / configuration)]
            files = ["-queryfile", str(asked), "-out", str(answered)]
            done = subprocess.run(
                [*command, *files], capture_output=True, check=False, timeout=OPENSSL_SECONDS
            )
            if done.returncode != 0 or not answered.exists():
                print(done.stderr.decode(errors="replace"), file=sys.stderr, flush=True)
                return b""
            return answered.read_bytes()


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    authority: Authority
    takes_faults = False
    protocol_version = "HTTP/1.1"
    timeout: ClassVar[float | None] = 30.0

    def do_GET(self) -> None:
        """Say that we are there, and how many queries came."""
        count = json.dumps({"queries": self.authority.queries}).encode()
        self._send(HTTPStatus.OK, "application/json", count)

    def do_POST(self) -> None:
        """Answer a query, or take a fault."""
        length = self.headers.get("Content-Length", "")
        size = int(length) if length.isascii() and length.isdecimal() else LARGEST_QUERY + 1
        if size > LARGEST_QUERY:
            self.close_connection = True
            self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "text/plain", b"too large")
            return
        body = self.rfile.read(size)
        if self.takes_faults and self.path == "/fault":
            self.authority.set_fault(json.loads(body))
            self._send(HTTPStatus.OK, "application/json", b"{}")
        elif self.headers.get_content_type() != QUERY:
            self._send(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "text/plain", b"send a query")
        else:
            self._answer(body)

    def _answer(self, query: bytes) -> None:
        fault = self.authority.next_fault()
        name = str(fault.get("fault", ""))
        if name == "slow":
            seconds = fault.get("seconds", 1.0)
            time.sleep(float(seconds) if isinstance(seconds, int | float) else 1.0)
        if name == "silent":
            self.close_connection = True
        elif name in _FIXED:
            self._send(*_FIXED[name])
        else:
            self._stamp(query, name)

    def _stamp(self, query: bytes, fault: str) -> None:
        last = self.authority.last
        if fault == "replay" and last:
            self._send(HTTPStatus.OK, REPLY, last)
            return
        made = self.authority.reply(query, _CONFIGURATIONS.get(fault, "tsa.cnf"))
        if not made:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", b"openssl failed")
            return
        if fault not in _CONFIGURATIONS:
            self.authority.last = made
        self._send(HTTPStatus.OK, "application/octet-stream" if fault == "untyped" else REPLY, made)

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.FOUND:
            self.send_header("Location", "/")
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing: what went wrong is printed where it does."""


_FIXED: dict[str, tuple[HTTPStatus, str, bytes]] = {
    "error": (HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", b"no"),
    "denied": (HTTPStatus.FORBIDDEN, "text/plain", b"no"),
    "garbage": (HTTPStatus.OK, REPLY, b"\x30\x82\xff\xffgarbage"),
    "html": (HTTPStatus.OK, "text/html", b"<html><body>Please log in</body></html>"),
    "redirect": (HTTPStatus.FOUND, "text/plain", b"there"),
    "oversized": (HTTPStatus.OK, REPLY, bytes(OVERSIZED_BYTES)),
}
_CONFIGURATIONS = {"refusal": "refusing.cnf", "foreign": "foreign/tsa.cnf"}


def main() -> int:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="tsa_server", description=main.__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--faults", action="store_true", help="take faults at /fault")
    options = parser.parse_args()
    Handler.authority = Authority(options.folder)
    Handler.takes_faults = options.faults
    ThreadingHTTPServer.daemon_threads = True
    with ThreadingHTTPServer((LOOPBACK, options.port), Handler) as server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Logs at `debug` each request to an endpoint: host, method, duration and result, and nothing that was sent or received.

Paths, queries, headers and bodies hold keys, passwords and tokens; so may the text of an error. None of them is passed in.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from vaultmesh.domain.log_events import LogEvent, log_event

_LOG = logging.getLogger(__name__)


@dataclass
class Asked:
    """One request, and what came of it."""

    result: str = ""

    def answered(self, status: int) -> None:
        """Note that an answer came."""
        self.result = f"HTTP {status}"

    def holds(self, error: object) -> None:
        """Note the number of the error that a JSON-RPC answer holds, if it holds one; its text is not repeated."""
        if error is not None:
            code = error.get("code") if isinstance(error, dict) else None
            self.result += f", error {code}" if isinstance(code, int) else ", error"

    def broke(self, why: str) -> None:
        """Note in safe words why no answer came."""
        self.result = why


def host_of(url: str) -> str:
    """Return host and port of a URL, without user and password."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "a malformed URL"
    host = parts.hostname or ""
    return f"[{host}]{port}" if ":" in host else f"{host}{port}"


@contextmanager
def logged(url: str, method: str) -> Iterator[Asked]:
    """Log the request that is made meanwhile; one that nobody said more about ended by an error of that class."""
    asked, began = Asked(), time.monotonic()
    try:
        yield asked
    except BaseException as error:
        asked.result = asked.result or type(error).__name__
        raise
    finally:
        if _LOG.isEnabledFor(logging.DEBUG):
            milliseconds = round((time.monotonic() - began) * 1000)
            log_event(
                _LOG,
                LogEvent.ASKED,
                host=host_of(url),
                method=method,
                milliseconds=milliseconds,
                result=asked.result,
            )

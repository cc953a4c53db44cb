"""Limits how often one client may ask, in windows of fixed length that begin with its first request."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

from vaultmesh.api.answers import BadRequest

EXEMPT = frozenset({"127.0.0.1", "::1"})
"""Programs of this very machine."""
MOST_CLIENTS = 10_000
"""Above it the client is forgotten that asked least recently, so that many addresses take no memory."""


@dataclass(slots=True)
class _Window:
    ends: float
    """By the clock."""
    used: int = 0


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a client has left."""

    limit: int
    remaining: int
    reset_seconds: int
    """Until its window ends; at least 1."""
    exceeded: bool

    @property
    def headers(self) -> Mapping[str, str]:
        """What the answer says of it."""
        headers = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_seconds),
        }
        if self.exceeded:
            headers["Retry-After"] = str(self.reset_seconds)
        return headers

    def refusal(self) -> BadRequest:
        """Return what is said to a client that asks too often."""
        seconds = self.reset_seconds
        message = f"Rate limit exceeded. Try again in {seconds} seconds."
        return BadRequest(429, message, {"retryAfter": seconds})


class RateLimit:
    """Counts the requests of each client."""

    def __init__(self, most: int, window_seconds: float, clock: Callable[[], float]) -> None:
        """Let each client ask so often in each window; the clock never goes back."""
        self._most = most
        self._window_seconds = window_seconds
        self._clock = clock
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def take(self, client: str) -> Allowance | None:
        """Count a request of a client; None if it may ask as often as it likes."""
        if client in EXEMPT:
            return None
        now = self._clock()
        window = self._windows.get(client)
        if window is None or window.ends <= now:
            window = self._windows[client] = _Window(now + self._window_seconds)
        self._windows.move_to_end(client)
        if len(self._windows) > MOST_CLIENTS:
            self._windows.popitem(last=False)
        window.used += 1
        return Allowance(
            limit=self._most,
            remaining=max(0, self._most - window.used),
            reset_seconds=max(1, ceil(window.ends - now)),
            exceeded=window.used > self._most,
        )

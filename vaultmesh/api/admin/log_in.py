"""Bounds how often somebody may try tokens."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from math import ceil

MOST_WRONG = 10
"""Wrong log-ins of one client in each minute."""
WINDOW_SECONDS = 60.0
MOST_CLIENTS = 10_000
"""Above it the client is forgotten that tried least recently."""


class WrongLogIns:
    """Counts the wrong log-ins of each client; programs of this machine count too, since a proxy may be one of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Count by a clock that never goes back."""
        self._clock = clock
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, client: str) -> int:
        """Count a try before its token is looked at; returns after how many seconds to come again, 0: go on."""
        now = self._clock()
        tries = self._tries.setdefault(client, deque())
        self._tries.move_to_end(client)
        if len(self._tries) > MOST_CLIENTS:
            self._tries.popitem(last=False)
        while tries and tries[0] <= now - WINDOW_SECONDS:
            tries.popleft()
        if len(tries) >= MOST_WRONG:
            return max(1, ceil(tries[0] + WINDOW_SECONDS - now))
        tries.append(now)
        return 0

    def give_back(self, client: str) -> None:
        """Take a try back: its token was right."""
        if tries := self._tries.get(client):
            tries.pop()

"""Calls `HEARTBEAT_URL` each minute while all is as promised, so that somebody outside notices when it is not, or nobody runs.

1. All is as promised while Temporal was heard of lately, promises were looked at lately, no deadline is missed, and no
   workflow is missing or fails. Else nothing is sent: the receiver pages when it hears nothing.
2. Whatever the receiver does disturbs nothing: a call is one GET with a time-out, its answer is not read, and no redirect is
   followed.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from aiohttp import ClientError, ClientSession, ClientTimeout
from pydantic import SecretStr

from vaultmesh.domain.promises import Standing
from vaultmesh.process.logs import register_url
from vaultmesh.process.promises import Promises
from vaultmesh.process.request_log import logged
from vaultmesh.process.version import VERIFIER
from vaultmesh.process.visibility import Snapshot

TASK = "heartbeat"
EVERY_SECONDS = 60.0
HELD_SECONDS = 5.0
"""After a look that held it back: a worker that has just started knows nothing yet, and owes no minute for it."""
UNHEARD_SECONDS = 20.0
"""After a call that was not heard: a receiver that hiccups costs no minute either."""
CALL_SECONDS = 10.0
FRESH = timedelta(minutes=5)
"""What was looked at longer ago says nothing: a large storage is looked at less often."""
_LEAST_BAD_STATUS = 300
_LOG = logging.getLogger(__name__)


class HeartbeatUrl:
    """Calls for one process; each replica calls, and one that works is enough."""

    def __init__(
        self, url: SecretStr, snapshot: Callable[[], Snapshot], promises: Promises
    ) -> None:
        """Call nothing yet."""
        self._url = url.get_secret_value()
        register_url(self._url)
        self._snapshot = snapshot
        self._promises = promises
        self._said = ""

    async def run(self, now: Callable[[], float]) -> None:
        """Call once a minute while all is well, until cancelled; `now` gives Unix seconds."""
        while True:
            why = self.why_not(now())
            if why:
                self._say("heartbeat held back", why)
                await asyncio.sleep(HELD_SECONDS)
            else:
                await asyncio.sleep(EVERY_SECONDS if await self._call() else UNHEARD_SECONDS)

    def why_not(self, now: float) -> str:
        """Return why nothing is sent now; empty if all is as promised."""
        snapshot, look = self._snapshot(), self._promises.last
        fresh = now - FRESH.total_seconds()
        if snapshot.taken_at < fresh:
            return "Temporal did not answer lately"
        if look.at < fresh:
            return "promises were not looked at lately"
        if snapshot.missing:
            return f"{len(snapshot.missing)} namespaces have no workflow"
        if snapshot.failing:
            return f"{len(snapshot.failing)} workflows fail"
        missed = [
            promised
            for promises in look.promises.values()
            for promised in promises
            if promised.standing is Standing.MISSED
        ]
        return f"{len(missed)} batches missed their deadline: {missed[0].words}" if missed else ""

    async def _call(self) -> bool:
        """Call once; tells whether the receiver took it."""
        try:
            with logged(self._url, "GET") as asked:
                async with (
                    ClientSession(
                        headers={"User-Agent": VERIFIER}, timeout=ClientTimeout(total=CALL_SECONDS)
                    ) as session,
                    session.get(self._url, allow_redirects=False) as answer,
                ):
                    status = answer.status
                    asked.answered(status)
        except (ClientError, TimeoutError, OSError, ValueError) as error:
            self._say("heartbeat not heard", type(error).__name__)
            return False
        is_heard = status < _LEAST_BAD_STATUS
        self._say(*(("", "") if is_heard else ("heartbeat not heard", f"HTTP {status}")))
        return is_heard

    def _say(self, message: str, why: str) -> None:
        """Log what has changed."""
        if message and message + why != self._said:
            _LOG.warning(message, extra={"why": why})
        self._said = message + why

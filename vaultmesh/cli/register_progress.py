"""Says what is under way while `register` waits for a busy worker, and ends the wait where that leads nowhere.

1. That nobody is there is said only if Temporal has not heard of a worker for more than a minute.
2. A worker that polled since the wait began is busy: it is waited for while namespaces go on being registered.
3. One that polled shortly before, and not since, may be gone: that is said, and it is waited for less long.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from temporalio.client import Client

from vaultmesh.cli import output
from vaultmesh.domain.freshness import in_words
from vaultmesh.domain.names import SCHEDULER_QUEUE
from vaultmesh.process import anchor_workflows
from vaultmesh.process.polling import POLLED_WITHIN, NobodyPolls, last_poll
from vaultmesh.process.registration import Registered

BUSY_FOR = timedelta(seconds=90)
"""A busy worker gets this long for each next namespace."""
GONE_FOR = timedelta(seconds=25)
"""One that may be gone; a task that was meant for its memory is offered to others after ten seconds."""


class Progress:
    """What one `register` has done so far."""

    def __init__(self, client: Client, total: int) -> None:
        """Begin to wait."""
        self._client = client
        self._total = total
        self._done = 0
        self._newest = time.monotonic()
        """When something was done last, by the monotonic clock."""
        self._poll_before: datetime | None = None
        self._looked = False

    def advance(self) -> None:
        """Count a namespace that is registered, or that refused."""
        self._done += 1
        self._newest = time.monotonic()

    async def while_answered(
        self, registering: AsyncIterator[Registered]
    ) -> AsyncIterator[Registered]:
        """Pass on what comes, and say what is under way while nothing comes; raises as `look` does."""
        while True:
            coming = asyncio.create_task(_next(registering))
            try:
                while not coming.done():
                    await asyncio.wait(
                        [coming], timeout=anchor_workflows.ANSWER_WITHIN.total_seconds()
                    )
                    if not coming.done():
                        await self.look()
            finally:
                if not coming.done():
                    coming.cancel()
                    with suppress(asyncio.CancelledError):
                        await coming
            registered = coming.result()
            if registered is None:
                return
            yield registered

    async def look(self) -> None:
        """Say what is under way.

        Raises:
            NobodyPolls: Temporal has not heard of a worker for more than a minute.
            Refusal: nothing was done for long, although a worker polled.
        """
        polled, now = await last_poll(self._client), datetime.now(UTC)
        if polled is None or now - polled > POLLED_WITHIN:
            raise NobodyPolls
        if not self._looked:
            self._looked, self._poll_before = True, polled
        lives = self._done > 0 or polled != self._poll_before
        silent = timedelta(seconds=time.monotonic() - self._newest)
        so_far = f"{self._done} of {self._total} namespaces registered"
        last = f"last poll {in_words(now - polled)} ago"
        if silent <= (BUSY_FOR if lives else GONE_FOR):
            why = "the worker is busy" if lives else "no answer of a worker yet"
            output.note(f"{so_far}, {why} ({last})")
            return
        why = "too busy, or it hangs" if lives else "gone, or it hangs"
        message = (
            f"{so_far}, and no further one for {in_words(silent)}: the worker of task queue {SCHEDULER_QUEUE!r} "
            f"is {why} ({last}); look at it, then register again: what is done stays"
        )
        raise output.Refusal(message)


async def _next(registering: AsyncIterator[Registered]) -> Registered | None:
    return await anext(registering, None)

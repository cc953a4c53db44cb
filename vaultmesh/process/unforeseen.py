"""Keeps what runs beside the workers going: an error that nobody foresaw is logged, counted and shown, and ends no worker.

1. A task that fails is begun anew after a rest that doubles; a part of it that fails alone only notes its error.
2. `/health` shows an error until it did not come back for a while.
3. When the process ends, a task that takes no notice is told again, and in the end left behind: the workers have runs to drain.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from vaultmesh.process.failing import one_line
from vaultmesh.process.metrics import Metrics

SHORTEST_REST_SECONDS = 1.0
LONGEST_REST_SECONDS = 60.0
SHOWN_SECONDS = 150.0
"""Longer than any rest, so that what fails again and again is shown all the time."""
ENDED_WITHIN_SECONDS = 10.0
"""A task that is told to end has so long; it waits for nothing that takes longer."""
TOLD_AGAIN_SECONDS = 1.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Error:
    text: str
    at: float
    """By the monotonic clock."""


class Unforeseen:
    """Errors of one process that nobody foresaw."""

    def __init__(self, metrics: Metrics) -> None:
        """Know of none."""
        self._metrics = metrics
        self._errors: dict[str, _Error] = {}

    def shown(self) -> Mapping[str, str]:
        """Return the newest error of each task, in one line, as long as it is shown."""
        since = time.monotonic() - SHOWN_SECONDS
        self._errors = {task: error for task, error in self._errors.items() if error.at > since}
        return {task: error.text for task, error in sorted(self._errors.items())}

    def note(self, task: str, error: Exception, about: str = "") -> None:
        """Log an error with its traceback, count it for its task, and show it; `about` is what it befell."""
        name = f"{task} {about}".rstrip()
        _LOG.error(
            "task beside the workers failed",
            extra={"task": task, **({"about": about} if about else {})},
            exc_info=error,
        )
        self._metrics.task_failed(task)
        cause: BaseException = error
        while isinstance(cause, BaseExceptionGroup):  # that of a task group says nothing itself
            cause = cause.exceptions[0]
        text = one_line(f"{type(cause).__name__}: {cause}")
        self._errors[name] = _Error(text, time.monotonic())

    async def keep(self, task: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a task until it returns; begin it anew whenever it fails."""
        self._metrics.expects(task)
        rest = SHORTEST_REST_SECONDS
        while True:
            began = time.monotonic()
            try:
                await run()
            except Exception as error:  # noqa: BLE001 - whatever it is, the workers go on
                self.note(task, error)
            else:
                return
            if time.monotonic() - began > LONGEST_REST_SECONDS:
                rest = SHORTEST_REST_SECONDS
            await asyncio.sleep(rest)
            rest = min(2 * rest, LONGEST_REST_SECONDS)


async def end_all(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their ends; one that took a cancellation for something else is cancelled again."""
    left = set(tasks)
    give_up = time.monotonic() + ENDED_WITHIN_SECONDS
    while left and time.monotonic() < give_up:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=TOLD_AGAIN_SECONDS)
    if left:
        names = sorted(task.get_name() for task in left)
        _LOG.error("tasks beside the workers do not end", extra={"tasks": names})

"""Lets running activities prove that their worker lives, and keeps back answers that may reach another step.

1. An activity with a heartbeat time-out beats, so that a killed worker is noticed in seconds. One that ends before its first
   beat costs the server none: it counts from the start.
2. An answer names its step by a number in the history. When the connection was lost meanwhile, the server may have come
   back with an older history, in which that number will be another step's: the answer is not given, and the step is
   done again. Each is idempotent.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor
from typing_extensions import override

from vaultmesh.domain.failures import FailureKind

BEAT_SECONDS = 2.0
"""A fifth of the time after which the server gives an activity to another worker."""
AGAIN_AFTER = timedelta(seconds=1)


class Heartbeats(Interceptor):
    """Wraps the activities of one process."""

    def __init__(self) -> None:
        """Know of no lost connection."""
        self.losses = 0

    def connection_lost(self) -> None:
        """Keep back the answers of the activities that run now."""
        self.losses += 1

    @override
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap the activity."""
        return _Beating(next, self)


class _Beating(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, process: Heartbeats) -> None:  # noqa: A002 - the SDK's name
        super().__init__(next)
        self._process = process

    @override
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        losses = self._process.losses
        with _beats():
            answer = await super().execute_activity(input)
        if self._process.losses != losses:
            message = "the connection to Temporal was lost meanwhile; done again, since the answer might reach another step"
            raise ApplicationError(
                message, type=FailureKind.NETWORK.value, next_retry_delay=AGAIN_AFTER
            )
        return answer


@contextmanager
def beating(beat: Callable[[], None]) -> Iterator[None]:
    """Call `beat` every two seconds meanwhile."""
    task = asyncio.create_task(_beat(beat))
    try:
        yield
    finally:
        task.cancel()


@contextmanager
def _beats() -> Iterator[None]:
    """Beat meanwhile, where somebody waits for it."""
    if activity.info().heartbeat_timeout is None:
        yield
        return
    with beating(activity.heartbeat):
        yield


async def _beat(beat: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        beat()

"""Asks Temporal whether an attempt of an activity still counts, before it changes what others may have changed.

A worker that stood still for minutes goes on in the middle of an activity that the server has given to another worker
meanwhile. Asking makes a stale write rare; what a writer has read is compared all the same (`vaultmesh.storage.files`).
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future

from temporalio import activity
from temporalio.client import AsyncActivityCancelledError, Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from vaultmesh.domain.failures import FailureKind, NetworkFailure

FRESH_SECONDS = 0.25
"""How long an answer holds: a round of a thousand receipts asks a few times, and not a thousand times."""
ANSWER_SECONDS = 10.0


class Attempts:
    """Tells whether the attempts of this process still count."""

    def __init__(self, client: Client) -> None:
        """Ask through a client."""
        self._client = client

    def guard(self) -> Callable[[], None]:
        """Return what ends the running attempt if it counts no more; to be called from another thread, before each change.

        It raises `ApplicationError` for an attempt that was overtaken, and `NetworkFailure` if Temporal does not answer.
        """
        token, loop = activity.info().task_token, asyncio.get_running_loop()
        asked_at = float("-inf")

        def require_current() -> None:
            nonlocal asked_at
            began = time.monotonic()
            if began - asked_at > FRESH_SECONDS:
                asking = asyncio.run_coroutine_threadsafe(self._ask(token), loop)
                _answered(asking)
                asked_at = began

        return require_current

    async def _ask(self, token: bytes) -> None:
        try:
            await self._client.get_async_activity_handle(task_token=token).heartbeat()
        except AsyncActivityCancelledError as error:
            raise _overtaken() from error
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise _overtaken() from error
            message = f"Temporal did not say whether this attempt still counts: {error.message}"
            raise NetworkFailure(message) from error


def _answered(asking: "Future[None]") -> None:
    try:
        asking.result(ANSWER_SECONDS)
    except TimeoutError as error:
        message = (
            f"Temporal did not say within {ANSWER_SECONDS:g} s whether this attempt still counts"
        )
        raise NetworkFailure(message) from error


def _overtaken() -> ApplicationError:
    message = "another attempt has taken over meanwhile; nothing is written by this one"
    return ApplicationError(message, type=FailureKind.NETWORK.value)

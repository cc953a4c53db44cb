"""Keeps a run's work going although Temporal gave its activity up.

Temporal gives an activity up that it heard nothing of for a while: the server was away, or the worker stood still. It also
does where somebody ended or reset the workflow. A handler that has the call goes on in any case; to break the connection
would only lose how it ends.
"""

import asyncio
import logging
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import activity

_Result = TypeVar("_Result")
_LOG = logging.getLogger(__name__)


async def outlive(work: Coroutine[Any, Any, _Result], drain: timedelta) -> _Result:
    """Return what the work of the running activity gives, also if Temporal gives the activity up meanwhile.

    Whoever cancels the activity, and a worker that ends, cancel the work. Of an activity that was given up Temporal tells no
    more, so the worker's end is waited for here: the work then gets `drain`.

    Raises:
        asyncio.CancelledError: the work was cancelled.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not _is_given_up():
            task.cancel()
            return await task
    extra = {"execution": activity.info().activity_id}
    _LOG.warning("job execution given up by Temporal goes on", extra=extra)
    ended = asyncio.create_task(_drained(drain))
    try:
        await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended.cancel()
        task.cancel()  # nothing where it is done
    return await task


async def _drained(drain: timedelta) -> None:
    """Wait until the worker is told to end, and then as long as runs may take."""
    await activity.wait_for_worker_shutdown()
    await asyncio.sleep(drain / timedelta(seconds=1))


def _is_given_up() -> bool:
    """Whether the activity was cancelled, and by nobody who wants the work to end."""
    why = activity.cancellation_details()
    return why is not None and not (why.cancel_requested or why.worker_shutdown)

"""Keeps the cancellation of a task that waits for an update: the SDK tells it as a time-out, which callers pass over."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError


@contextmanager
def cancellable() -> Iterator[None]:
    """Surround an update that is waited for.

    Raises:
        asyncio.CancelledError: the task was cancelled meanwhile; also by a time-out around this, which tells it from others.
        WorkflowUpdateRPCTimeoutOrCancelledError: nobody answered in time.
    """
    try:
        yield
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from error
        raise

"""Gives the workflow tasks of in-process workers more time before the SDK takes them for blocked.

The SDK interrupts a task after 2 s by raising inside the thread that runs it. On a machine that other programs keep busy
this hits code that is only slow, sometimes in a callback where nothing can catch it, and a test fails for the machine.
Code that blocks for good is still found.
"""

from functools import wraps
from typing import Any

from temporalio.worker._workflow import _WorkflowWorker

BLOCKED_AFTER_SECONDS = 30


def be_patient(seconds: float = BLOCKED_AFTER_SECONDS) -> None:
    """Have workers that this process starts from now on wait so long."""
    built = _WorkflowWorker.__init__

    @wraps(built)
    def patient(worker: _WorkflowWorker, **arguments: Any) -> None:
        built(worker, **arguments)
        worker._deadlock_timeout_seconds = seconds  # type: ignore[assignment]

    _WorkflowWorker.__init__ = patient  # type: ignore[method-assign]

"""Stops processes as a hypervisor or a swapping machine does: at once, for all of their threads."""

import os
import signal
import time

import psutil

_WITHIN_SECONDS = 30.0
_LOOK_SECONDS = 0.005


def freeze(pid: int) -> None:
    """Stop a process, and return once none of its threads runs: on a busy machine one may go on for a while.

    Raises:
        ProcessLookupError: there is none.
        psutil.NoSuchProcess: it ended meanwhile.
    """
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + _WITHIN_SECONDS
    while not _stands_still(pid):
        assert time.monotonic() < deadline, f"process {pid} does not stop"
        time.sleep(_LOOK_SECONDS)


def thaw(pid: int) -> None:
    """Let it go on."""
    os.kill(pid, signal.SIGCONT)


def _stands_still(pid: int) -> bool:
    return all(_rests(thread.id) for thread in psutil.Process(pid).threads())


def _rests(thread: int) -> bool:
    try:
        return psutil.Process(thread).status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
    except psutil.NoSuchProcess:  # it ended meanwhile
        return True

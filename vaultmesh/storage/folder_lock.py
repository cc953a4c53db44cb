"""Lets one writer at a time compare and rename in a folder, on one machine and on volumes that support locks.

1. The lock is the kernel's, on the folder itself: it ends with the process that holds it, and stays while that process is
   stopped.
2. The holder says who it is in a file whose name starts with a dot, which it removes: who waits in vain names it.
3. A lock makes a stale write rare. What ends one is the comparison of receipts with their rounds.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.instants import write_time

PATIENCE_SECONDS = 10.0
"""How long a writer waits: only its own folder's files, never an answer to anybody who waits for an anchor."""
_POLL_SECONDS = 0.02
_NOTE = ".lock"


@contextmanager
def locked(folder: Path, seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Hold a folder's lock; blocks.

    Raises:
        NetworkFailure: somebody else has held it for so long; says who.
        OSError: the folder can't be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    note = folder / _NOTE
    try:
        _acquire(descriptor, note, seconds)
        with suppress(OSError):  # a full disk costs the name of the holder, and not the lock
            note.write_text(_myself())
        try:
            yield
        finally:
            with suppress(OSError):
                note.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, note: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                message = f"{note.parent} is locked by {_holder(note)}; it is tried again - end that process if it stands still"
                raise NetworkFailure(message) from None
            time.sleep(_POLL_SECONDS)
        else:
            return


def _myself() -> str:
    holder = {"process": os.getpid(), "host": socket.gethostname()}
    return json.dumps({**holder, "since": write_time(datetime.now(UTC))})


def _holder(note: Path) -> str:
    try:
        holder = json.loads(note.read_text())
        return f"process {holder['process']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"

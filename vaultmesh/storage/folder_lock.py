"""Lets one writer at a time compare and rename in a folder, on one machine and on volumes that support locks.

1. The lock is the kernel's, on the folder itself: it ends with the process that holds it, and stays while that process is
   stopped.
2. The holder says who it is in a file whose name starts with a dot, which it removes: who waits in vain names it.
3. Of one process a single thread waits for a folder; the others give up soon, and leave their threads to other work.
4. A lock makes a stale write rare. What ends one is the comparison of receipts with their rounds.
"""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.instants import write_time

PATIENCE_SECONDS = 10.0
"""How long a writer waits: only its own folder's files, never an answer to anybody who waits for an anchor."""
TURN_SECONDS = 1.0
"""How long a thread waits while another one of this process waits for the same folder, or works in it: renaming takes milliseconds."""
_POLL_SECONDS = 0.02
_NOTE = ".lock"


class FolderLocks:
    """Locks of folders for the threads of one process."""

    def __init__(self) -> None:
        """Hold none."""
        self._taken: set[Path] = set()
        self._changed = threading.Condition()

    @contextmanager
    def locked(self, folder: Path) -> Iterator[None]:
        """Hold a folder's lock; blocks.

        Raises:
            NetworkFailure: somebody else has held it for long; says who.
            OSError: the folder can't be opened.
        """
        with self._turn(folder), locked(folder):
            yield

    @contextmanager
    def _turn(self, folder: Path) -> Iterator[None]:
        with self._changed:
            if not self._changed.wait_for(lambda: folder not in self._taken, TURN_SECONDS):
                raise _is_locked(folder)
            self._taken.add(folder)
        try:
            yield
        finally:
            with self._changed:
                self._taken.discard(folder)
                self._changed.notify_all()


@contextmanager
def locked(folder: Path, seconds: float | None = None) -> Iterator[None]:
    """Hold a folder's lock, waiting for it as long as `PATIENCE_SECONDS` or as said; blocks.

    Raises:
        NetworkFailure: somebody else has held it for so long; says who.
        OSError: the folder can't be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _acquire(descriptor, folder, PATIENCE_SECONDS if seconds is None else seconds)
        note = folder / _NOTE
        with suppress(OSError):  # a full disk costs the name of the holder, and not the lock
            note.write_text(_myself())
        try:
            yield
        finally:
            with suppress(OSError):
                note.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, folder: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise _is_locked(folder) from None
            time.sleep(_POLL_SECONDS)
        else:
            return


def _is_locked(folder: Path) -> NetworkFailure:
    return NetworkFailure(
        f"{folder} is locked by {_holder(folder / _NOTE)}; it is tried again - end that process if it stands still"
    )


def _myself() -> str:
    holder = {"process": os.getpid(), "host": socket.gethostname()}
    return json.dumps({**holder, "since": write_time(datetime.now(UTC))})


def _holder(note: Path) -> str:
    try:
        holder = json.loads(note.read_text())
        return f"process {holder['process']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"

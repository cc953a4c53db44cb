"""A worker that stops itself once while it writes a receipt: `SLEEP_AT=read` or `SLEEP_AT=locked`, marked by `SLEEP_MARK`.

At "read" it has read what lies there and holds no lock; at "locked" it has compared nothing yet and holds the folder.
It keeps one poll open, and not five: the server hands the next attempts to the polls of a sleeper, and each is lost
until its heartbeat is missed.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import worker
from vaultmesh.domain.paths import ANCHOR_RECEIPTS_FOLDER
from vaultmesh.process.exiting import run_and_exit
from vaultmesh.storage import files, folder_lock

WHEN = os.environ["SLEEP_AT"]
MARK = Path(os.environ["SLEEP_MARK"])
REPLACE, LOCKED = files.LocalStore.replace, folder_lock.locked


def sleep_once() -> None:
    """Stop the process before this thread does anything more: a signal to the process would let it run on for a while."""
    if not MARK.exists():
        MARK.touch()
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def replace(store: files.LocalStore, path: str, content: bytes, if_version: str) -> bool:
    if WHEN == "read" and path.startswith(ANCHOR_RECEIPTS_FOLDER):
        sleep_once()
    return REPLACE(store, path, content, if_version)


@contextmanager
def locked(folder: Path, seconds: float | None = None) -> Iterator[None]:
    with LOCKED(folder, seconds):
        if WHEN == "locked" and ANCHOR_RECEIPTS_FOLDER in str(folder):
            sleep_once()
        yield


if __name__ == "__main__":
    files.LocalStore.replace = replace  # type: ignore[method-assign]
    folder_lock.locked = locked
    worker.Worker = partial(worker.Worker, max_concurrent_activity_task_polls=1)  # type: ignore[misc]
    run_and_exit(lambda: worker.main(sys.argv[1:]))

"""Counts how many runs of a task in a row ended because somebody held a lock: once is nothing, for ever is.

The counts lie below the root, a file for each task. Where nothing can be written there, nothing is counted.
"""

import os
from contextlib import suppress
from pathlib import Path

from vaultmesh.domain.maintenance.outcomes import Outcome, TaskResult
from vaultmesh.domain.paths import LOCKED_RUNS_FOLDER


class LockedRuns:
    """Counts of a root; a task's runs never overlap, so its file has one writer."""

    def __init__(self, root: Path) -> None:
        """Use the counts of a root."""
        self._folder = root / LOCKED_RUNS_FOLDER

    def judged(self, result: TaskResult, most: int) -> TaskResult:
        """Return a result as it counts: the one after `most` locked runs in a row has failed."""
        if result.outcome is not Outcome.LOCKED:
            if result.outcome is not Outcome.RUNNING:
                self._write(result.task, 0)
            return result
        count = self._read(result.task) + 1
        self._write(result.task, count)
        if count <= most:
            return result
        detail = f"skipped: locked for {count} runs in a row, more than lockedRuns {most} - look who holds the lock"
        return result.model_copy(update={"outcome": Outcome.FAILED, "detail": detail})

    def _read(self, task: str) -> int:
        try:
            text = (self._folder / task).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return 0
        return int(text) if text.isascii() and text.isdecimal() else 0

    def _write(self, task: str, count: int) -> None:
        place = self._folder / task
        with suppress(OSError):
            if count == 0:
                place.unlink(missing_ok=True)
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            scratch = place.with_name(f".{task}.{os.getpid()}")
            scratch.write_text(f"{count}\n", encoding="utf-8")
            scratch.replace(place)

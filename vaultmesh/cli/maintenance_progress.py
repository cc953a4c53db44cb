"""Shows in a terminal how far the maintenance task is that runs, on one line of standard error; it is not loaded elsewhere.

Log lines go to standard error too: they are written above that line, which the next word of progress draws again.
"""

import io
import os
import re
import sys
import time

from typing_extensions import override

from vaultmesh.cli.output import visible
from vaultmesh.process.logs import without_secrets

BEGINS_SECONDS = 0.5
"""What is done sooner is not worth a line that comes and goes."""
REDRAWN_SECONDS = 0.1
_BAR_CELLS = 20
_FALLBACK_COLUMNS = 80
_CLEAR = "\r\x1b[K"
_SHARE = re.compile(r"(\d+) of (\d+) (?:pages|transactions waited for)$")
"""How far a statement is, at the end of what it says."""


class TaskLine(io.TextIOBase):
    """The line; written to as a stream, it makes room first."""

    def __init__(self, total: int) -> None:
        """Show nothing yet.

        Args:
            total: how many tasks are run, one after another.
        """
        self._total = total
        self._number, self._task = 0, ""
        self._next = 0.0
        self._is_shown = False

    def begin(self, task: str) -> None:
        """Tell that the next task began."""
        self._number, self._task = self._number + 1, task
        self._next = time.monotonic() + BEGINS_SECONDS

    def beat(self, said: str) -> None:
        """Show what the task says of its progress, unless it said so just now."""
        if time.monotonic() < self._next:
            return
        line = f"{self._task} ({self._number} of {self._total}): {bar(said)}{said}"
        plain = visible(without_secrets(line)).replace("\n", " ")
        _put(f"{_CLEAR}{plain[: _columns() - 1]}")
        self._is_shown = True
        self._next = time.monotonic() + REDRAWN_SECONDS

    def clear(self) -> None:
        """Take the line away."""
        if self._is_shown:
            _put(_CLEAR)
            self._is_shown = False

    @override
    def write(self, text: str) -> int:
        """Write something else where the line is."""
        self.clear()
        _put(text)
        return len(text)


def bar(said: str) -> str:
    """Return a bar of how far a statement is, and a space; empty if it does not say."""
    share = _SHARE.search(said)
    if share is None:
        return ""
    done, total = int(share[1]), int(share[2])
    part = min(1.0, done / total) if total else 0.0
    cells = int(part * _BAR_CELLS)
    return f"{'█' * cells}{'░' * (_BAR_CELLS - cells)} {part:.0%} "


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _FALLBACK_COLUMNS
    except OSError:
        return _FALLBACK_COLUMNS


def _put(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()

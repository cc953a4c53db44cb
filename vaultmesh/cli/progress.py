"""Shows on standard error what a long command does: redrawn on one line in a terminal, plain lines in a pipe.

Standard output is left alone, so that data which goes to a program stays pure.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from vaultmesh.process.logs import without_secrets

BEGINS_SECONDS = 0.5
"""What is done sooner is not worth a line that comes and goes."""
REDRAWN_SECONDS = 0.1
LINE_SECONDS = 5.0
"""Between two lines in a pipe."""
_CLEAR = "\r\x1b[K"
_UNITS = ("B", "kB", "MB", "GB", "TB")
_NEXT_UNIT = 1_000


class Steps:
    """Names each step as it begins, and says how long it took."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show a step while it runs; of one that fails, how long it took is not said."""
        began = time.monotonic()
        drawn = sys.stderr.isatty()
        _write(f"{name} … " if drawn else f"{name} …\n")
        try:
            yield
        except BaseException:
            _write("\n" if drawn else "")
            raise
        _write(f"{_CLEAR if drawn else ''}{name}: {time.monotonic() - began:.1f} s\n")


class Counter:
    """Counts what is done of a known total."""

    def __init__(self, what: str, total: int, *, unit: Callable[[int], str] = str) -> None:
        """Count up to `total`; `unit` writes a number."""
        self._what, self._total, self._unit = what, total, unit
        self._done = 0
        self._drawn = sys.stderr.isatty()
        self._next = time.monotonic() + (BEGINS_SECONDS if self._drawn else LINE_SECONDS)
        self._is_shown = False

    def advance(self, count: int = 1) -> None:
        """Count some more."""
        self._done += count
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (REDRAWN_SECONDS if self._drawn else LINE_SECONDS)
        line = f"{self._what}: {self._unit(self._done)} of {self._unit(self._total)}"
        _write(f"{_CLEAR}{line}" if self._drawn else f"{line}\n")
        self._is_shown = True

    def __enter__(self) -> Self:
        """Begin to count."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the line away that a terminal shows."""
        self.clear()

    def clear(self) -> None:
        """Make room for another line."""
        if self._is_shown and self._drawn:
            _write(_CLEAR)
            self._is_shown = False


def in_bytes(count: int) -> str:
    """Return a size as people read it: `1.2 GB`."""
    size, unit = float(count), _UNITS[0]
    for unit in _UNITS:
        if size < _NEXT_UNIT or unit == _UNITS[-1]:
            break
        size /= _NEXT_UNIT
    return f"{size:.0f} {unit}" if unit == _UNITS[0] else f"{size:.1f} {unit}"


def _write(text: str) -> None:
    sys.stderr.write(without_secrets(text))
    sys.stderr.flush()

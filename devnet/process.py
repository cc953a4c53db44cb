"""Runs a local part as its own process, which ends with us.

1. A part leads a session of its own: Ctrl-C in a terminal reaches us alone, and we stop parts in order.
2. When we die, however we die, the kernel ends it (Linux; see `devnet.lifeline`).
3. It is stopped by process id, never by name: SIGTERM or what it takes in its place, then SIGKILL after a grace.
4. Its output goes to its log, of which the last lines are shown when it fails to start.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from devnet.errors import PartError

READY_SECONDS = 30.0
GRACE_SECONDS = 10.0
PAUSE_SECONDS = 0.05
_TAIL_LINES = 15
_LIFELINE = str(Path(__file__).with_name("lifeline.py"))


@dataclass
class Part:
    """One program that runs beside us."""

    name: str
    command: Sequence[str]
    log: Path
    is_ready: Callable[[], bool]
    """Whether it can be used; may take seconds, and may be asked from another thread."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Set on top of ours."""
    folder: Path | None = None
    """Where it runs; here by default."""
    ready_seconds: float = READY_SECONDS
    grace_seconds: float = GRACE_SECONDS
    death_signal: signal.Signals = signal.SIGKILL
    """What it gets when we die."""
    stop_signal: signal.Signals = signal.SIGTERM
    """What asks it to end in order."""
    process: subprocess.Popen[bytes] | None = None
    _ended_by_us: bool = field(default=False, init=False)

    def start(self) -> None:
        """Start the program and wait until it is ready; must be called on the main thread.

        Raises:
            PartError: it ended, or was not ready in time; with the last lines of its log.
        """
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the program without waiting; must be called on the main thread.

        The kernel ends a part with the thread that started it, and only the main thread lasts as long as we do.
        """
        if threading.current_thread() is not threading.main_thread():
            message = "parts are started on the main thread"
            raise RuntimeError(message)
        self._ended_by_us = False
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._lifeline(), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Wait until the program is ready; raises `PartError` as `start` does."""
        deadline = time.monotonic() + self.ready_seconds
        while not self._ready_by(deadline):
            time.sleep(PAUSE_SECONDS)

    async def until_ready(self) -> None:
        """Do as `wait_ready`, and let other tasks run meanwhile."""
        deadline = time.monotonic() + self.ready_seconds
        while not await asyncio.to_thread(self._ready_by, deadline):  # noqa: ASYNC110 - another process
            await asyncio.sleep(PAUSE_SECONDS)

    def last_lines(self) -> str:
        """Return the end of the log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])

    @property
    def pid(self) -> int:
        """Process id of the program; 0 before its first start."""
        return self.process.pid if self.process is not None else 0

    @property
    def alive(self) -> bool:
        """Whether the program runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def killed_by_others(self) -> bool:
        """Whether the program ended by a kill that was not ours, rather than by its own failure."""
        killed = self.process is not None and self.process.poll() == -signal.SIGKILL
        return killed and not self._ended_by_us

    def stop(self) -> None:
        """Let the program end in order, and make it end after a grace."""
        if self.process is None or not self.alive:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(self.grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the program at once, as a crash would."""
        if self.process is not None and self.alive:
            self._ended_by_us = True
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop."""
        self.stop()

    def _lifeline(self) -> list[str]:
        if sys.platform != "linux":
            return []
        number = str(int(self.death_signal))
        return [sys.executable, "-I", "-S", _LIFELINE, number, str(os.getpid())]

    def _ready_by(self, deadline: float) -> bool:
        """Tell whether the program is ready, and complain when it never will be."""
        if not self.alive:
            message = f"{self.name} ended while starting; see {self.log}\n{self.last_lines()}"
            raise PartError(message)
        if self.is_ready():
            return True
        if time.monotonic() > deadline:
            self.kill()
            message = (
                f"{self.name} was not ready after {self.ready_seconds:g} s; see {self.log}\n"
                f"{self.last_lines()}"
            )
            raise PartError(message)
        return False

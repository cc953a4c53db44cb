"""Gives a local system a PostgreSQL of its own, with a table that maintenance tasks look after.

1. It starts beside the other parts. Whoever waits for them does not wait for it, apart from a first start that has to
   fetch it.
2. A system goes on without it where it can't be had soon, and says why.
3. Its data lies below the system's folder. A folder whose data is gone is refused, as for the other parts.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from devnet.errors import PartError
from devnet.local_postgres import LocalPostgres
from devnet.postgres import POSTGRES, host_programs
from devnet.process import PAUSE_SECONDS, Part
from devnet.sample_table import TABLE, SampleTable
from devnet.supervisor import Supervisor
from vaultmesh.cli import example_config
from vaultmesh.domain.freshness import in_words
from vaultmesh.process.settings import REPOSITORY

FETCHED_WITHIN_SECONDS = 25.0
"""From the system's start, while other programs are fetched as well; after that it does without."""
READY_WITHIN_SECONDS = 15.0
_OWNER_ONLY = 0o600
_TIDIES_UP_SECONDS = 3.0


class DevPostgres:
    """What a session of `dev` knows of its PostgreSQL."""

    def __init__(self, root: Path, supervisor: Supervisor) -> None:
        """Prepare one below a folder; `supervisor` keeps it running."""
        self._root = root
        self._supervisor = supervisor
        self._home = root / "devnet" / "postgres"
        self.data = self._home / "data"
        self._starting: asyncio.Task[None] | None = None
        self._fetch: Part | None = None
        self._server: LocalPostgres | None = None
        self._table: SampleTable | None = None
        self.trouble = ""
        """Why there is none; empty if it runs."""

    def begin(self, port: int) -> None:
        """Start it at this port beside what the caller goes on with."""
        self._starting = asyncio.create_task(self._start(port))

    async def finish(self) -> None:
        """Wait until it runs, or until it is clear that it does not: `trouble` says why."""
        assert self._starting is not None  # noqa: S101 - begun before
        await self._starting

    def stop(self) -> None:
        """Stop what starts it, and what writes to the table; the supervisor stops the server."""
        if self._starting is not None:
            self._starting.cancel()
        if self._table is not None:
            self._table.close()
        self._end_fetch()

    @property
    def url(self) -> str:
        """URL of its database, with the password; empty if there is none."""
        return self._server.url if self._server is not None else ""

    def write_configuration(self, place: Path) -> None:
        """Write maintenance.yaml; what somebody changed in it stays, apart from the database's URL."""
        if not self.url:
            return
        text = place.read_text() if place.exists() else example_config.MAINTENANCE
        fresh = place.with_name(f".{place.name}.new")
        fresh.touch(_OWNER_ONLY)
        fresh.write_text(example_config.with_database(text, self.url))
        fresh.replace(place)

    def introduction(self) -> list[str]:
        """Return what people are told at the start."""
        if self._server is None:
            return [f"postgres does not run: {self.trouble}"]
        return [f"postgres {self._server.address}; devnet.json has the password"]

    def blocks(self, now: datetime) -> list[RenderableType]:
        """Return what the demo shows in 80 columns: how much there is to maintain."""
        title = Text("maintenance", style="bold")
        state = self._table.state if self._table is not None else None
        if self.trouble:
            return [Text.assemble("\n", title, "\n", (f"  {self.introduction()[0]}", "red"))]
        if state is None:
            return []
        table = f"  {TABLE}: {state.rows:,} rows, {state.dead:,} dead, {state.old:,} too old"
        vacuumed = f"  vacuumed {in_words(now - state.vacuumed)} ago" if state.vacuumed else ""
        return [Text.assemble("\n", title, "\n", table, f"\n{vacuumed}" if vacuumed else "")]

    async def _start(self, port: int) -> None:
        server = LocalPostgres(self._root, port=port, home=self._home)
        server.ready_seconds = READY_WITHIN_SECONDS
        try:
            await self._have_program()
            await asyncio.to_thread(server.prepare)
            await self._supervisor.start(server)
        except PartError as error:
            self.trouble = str(error).splitlines()[0]
            return
        self._server = server
        self._table = SampleTable(server.url)
        self._table.start()

    async def _have_program(self) -> None:
        """Fetch the program, in a process that can be ended, if it is not at hand.

        Raises:
            PartError: it can't be had soon.
        """
        if POSTGRES.find() is not None or host_programs() is not None:
            return
        command = [sys.executable, "-m", "devnet.parts", "fetch", POSTGRES.name]
        log = self._root / "logs" / "postgres-fetch.log"
        self._fetch = Part("what fetches postgres", command, log, bool, folder=REPOSITORY)
        self._fetch.death_signal = signal.SIGINT  # it tidies up
        deadline = time.monotonic() + FETCHED_WITHIN_SECONDS
        self._fetch.launch()
        while self._fetch.alive and time.monotonic() < deadline:  # noqa: ASYNC110 - another process
            await asyncio.sleep(PAUSE_SECONDS)
        if self._fetch.alive:
            message = f"it was not fetched within {FETCHED_WITHIN_SECONDS:g} s; `make parts` fetches it beforehand"
            raise PartError(message)
        if POSTGRES.find() is None:
            raise PartError(self._fetch.last_lines().splitlines()[-1])

    def _end_fetch(self) -> None:
        """End what fetches, with the programs that it started; it tidies up, if it can."""
        if self._fetch is None or self._fetch.process is None or not self._fetch.alive:
            return
        for end in (signal.SIGINT, signal.SIGKILL):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self._fetch.pid, end)
                self._fetch.process.wait(_TIDIES_UP_SECONDS)

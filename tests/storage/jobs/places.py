"""Databases for tests of the job store: a file, a PostgreSQL, and the same behind a pooler in transaction mode."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from devnet.postgres import PostgresServer
from vaultmesh.domain.jobs.job import JobDefinition, read_registration
from vaultmesh.domain.jobs.messages import SlotCounts
from vaultmesh.domain.jobs.records import Actor, RunEnd, RunStart
from vaultmesh.domain.jobs.run import RunStatus, TriggeredBy, run_id
from vaultmesh.domain.paths import JOBS_DATABASE
from vaultmesh.storage.job_store import JobStore

NOON = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)
SERVICE = Actor(name="service report-service")
ADMIN = Actor(name="admin@example.org")
NAME = "nightly-report"
KINDS = ("sqlite", "postgresql", "pooler")
NEWEST = "newest"
"""The newest version of PostgreSQL."""
every_kind = pytest.mark.parametrize("place", [*KINDS, NEWEST], indirect=True)
"""Has a test of any database run on the newest PostgreSQL too."""
either_postgres = pytest.mark.parametrize("postgres", ["postgresql", NEWEST], indirect=True)
"""Has a test of PostgreSQL run on the host's and on the newest."""
CRON = "0 3 * * *"


@dataclass(frozen=True)
class Place:
    """One database, empty at the beginning of a test, and the ways to it."""

    root: Path
    server: PostgresServer | None = None
    database: str = ""
    url: str | None = None

    @property
    def is_file(self) -> bool:
        return self.server is None

    @property
    def file(self) -> Path:
        return self.root / JOBS_DATABASE

    def sql(self, statements: str) -> list[tuple[object, ...]]:
        """Run SQL as somebody else does; rows of PostgreSQL come as texts."""
        if self.server is None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.file)) as file, file:
                if statements.lstrip().upper().startswith("SELECT"):
                    return file.execute(statements).fetchall()
                file.executescript(statements)
                return []
        lines = self.server.sql(self.database, statements).splitlines()
        return [tuple(line.split("|")) for line in lines]

    @asynccontextmanager
    async def store(self) -> AsyncIterator[JobStore]:
        store = await JobStore.open(self.url, self.root)
        try:
            yield store
        finally:
            await store.close()


def emptied(server: PostgresServer, database: str) -> None:
    """Make a database as good as new; a new one would cost a second."""
    server.sql(database, "DROP SCHEMA public CASCADE")
    server.sql(database, "CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO public")


def definition(name: str = NAME, **changes: object) -> JobDefinition:
    """Return what a service registers."""
    body = {
        "name": name,
        "displayName": "Nightly report",
        "description": "Mail the report",
        "cronExpression": CRON,
        "enabled": True,
        "jobType": "analytics",
        "service": "report-service",
        "endpoint": "/api/jobs/nightly-report",
        "config": {"batchSize": 25, "rate": 1e2, "names": ["é", None]},
    }
    return read_registration(body | changes)  # type: ignore[arg-type]


def start(
    name: str = NAME, *, after: timedelta = timedelta(0), by: TriggeredBy = TriggeredBy.SCHEDULER
) -> RunStart:
    """Return a run that begins so long after noon."""
    at = NOON + after
    return RunStart(id=run_id(name, at), job_name=name, started_at=at, triggered_by=by)


def end(
    run: RunStart,
    error: str | None = None,
    *,
    seconds: float = 2,
    slots: SlotCounts | None = None,
    items: int = 0,
) -> RunEnd:
    """Return how a run ended: completed unless there is an error."""
    return RunEnd(
        start=run,
        status=RunStatus.COMPLETED if error is None else RunStatus.FAILED,
        completed_at=run.started_at + timedelta(seconds=seconds),
        error_message=error,
        items_processed=items,
        slots=slots,
    )

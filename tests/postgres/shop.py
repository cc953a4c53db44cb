"""A database with goods, the tasks that look after it, and others who use it."""

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from pydantic import SecretStr

from devnet.postgres import USER, PostgresServer
from vaultmesh.domain.maintenance.config import MaintenanceConfig, parse_maintenance
from vaultmesh.domain.maintenance.outcomes import StepResult, TaskResult
from vaultmesh.domain.maintenance.plan import Step
from vaultmesh.postgres.connection import Database, Order
from vaultmesh.postgres.runs import plan_task, run_task

REPOSITORY = Path(__file__).resolve().parents[2]
DATABASE = "shop"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SECONDS = 180.0
"""Whatever takes longer does not happen."""
HOSTS_OWN, NEWEST = "host", "newest"
"""Versions of PostgreSQL that tests run on."""
BY_TENS: dict[str, Any] = {
    "kind": "retain",
    "table": "public.orders",
    "ageColumn": "at",
    "keep": "90d",
    "batch": 10,
    "pause": "0s",
}
"""A task that deletes old orders in many batches."""
INTO_FILES: dict[str, Any] = {**BY_TENS, "archive": {"folder": "archive"}}
"""The same, and each batch is a file."""
on_both = pytest.mark.parametrize("version", [HOSTS_OWN, NEWEST], indirect=True)
"""Has a test run on either: what the server does or says may differ."""
on_the_newest = pytest.mark.parametrize("version", [NEWEST], indirect=True)


def wait_until(condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Wait for something that happens soon, however busy the machine is."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never came: {what}"
        time.sleep(0.02)


@dataclass
class Shop:
    """The database, and the ways to it."""

    server: PostgresServer
    root: Path
    user: str = USER
    url_of_others: str | None = None
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.url_of_others or self.server.url(DATABASE, self.user)

    def empty(self) -> None:
        """Make the database as good as new."""
        self.server.sql(
            DATABASE,
            "DO $$ DECLARE s text; BEGIN FOR s IN SELECT nspname FROM pg_namespace "
            "WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP "
            "EXECUTE format('DROP SCHEMA %I CASCADE', s); END LOOP; END $$; "
            "CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO public",
        )

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def sql(self, statements: str, user: str = USER) -> str:
        """Run SQL as somebody else does."""
        return self.server.sql(DATABASE, statements, user)

    @contextmanager
    def holding(self, statement: str) -> Iterator[psycopg.Connection]:
        """Somebody else's transaction that has run a statement and goes on."""
        with psycopg.connect(self.server.url(DATABASE), application_name="somebody") as other:
            other.execute(statement.encode())
            yield other
            other.rollback()

    def config(self, **task: object) -> MaintenanceConfig:
        """Return what a file with one task, `it`, says."""
        return parse_maintenance({"database": self.url, "tasks": {"it": task}})

    def order(self, now: datetime = NOON) -> Order:
        return Order(run=uuid.uuid4().hex[:12], now=now, root=self.root)

    async def run_async(
        self, *, now: datetime = NOON, beat: Callable[[str], None] = print, **task: object
    ) -> TaskResult:
        config = self.config(**task)
        return await run_task(Database(SecretStr(self.url)), config.tasks[0], self.order(now), beat)

    def run(self, *, now: datetime = NOON, **task: object) -> TaskResult:
        """Run one task once, in this process."""
        return asyncio.run(self.run_async(now=now, **task))

    def plan(self, *, now: datetime = NOON, **task: object) -> list[Step]:
        """Return what that run would do."""
        config = self.config(**task)
        return asyncio.run(
            plan_task(Database(SecretStr(self.url)), config.tasks[0], self.order(now))
        )

    def write(self, tasks: Mapping[str, object], **defaults: object) -> Path:
        """Write maintenance.yaml below the root."""
        path = self.root / "vmsh" / "config" / "maintenance.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {"database": "${DATABASE_URL}", "defaults": defaults, "tasks": dict(tasks)}
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    def start(
        self, *arguments: str, errors: int = subprocess.PIPE, **variables: str
    ) -> "subprocess.Popen[str]":
        """Start a command as an operator does; standard error goes to a pipe, or to a file that is open."""
        process = subprocess.Popen(
            [sys.executable, str(REPOSITORY / "starter.py"), "maintenance", *arguments],
            env={"PATH": os.environ["PATH"], "VMSH_ROOT": str(self.root), "DATABASE_URL": self.url, **variables},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def command(self, *arguments: str, **variables: str) -> "Said":
        """Run a command to its end."""
        process = self.start(*arguments, **variables)
        out, errors = process.communicate(timeout=SECONDS)
        return Said(process.returncode, out, errors)

    def sees(self, condition: str) -> bool:
        """Whether some process of the server's list meets a condition."""
        query = (
            f"SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND {condition}"
        )
        return self.sql(query) != "0"


@dataclass(frozen=True)
class Said:
    """What a command said."""

    code: int
    out: str
    errors: str

    @property
    def json(self) -> dict[str, object]:
        document: dict[str, object] = json.loads(self.out)
        return document


def run_as_a_process(url: str, root: Path, task: dict[str, object]) -> None:
    """Run a task in a process of its own, which somebody may kill."""
    config = parse_maintenance({"database": url, "tasks": {"it": task}})
    order = Order(run=uuid.uuid4().hex[:12], now=NOON, root=root)
    asyncio.run(run_task(Database(SecretStr(url)), config.tasks[0], order, lambda _: None))


def step_of(result: TaskResult, subject: str) -> StepResult:
    """Return what became of one table."""
    return next(step for step in result.steps if step.subject == subject)

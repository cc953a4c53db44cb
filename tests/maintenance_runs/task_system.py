"""Runs maintenance tasks for real: a Temporal server, workers as processes, and a PostgreSQL that is looked after."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from temporalio.client import Client
from typing_extensions import override

from devnet.ports import free_port
from devnet.postgres import PostgresServer
from tests.jobs.books import Row, instant
from tests.jobs.job_system import NOT_NOW, JobSystem
from vaultmesh.cli.worker_process import WorkerProcess
from vaultmesh.domain.jobs.tasks import task_job_name
from vaultmesh.process.settings import REPOSITORY

DATABASE = "shop"
EVERY_TWO_SECONDS = "*/2 * * * * *"
RARELY = "0 0 29 2 *"
"""For tasks that run when they are asked: the next such day is years away, or a slot that does no harm."""
OF_RUNS = "application_name LIKE 'vmsh:maintenance:%'"
RESTS_MS = 100
"""A VACUUM that rests so long after each page takes minutes for a table of some megabytes."""
Tasks = Mapping[str, Mapping[str, object]]


class TaskSystem(JobSystem):
    """A system of jobs, with maintenance.yaml below its root; the jobs' own store is a file."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        """Start nothing yet."""
        super().__init__(folder)
        self.server = server
        self.file = self.root / "vmsh/config/maintenance.yaml"

    # --- what is looked after ------------------------------------------------------------------------------------------

    def write(self, tasks: Tasks, file: Path | None = None) -> None:
        """Say what the file says; each task vacuums public.goods unless it says otherwise."""
        usual = {"kind": "vacuum", "tables": ["public.goods"]}
        self.write_plain({name: usual | dict(keys) for name, keys in tasks.items()}, file)

    def write_plain(self, tasks: Tasks, file: Path | None = None) -> None:
        """Say what the file says; each task runs only when it is asked for unless it says otherwise."""
        document = {
            "database": "${DATABASE_URL}",
            "tasks": {name: {"cron": RARELY} | dict(keys) for name, keys in tasks.items()},
        }
        place = file or self.file
        fresh = place.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(document, sort_keys=False))
        fresh.replace(place)

    def sql(self, statements: str) -> str:
        """Run SQL on what is looked after."""
        return self.server.sql(DATABASE, statements)

    def fill(self, rows: int = 2_000) -> None:
        """Make the table, with more dead rows than a task lets pass."""
        self.sql(
            "DROP TABLE IF EXISTS goods; CREATE TABLE goods (id int PRIMARY KEY, note text) WITH (fillfactor = 10)"
        )
        self.sql(f"INSERT INTO goods SELECT n, repeat('x', 500) FROM generate_series(1, {rows}) n")  # noqa: S608 - a number
        self.sql("UPDATE goods SET note = repeat('y', 500)")
        self.wait(lambda: int(self.statistics("n_dead_tup")) > rows // 2, "the counters")

    def statistics(self, column: str) -> str:
        """Return what the server counts of the table."""
        return self.sql(f"SELECT {column} FROM pg_stat_user_tables WHERE relname = 'goods'")  # noqa: S608

    def slow_down(self, rests_ms: int = RESTS_MS) -> None:
        """Let every VACUUM of a new connection rest after each page."""
        for setting in (f"vacuum_cost_delay = {rests_ms}", "vacuum_cost_limit = 1"):
            self.server.sql("postgres", f"ALTER DATABASE {DATABASE} SET {setting}")

    def speed_up(self) -> None:
        """Let every VACUUM of a new connection take no longer than it must."""
        self.server.sql("postgres", f"ALTER DATABASE {DATABASE} RESET ALL")

    def busy(self, condition: str = "query LIKE 'VACUUM%' AND state = 'active'") -> int:
        """Return how many connections of runs meet a condition."""
        query = f"SELECT count(*) FROM pg_stat_activity WHERE {OF_RUNS} AND {condition}"  # noqa: S608
        return int(self.server.sql("postgres", query))

    def wait_for_vacuum(self) -> None:
        """Wait until a VACUUM is under way."""
        self.wait(lambda: self.busy() == 1, "a VACUUM under way")

    def wait_for_silence(self) -> None:
        """Wait until no connection of any run is left."""
        self.wait(lambda: self.busy("true") == 0, "an end of all connections of runs")

    @override
    def at_what(self) -> str:
        """Return what the server is busy with as well."""
        query = (
            "SELECT pid, state, wait_event, query FROM pg_stat_activity WHERE datname IS NOT NULL"
        )
        with suppress(*NOT_NOW):
            return f"{self.server.sql('postgres', query)}\n{super().at_what()}"
        return super().at_what()

    # --- workers and commands ------------------------------------------------------------------------------------------

    @override
    def start_worker(
        self,
        roles: str = "workflows,jobs,api",
        *,
        script: str = "worker.py",
        environment: Mapping[str, str] | None = None,
    ) -> WorkerProcess:
        """Start a worker that knows the database."""
        own = {"DATABASE_URL": self.server.url(DATABASE), "METRICS_PORT": str(free_port())}
        return super().start_worker(
            roles, script=script, environment={**own, **(environment or {})}
        )

    def command(self, *arguments: str, code: int = 0) -> Any:
        """Run `starter.py maintenance … --json`, and return what it prints."""
        done = subprocess.run(
            [sys.executable, str(REPOSITORY / "starter.py"), "maintenance", *arguments, "--json"],
            env={
                **os.environ,
                "TEMPORAL_ADDRESS": self.temporal.address,
                "VMSH_ROOT": str(self.root),
                "DATABASE_URL": self.server.url(DATABASE),
            },
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout) if done.stdout else done.stderr

    def metrics(self, worker: WorkerProcess) -> dict[str, float]:
        """Return the series of a worker's page."""
        with urllib.request.urlopen(f"{worker.url}/metrics", timeout=120) as page:  # noqa: S310
            lines = page.read().decode().splitlines()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")
        }

    # --- what the rows say ---------------------------------------------------------------------------------------------

    def runs(self, task: str) -> list[Row]:
        """Return a task's runs, the first one first; what is kept beside each as values."""
        rows = self.books.runs(task_job_name(task))
        for row in rows:
            if isinstance(row["metadata"], str):
                row["metadata"] = json.loads(row["metadata"])
        return rows

    def ended(self, task: str, runs: int = 1, seconds: float = 180) -> list[Row]:
        """Wait until a task has so many runs, and each has ended; return them."""
        return self.wait(
            lambda: (
                len(rows := self.runs(task)) >= runs
                and all(row["status"] != "running" for row in rows)
                and rows
            ),
            f"{runs} runs of {task} that ended",
            seconds,
        )

    def trigger_task(self, task: str) -> None:
        """Have a task run, and wait for nothing."""
        self.wait(lambda: self.task_status(task) and True, f"the workflow of {task}")
        self.signal(task_job_name(task), "trigger")

    def task_status(self, task: str) -> dict[str, Any]:
        """Return what a task's workflow says of itself."""
        return self.status(task_job_name(task))

    def progress(self, task: str) -> dict[str, Any]:
        """Return what the run under way told last, as Temporal's clients show it; nothing before its first word."""

        async def asked(client: Client) -> dict[str, Any]:
            described = await client.get_workflow_handle(task_job_name(task)).describe()
            for pending in described.raw_description.pending_activities:
                for payload in pending.heartbeat_details.payloads:
                    details: dict[str, Any] = json.loads(payload.data)
                    return details if details["progress"] != "begins" else {}
            return {}

        return self.temporal_says(asked)

    def says(self, task: str, fact: Callable[[dict[str, Any]], object], what: str) -> Any:
        """Wait until a task's workflow says something; return its state."""
        return self.wait(lambda: fact(view := self.task_status(task)) and view, what)

    def rest(self, task: str) -> None:
        """Let no slot of a task run any more, and wait until none is under way."""
        self.signal(task_job_name(task), "pause", "the test ends")
        self.says(
            task,
            lambda view: view["paused"] and view["running"] is None and not view["unwritten"],
            f"a rest of {task}",
        )

    def slot_findings(self, task: str, period: int) -> list[str]:
        """Return what is wrong with the slots of a task that is due each `period` seconds.

        Each slot since the file named it last is run, missed or skipped, once.
        """
        job = task_job_name(task)
        *_, line = self.books.sql(
            "SELECT at FROM job_audit WHERE job_name = ? AND action = 'offer' ORDER BY id", job
        )
        decided = self.books.decisions(job)
        begun, served = instant(line["at"]), instant(decided["served"])
        due = int(served.timestamp() // period - begun.timestamp() // period)
        run = sum(row["triggered_by"] == "scheduler" for row in self.runs(task))
        missed, skipped = decided["missed"], decided["skipped"]
        if run + missed + skipped == due:
            return []
        return [f"{due} slots until {served}: {run} run, {missed} missed, {skipped} skipped"]

    def audit(self, task: str) -> list[tuple[str, str]]:
        """Return who decided what about a task, the first line first; runs are no decisions."""
        query = (
            "SELECT actor, action FROM job_audit WHERE job_name = ? AND action <> 'run' ORDER BY id"
        )
        return [(row["actor"], row["action"]) for row in self.books.sql(query, task_job_name(task))]


def outcomes(rows: list[Row]) -> list[str]:
    """Return how runs ended, in the words of maintenance."""
    return [str((row["metadata"] or {}).get("outcome")) for row in rows]

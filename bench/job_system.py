"""Runs a system with jobs for a benchmark: Temporal, workers with the roles of jobs, and a handler in this process."""

import http.client
import json
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from typing_extensions import override

from bench.job_handler import Handler
from bench.local_system import LocalSystem
from bench.system import BenchError, until
from devnet.ports import LOOPBACK, free_port
from vaultmesh.cli.worker_process import WorkerProcess
from vaultmesh.domain.jobs.job import JobDefinition, read_registration
from vaultmesh.domain.jobs.records import Actor
from vaultmesh.domain.names import JOB_WORKFLOW
from vaultmesh.storage.job_store import JobStore

SERVICE = "bench-service"
ROLES = "workflows,jobs,api"
BY = Actor(name="bench")
_ADMIN, _TOKEN = "admin-token-of-benchmarks", "service-token-of-benchmarks"
_ANSWER_SECONDS = 60.0
_OK = 200
_STARTED_WITHIN = 300.0


class JobBench(LocalSystem):
    """Temporal, in memory unless its data should survive a kill, and a handler; jobs lie in SQLite, or at a URL."""

    def __init__(self, *, survives: bool = False, database_url: str = "") -> None:
        """Choose ports; nothing runs before `with`."""
        self._temporary = tempfile.TemporaryDirectory(prefix="vaultmesh-bench-")
        folder = Path(self._temporary.name)
        super().__init__(folder, database=folder / "temporal.db" if survives else None)
        self.database_url = database_url
        self.handler = Handler()
        self.ports: list[int] = []
        """Of the APIs, one for each worker."""

    @override
    def __enter__(self) -> "JobBench":
        """Start server and handler."""
        super().__enter__()
        self.handler.__enter__()
        return self

    @override
    def stop(self) -> None:
        """Stop everything and remove the folder."""
        super().stop()
        self._temporary.cleanup()

    @override
    def __exit__(self, *exception: object) -> None:
        """Stop everything."""
        self.handler.__exit__(None, None, None)
        self.stop()

    def start_jobs_worker(self) -> WorkerProcess:
        """Start a worker with all roles of jobs, whose API listens on the last of `ports`."""
        self.ports.append(free_port())
        settings = {
            "API_PORT": str(self.ports[-1]),
            "API_HOST": LOOPBACK,
            "SERVICE_TOKEN": _TOKEN,
            "ADMIN_TOKEN": _ADMIN,
            "BENCH_SERVICE_URL": self.handler.url,
            **({"JOBS_DATABASE_URL": self.database_url} if self.database_url else {}),
        }
        return self.start_worker("--roles", ROLES, **settings)

    async def store(self) -> JobStore:
        """Open the store beside the workers."""
        return await JobStore.open(self.database_url or None, self.root)

    async def fill(self, jobs: Sequence[JobDefinition]) -> None:
        """Enter jobs before a worker runs: it starts their workflows."""
        store, now = await self.store(), datetime.now(UTC)
        try:
            for job in jobs:
                await store.register(job, BY, now)
        finally:
            await store.close()

    def api(self, worker: int = -1) -> "Api":
        """Return a client of a worker's API."""
        return Api(self.ports[worker])


async def all_started(system: JobBench, jobs: int) -> None:
    """Wait until every job's workflow runs and the store knows it."""
    client, store = await system.client(), await system.store()

    async def started() -> bool:
        running = await client.count_workflows(f"WorkflowType = '{JOB_WORKFLOW}'")
        return running.count >= jobs and not await store.untold()

    try:
        await until(started, f"{jobs} workflows", _STARTED_WITHIN)
    finally:
        await store.close()


class Api:
    """A client that keeps its connection."""

    def __init__(self, port: int) -> None:
        """Connect to nothing yet."""
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_ANSWER_SECONDS)

    def raw(self, method: str, path: str, body: object = None) -> bytes:
        """Return the body of a good answer.

        Raises:
            BenchError: the API refused, or answered nothing.
        """
        headers = {"Authorization": f"Bearer {_ADMIN}", "X-Service-Token": _TOKEN}
        data = None
        if body is not None:
            headers["Content-Type"], data = "application/json", json.dumps(body)
        try:
            self._connection.request(method, path, data, headers)
            answer = self._connection.getresponse()
            text = answer.read()
        except OSError as error:
            message = f"{method} {path}: {error}"
            raise BenchError(message) from error
        if answer.status != _OK:
            message = f"{method} {path}: {answer.status} {text[:300].decode(errors='replace')}"
            raise BenchError(message)
        return text

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return what a good answer says."""
        return json.loads(self.raw(method, path, body))

    def milliseconds(self, path: str, times: int) -> list[float]:
        """Return how long each of some questions took, after one that warms up."""
        self.raw("GET", path)
        taken = []
        for _ in range(times):
            started = time.perf_counter()
            self.raw("GET", path)
            taken.append(1_000 * (time.perf_counter() - started))
        return taken

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def registration(name: str, cron: str, **config: object) -> dict[str, Any]:
    """Return the body with which a service registers a job."""
    return {
        "name": name,
        "displayName": f"Job {name}",
        "description": f"One of many jobs that a benchmark registers: {name}",
        "cronExpression": cron,
        "enabled": True,
        "jobType": "other",
        "service": SERVICE,
        "endpoint": f"/api/jobs/{name}",
        "config": {"batchSize": 25, **config},
    }


def definition(name: str, cron: str) -> JobDefinition:
    """Return a job as the store takes it."""
    return read_registration(registration(name, cron))


def job_names(count: int) -> list[str]:
    """Return the names of some jobs."""
    return [f"job-{number:04}" for number in range(count)]

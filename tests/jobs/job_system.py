"""Runs jobs for real: a Temporal server, workers as processes, and a service that counts its calls."""

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from devnet.ports import LOOPBACK, free_port
from devnet.temporal import TemporalServer
from tests.jobs.books import Books
from tests.support.replays import Replays
from vaultmesh.cli.worker_process import WorkerProcess
from vaultmesh.domain.names import STATUS, job_workflow_id
from vaultmesh.domain.paths import JOBS_DATABASE

EVERY_SECOND, NEVER = "* * * * * *", "0 0 31 2 *"
GATE_SECONDS = 120.0
"""A gate that a test forgot opens by itself."""
NOT_NOW = (
    OSError,
    AssertionError,
    HTTPException,
    RPCError,
    RuntimeError,
    sqlite3.Error,
    psycopg.Error,
)
"""What questions meet while a part is being started, or is locked."""
ADMIN, SERVICE = "admin-token-of-tests-1", "service-token-of-tests"
SERVICE_NAME = "mail-service"
Answer = TypeVar("Answer")


class Handler(ThreadingHTTPServer):
    """A service that takes every call, and waits as long as the job's gate is shut."""

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__((LOOPBACK, 0), _Answers)
        self.calls: list[dict[str, Any]] = []
        """Bodies, with the instant of each under `at`."""
        self.at_once: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()
        """Calls of each job at the same time, and the most that there ever were."""
        self.gates: dict[str, threading.Event] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.server_address[1]}"

    def shut(self, job: str) -> None:
        """Let calls of a job wait from now on."""
        self.gates[job] = threading.Event()

    def open(self, job: str) -> None:
        """Let calls of a job end."""
        self.gates[job].set()

    def of(self, job: str) -> list[str]:
        """Return the ids of the runs of a job that were called, in their order."""
        return [call["executionId"] for call in list(self.calls) if call["jobName"] == job]


class _Answers(BaseHTTPRequestHandler):
    server: Handler

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        job = body["jobName"]
        self.server.calls.append({**body, "at": time.time()})
        self.server.at_once[job] += 1
        most = self.server.most_at_once
        most[job] = max(most[job], self.server.at_once[job])
        if gate := self.server.gates.get(job):
            gate.wait(GATE_SECONDS)
        time.sleep(body["config"].get("seconds", 0))
        self.server.at_once[job] -= 1
        answer = json.dumps({"success": True, "itemsProcessed": 1}).encode()
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        except OSError:
            return  # who called is gone

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class JobSystem:
    """Temporal with a database, a handler, and workers with the roles of jobs."""

    def __init__(self, folder: Path, database: str = "", namespaces: object = None) -> None:
        """Start nothing yet; a file of SQLite keeps the jobs unless a URL of PostgreSQL is given."""
        self.folder = folder
        self.database = database
        self.root = folder / "root"
        config = self.root / "vmsh/config"
        config.mkdir(parents=True)
        (config / "namespaces.yaml").write_text(json.dumps({"namespaces": namespaces or {}}))
        authority = {"url": f"http://{LOOPBACK}:9/", "trustBundle": "roots.pem"}  # asked by nobody
        anchors = {"rfc3161": {"tsa": authority}} if namespaces else {}
        (config / "anchors.yaml").write_text(json.dumps(anchors))
        self.temporal = TemporalServer(folder, headless=True, database=folder / "temporal.db")
        self.handler = Handler()
        self.workers: list[WorkerProcess] = []
        self.api_port = 0
        """Of the API that was started last."""
        self.books = Books(database or self.root / JOBS_DATABASE)
        self.replays = Replays()

    def __enter__(self) -> Self:
        """Start the server."""
        self.temporal.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End everything; every history replays."""
        try:
            for worker in self.workers:
                worker.kill()
            if not self.temporal.alive:
                self.temporal.start()
            self.replays.end(self.temporal.address, error)
        finally:
            self.temporal.kill()
            self.handler.shutdown()
            self.handler.server_close()

    def start_worker(
        self,
        roles: str = "workflows,jobs,api",
        *,
        script: str = "worker.py",
        environment: Mapping[str, str] | None = None,
    ) -> WorkerProcess:
        """Start a worker and wait until it answers."""
        port = free_port()
        settings = {
            **os.environ,
            "TEMPORAL_ADDRESS": self.temporal.address,
            "VMSH_ROOT": str(self.root),
            "METRICS_PORT": str(free_port()),
            "API_PORT": str(port),
            "API_HOST": LOOPBACK,
            "SERVICE_TOKEN": SERVICE,
            "ADMIN_TOKEN": ADMIN,
            "MAIL_SERVICE_URL": self.handler.url,
            "JOBS_DRAIN": "5",
            "JOBS_DATABASE_URL": self.database,
            **(environment or {}),
        }
        number = len(self.workers)
        log = self.folder / f"worker-{number}.log"
        worker = WorkerProcess(f"worker {number}", log, settings, "--roles", roles, script=script)
        worker.start()
        self.workers.append(worker)
        if "api" in roles:
            self.api_port = port
        return worker

    def replace_database(self, copy: Path | None = None) -> None:
        """Kill the server, and start it again with an older copy of its database, or with none."""
        database = self.temporal.database
        assert database is not None
        self.replays.check_at(self.temporal.address)
        kill(self.temporal)
        for place in database.parent.glob(f"{database.name}*"):
            place.unlink()
        if copy is not None:
            shutil.copy(copy, database)
        self.temporal.start()

    # --- the API -------------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: object = None, *, port: int = 0) -> tuple[int, Any]:
        """Return status and body of the API's answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {ADMIN}", "X-Service-Token": SERVICE}
        if data is not None:
            headers["Content-Type"] = "application/json"
        url = f"http://{LOOPBACK}:{port or self.api_port}{path}"
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=240) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def register(self, name: str, cron: str = EVERY_SECOND, **changes: Any) -> None:
        """Register a job as a service does."""
        body = {
            "name": name,
            "displayName": name,
            "description": name,
            "cronExpression": cron,
            "enabled": True,
            "jobType": "other",
            "service": SERVICE_NAME,
            "endpoint": "/run",
            "config": {},
            **changes,
        }
        status, answer = self.ask("POST", "/api/jobs/register", body)
        assert status == 200, answer

    def trigger(self, name: str) -> dict[str, Any]:
        """Trigger a job and return the answer."""
        status, answer = self.ask("POST", f"/api/jobs/{name}/trigger", {})
        assert status == 200, answer
        return dict(answer["result"])

    # --- Temporal ------------------------------------------------------------------------------------------------------

    def temporal_says(self, question: Callable[[Client], Awaitable[Answer]]) -> Answer:
        """Ask Temporal itself."""

        async def asked() -> Answer:
            address, converter = self.temporal.address, pydantic_data_converter
            return await question(await Client.connect(address, data_converter=converter))

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, asked()).result()

    def status(self, name: str) -> dict[str, Any]:
        """Return what a job's workflow says of itself."""
        workflow_id = job_workflow_id(name)
        return self.temporal_says(
            lambda client: client.get_workflow_handle(workflow_id).query(STATUS, result_type=dict)
        )

    def signal(self, name: str, message: str, *arguments: Any) -> None:
        """Send a signal to a job's workflow."""
        workflow_id = job_workflow_id(name)
        self.temporal_says(
            lambda client: client.get_workflow_handle(workflow_id).signal(
                message, args=list(arguments)
            )
        )

    # --- judging -------------------------------------------------------------------------------------------------------

    def settle(self, *names: str) -> None:
        """Let no slot run any more, and have what the slots have come to written: a last run brings it."""
        for name in names:
            self.signal(name, "pause", "the test ends")
        for name in names:
            self.wait(lambda job=name: self._rests(job), f"a rest of {name}")
            assert self.trigger(name)["success"]
            self.wait(lambda job=name: self._rests(job), f"a rest of {name} after its last run")

    def _rests(self, name: str) -> bool:
        view = self.status(name)
        nothing_left = view["running"] is None and view["unwritten"] == 0
        return nothing_left and view["paused"] and not self.books.open_runs(name)

    def assert_kept(self, *names: str, period: int = 0) -> None:
        """One call a run, counters equal rows, nothing runs; and slots of a job that is due each so many seconds add up."""
        findings = []
        for name in names:
            found = self.books.findings(name, self.handler.calls)
            found += self.books.slot_findings(name, period) if period else []
            findings += [f"{name}: {finding}" for finding in found]
        assert findings == [], findings

    def wait(self, question: Callable[[], Answer], what: str, seconds: float = 180.0) -> Answer:
        """Ask until the answer is true, and return it; the failure says what the system is at."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if answer := question():
                    return answer
            except NOT_NOW:
                pass
            time.sleep(0.2)
        raise AssertionError(f"{what} did not come within {seconds:g} s\n{self.at_what()}")

    def at_what(self) -> str:
        """Return the last lines of each worker's log, for a failure."""
        return "\n".join(f"{worker.name}:\n{worker.last_lines()}" for worker in self.workers)


def kill(part: WorkerProcess | TemporalServer) -> None:
    """Kill a process as a power cut would."""
    os.kill(part.pid, signal.SIGKILL)
    process = part.process
    assert isinstance(process, subprocess.Popen)
    process.wait()

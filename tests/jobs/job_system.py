"""Runs jobs for real: a Temporal server, workers as processes, and a service that counts its calls."""

import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from devnet.ports import LOOPBACK, free_port
from devnet.temporal import TemporalServer
from tests.support.replays import Replays
from vaultmesh.cli.worker_process import WorkerProcess

ADMIN, SERVICE = "admin-token-of-tests-1", "service-token-of-tests"
SERVICE_NAME = "mail-service"
Answer = TypeVar("Answer")


class Handler(ThreadingHTTPServer):
    """A service that takes every call, and waits for `seconds` of the job's config."""

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__((LOOPBACK, 0), _Answers)
        self.calls: list[dict[str, Any]] = []
        """Bodies, with the instant of each under `at`."""
        self.at_once: Counter[str] = Counter()
        self.most_at_once = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.server_address[1]}"

    def ids(self) -> Counter[str]:
        """Return how often each run was called."""
        return Counter(call["executionId"] for call in self.calls)


class _Answers(BaseHTTPRequestHandler):
    server: Handler

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        job = body["jobName"]
        self.server.calls.append({**body, "at": time.time()})
        self.server.at_once[job] += 1
        self.server.most_at_once = max(self.server.most_at_once, self.server.at_once[job])
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
    """Temporal with a database, a handler, and workers with the roles of jobs; SQLite keeps the jobs."""

    def __init__(self, folder: Path) -> None:
        """Start nothing yet."""
        self.folder = folder
        self.root = folder / "root"
        config = self.root / "vmsh/config"
        config.mkdir(parents=True)
        (config / "namespaces.yaml").write_text("namespaces: {}\n")
        (config / "anchors.yaml").write_text("{}\n")
        self.temporal = TemporalServer(folder, headless=True, database=folder / "temporal.db")
        self.handler = Handler()
        self.workers: list[WorkerProcess] = []
        self.ports: list[int] = []
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

    def start_worker(self, roles: str = "workflows,jobs,api") -> WorkerProcess:
        """Start a worker and wait until it answers."""
        port = free_port()
        environment = {
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
        }
        number = len(self.workers)
        worker = WorkerProcess(
            f"worker {number}", self.folder / f"worker-{number}.log", environment, "--roles", roles
        )
        worker.start()
        self.workers.append(worker)
        self.ports.append(port)
        return worker

    def kill_worker(self, number: int = -1) -> None:
        """Kill a worker as a power cut would."""
        kill(self.workers[number])

    # --- the API -------------------------------------------------------------------------------------------------------

    def ask(
        self, method: str, path: str, body: object = None, *, worker: int = -1
    ) -> tuple[int, Any]:
        """Return status and body of the API's answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {ADMIN}", "X-Service-Token": SERVICE}
        if data is not None:
            headers["Content-Type"] = "application/json"
        url = f"http://{LOOPBACK}:{self.ports[worker]}{path}"
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def register(self, name: str, cron: str, **config: object) -> None:
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
            "config": config,
        }
        status, answer = self.ask("POST", "/api/jobs/register", body)
        assert status == 200, answer

    def job(self, name: str) -> dict[str, Any]:
        """Return a job as the API shows it."""
        status, answer = self.ask("GET", f"/api/jobs/{name}")
        assert status == 200, answer
        return answer

    def history(self, name: str) -> list[dict[str, Any]]:
        """Return up to 100 runs of a job."""
        status, answer = self.ask("GET", f"/api/jobs/{name}/history?limit=100")
        assert status == 200, answer
        return answer["executions"]

    def assert_books_agree(self, name: str) -> None:
        """Counters equal the rows, and every run was called at most once."""
        rows, job = self.history(name), self.job(name)
        ended = [row for row in rows if row["status"] != "running"]
        assert job["totalRuns"] == len(ended)
        assert job["successfulRuns"] == sum(row["status"] == "completed" for row in ended)
        assert set(self.handler.ids().values()) <= {1}, self.handler.ids()
        assert self.handler.most_at_once <= 1

    @staticmethod
    def wait(question: Callable[[], Answer], what: str, seconds: float = 60.0) -> Answer:
        """Ask until the answer is true, and return it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if answer := question():
                    return answer
            except (OSError, AssertionError):
                pass  # an API that is being started
            time.sleep(0.2)
        raise AssertionError(f"{what} did not come within {seconds:g} s")


def kill(part: WorkerProcess | TemporalServer) -> None:
    """Kill a process as a power cut would."""
    os.kill(part.pid, signal.SIGKILL)
    process = part.process
    assert isinstance(process, subprocess.Popen)
    process.wait()

"""A worker that is given the environment of the scheduler before us, and what its services send, does that scheduler's work."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from devnet.ports import LOOPBACK, free_port
from devnet.temporal import TemporalServer
from tests.api.issuer import Key, clerk_key, sign
from tests.api.test_clients import NAMES, REGISTRATIONS
from tests.simulators.handlers import refusals_of_email_service, refusals_of_user_service
from tests.support.replays import Replays
from tests.support.system import System
from vaultmesh.cli.worker_process import WorkerProcess
from vaultmesh.domain.paths import JOBS_DATABASE
from vaultmesh.process.jwt_settings import KEYS_PATH
from vaultmesh.process.settings import REPOSITORY

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(700)]
ADMIN = "an-admin-token-of-tests"
SUPABASE_KEY, CLERK_KEY = "a-service-key-of-supabase-1", "sk_test_0123456789abcdefghij"
USER = "user_2abcdefghijklmnop"
CLERK, CLERK_HOST = Key.rsa("ins_seed"), "clerk.seed.example"
CLIENT = """
const [url, token, ...registrations] = process.argv.slice(1);
for (const registration of registrations) {
  const headers = { 'Content-Type': 'application/json' };
  if (token) headers['X-Service-Token'] = token;
  const body = JSON.stringify(JSON.parse(registration));
  const answer = await fetch(`${url}/api/jobs/register`, { method: 'POST', headers, body });
  console.log(JSON.stringify({ status: answer.status, body: await answer.json() }));
}
"""
"""Registers as the services do: with Node's own client, one job after the other."""


class Services(ThreadingHTTPServer):
    """Every service of the scheduler before us, at one address; it keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), _Answers)
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        """Path, header with the execution id, and body of each call."""
        self.url = f"http://{LOOPBACK}:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Answers(BaseHTTPRequestHandler):
    server: Services

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.calls.append((self.path, self.headers["X-Scheduler-Execution-Id"], body))
        answer = json.dumps({"success": True, "itemsProcessed": 1, "durationMs": 1}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        """Answer as Clerk does when asked for its keys."""
        answer = json.dumps({"keys": [CLERK.jwk]}).encode()
        self.send_response(200 if self.path == KEYS_PATH else 404)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Seed:
    """A worker with that environment, its Temporal server, and the services."""

    def __init__(self, folder: Path, address: str, services: Services) -> None:
        config = folder / "root/vmsh/config"
        config.mkdir(parents=True)
        (config / "namespaces.yaml").write_text("namespaces: {}\n")
        (config / "anchors.yaml").write_text("{}\n")
        self.root, self.services, self.port = folder / "root", services, free_port()
        environment = {
            **self.environment(),
            **OURS,
            "ADMIN_JWT_JWKS_URL": services.url + KEYS_PATH,
            "TEMPORAL_ADDRESS": address,
            "VMSH_ROOT": str(self.root),
            "METRICS_PORT": str(free_port()),
        }
        roles = ("--roles", "jobs,api,workflows")
        self.worker = WorkerProcess("worker", folder / "worker.log", environment, *roles)

    def environment(self) -> dict[str, str]:
        """Return Secret, ConfigMap and Deployment of the scheduler before us."""
        services = ("EMAIL", "USER", "CRAWLER", "DISCOVERY", "INTERACTION")
        return {
            "NODE_ENV": "production",
            "PORT": str(self.port),
            "HOST": LOOPBACK,
            "LOG_LEVEL": "info",
            "ALLOWED_ORIGINS": "https://seed.example,https://www.seed.example",
            "RATE_LIMIT_MAX": "100",
            "RATE_LIMIT_WINDOW": "60000",
            "SUPABASE_URL": "https://project.supabase.example",
            "SUPABASE_SERVICE_KEY": SUPABASE_KEY,
            "CLERK_PUBLISHABLE_KEY": clerk_key(CLERK_HOST),
            "CLERK_SECRET_KEY": CLERK_KEY,
            **{f"{service}_SERVICE_URL": self.services.url for service in services},
        }

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def ask(
        self, method: str, path: str, body: object = None, token: str = ADMIN
    ) -> tuple[int, Any]:
        """Return status and body of what the API answers an administrator."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310 - our own
        try:
            with urllib.request.urlopen(request, timeout=240) as answer:  # noqa: S310 - our own
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def history(self, name: str) -> list[dict[str, Any]]:
        """Return the runs of a job, newest first."""
        status, answer = self.ask("GET", f"/api/jobs/{name}/history")
        assert status == 200, answer
        executions: list[dict[str, Any]] = answer["executions"]
        return executions


OURS = {
    "JOBS_DATABASE_URL": "sqlite",
    "ADMIN_TOKEN": ADMIN,
    "ALLOW_ANONYMOUS_REGISTRATION": "true",
    "JOBS_DRAIN": "5",
}
"""What an operator adds."""


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seed]:
    folder = tmp_path_factory.mktemp("seed")
    services, replays = Services(), Replays()
    with TemporalServer(folder, headless=True) as temporal:
        running = Seed(folder, temporal.address, services)
        with running.worker:
            yield running
        replays.check_at(temporal.address)
    services.shutdown()
    services.server_close()


def _registered(seed: Seed, token: str = "") -> list[dict[str, Any]]:
    """Have both services register, as they do when they start; return what they were answered."""
    jobs = map(json.dumps, REGISTRATIONS)
    done = subprocess.run(
        ["node", "--input-type=module", "-e", CLIENT, seed.url, token, *jobs],
        capture_output=True,
        text=True,
        timeout=480,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _log(seed: Seed) -> list[dict[str, Any]]:
    """Return the lines of the worker's log; each is a JSON object."""
    return [json.loads(line) for line in seed.worker.log.read_text().splitlines()]


def test_both_services_register_without_a_token_and_their_jobs_are_listed(
    seed: Seed,
) -> None:
    for _ in range(2):  # as at each of their starts
        for registration, answer in zip(REGISTRATIONS, _registered(seed), strict=True):
            said = {
                "success": True,
                "message": f"Job {registration['name']} registered successfully",
            }
            assert answer == {"status": 200, "body": said}
    status, answer = seed.ask("GET", "/api/jobs")
    assert status == 200
    assert [job["name"] for job in answer["jobs"]] == NAMES
    for job in answer["jobs"]:
        (registration,) = [one for one in REGISTRATIONS if one["name"] == job["name"]]
        assert {key: job[key] for key in registration} == registration
        assert job["isRunning"] is True
        assert job["nextRunAt"]


def test_their_jobs_fire_and_are_triggered_in_the_form_that_they_check(seed: Seed) -> None:
    _registered(seed)
    cron = {"cronExpression": "* * * * * *"}
    assert seed.ask("PUT", "/api/jobs/weekly-digest/cron", cron)[0] == 200
    fired = System.wait(
        lambda: [call for call in seed.services.calls if call[0].endswith("/weekly-digest")],
        "a call by its slot",
    )[0]
    assert seed.ask("POST", "/api/jobs/weekly-digest/disable")[0] == 200
    assert fired[2]["triggeredBy"] == "scheduler"
    status, answer = seed.ask("POST", "/api/jobs/deletion-cleanup/trigger", {"userId": USER})
    assert (status, answer["result"]["success"]) == (200, True)
    (asked,) = [call for call in seed.services.calls if call[2]["triggeredBy"] == "manual"]
    assert (asked[0], asked[2]["triggeredByUser"]) == ("/api/jobs/process-deletions", USER)
    assert refusals_of_email_service(fired[2], fired[1]) == []
    assert refusals_of_user_service(asked[2], asked[1]) == []
    (row,) = seed.history("deletion-cleanup")
    assert (row["id"], row["status"]) == (asked[1], "completed")


def test_an_administrator_logs_in_by_clerk_with_the_role_that_the_database_has(seed: Seed) -> None:
    _registered(seed)
    token = sign(CLERK, iss=f"https://{CLERK_HOST}", azp="https://seed.example", sub=USER)

    def in_database(statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(seed.root / JOBS_DATABASE)) as database, database:
            return database.execute(statement).fetchall()

    status, answer = seed.ask("GET", "/api/jobs", token=token)
    assert (status, answer["error"]) == (503, "Authentication unavailable")  # no such table
    in_database("CREATE TABLE users (id TEXT, clerk_user_id TEXT, role TEXT)")
    in_database(f"INSERT INTO users VALUES ('1', '{USER}', 'user')")  # noqa: S608 - a constant
    assert seed.ask("GET", "/api/jobs", token=token)[0] == 403
    in_database("UPDATE users SET role = 'super_admin'")
    assert seed.ask("POST", "/api/jobs/re-engagement/disable", token=token)[0] == 200
    actors = in_database("SELECT actor FROM job_audit WHERE action = 'disable' ORDER BY id")
    assert actors[-1] == (USER,)
    in_database("DROP TABLE users")
    assert token.split(".")[2] not in seed.worker.log.read_text()


def test_begin_and_end_of_each_run_are_lines_of_the_log_with_its_id(seed: Seed) -> None:
    _registered(seed)
    seed.ask("POST", "/api/jobs/queue-cleanup/trigger", {})
    execution = seed.history("queue-cleanup")[0]["id"]
    begin, end = [line for line in _log(seed) if line.get("execution") == execution]
    assert (begin["msg"], end["msg"]) == ("job execution started", "job execution ended")
    assert begin["job"] == end["job"] == "queue-cleanup"
    assert begin["triggered_by"] == "manual"
    assert (end["status"], end["items"]) == ("completed", 1)
    assert end["milliseconds"] >= 0


def test_what_is_open_and_what_is_not_needed_is_said_at_the_start_and_no_key_is(
    seed: Seed,
) -> None:
    details = [line["detail"] for line in _log(seed) if "detail" in line]
    for beginning in (
        "ALLOW_ANONYMOUS_REGISTRATION: whoever reaches the API may register jobs",
        "NODE_ENV is no longer needed",
        "SUPABASE_SERVICE_KEY is no longer needed",
        "CLERK_SECRET_KEY is no longer needed",
        "the roles of users are looked up in the file of jobs",
    ):
        assert [detail for detail in details if detail.startswith(beginning)], beginning
    (known,) = [line["services"] for line in _log(seed) if line["msg"] == "services known"]
    assert f"service email-service: {seed.services.url}, called with no proof of origin" in known
    text = seed.worker.log.read_text()
    assert not [key for key in (SUPABASE_KEY, CLERK_KEY, ADMIN) if key in text]


@pytest.mark.parametrize("roles", ["jobs", "api", "workflows,jobs,api"])
def test_jobs_in_a_database_that_nobody_named_are_not_left_behind_in_silence(
    seed: Seed, roles: str
) -> None:
    told = {name: value for name, value in OURS.items() if name != "JOBS_DATABASE_URL"}
    done = _ended(seed, roles, {**seed.environment(), **told})
    assert done.returncode == 2, done.stdout
    (problem,) = json.loads(done.stdout.splitlines()[-1])["problems"]
    assert "SUPABASE_URL is set and JOBS_DATABASE_URL is not" in problem
    assert "set JOBS_DATABASE_URL to its connection string" in problem


def test_a_database_of_users_that_cannot_be_meant_stops_the_start(seed: Seed) -> None:
    wrong = {"USERS_DATABASE_URL": "mysql://app:a-secret-word@db/app"}
    done = _ended(seed, "api", {**seed.environment(), **OURS, **wrong})
    assert done.returncode == 2, done.stdout
    (problem,) = json.loads(done.stdout.splitlines()[-1])["problems"]
    assert problem.startswith("USERS_DATABASE_URL is no URL of PostgreSQL")
    assert "a-secret-word" not in done.stdout


def test_everything_that_is_wrong_is_said_at_once(seed: Seed) -> None:
    wrong = {
        "PORT": "http",
        "RATE_LIMIT_MAX": "many",
        "EMAIL_SERVICE_URL": "ftp://mail",
        "CLERK_PUBLISHABLE_KEY": "pk_test_clerk",
    }
    done = _ended(seed, "api", {**seed.environment(), **OURS, **wrong, "JOBS_DATABASE_URL": ""})
    assert done.returncode == 2
    problems = json.loads(done.stdout.splitlines()[-1])["problems"]
    for name in (*wrong, "SUPABASE_URL"):
        assert [line for line in problems if line.startswith(name)], name


def _ended(seed: Seed, roles: str, told: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a worker until it ends by itself, which it does before it asks Temporal for anything."""
    environment = {
        **os.environ,
        "TEMPORAL_ADDRESS": f"{LOOPBACK}:{free_port()}",
        "VMSH_ROOT": str(seed.root),
        "METRICS_PORT": "0",
        **told,
    }
    return subprocess.run(
        [sys.executable, "worker.py", "--roles", roles],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=360,
        check=False,
    )

"""`dev` and `demo` as processes, with HTTP jobs: their API is announced, open to whom it should be, and no condition for anchors."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devnet.ports import LOOPBACK, free_port
from tests.jobs.job_system import Handler
from tests.support.running_dev import Running
from tests.support.system import System
from vaultmesh.process.settings import REPOSITORY

pytestmark = [pytest.mark.server, pytest.mark.evm, pytest.mark.slow, pytest.mark.timeout(700)]
ADMIN, SERVICE = "an-admin-token-of-tests", "a-service-token-of-tests"
JOB = {
    "name": "nightly-report",
    "displayName": "Nightly report",
    "description": "Mail the report",
    "cronExpression": "0 3 * * *",
    "enabled": True,
    "jobType": "analytics",
    "service": "sample-service",
    "endpoint": "/jobs/works",
}


def _ask(
    running: Running, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, Any]:
    """Return status and body of the announced API's answer."""
    data = None if body is None else json.dumps(body).encode()
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    if data is not None:
        told["Content-Type"] = "application/json"
    url = f"{running.announced()['api']['url']}{path}"
    request = urllib.request.Request(url, data, told, method=method)  # noqa: S310 - our own
    try:
        with urllib.request.urlopen(request, timeout=240) as answer:  # noqa: S310 - our own
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


# --- nobody decided anything -------------------------------------------------------------------


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a system that ends in order, and whose token goes with it."""
    running = Running(tmp_path_factory.mktemp("dev") / "root")
    running.announced()
    yield running
    assert running.end() == 0
    assert not _header(running).exists()


def _header(running: Running) -> Path:
    """Return the file with the token of the session, as it is printed."""
    (place,) = re.findall(r"curl -H @(\S+)", running.said())
    return Path(place)


def test_a_service_registers_and_an_operator_runs_its_job(dev: Running) -> None:
    assert _ask(dev, "GET", "/health")[1]["status"] == "healthy"
    status, answer = _ask(dev, "POST", "/api/jobs/register", JOB)
    assert (status, answer["success"]) == (200, True)
    triggered = dev.starter("jobs", "trigger", JOB["name"], "--wait")
    assert triggered.returncode == 0, triggered.stderr
    assert "completed" in triggered.stdout
    listed = json.loads(dev.starter("jobs", "list", "--json").stdout)
    assert [(job["name"], job["totalRuns"]) for job in listed["jobs"]] == [(JOB["name"], 1)]


def test_the_line_that_is_printed_opens_the_routes_of_administrators(dev: Running) -> None:
    (line,) = re.findall(r"Try: (curl .*\\\n.*)", dev.said())
    done = subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "jobs" in json.loads(done.stdout), done.stdout
    assert _ask(dev, "GET", "/api/jobs")[0] == 401


def test_the_token_of_a_session_is_readable_by_its_owner_only_and_lies_nowhere_else(
    dev: Running,
) -> None:
    header = _header(dev)
    assert stat.S_IMODE(header.stat().st_mode) == 0o600
    token = header.read_bytes().split()[-1]
    assert len(token) >= 32
    files = [path for path in dev.root.rglob("*") if path.is_file()]
    assert [path for path in files if _holds(path, token)] == [header]
    assert token.decode() not in dev.said()


def _holds(path: Path, token: bytes) -> bool:
    """Whether a file holds it; the system runs, and may just have taken the file away."""
    try:
        return token in path.read_bytes()
    except FileNotFoundError:
        return False


# --- the caller decided ------------------------------------------------------------------------


def test_what_the_caller_set_reaches_the_worker(tmp_path: Path) -> None:
    handler, port = Handler(), free_port()
    running = Running(
        tmp_path / "root",
        environment={
            "API_PORT": str(port),
            "ADMIN_TOKEN": ADMIN,
            "SERVICE_TOKEN": SERVICE,
            "ALLOWED_ORIGINS": "https://admin.example",
            "MAIL_SERVICE_URL": handler.url,
            "JOBS_SERVICES": f"report={handler.url}",
            "JOBS_DATABASE_URL": "sqlite",
            "SUPABASE_URL": "https://project.example",
        },
    )
    try:
        assert running.announced()["api"]["url"] == f"http://{LOOPBACK}:{port}"
        job = {**JOB, "service": "report"}
        assert _ask(running, "POST", "/api/jobs/register", job)[0] == 401
        assert _ask(running, "POST", "/api/jobs/register", job, X_Service_Token=SERVICE)[0] == 200
        bearer = f"Bearer {ADMIN}"
        path = f"/api/jobs/{JOB['name']}/trigger"
        status, answer = _ask(running, "POST", path, {}, Authorization=bearer)
        assert (status, answer["result"]["success"]) == (200, True)
        assert [call["jobName"] for call in handler.calls] == [JOB["name"]]
        assert ADMIN not in running.said()
    finally:
        code = running.end()
        handler.shutdown()
        handler.server_close()
    assert code == 0


# --- jobs can't run ----------------------------------------------------------------------------


def test_a_store_that_cannot_be_used_is_told_and_anchoring_goes_on(tmp_path: Path) -> None:
    running = Running(
        tmp_path / "root", environment={"JOBS_DATABASE_URL": "mysql://user:hidden-one@127.0.0.1/x"}
    )
    try:
        assert "api" not in running.announced()
        said = running.said()
        assert "\njobs     do not run: JOBS_DATABASE_URL" in said
        assert "hidden-one" not in said
        shown = subprocess.run(
            [sys.executable, "starter.py", "seal", "dao:vaultmesh", "README.md"],
            cwd=REPOSITORY,
            env={"PATH": os.environ["PATH"], "VMSH_ROOT": str(running.root)},
            capture_output=True,
            text=True,
            timeout=240,
            check=True,
        )
        receipts = running.root / "out/anchors/dao_vaultmesh" / shown.stdout.strip()
        System.wait(lambda: list(receipts.glob("*.json")), "an anchor", 60)
    finally:
        code = running.end()
    assert code == 0
    assert running.processes() == []


def test_a_port_that_is_taken_is_told_and_every_anchor_of_the_demo_becomes_final(
    tmp_path: Path,
) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((LOOPBACK, free_port()))
        taken.listen()
        port = taken.getsockname()[1]
        environment = {"API_PORT": str(port)}
        running = Running(tmp_path / "root", ("demo", "--once"), environment)
        assert running.wait(200) == 0, running.said()
    said = running.said()
    assert f"jobs do not run: 127.0.0.1 port {port} can't be used for the job API" in said
    assert "\nevery cadence has a final, verified anchor" in said
    assert running.processes() == []

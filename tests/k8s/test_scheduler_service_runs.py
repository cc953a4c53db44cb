"""Workers as the manifests of scheduler-service make them: real processes with a server, a database and a service that is called."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from devnet.ports import LOOPBACK, free_port
from devnet.postgres import PostgresServer
from tests.jobs.job_system import ADMIN, EVERY_SECOND, NEVER, SERVICE, JobSystem
from tests.k8s.ingress import Ingress
from tests.k8s.manifests import documents
from tests.k8s.scheduler_service import (
    EXAMPLES,
    JOBS_ONLY,
    config,
    container,
    environment,
    nothing_anchored,
)
from vaultmesh.cli.worker_process import WorkerProcess
from vaultmesh.process.settings import REPOSITORY

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(700)]
DATABASE = "jobs"
ROLES = container()["args"]
SMOKE = str(EXAMPLES / "smoke-test.sh")
BEFORE = {
    "NODE_ENV": "production",
    "HOST": "0.0.0.0",  # noqa: S104 - as it was
    "LOG_LEVEL": "info",
    "ALLOWED_ORIGINS": "https://example.com,https://www.example.com",
    "RATE_LIMIT_MAX": "100",
    "RATE_LIMIT_WINDOW": "60000",
    "EMAIL_SERVICE_URL": "http://email-service:7006",
    "CRAWLER_SERVICE_URL": "http://crawler-service:7004",
    "DISCOVERY_SERVICE_URL": "http://discovery-service:7001",
    "INTERACTION_SERVICE_URL": "http://interaction-service:7002",
    "SUPABASE_URL": "https://project.supabase.example",
    "SUPABASE_SERVICE_KEY": "key-of-the-project-1",
    "CLERK_PUBLISHABLE_KEY": "pk_test_Y2xlcmsuZXhhbXBsZS5jb20k",
    "CLERK_SECRET_KEY": "sk_test_0123456789abcdef",
    "SERVICE_TOKEN": SERVICE,
}
"""What the ConfigMap and the Secret of the scheduler before hold, but for its port."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory, server: PostgresServer) -> Iterator[JobSystem]:
    """A Temporal server, a service that is called, and an empty database."""
    folder = tmp_path_factory.mktemp("pods")
    server.sql("postgres", f'DROP DATABASE IF EXISTS "{DATABASE}" WITH (FORCE)')
    with JobSystem(folder, server.create(DATABASE)) as running:
        yield running


def of_pod(system: JobSystem, number: int, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a pod: nothing of this shell but where programs are."""
    root = system.folder / f"pod-{number}"
    root.mkdir()
    own = {
        "TEMPORAL_ADDRESS": system.temporal.address,
        "VMSH_ROOT": str(root),
        "METRICS_PORT": str(free_port()),
    }
    return {"PATH": os.environ["PATH"], **variables, **own}


def start(system: JobSystem, name: str, variables: Mapping[str, str], *arguments: str) -> None:
    worker = WorkerProcess(name, system.folder / f"{name}.log", variables, *arguments)
    system.workers.append(worker)
    worker.start()


def start_pods(system: JobSystem, arguments: list[str]) -> tuple[int, int]:
    """Start the Deployment's two pods, and return the ports of their APIs."""
    secrets = {
        "JOBS_DATABASE_URL": system.database,
        "SERVICE_TOKEN": SERVICE,
        "ADMIN_TOKEN": ADMIN,
        "MAIL_SERVICE_URL": system.handler.url,
    }
    mounted = system.folder / "mounted"
    mounted.mkdir()
    for name, text in nothing_anchored()["data"].items():
        (mounted / name).write_text(text)
    own = {**config(), **environment(), **secrets, "HOST": LOOPBACK}
    own |= {
        name: str(mounted / Path(own[name]).name) for name in ("VMSH_NAMESPACES", "VMSH_ANCHORS")
    }
    listening = (free_port(), free_port())
    for number, port in enumerate(listening):
        of_this = of_pod(system, number, own | {"API_PORT": str(port)})
        start(system, f"pod {number}", of_this, *arguments)
    return listening


def smoke(url: str, token: str = ADMIN) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "ADMIN_TOKEN": token, "PATIENCE_SECONDS": "20"}
    return subprocess.run(
        [SMOKE, url], env=variables, capture_output=True, text=True, check=False, timeout=400
    )


def test_what_the_scheduler_before_was_told_starts_a_worker_that_answers_on_its_port(
    system: JobSystem,
) -> None:
    port = free_port()
    told = {**BEFORE, "PORT": str(port), "JOBS_DATABASE_URL": system.database}
    start(system, "worker", of_pod(system, 0, told), *ROLES)
    status, answer = system.ask("GET", "/health", port=port)
    assert (status, answer["status"], answer["jobs"]) == (200, "healthy", 0)
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        path = container()[probe]["httpGet"]["path"]
        assert system.ask("GET", path, port=port)[0] == 200
    # Services register as they did; nobody is an administrator without a token.
    system.api_port = port
    system.register("weekly-digest", NEVER, service="email-service")
    status, answer = system.ask("POST", "/api/jobs/register", registration("deletion-cleanup"))
    assert (status, "USER_SERVICE_URL" in answer["message"]) == (400, True)
    assert system.ask("GET", "/api/jobs")[0] in {401, 403}
    log = (system.folder / "worker.log").read_text()
    assert "NODE_ENV is no longer needed" in log
    assert not [name for name in ("key-of-the-project-1", SERVICE) if name in log]


def seen(url: str) -> str:
    with urllib.request.urlopen(url, timeout=120) as answer:  # noqa: S310 - our own
        return str(answer.read().decode())


def registration(name: str) -> dict[str, object]:
    return {
        "name": name, "displayName": name, "description": name, "cronExpression": NEVER, "enabled": True, "jobType": "cleanup",
        "service": "user-service", "endpoint": "/run", "config": {},
    }  # fmt: skip


def test_a_pod_without_the_old_database_does_not_start_on_an_empty_store(tmp_path: Path) -> None:
    """The harm: all jobs are gone, and everything looks well."""
    variables = {"PATH": os.environ["PATH"], "VMSH_ROOT": str(tmp_path), **BEFORE}
    done = subprocess.run(
        [sys.executable, "worker.py", *ROLES],
        cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip
    assert (done.returncode, "JOBS_DATABASE_URL" in done.stderr + done.stdout) == (2, True)


def test_two_pods_beside_the_deployment_that_anchors_call_each_run_once(system: JobSystem) -> None:
    system.start_worker("workflows,anchors")
    first, second = start_pods(system, ROLES)
    system.api_port = first
    system.register("every-second", EVERY_SECOND)
    system.wait(lambda: len(system.handler.of("every-second")) >= 3, "three runs")
    listed = [system.ask("GET", "/api/jobs/every-second", port=port) for port in (first, second)]
    assert [status for status, _ in listed] == [200, 200]
    # The page of one pod, the run of either: it is one system.
    status, _ = system.ask(
        "PUT", "/api/jobs/every-second/cron", {"cronExpression": NEVER}, port=second
    )
    assert status == 200
    system.register("asked-for", NEVER)
    status, answer = system.ask("POST", "/api/jobs/asked-for/trigger", {}, port=second)
    assert (status, answer["result"]["success"]) == (200, True)

    good = smoke(f"http://{LOOPBACK}:{first}/")
    assert good.returncode == 0, good.stderr
    assert good.stdout.splitlines()[-1] == "/api/jobs: 200"
    with Ingress(second) as ingress:
        from_outside = smoke(f"{ingress.url}/scheduler")
        assert from_outside.returncode == 0, from_outside.stderr
    refused = smoke(f"http://{LOOPBACK}:{second}", "a-token-that-is-wrong")
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (
        1,
        "smoke test: /api/jobs answered 401, not 200",
    )
    # A pod knows no namespace, and says of none that it is missing: those in the image are nobody's.
    gone, left = system.workers[-2:]
    assert seen(f"{left.url}/health").count('"missing"') == 0
    assert "dao:vaultmesh" not in seen(f"{left.url}/metrics")
    # A pod that goes away takes nothing along.
    gone.kill()
    system.ask("PUT", "/api/jobs/every-second/cron", {"cronExpression": EVERY_SECOND}, port=second)
    before = len(system.handler.of("every-second"))
    system.wait(lambda: len(system.handler.of("every-second")) >= before + 3, "runs by the other")
    system.api_port = second
    system.settle("every-second", "asked-for")
    system.assert_kept("every-second", "asked-for")
    assert left.alive


def test_the_smoke_test_fails_where_nobody_answers() -> None:
    variables = {"PATH": os.environ["PATH"], "ADMIN_TOKEN": ADMIN, "PATIENCE_SECONDS": "2"}
    url = f"http://{LOOPBACK}:{free_port()}"
    done = subprocess.run(
        [SMOKE, url], env=variables, capture_output=True, text=True, check=False, timeout=400
    )
    assert (done.returncode, "/health is not 200 after 2 s" in done.stderr) == (1, True)
    del variables["ADMIN_TOKEN"]
    unasked = subprocess.run(
        [SMOKE, url], env=variables, capture_output=True, text=True, check=False
    )
    assert (unasked.returncode, "usage: ADMIN_TOKEN" in unasked.stderr) == (2, True)


def test_pods_that_anchor_nothing_run_jobs_by_themselves(system: JobSystem) -> None:
    """Each has a root of its own, and nothing else runs workflows."""
    (patch,) = documents(JOBS_ONLY / "deployment.yaml")
    (box,) = patch["spec"]["template"]["spec"]["containers"]
    first, second = start_pods(system, box["args"])
    system.api_port = first
    system.register("every-second", EVERY_SECOND)
    system.wait(lambda: len(system.handler.of("every-second")) >= 5, "five runs")
    system.api_port = second
    system.settle("every-second")
    system.assert_kept("every-second", period=1)
    assert system.ask("GET", "/health")[1]["status"] == "healthy"

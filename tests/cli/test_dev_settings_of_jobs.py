"""What `dev` tells its worker about HTTP jobs: what its caller decided counts, and what is left open is for one machine."""

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devnet.ports import free_port
from devnet.process import GRACE_SECONDS
from vaultmesh.cli.dev_jobs import DevJobs, own_maintenance
from vaultmesh.domain.names import EMPTY_STORE
from vaultmesh.process.api_settings import ApiSettings
from vaultmesh.process.job_settings import JobSettings
from vaultmesh.process.logs import without_secrets
from vaultmesh.process.services import Services

Session = Callable[..., DevJobs]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Return what starts the jobs of a session, with the variables of its caller."""
    started: list[DevJobs] = []

    def start(**environment: str) -> DevJobs:
        jobs = DevJobs(tmp_path, environment)
        started.append(jobs)
        jobs.start(jobs.stated_port or free_port())
        return jobs

    yield start
    for jobs in started:
        jobs.stop()


def _api(jobs: DevJobs, **environment: str) -> ApiSettings:
    """Return the settings that the worker reads."""
    return ApiSettings.from_environment({**environment, **jobs.environment()})


def test_what_nobody_decided_is_for_this_machine_alone(session: Session, tmp_path: Path) -> None:
    jobs = session()
    api = _api(jobs)
    assert (api.host, f"http://127.0.0.1:{api.port}") == ("127.0.0.1", jobs.url)
    assert api.anonymous_registration
    assert api.admin_token is not None
    (header,) = tmp_path.iterdir()
    token = api.admin_token.get_secret_value()
    assert header.read_text() == f"Authorization: Bearer {token}\n"
    assert stat.S_IMODE(header.stat().st_mode) == 0o600
    said = "\n".join(jobs.introduction())
    assert "any program here may register" in said
    assert f"curl -H @{header}" in said
    assert token not in said
    assert token not in without_secrets(f"it is {token}")
    jobs.stop()
    assert list(tmp_path.iterdir()) == []


def test_what_the_caller_decided_is_left_alone(session: Session, tmp_path: Path) -> None:
    port = free_port()
    told = {
        "API_PORT": str(port),
        "API_HOST": "0.0.0.0",  # noqa: S104 - nothing listens there
        "ADMIN_TOKEN": "an-admin-token-of-tests",
        "SERVICE_TOKEN": "a-service-token-of-tests",
        "RATE_LIMIT_MAX": "7",
        "JOBS_DRAIN": "40",
        "JOBS_SERVICES": "report=http://127.0.0.1:1",
    }
    jobs = session(**told)
    api = _api(jobs, **told)
    assert (api.host, api.port, api.rate_limit) == ("0.0.0.0", port, 7)  # noqa: S104
    assert jobs.url == f"http://127.0.0.1:{port}"
    assert not api.anonymous_registration
    assert api.admin_token is not None
    assert api.admin_token.get_secret_value() == told["ADMIN_TOKEN"]
    assert list(tmp_path.iterdir()) == []
    assert "$ADMIN_TOKEN" in jobs.introduction()[-1]
    worker = {**told, **jobs.environment()}
    assert JobSettings.from_environment(worker).drain.total_seconds() == 40
    assert jobs.grace_seconds > 40
    assert Services.from_environment(worker).names == ["report", "sample-service"]


def test_whoever_leaves_the_machine_open_opens_no_registration(session: Session) -> None:
    told = {"HOST": "0.0.0.0", "PORT": str(free_port())}  # noqa: S104 - nothing listens there
    jobs = session(**told)
    api = _api(jobs, **told)
    assert (api.host, str(api.port)) == (told["HOST"], told["PORT"])
    assert not api.anonymous_registration
    assert "nobody registers without SERVICE_TOKEN" in jobs.introduction()[0]


@pytest.mark.parametrize("value", ["true", "false"])
def test_who_said_whether_anybody_may_register_is_believed(value: str, session: Session) -> None:
    told = {"ALLOW_ANONYMOUS_REGISTRATION": value}
    jobs = session(**told)
    assert _api(jobs, **told).anonymous_registration is (value == "true")
    who = "whoever reaches it may" if value == "true" else "nobody registers"
    assert who in jobs.introduction()[0]


def test_a_port_that_means_nothing_is_left_for_the_worker_to_refuse(session: Session) -> None:
    jobs = session(API_PORT="http")
    assert jobs.environment()["API_PORT"] == "http"
    assert _api(session(API_PORT="0")).port != 0


def test_the_time_to_end_is_short_unless_somebody_wants_it_longer(session: Session) -> None:
    assert session().grace_seconds == GRACE_SECONDS


def test_jobs_that_do_not_run_are_said_to_and_nothing_else(session: Session) -> None:
    jobs = session()
    jobs.trouble = "port 7007 is taken"
    assert jobs.introduction() == ["jobs     do not run: port 7007 is taken"]


@pytest.mark.parametrize("name", ["JOBS_DATABASE_URL", "SUPABASE_URL"])
def test_samples_of_the_demo_reach_no_store_that_people_use(name: str, tmp_path: Path) -> None:
    """The harm: three sample jobs were registered in a real database, and the demo ran what it held."""
    told = {name: "https://store.example/jobs"}
    demo, dev = DevJobs(tmp_path, told, own_store=True), DevJobs(tmp_path, told)
    settings = JobSettings.from_environment({**told, **demo.environment()})
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == EMPTY_STORE
    assert any(f"{name} is left to `dev`" in line for line in demo.introduction())
    assert "JOBS_DATABASE_URL" not in dev.environment()


def test_a_database_that_a_shell_names_for_something_else_is_not_looked_after(
    tmp_path: Path,
) -> None:
    """The harm: `dev` vacuumed whatever DATABASE_URL the caller's own project has."""
    shell = {"DATABASE_URL": "postgresql://u@db/other"}
    assert own_maintenance(tmp_path, shell) == {"DATABASE_URL": ""}
    assert own_maintenance(tmp_path, {**shell, "VMSH_MAINTENANCE": "m.yaml"}) == {}
    file = tmp_path / "vmsh/config/maintenance.yaml"
    file.parent.mkdir(parents=True)
    file.touch()
    assert own_maintenance(tmp_path, shell) == {}

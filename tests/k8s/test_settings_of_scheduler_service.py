"""What the manifests of scheduler-service set is what a worker reads; roles and keys are apart; a drain fits into its time."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from typing_extensions import override

import worker
from activities.jobs.roles import JobEnvironment
from tests.k8s import manifests as anchoring
from tests.k8s.manifests import documents
from tests.k8s.scheduler_service import (
    JOBS_ONLY,
    config,
    container,
    environment,
    links_of,
    manifests,
    nothing_anchored,
    pod,
    ports,
    secret_names,
)
from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.domain.jobs.job import is_service_url
from vaultmesh.process.config_files import load_anchors, load_namespaces
from vaultmesh.process.job_settings import JobSettings
from vaultmesh.process.settings import Settings

TEMPORAL = {"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_API_KEY"}
BEFORE = {
    "NODE_ENV", "SUPABASE_URL", "SUPABASE_SERVICE_KEY", "PORT", "HOST", "ALLOWED_ORIGINS", "RATE_LIMIT_MAX", "RATE_LIMIT_WINDOW",
    "LOG_LEVEL", "SERVICE_TOKEN", "CLERK_PUBLISHABLE_KEY", "CLERK_SECRET_KEY", "EMAIL_SERVICE_URL", "CRAWLER_SERVICE_URL",
    "DISCOVERY_SERVICE_URL", "INTERACTION_SERVICE_URL",
}  # fmt: skip
"""What the scheduler before read."""
DATABASE = {"JOBS_DATABASE_URL": "postgresql://jobs@database/jobs"}
PRE_STOP_SECONDS = 5
WRITING_SECONDS = 10
"""What was cut off is written down after the drain."""


class Asked(dict[str, str]):
    """An environment that remembers which variables were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    @override
    def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
        self.names.add(key)
        return default


def settings_known(root: Path) -> set[str]:
    asked = Asked()
    Settings.from_environment(asked)
    JobEnvironment.read(asked, root)
    return asked.names | TEMPORAL


def given() -> dict[str, str]:
    """What the manifests set that is no secret."""
    return config() | environment()


def test_every_variable_is_one_that_a_worker_reads(tmp_path: Path) -> None:
    """The harm: a setting that is spelt wrong changes nothing, and nobody is told."""
    names = {*given(), *secret_names()}
    assert {name for name in names - settings_known(tmp_path) if not is_service_url(name)} == set()


def test_everything_that_the_scheduler_before_read_has_its_place() -> None:
    assert {*given(), *secret_names()} >= BEFORE


def test_no_variable_is_both_secret_and_written_down() -> None:
    assert not set(secret_names()) & set(given())


def test_a_worker_takes_the_environment(tmp_path: Path) -> None:
    settings = Settings.from_environment(given())
    tokens = {"SERVICE_TOKEN": "s" * 24, "ADMIN_TOKEN": "a" * 24}
    read = JobEnvironment.read(given() | DATABASE | tokens, tmp_path)
    assert settings.warnings == read.api.warnings == ()
    assert (settings.metrics_port, read.api.port) == (ports()["metrics"], ports()["http"])
    assert read.api.host == "0.0.0.0"  # noqa: S104 - what pods listen on
    assert read.services.find("user-service").url == "http://user-service:7003"


def test_a_pod_without_the_database_s_url_does_not_start(tmp_path: Path) -> None:
    """The harm: each pod makes a store of its own in a folder that goes with it, and all looks well."""
    empty = dict.fromkeys(secret_names(), "")
    assert set(DATABASE) <= set(empty)
    with pytest.raises(ConfigurationError, match="JOBS_DATABASE_URL"):
        JobEnvironment.read(config() | empty | environment(), tmp_path)


def test_the_port_of_the_pod_is_the_one_that_the_configuration_names() -> None:
    assert config()["PORT"] == environment()["API_PORT"] == str(ports()["http"])


def test_calls_under_way_have_their_time_to_end_before_the_pod_is_killed() -> None:
    """The harm: a call that is cut off is failed, and nobody knows whether it was received."""
    drain = JobSettings.from_environment(config()).drain.total_seconds()
    (command, seconds) = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert (command, int(seconds)) == ("sleep", PRE_STOP_SECONDS)
    needed = PRE_STOP_SECONDS + drain + WRITING_SECONDS
    assert pod()["terminationGracePeriodSeconds"] > needed


def read_all(variables: Mapping[str, str], root: Path) -> None:
    Settings.from_environment(variables)
    JobEnvironment.read(variables, root)


@pytest.mark.parametrize(("service", "setting"), [("api", "API_PORT"), ("metrics", "METRICS_PORT")])
def test_a_service_of_the_cluster_is_taken_for_no_setting(
    service: str, setting: str, tmp_path: Path
) -> None:
    """The harm: somebody makes a Service called `api`, and no pod starts any more."""
    spoilt = links_of(service)
    with pytest.raises(ConfigurationError, match=setting):
        read_all(spoilt, tmp_path)
    for spec in (pod(), anchoring.pod()):
        assert spec["enableServiceLinks"] is False
    # What pods of others get for the Service of these manifests is no setting of ours.
    links = links_of("scheduler-service", 7007)
    assert links["SCHEDULER_SERVICE_PORT"].startswith("tcp://")
    assert not set(links) & settings_known(tmp_path)


# --- roles and keys ------------------------------------------------------------------------------------------------


def roles_of(arguments: list[str]) -> set[str]:
    return set(worker.parse_arguments(arguments).roles)


def test_who_faces_users_holds_no_key_and_every_role_is_somewhere() -> None:
    facing, signing = roles_of(container()["args"]), roles_of(anchoring.container()["args"])
    assert (facing, signing) == ({"jobs", "api"}, {"workflows", "anchors"})
    assert facing | signing == set(worker.ROLES)
    volumes = {name for volume in pod()["volumes"] for name in volume if name != "name"}
    assert volumes == {"emptyDir", "configMap"}
    (config_map, secret) = container()["envFrom"]
    assert config_map["configMapRef"]["name"] == manifests()["ConfigMap"]["metadata"]["name"]
    assert "scheduler-anchor-key" != secret["secretRef"]["name"] != "scheduler-ledgers"
    assert not [name for name in (*given(), *secret_names()) if name.endswith(("_RPC", "KEY_FILE"))]


def test_pods_without_a_ledger_s_settings_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The root is an empty folder there: no batches, no receipts, no configuration."""
    for name in set(os.environ) & settings_known(tmp_path):
        monkeypatch.delenv(name)
    for name, value in (given() | DATABASE).items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment(given() | {"VMSH_ROOT": str(tmp_path)})
    with caplog.at_level(logging.WARNING):
        worker.check_configuration(settings, sorted(roles_of(container()["args"])))
    assert caplog.records == []


def test_a_root_that_may_be_written_is_mounted_where_the_image_is_read_only() -> None:
    mounts = {mount["mountPath"]: mount["name"] for mount in container()["volumeMounts"]}
    assert environment()["VMSH_ROOT"] in mounts
    assert "/tmp" in mounts


# --- without anchoring ---------------------------------------------------------------------------------------------


def test_whoever_anchors_nothing_runs_the_workflows_of_jobs_in_the_same_pods() -> None:
    (patch,) = documents(JOBS_ONLY / "deployment.yaml")
    assert patch["metadata"]["name"] == manifests()["Deployment"]["metadata"]["name"]
    (box,) = patch["spec"]["template"]["spec"]["containers"]
    assert (box["name"], roles_of(box["args"])) == (
        container()["name"],
        {"workflows", "jobs", "api"},
    )


def test_both_files_say_that_nothing_is_anchored(tmp_path: Path) -> None:
    """The harm: namespaces that stand in the image are shown as missing, and somebody is woken."""
    data = nothing_anchored()["data"]
    for name, text in data.items():
        (tmp_path / name).write_text(text)
    assert load_namespaces(tmp_path / "namespaces.yaml").specs == {}
    load_anchors(tmp_path / "anchors.yaml", {}).check({})
    places = {name: environment()[name] for name in ("VMSH_NAMESPACES", "VMSH_ANCHORS")}
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    assert {Path(place).name for place in places.values()} == set(data)
    assert {str(Path(place).parent) for place in places.values()} == {mounts["nothing-anchored"]}

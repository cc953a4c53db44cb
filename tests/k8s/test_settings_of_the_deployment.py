"""What the Deployment sets is what the worker reads, and its configuration is one that a worker takes."""

import re
from pathlib import Path

import pytest

from activities.anchors import SCHEMES, settings_model
from docs.tables import variables_read
from tests.k8s.manifests import container, environment, manifest, pod
from vaultmesh.domain.target import Target
from vaultmesh.runtime.configuration import load_anchors, load_namespaces
from vaultmesh.runtime.settings import Settings
from worker import DRAIN

TEMPORAL = {"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_API_KEY"}
CONTRACT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
LEDGERS = {
    "BASE_RPC": "http://127.0.0.1:1",
    "MAINNET_RPC": "http://127.0.0.1:2",
    "BASE_CONTRACT": CONTRACT,
    "MAINNET_CONTRACT": CONTRACT,
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with the ConfigMap's files, as the pod sees them."""
    for name, content in manifest("ConfigMap")["data"].items():
        (tmp_path / name).write_text(content)
    return tmp_path


def test_every_variable_is_one_that_the_worker_its_client_or_its_configuration_reads() -> None:
    named = set(re.findall(r"\$\{(\w+)", manifest("ConfigMap")["data"]["anchors.yaml"]))
    assert set(environment()) <= {*variables_read(), *TEMPORAL, *named}
    assert named <= set(environment())
    assert named == set(LEDGERS)


def test_the_worker_takes_the_environment() -> None:
    given = {name: one["value"] for name, one in environment().items() if "value" in one}
    settings = Settings.from_environment(given)
    (port,) = container()["ports"]
    assert settings.warnings == ()
    assert settings.metrics_port == port["containerPort"] == 9091
    assert settings.root == Path("/data")


def test_the_configuration_of_the_pod_is_one_that_a_worker_takes(written: Path) -> None:
    namespaces = load_namespaces(written / "namespaces.yaml", SCHEMES)
    assert namespaces.warnings == ()
    targets = {
        Target.parse(str(cadence.target))
        for spec in namespaces.specs.values()
        for cadence in spec.cadences.values()
    }
    anchors = load_anchors(written / "anchors.yaml", LEDGERS, SCHEMES)
    anchors.check({target: settings_model(target) for target in targets})


def test_the_configured_files_are_where_the_variables_say() -> None:
    mounts = {one["name"]: one["mountPath"] for one in container()["volumeMounts"]}
    assert environment()["VMSH_NAMESPACES"]["value"] == f"{mounts['config']}/namespaces.yaml"
    assert environment()["VMSH_ANCHORS"]["value"] == f"{mounts['config']}/anchors.yaml"
    key_file = f"{mounts['anchor-key']}/evm.key"
    assert f"keyFile: {key_file}\n" in manifest("ConfigMap")["data"]["anchors.yaml"]


def test_a_drain_fits_into_the_grace_period() -> None:
    assert pod()["terminationGracePeriodSeconds"] > DRAIN.total_seconds()


def test_probes_ask_the_port_of_the_worker() -> None:
    names = {port["name"] for port in container()["ports"]}
    liveness = container()["livenessProbe"]
    readiness = container()["readinessProbe"]
    assert (liveness["httpGet"]["path"], readiness["httpGet"]["path"]) == ("/livez", "/readyz")
    assert {liveness["httpGet"]["port"], readiness["httpGet"]["port"]} <= names

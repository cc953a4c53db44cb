"""What the Deployment sets is what the worker reads, and its configuration is one that a worker takes."""

import re
from pathlib import Path

import pytest

from docs.tables import variables_read
from tests.k8s.manifests import REPOSITORY, container, environment, manifest, pod
from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.rfc3161.settings import TsaSettings
from vaultmesh.ledgers.targets import settings_model
from vaultmesh.process.config_files import load_anchors, load_namespaces
from vaultmesh.process.settings import Settings
from worker import DRAIN

TEMPORAL = {"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_API_KEY"}
CONTRACT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
LEDGERS = {
    "BASE_RPC": "http://127.0.0.1:1",
    "MAINNET_RPC": "http://127.0.0.1:2",
    "BASE_CONTRACT": CONTRACT,
    "MAINNET_CONTRACT": CONTRACT,
    "BTC_RPC": "http://user:password@127.0.0.1:3",
    "TSA_URL": "http://127.0.0.1:4",
}
"""What the secrets must hold; nothing else of the configuration comes from the environment without being optional."""
OPTIONAL = {"TSA_POLICY_OID": "1.2.3.4.1"}
CONTRACTS = {"BASE_CONTRACT", "MAINNET_CONTRACT"}
"""May be missing while a pod of the operator deploys them."""


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
    assert named == {*LEDGERS, *OPTIONAL}
    left_out = {
        name
        for name in named
        if environment()[name]["valueFrom"]["secretKeyRef"].get("optional", False)
    }
    assert left_out == {*OPTIONAL, *CONTRACTS}


def test_the_worker_takes_the_environment() -> None:
    given = {name: one["value"] for name, one in environment().items() if "value" in one}
    settings = Settings.from_environment(given)
    (port,) = container()["ports"]
    assert settings.warnings == ()
    assert settings.metrics_port == port["containerPort"] == 9091
    assert settings.root == Path("/data")


@pytest.mark.parametrize("further", [{}, OPTIONAL])
def test_the_configuration_of_the_pod_is_one_that_a_worker_takes(
    written: Path, further: dict[str, str]
) -> None:
    namespaces = load_namespaces(written / "namespaces.yaml")
    assert namespaces.warnings == ()
    targets = {
        Target.parse(str(cadence.target))
        for spec in namespaces.specs.values()
        for cadence in spec.cadences.values()
    }
    assert {target.scheme for target in targets} == set(SCHEMES)
    anchors = load_anchors(written / "anchors.yaml", LEDGERS | further)
    anchors.check({target: settings_model(target) for target in targets})


@pytest.mark.parametrize("missing", LEDGERS)
def test_a_secret_that_lacks_something_is_named_at_the_start(written: Path, missing: str) -> None:
    given = {name: value for name, value in LEDGERS.items() if name != missing}
    namespaces = load_namespaces(written / "namespaces.yaml")
    targets = [one.target for spec in namespaces.specs.values() for one in spec.cadences.values()]
    anchors = load_anchors(written / "anchors.yaml", given)
    with pytest.raises(ConfigurationError, match=missing):
        anchors.check({target: settings_model(target) for target in targets})


def test_the_configured_files_are_where_the_variables_say() -> None:
    mounts = {one["name"]: one["mountPath"] for one in container()["volumeMounts"]}
    assert environment()["VMSH_NAMESPACES"]["value"] == f"{mounts['config']}/namespaces.yaml"
    assert environment()["VMSH_ANCHORS"]["value"] == f"{mounts['config']}/anchors.yaml"
    key_file = f"{mounts['anchor-key']}/evm.key"
    assert f"keyFile: {key_file}\n" in manifest("ConfigMap")["data"]["anchors.yaml"]


def test_the_pinned_roots_are_where_the_configuration_says_and_are_renewed_in_place(
    written: Path,
) -> None:
    (mount,) = [one for one in container()["volumeMounts"] if one["name"] == "tsa-roots"]
    (volume,) = [one for one in pod()["volumes"] if one["name"] == "tsa-roots"]
    anchors = load_anchors(written / "anchors.yaml", LEDGERS)
    settings = anchors.settings(Target("rfc3161", "tsa"), TsaSettings)
    assert settings.trust_file == f"{mount['mountPath']}/roots.pem"
    assert "subPath" not in mount
    name = volume["configMap"]["name"]
    documentation = (REPOSITORY / "docs/kubernetes.md").read_text(encoding="utf-8")
    assert f"create configmap {name} --from-file=roots.pem" in documentation


def test_the_page_on_kubernetes_and_the_example_name_every_key_of_every_secret() -> None:
    documentation = (REPOSITORY / "docs/kubernetes.md").read_text(encoding="utf-8")
    example = (REPOSITORY / "k8s/ledgers.env.example").read_text(encoding="utf-8")
    referred = [
        one["valueFrom"]["secretKeyRef"] for one in environment().values() if "valueFrom" in one
    ]
    assert len(referred) == 8
    for one in referred:
        assert f"create secret generic {one['name']} " in documentation
        where = example if one["name"] == "scheduler-ledgers" else documentation
        optional = "(# )?" if one.get("optional") else ""
        assert re.search(rf"^{optional}{one['key']}=|apiKey=", where, re.MULTILINE), one["key"]


def test_a_drain_fits_into_the_grace_period() -> None:
    assert pod()["terminationGracePeriodSeconds"] > DRAIN.total_seconds()


def test_probes_ask_the_port_of_the_worker() -> None:
    names = {port["name"] for port in container()["ports"]}
    asked = {
        kind: container()[f"{kind}Probe"]["httpGet"]
        for kind in ("startup", "liveness", "readiness")
    }
    assert {kind: each["path"] for kind, each in asked.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {each["port"] for each in asked.values()} <= names

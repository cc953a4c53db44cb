"""The manifests are valid objects, agree with each other, and hold no secret."""

import json
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from starter import parse
from tests.k8s.manifests import (
    container,
    documents,
    environment,
    kustomization,
    manifest,
    manifest_files,
    pod,
)
from vaultmesh.cli.doctor import PARTS
from vaultmesh.process.version import VERSION

LABELS = {"app": "scheduler", "component": "layer-2", "service": "scheduler"}
SCRAPED = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": "9091",
    "prometheus.io/path": "/metrics",
}


@pytest.mark.parametrize("path", manifest_files(), ids=lambda path: path.name)
def test_a_manifest_is_one_valid_object(path: Path) -> None:
    (document,) = documents(path)
    latest = kubernetes_validate.latest_version()
    kubernetes_validate.validate(document, latest, strict=True)


def test_the_kustomization_names_every_manifest_and_the_kubernetes_namespace() -> None:
    assert sorted(kustomization()["resources"]) == [path.name for path in manifest_files()]
    assert kustomization()["namespace"] == "aurora-staging"
    assert all(
        "namespace" not in document["metadata"]
        for path in manifest_files()
        for document in documents(path)
    )


KINDS = [
    "ConfigMap", "Deployment", "NetworkPolicy", "PersistentVolumeClaim", "PodDisruptionBudget", "Service", "ServiceAccount",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_object_is_called_scheduler_and_labelled(kind: str) -> None:
    metadata = manifest(kind)["metadata"]
    assert (metadata["name"], metadata["labels"]) == ("scheduler", LABELS)


def test_deployment_and_service_select_the_pods_that_are_made() -> None:
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = (
        manifest("Deployment")["spec"]["selector"]["matchLabels"],
        manifest("Service")["spec"]["selector"],
        manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    )
    assert labels == LABELS
    assert all(selector.items() <= labels.items() for selector in selectors)


def test_pod_and_service_are_scraped_where_the_worker_answers() -> None:
    template = manifest("Deployment")["spec"]["template"]
    assert template["metadata"]["annotations"] == SCRAPED
    assert manifest("Service")["metadata"]["annotations"] == SCRAPED
    (port,) = manifest("Service")["spec"]["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == ("metrics", 9091, "metrics")


def test_the_image_has_this_version_and_no_floating_tag() -> None:
    (image,) = kustomization()["images"]
    assert image["newTag"] == f"v{VERSION}"
    assert container()["image"] == f"{image['name']}:v{VERSION}"


def test_the_container_cannot_become_root_or_write_outside_its_volumes() -> None:
    security = container()["securityContext"]
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["runAsUser"] > 0
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert pod()["automountServiceAccountToken"] is False
    account = manifest("ServiceAccount")
    assert pod()["serviceAccountName"] == account["metadata"]["name"]
    assert account["automountServiceAccountToken"] is False


def test_what_is_examined_first_sees_what_the_worker_sees_and_no_single_target_stops_it() -> None:
    (doctor,) = pod()["initContainers"]
    same = ("image", "env", "volumeMounts", "resources", "securityContext")
    assert {key: doctor[key] for key in same} == {key: container()[key] for key in same}
    python, program, *arguments = doctor["command"]
    parts = parse(arguments).only
    assert (python, program) == ("python", "starter.py")
    assert set(parts) == set(PARTS) - {"targets", "jobs"}


def test_a_node_can_be_drained() -> None:
    assert manifest("Deployment")["spec"]["replicas"] == 1
    budget = manifest("PodDisruptionBudget")["spec"]
    assert (budget["maxUnavailable"], "minAvailable" in budget) == (1, False)


def test_prometheus_may_reach_the_pod_and_the_pod_what_it_needs() -> None:
    policy = manifest("NetworkPolicy")["spec"]
    (inward,) = policy["ingress"]
    assert [port["port"] for port in inward["ports"]] == ["metrics"]
    outward = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    address = environment()["TEMPORAL_ADDRESS"]["value"]
    assert {53, 443, 8332, int(address.partition(":")[2])} <= outward
    assert policy["policyTypes"] == ["Ingress", "Egress"]


def test_resources_are_bounded() -> None:
    assert container()["resources"] == {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"cpu": "500m", "memory": "512Mi"},
    }


def test_the_root_is_on_a_volume_that_outlives_the_pod() -> None:
    root = environment()["VMSH_ROOT"]["value"]
    (mount,) = [one for one in container()["volumeMounts"] if one["mountPath"] == root]
    (volume,) = [one for one in pod()["volumes"] if one["name"] == mount["name"]]
    claim = volume["persistentVolumeClaim"]["claimName"]
    assert claim == manifest("PersistentVolumeClaim")["metadata"]["name"]
    assert not mount.get("readOnly", False)


def test_secrets_are_referred_to_and_never_written_down() -> None:
    assert all(
        document["kind"] != "Secret" for path in manifest_files() for document in documents(path)
    )
    secret_like = [name for name in environment() if name.endswith(("KEY", "RPC", "PASSWORD"))]
    assert secret_like
    assert all("secretKeyRef" in environment()[name]["valueFrom"] for name in secret_like)
    written = json.dumps([documents(path) for path in manifest_files()])
    assert "PRIVATE KEY" not in written
    assert "://" not in manifest("ConfigMap")["data"]["anchors.yaml"]

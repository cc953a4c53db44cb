"""What takes the place of an earlier scheduler-service answers where that one did, and its objects agree with each other."""

import re
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from tests.k8s.ingress import rewritten
from tests.k8s.manifests import documents
from tests.k8s.scheduler_service import (
    BESIDE,
    NAME,
    SERVICE_FOLDER,
    container,
    files,
    kustomization,
    manifests,
    nothing_anchored,
    pod,
    ports,
)
from vaultmesh.process.version import VERSION

LABELS = {"app": NAME, "component": "api"}
PROXY_SECONDS = 30


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_a_manifest_is_one_valid_object(path: Path) -> None:
    (document,) = documents(path)
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_a_field_that_kubernetes_does_not_know_is_no_valid_object() -> None:
    broken = manifests()["Ingress"] | {"specs": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_the_kustomization_names_every_manifest_and_the_namespace() -> None:
    read = kustomization()
    assert sorted(read["resources"]) == [path.name for path in files()]
    assert read["namespace"] == "aurora-staging"
    assert all("namespace" not in document["metadata"] for document in manifests().values())
    (image,) = read["images"]
    assert (image["newTag"], container()["image"]) == (f"v{VERSION}", f"{image['name']}:v{VERSION}")


def test_every_object_is_called_as_the_scheduler_before_was() -> None:
    kinds = {"Service", "Deployment", "Ingress", "ConfigMap"}
    assert kinds <= set(manifests())
    for document in (*manifests().values(), nothing_anchored()):
        assert document["metadata"]["labels"] == LABELS


def test_a_deployment_of_the_scheduler_before_is_never_updated_in_place() -> None:
    """The harm: with more replicas Kubernetes runs two of the scheduler before, for a while, and each slot twice."""
    deployment = manifests()["Deployment"]["spec"]
    selector = deployment["selector"]["matchLabels"]
    assert selector != {"app": NAME}  # a selector can't be changed: `kubectl apply` refuses
    assert selector.items() <= deployment["template"]["metadata"]["labels"].items()
    (spread,) = pod()["topologySpreadConstraints"]
    others = (
        manifests()["Service"]["spec"]["selector"],
        manifests()["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        manifests()["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        spread["labelSelector"]["matchLabels"],
    )
    assert all(other == selector for other in others)
    # Commands that select by the label of the scheduler before still find the pods.
    assert selector["app"] == NAME


def test_what_runs_beside_the_scheduler_before_has_names_and_pods_of_its_own() -> None:
    (beside,) = documents(BESIDE / "kustomization.yaml")
    assert [(BESIDE / name).resolve() for name in beside["resources"]] == [SERVICE_FOLDER]
    (labels,) = beside["labels"]
    assert (beside["nameSuffix"], labels["includeSelectors"]) == ("-next", True)
    assert labels["pairs"] == {"app": f"{NAME}{beside['nameSuffix']}"}
    (patch,) = documents(BESIDE / beside["patches"][0]["path"])
    assert (patch["kind"], patch["metadata"]["name"], patch["$patch"]) == (
        "Ingress",
        NAME,
        "delete",
    )
    assert beside["namespace"] == kustomization()["namespace"]


def test_both_ports_of_the_service_lead_to_the_api() -> None:
    served = manifests()["Service"]["spec"]["ports"]
    assert {port["port"]: port["targetPort"] for port in served} == {7007: "http", 8080: "http"}
    assert ports()["http"] == 8080


def test_the_public_path_leads_to_a_port_of_the_service() -> None:
    (rule,) = manifests()["Ingress"]["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    backend = path["backend"]["service"]
    served = {port["port"] for port in manifests()["Service"]["spec"]["ports"]}
    assert (backend["name"], backend["port"]["number"] in served) == (NAME, True)
    assert path["pathType"] == "ImplementationSpecific"


@pytest.mark.parametrize(
    ("asked", "reaches"),
    [
        ("/scheduler/api/jobs", "/api/jobs"),
        ("/scheduler/api/jobs/weekly-digest/trigger", "/api/jobs/weekly-digest/trigger"),
        ("/scheduler/health", "/health"),
        ("/scheduler/", "/"),
        ("/scheduler", "/"),
        ("/schedulers/api", None),
        ("/api/jobs", None),
    ],
)
def test_the_prefix_is_taken_away_before_the_api_sees_a_path(
    asked: str, reaches: str | None
) -> None:
    notes = manifests()["Ingress"]["metadata"]["annotations"]
    assert notes["nginx.ingress.kubernetes.io/use-regex"] == "true"
    assert rewritten(asked) == reaches


def test_the_ingress_waits_as_long_as_before_and_shows_how_to_restrict_it() -> None:
    notes = manifests()["Ingress"]["metadata"]["annotations"]
    assert notes["nginx.ingress.kubernetes.io/proxy-read-timeout"] == str(PROXY_SECONDS)
    text = (SERVICE_FOLDER / "ingress.yaml").read_text(encoding="utf-8")
    assert re.search(r"# nginx\.ingress\.kubernetes\.io/whitelist-source-range: [0-9./]+,", text)


def test_what_needs_the_api_may_reach_it_and_it_may_reach_what_it_needs() -> None:
    policy = manifests()["NetworkPolicy"]["spec"]
    inward = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    outward = {port["port"] for rule in policy["egress"] for port in rule.get("ports", [])}
    assert inward == set(ports())
    assert {53, 5432, 6543, 7233, 443} <= outward
    assert {"to": [{"podSelector": {}}]} in policy["egress"]  # services, at whatever port
    assert {"podSelector": {}} in policy["ingress"][0]["from"]


def test_a_rollout_or_a_drained_node_leaves_a_pod_that_answers() -> None:
    deployment = manifests()["Deployment"]["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert manifests()["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_the_pods_ask_the_cluster_nothing() -> None:
    assert pod()["serviceAccountName"] == manifests()["ServiceAccount"]["metadata"]["name"]
    assert manifests()["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod()["automountServiceAccountToken"] is False

"""What every pod of ours keeps, whichever manifest makes it."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.k8s.manifests import FOLDER, KUSTOMIZATION, documents
from tests.k8s.scheduler_service import BESIDE, JOBS_ONLY

PATCHES = {JOBS_ONLY / "deployment.yaml", BESIDE / "without-ingress.yaml"}
PLACES = sorted(
    path
    for path in FOLDER.rglob("*.yaml")
    if path.name != KUSTOMIZATION and path not in PATCHES and "workflow" not in path.name
)
OBJECTS = [(path, document) for path in PLACES for document in documents(path)]
DEPLOYMENTS = {
    str(path.relative_to(FOLDER)): document
    for path, document in OBJECTS
    if document["kind"] == "Deployment"
}
SECRET_LIKE = re.compile(r"TOKEN|SECRET|PASSWORD|_KEY$|DATABASE_URL|_RPC$")
Manifest = dict[str, Any]


def findings(deployment: Manifest) -> list[str]:
    """Return what a Deployment does not keep."""
    pod = deployment["spec"]["template"]["spec"]
    found = [text for text, holds in _of_pod(pod).items() if not holds]
    for container in pod["containers"]:
        found += [text for text, holds in _of_container(container).items() if not holds]
    return found


def _of_pod(pod: Manifest) -> dict[str, bool]:
    security = pod.get("securityContext", {})
    return {
        "runs as root": security.get("runAsNonRoot") is True and security["runAsUser"] == 10001,
        "has no seccomp profile": security.get("seccompProfile") == {"type": "RuntimeDefault"},
        "holds a token of the cluster": pod.get("automountServiceAccountToken") is False,
        "takes Services for settings": pod.get("enableServiceLinks") is False,
        "has no stated time to end": "terminationGracePeriodSeconds" in pod,
        "shares the host": not {"hostNetwork", "hostPID", "hostIPC"} & set(pod),
    }


def _of_container(container: Manifest) -> dict[str, bool]:
    security = container.get("securityContext", {})
    resources = container.get("resources", {})
    inline = [entry["name"] for entry in container.get("env", []) if "value" in entry]
    return {
        "floats": bool(re.search(r":v\d+\.\d+\.\d+$", container["image"])),
        "has no liveness": container.get("livenessProbe", {}).get("httpGet", {}).get("path")
        == "/livez",
        "has no readiness": container.get("readinessProbe", {}).get("httpGet", {}).get("path")
        == "/readyz",
        "may become root": security.get("allowPrivilegeEscalation") is False,
        "may write": security.get("readOnlyRootFilesystem") is True,
        "has capabilities": security.get("capabilities") == {"drop": ["ALL"]},
        "has no request": set(resources.get("requests", {})) == {"cpu", "memory"},
        "has no limit": "memory" in resources.get("limits", {}),
        "has a secret in its manifest": not any(map(SECRET_LIKE.search, inline)),
    }


@pytest.mark.parametrize("place", DEPLOYMENTS)
def test_a_deployment_keeps_the_policy(place: str) -> None:
    assert findings(DEPLOYMENTS[place]) == []


def test_there_are_two_deployments() -> None:
    assert sorted(DEPLOYMENTS) == ["deployment.yaml", "scheduler-service/deployment.yaml"]


def _changed(change: Callable[[Manifest, Manifest], object]) -> Manifest:
    deployment = copy.deepcopy(DEPLOYMENTS["scheduler-service/deployment.yaml"])
    pod = deployment["spec"]["template"]["spec"]
    change(pod, pod["containers"][0])
    return deployment


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda _, box: box.update(image="vaultmesh/scheduler:latest"), "floats"),
        (lambda _, box: box.update(image="vaultmesh/scheduler"), "floats"),
        (lambda _, box: box.pop("livenessProbe"), "has no liveness"),
        (lambda _, box: box.pop("readinessProbe"), "has no readiness"),
        (lambda _, box: box["resources"].pop("limits"), "has no limit"),
        (lambda _, box: box["resources"]["requests"].pop("cpu"), "has no request"),
        (lambda pod, _: pod["securityContext"].pop("runAsNonRoot"), "runs as root"),
        (lambda pod, _: pod.update(enableServiceLinks=True), "takes Services for settings"),
        (lambda pod, _: pod.pop("automountServiceAccountToken"), "holds a token of the cluster"),
        (lambda _, box: box["securityContext"].pop("capabilities"), "has capabilities"),
        (
            lambda _, box: box["env"].append({"name": "ADMIN_TOKEN", "value": "x"}),
            "has a secret in its manifest",
        ),
    ],
)
def test_the_policy_finds_what_it_is_for(
    change: Callable[[Manifest, Manifest], object], finding: str
) -> None:
    assert findings(_changed(change)) == [finding]


def test_no_object_holds_a_secret() -> None:
    assert all(document["kind"] != "Secret" for _, document in OBJECTS)
    for _, document in OBJECTS:
        if document["kind"] == "ConfigMap":
            assert not any(map(SECRET_LIKE.search, document["data"]))

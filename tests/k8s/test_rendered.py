"""What `kubectl` makes of the manifests: valid objects in any Kubernetes namespace, with images by digest where that is asked for."""

import re
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from tests.k8s.manifests import FOLDER, REPOSITORY, documents
from tests.k8s.rendered import Manifest, render, render_in

OPERATOR = REPOSITORY / "ops/kubernetes/operator"
PLACES = [path.parent for path in sorted(FOLDER.rglob("kustomization.yaml"))] + [OPERATOR]
CUSTOM = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
"""Of the Prometheus Operator, whose schemas the validator does not have."""


def named(place: Path) -> str:
    return str(place.relative_to(REPOSITORY))


def of_kind(objects: list[Manifest], kind: str) -> list[Manifest]:
    return [each for each in objects if each["kind"] == kind]


@pytest.mark.parametrize("place", PLACES, ids=named)
def test_every_folder_renders_valid_objects_in_a_namespace_of_one_s_own(
    place: Path, tmp_path: Path
) -> None:
    objects = render_in(place, "team-seven", tmp_path)
    assert objects
    for each in objects:
        assert each["metadata"]["namespace"] == "team-seven"
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
    (own,) = documents(place / "kustomization.yaml")
    assert not re.search(rf"(?<![\w-]){own['namespace']}(?![\w-])", yaml.safe_dump(objects))


def test_images_are_taken_by_digest_where_a_kustomization_says_so(tmp_path: Path) -> None:
    """It changes init containers too."""
    digest = f"sha256:{'0123' * 16}"
    name = "registry.example.com/team/scheduler"
    image = {"name": "vaultmesh/scheduler", "newName": name, "digest": digest, "newTag": ""}
    (deployment,) = of_kind(render_in(FOLDER, "a", tmp_path, images=[image]), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    images = {box["image"] for box in (*pod["initContainers"], *pod["containers"])}
    assert images == {f"{name}@{digest}"}


def test_the_operator_s_pod_has_what_the_worker_has_and_does_nothing() -> None:
    """Nothing of it takes the worker's work, answers in its place, or holds its volume."""
    (worker,), (idle,) = (
        of_kind(render(FOLDER), "Deployment"),
        of_kind(render(OPERATOR), "Deployment"),
    )
    ours, theirs = worker["spec"]["template"]["spec"], idle["spec"]["template"]["spec"]
    (works,), (waits,) = ours["containers"], theirs["containers"]
    same = ("image", "env", "volumeMounts", "resources", "securityContext")
    assert {key: waits[key] for key in same} == {key: works[key] for key in same}
    assert (waits["command"], waits["args"], theirs["initContainers"]) == (
        ["sleep", "infinity"],
        [],
        [],
    )
    assert not [key for key in waits if key.endswith("Probe")]
    assert ours["securityContext"] == theirs["securityContext"]
    kinds = {each["kind"] for each in render(OPERATOR)}
    assert kinds == {"ConfigMap", "Deployment", "NetworkPolicy", "ServiceAccount"}
    assert not any("persistentVolumeClaim" in volume for volume in theirs["volumes"])
    selected = worker["spec"]["selector"]["matchLabels"]
    assert not selected.items() <= idle["spec"]["template"]["metadata"]["labels"].items()


def test_monitors_select_what_there_is() -> None:
    """The operator's custom resources have no schema at hand: what they name is looked up."""
    monitors = {each["kind"]: each["spec"] for each in render(FOLDER / "monitoring")}
    (service,) = of_kind(render(FOLDER), "Service")
    wanted = monitors["ServiceMonitor"]["selector"]["matchLabels"]
    assert wanted.items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitors["ServiceMonitor"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    (deployment,) = of_kind(render(FOLDER / "scheduler-service"), "Deployment")
    template = deployment["spec"]["template"]
    assert (
        monitors["PodMonitor"]["selector"]["matchLabels"].items()
        <= template["metadata"]["labels"].items()
    )
    (endpoint,) = monitors["PodMonitor"]["podMetricsEndpoints"]
    (box,) = template["spec"]["containers"]
    assert endpoint["port"] in {port["name"] for port in box["ports"]}

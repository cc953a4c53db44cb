"""Reads the manifests that take the place of an earlier scheduler-service, and what Kubernetes makes of them."""

import re
from pathlib import Path
from typing import Any

from tests.k8s.manifests import FOLDER, KUSTOMIZATION, documents

SERVICE_FOLDER = FOLDER / "scheduler-service"
EXAMPLES = FOLDER / "examples"
JOBS_ONLY = EXAMPLES / "jobs-only"
BESIDE = EXAMPLES / "beside"
SECRET_EXAMPLE = SERVICE_FOLDER / "secret.env.example"
NAME = "scheduler-service"
Manifest = dict[str, Any]


def files(folder: Path = SERVICE_FOLDER) -> list[Path]:
    """Return every file of a folder that holds an object of the cluster."""
    return sorted(path for path in folder.glob("*.yaml") if path.name != KUSTOMIZATION)


def manifests() -> dict[str, Manifest]:
    """Return the objects that are called as the service by their kind, of which each has one."""
    read = [document for path in files() for document in documents(path)]
    named = [document for document in read if document["metadata"]["name"] == NAME]
    by_kind = {document["kind"]: document for document in named}
    assert (len(by_kind), len(read)) == (len(named), len(named) + 1)
    return by_kind


def nothing_anchored() -> Manifest:
    """Return the ConfigMap of files that say that nothing is anchored."""
    (document,) = documents(SERVICE_FOLDER / "nothing-anchored.yaml")
    return document


def kustomization() -> Manifest:
    """Return what `kubectl apply -k` reads."""
    (document,) = documents(SERVICE_FOLDER / KUSTOMIZATION)
    return document


def pod() -> Manifest:
    """Return the Deployment's pod."""
    spec: Manifest = manifests()["Deployment"]["spec"]["template"]["spec"]
    return spec


def container() -> Manifest:
    """Return that pod's one container."""
    (only,) = pod()["containers"]
    read: Manifest = only
    return read


def ports() -> dict[str, int]:
    """Return the container's ports by name."""
    return {port["name"]: port["containerPort"] for port in container()["ports"]}


def config() -> dict[str, str]:
    """Return what the ConfigMap sets."""
    data: dict[str, str] = manifests()["ConfigMap"]["data"]
    return data


def secret_names() -> list[str]:
    """Return the variables of the Secret, by its example."""
    text = SECRET_EXAMPLE.read_text(encoding="utf-8")
    return re.findall(r"^([A-Z_]+)=$", text, re.MULTILINE)


def environment() -> dict[str, str]:
    """Return what the container sets by itself."""
    return {entry["name"]: entry["value"] for entry in container()["env"]}


def links_of(service: str, port: int = 80) -> dict[str, str]:
    """Return what Kubernetes sets in a pod for a Service, unless it is told not to."""
    name = service.upper().replace("-", "_")
    url = f"tcp://10.0.0.1:{port}"
    exact = f"{name}_PORT_{port}_TCP"
    return {
        f"{name}_SERVICE_HOST": "10.0.0.1",
        f"{name}_SERVICE_PORT": str(port),
        f"{name}_PORT": url,
        exact: url,
        f"{exact}_PROTO": "tcp",
        f"{exact}_PORT": str(port),
        f"{exact}_ADDR": "10.0.0.1",
    }

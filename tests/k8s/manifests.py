"""Reads the manifests: one object a file, each by its kind."""

from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "k8s"
KUSTOMIZATION = "kustomization.yaml"


def manifest_files() -> list[Path]:
    """Return every file that holds an object of the cluster."""
    return sorted(path for path in FOLDER.glob("*.yaml") if path.name != KUSTOMIZATION)


def documents(path: Path) -> list[dict[str, Any]]:
    """Return the documents of a file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def manifest(kind: str) -> dict[str, Any]:
    """Return the one object of a kind."""
    (found,) = [
        document
        for path in manifest_files()
        for document in documents(path)
        if document["kind"] == kind
    ]
    return found


def kustomization() -> dict[str, Any]:
    """Return what `kubectl apply -k` reads."""
    (document,) = documents(FOLDER / KUSTOMIZATION)
    return document


def pod() -> dict[str, Any]:
    """Return the Deployment's pod."""
    spec: dict[str, Any] = manifest("Deployment")["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    """Return the pod's one container."""
    (only,) = pod()["containers"]
    found: dict[str, Any] = only
    return found


def environment() -> dict[str, dict[str, Any]]:
    """Return the container's variables by name."""
    return {entry["name"]: entry for entry in container()["env"]}

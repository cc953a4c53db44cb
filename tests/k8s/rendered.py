"""Has the real `kubectl` make and render objects, for which it needs no cluster."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from devnet.kubectl import kubectl
from tests.k8s.manifests import REPOSITORY

Manifest = dict[str, Any]


def run_kubectl(arguments: Sequence[str], folder: Path = REPOSITORY, said: str = "") -> str:
    """Run it in a folder and return what it prints; it knows no cluster."""
    done = subprocess.run(
        [str(kubectl()), *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "KUBECONFIG": os.devnull},
        input=said,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(folder: str | Path) -> list[Manifest]:
    """Return the objects that `kubectl apply -k` would apply."""
    return [each for each in yaml.safe_load_all(run_kubectl(["kustomize", str(folder)])) if each]


def render_in(folder: Path, namespace: str, place: Path, **further: object) -> list[Manifest]:
    """Return the objects of a kustomization of one's own on top of one of ours, in a Kubernetes namespace of one's own."""
    base = os.path.relpath(folder, place)
    own = {"namespace": namespace, "resources": [base], **further}
    (place / "kustomization.yaml").write_text(yaml.safe_dump(own))
    return render(place)


def made(arguments: Sequence[str], folder: Path) -> Manifest:
    """Return the object that `kubectl create` makes."""
    document: Manifest = json.loads(
        run_kubectl([*arguments, "--dry-run=client", "--output=json"], folder)
    )
    return document

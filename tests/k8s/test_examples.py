"""The example of a deployment does its steps in an order that leaves a working system, and holds no secret."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.k8s.manifests import REPOSITORY, documents
from tests.k8s.scheduler_service import EXAMPLES, NAME, SERVICE_FOLDER, manifests

WORKFLOW = EXAMPLES / "deploy-workflow.yaml"
SMOKE = EXAMPLES / "smoke-test.sh"
Step = dict[str, Any]


def steps() -> list[Step]:
    (document,) = documents(WORKFLOW)
    (job,) = document["jobs"].values()
    read: list[Step] = job["steps"]
    return read


def run_of(name: str) -> str:
    (step,) = [step for step in steps() if step.get("name") == name]
    return str(step["run"])


def test_the_steps_come_in_their_order() -> None:
    names = [step["name"] for step in steps() if "name" in step]
    assert names == [
        "Build", "Push", "Log in to the cluster", "Apply", "Wait for the rollout", "Smoke test", "Undo", "Forget the log-in",
    ]  # fmt: skip


def test_a_rollout_that_does_not_end_or_does_not_work_is_undone() -> None:
    assert f"rollout status deployment/{NAME} --timeout=5m" in run_of("Wait for the rollout")
    (undo,) = [step for step in steps() if step.get("name") == "Undo"]
    assert undo["if"] == "failure() && steps.apply.outcome == 'success'"
    assert f"rollout undo deployment/{NAME}" in undo["run"]


def test_a_rollout_may_take_as_long_as_two_pods_take() -> None:
    """The harm: a rollout that is well is undone because nobody waited for it."""
    spec = manifests()["Deployment"]["spec"]
    probe = spec["template"]["spec"]["containers"][0]["startupProbe"]
    usual_start = 30
    needed = spec["replicas"] * (spec["minReadySeconds"] + usual_start)
    assert needed < 5 * 60
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 2 * usual_start


def test_the_image_and_the_folder_are_those_of_the_manifests() -> None:
    apply = run_of("Apply")
    (folder,) = re.findall(r"^cd (\S+)$", apply, re.MULTILINE)
    assert REPOSITORY / folder == SERVICE_FOLDER
    (kustomization,) = documents(SERVICE_FOLDER / "kustomization.yaml")
    assert f'set image "{kustomization["images"][0]["name"]}=' in apply


def test_the_smoke_test_is_run_where_the_service_is_forwarded_to() -> None:
    run = run_of("Smoke test")
    (place,) = re.findall(r"^(\S+)\s+http://127\.0\.0\.1:7007$", run, re.MULTILINE)
    assert REPOSITORY / place == SMOKE
    assert os.access(SMOKE, os.X_OK)
    assert f"service/{NAME} 7007:7007" in run
    assert 7007 in {port["port"] for port in manifests()["Service"]["spec"]["ports"]}


@pytest.mark.parametrize("place", [WORKFLOW, SMOKE], ids=lambda place: place.name)
def test_no_secret_stands_in_a_command(place: Path) -> None:
    """The harm: lists of processes and logs show it."""
    text = place.read_text(encoding="utf-8")
    assert not re.search(r"(--password |--header |-H )[\"']?[^@\s-]*\$", text)
    for step in steps():
        assert "secrets." not in step.get("run", "")


def test_steps_of_others_are_named_by_their_content() -> None:
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", name) for name in used)


def test_the_script_stops_at_the_first_mistake() -> None:
    assert SMOKE.read_text(encoding="utf-8").splitlines()[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in SMOKE.read_text(encoding="utf-8")

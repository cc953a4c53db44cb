"""The CronJob of maintenance takes the place of the one before it: same names, same resources, never two runs at once."""

import json
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]

from tests.k8s.dockerfile import MAINTENANCE, stages
from tests.k8s.manifests import FOLDER, KUSTOMIZATION, REPOSITORY, documents
from vaultmesh.process.version import VERSION

PLACE = FOLDER / "maintenance"
CONTROLLER_LOOKS_SECONDS = 10
"""With a shorter starting deadline the controller may miss every slot."""
LONGEST_NAME = 52


def cron_job() -> dict[str, Any]:
    (document,) = documents(PLACE / "cron-job.yaml")
    return document


def spec() -> dict[str, Any]:
    read: dict[str, Any] = cron_job()["spec"]
    return read


def pod() -> dict[str, Any]:
    read: dict[str, Any] = spec()["jobTemplate"]["spec"]["template"]["spec"]
    return read


def container() -> dict[str, Any]:
    (only,) = pod()["containers"]
    read: dict[str, Any] = only
    return read


def kustomization() -> dict[str, Any]:
    (document,) = documents(PLACE / KUSTOMIZATION)
    return document


def test_the_manifest_is_one_valid_object() -> None:
    kubernetes_validate.validate(cron_job(), kubernetes_validate.latest_version(), strict=True)
    assert cron_job()["kind"] == "CronJob"
    assert len(cron_job()["metadata"]["name"]) <= LONGEST_NAME


def test_the_kustomization_names_every_manifest_and_the_kubernetes_namespace() -> None:
    files = sorted(path.name for path in PLACE.glob("*.yaml") if path.name != KUSTOMIZATION)
    assert sorted(kustomization()["resources"]) == files
    assert kustomization()["namespace"] == "battlescope"
    assert "namespace" not in cron_job()["metadata"]


def test_name_label_schedule_and_resources_are_those_that_were_documented() -> None:
    assert cron_job()["metadata"]["name"] == container()["name"] == "scheduler"
    assert spec()["jobTemplate"]["spec"]["template"]["metadata"]["labels"]["app"] == "scheduler"
    assert spec()["schedule"] == "*/5 * * * *"
    assert container()["resources"] == {
        "requests": {"cpu": "50m", "memory": "64Mi"},
        "limits": {"cpu": "200m", "memory": "256Mi"},
    }
    assert container()["env"] == [{"name": "LOG_LEVEL", "value": "info"}]
    assert container()["envFrom"] == [
        {"secretRef": {"name": "battlescope-secrets"}},
        {"configMapRef": {"name": "battlescope-config"}},
    ]


def test_no_run_begins_beside_another_one_and_history_is_bounded() -> None:
    assert spec()["concurrencyPolicy"] == "Forbid"
    assert spec()["startingDeadlineSeconds"] == 60 > CONTROLLER_LOOKS_SECONDS
    assert (spec()["successfulJobsHistoryLimit"], spec()["failedJobsHistoryLimit"]) == (3, 3)


def test_a_run_that_fails_leaves_its_log_and_one_that_hangs_ends() -> None:
    """Restarted in place until the limit, a pod is deleted with its log."""
    job = spec()["jobTemplate"]["spec"]
    assert (job["backoffLimit"], pod()["restartPolicy"]) == (0, "Never")
    assert job["activeDeadlineSeconds"] > 60


def test_the_command_is_the_image_s_own() -> None:
    assert "command" not in container()
    assert "args" not in container()
    assert 'CMD ["maintenance", "run", "--once"]' in stages()[MAINTENANCE]


def test_the_image_has_this_version_and_no_floating_tag() -> None:
    (image,) = kustomization()["images"]
    assert image["newTag"] == f"v{VERSION}"
    assert container()["image"] == f"{image['name']}:v{VERSION}"


def test_the_container_cannot_become_root_or_write_what_would_go_away() -> None:
    security = container()["securityContext"]
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert f"USER {pod()['securityContext']['runAsUser']}:" in stages()[MAINTENANCE]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert pod()["automountServiceAccountToken"] is False
    assert pod()["enableServiceLinks"] is False
    written = [entry for entry in container()["volumeMounts"] if not entry.get("readOnly", False)]
    assert [entry["mountPath"] for entry in written] == ["/tmp"]


def test_tasks_of_one_s_own_lie_where_they_are_read_and_may_be_left_out() -> None:
    (volume,) = [entry for entry in pod()["volumes"] if "configMap" in entry]
    (mount,) = [entry for entry in container()["volumeMounts"] if entry["name"] == volume["name"]]
    assert volume["configMap"]["optional"] is True
    assert "VMSH_ROOT=/data" in stages()[MAINTENANCE]
    assert mount["mountPath"] == "/data/vmsh/config"
    documentation = (REPOSITORY / "docs/operations.md").read_text(encoding="utf-8")
    name = volume["configMap"]["name"]
    assert f"create configmap {name} --from-file=maintenance.yaml" in documentation


def test_secrets_are_referred_to_and_never_written_down() -> None:
    written = json.dumps([documents(Path(path)) for path in PLACE.glob("*.yaml")])
    assert "://" not in written
    assert '"Secret"' not in written
    documentation = (REPOSITORY / "docs/operations.md").read_text(encoding="utf-8")
    assert "create secret generic battlescope-secrets --from-file=DATABASE_URL" in documentation

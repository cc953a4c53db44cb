"""The images hold what the programs need and nothing that is secret, and run them as nobody special."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.k8s import dockerfile
from tests.k8s.dockerfile import MAINTENANCE, WORKER, copied, locked, stages
from tests.k8s.manifests import REPOSITORY, container, documents, pod

RUNTIME_LOCK, MAINTENANCE_LOCK = "requirements-runtime.lock", "requirements-maintenance.lock"
LOCKS = {WORKER: RUNTIME_LOCK, MAINTENANCE: MAINTENANCE_LOCK}
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def _name(requirement: str) -> str:
    return re.split(r"[<>=!~\[ ]", requirement)[0].lower()


def test_the_programs_start_with_what_is_copied(tmp_path: Path) -> None:
    for name in copied(WORKER):
        source = REPOSITORY / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "node_modules")
            shutil.copytree(source, tmp_path / name, ignore=ignored)
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, tmp_path / name)
    for program in ("worker.py", "starter.py"):
        done = subprocess.run(
            [sys.executable, program, "--help"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_only_what_is_copied_gets_into_the_build() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = sorted(rule[1:] for rule in rules if rule.startswith("!"))
    assert allowed == sorted({*copied(WORKER), *copied(MAINTENANCE)})


@pytest.mark.parametrize("stage", LOCKS)
def test_the_image_runs_as_the_user_that_the_deployment_names(stage: str) -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", stages()[stage], re.MULTILINE)
    security = pod()["securityContext"]
    assert user == (str(security["runAsUser"]), str(security["runAsGroup"]))


def test_the_image_listens_where_the_deployment_expects_it() -> None:
    assert f"EXPOSE {container()['ports'][0]['containerPort']}\n" in stages()[WORKER]
    assert "/livez" in stages()[WORKER]


def test_a_build_without_a_target_makes_the_worker() -> None:
    assert list(stages())[-1] == WORKER


def test_the_base_is_slim_and_named_by_version_and_digest() -> None:
    (base,) = dockerfile.bases()
    assert re.fullmatch(r"docker\.io/library/python:3\.1\d-slim-\w+@sha256:[0-9a-f]{64}", base)


def test_what_is_built_and_pushed_has_the_names_of_the_manifests(tmp_path: Path) -> None:
    """The builder is a program that writes down what it is asked."""
    asked, builder = tmp_path / "asked", tmp_path / "builder"
    builder.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$*" >> {asked}\nfor last; do :; done\n'
        '[ "$1" != image ] || echo "${last%:*}@sha256:0123"\n'
    )
    builder.chmod(0o755)
    done = subprocess.run(
        ["make", "image", "push", f"BUILDER={builder}"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    calls = asked.read_text().splitlines()
    built = {
        word for call in calls if call.startswith("build ") for word in call.split() if ":v" in word
    }
    pushed = {call.split()[-1] for call in calls if call.startswith("push ")}
    named = {
        f"{image['name']}:{image['newTag']}"
        for path in (REPOSITORY / "k8s").rglob("kustomization.yaml")
        for image in documents(path)[0].get("images", [])
    }
    assert built == pushed == named
    assert [call.split()[call.split().index("--target") + 1] for call in calls[:2]] == [*LOCKS]
    # What it prints is what a kustomization takes.
    digests = {line for line in done.stdout.splitlines() if line.endswith("@sha256:0123")}
    assert {name.partition("@")[0] for name in digests} == {
        name.partition(":")[0] for name in named
    }


def test_an_image_of_another_name_needs_a_name_for_the_other_one() -> None:
    done = subprocess.run(
        ["make", "image", "IMAGE=registry.example.com/worker", "BUILDER=false"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "MAINTENANCE_IMAGE" in done.stderr) == (2, True)


@pytest.mark.parametrize(("stage", "lock"), LOCKS.items())
def test_every_package_of_the_image_is_installed_by_hash(stage: str, lock: str) -> None:
    assert f"--require-hashes -r {lock}" in stages()[stage]
    text = (REPOSITORY / lock).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


def test_the_image_holds_every_dependency_in_the_version_that_was_tested() -> None:
    runtime = locked(RUNTIME_LOCK)
    assert runtime.items() <= locked("requirements.lock").items()
    needed = {_name(requirement) for requirement in PROJECT["project"]["dependencies"]}
    assert needed <= set(runtime)
    assert not {"pytest", "ruff", "mypy"} & set(runtime)


# --- maintenance -------------------------------------------------------------------------------


def test_maintenance_has_the_packages_of_the_worker_without_ledgers_and_temporal() -> None:
    packages = locked(MAINTENANCE_LOCK)
    assert packages.items() <= locked(RUNTIME_LOCK).items()
    requirements = PROJECT["dependency-groups"]["maintenance"]
    assert set(requirements) <= set(PROJECT["project"]["dependencies"])
    assert {_name(requirement) for requirement in requirements} <= set(packages)
    assert not {"web3", "temporalio", "eth-account", "asn1crypto", "sqlalchemy"} & set(packages)


def test_maintenance_runs_once_as_the_image_before_it_did() -> None:
    (entry,) = re.findall(r"^ENTRYPOINT (.+)$", stages()[MAINTENANCE], re.MULTILINE)
    (command,) = re.findall(r"^CMD (\[.+\])$", stages()[MAINTENANCE], re.MULTILINE)
    assert json.loads(entry) == ["python", "starter.py"]
    assert json.loads(command) == ["maintenance", "run", "--once"]


def test_maintenance_backs_up_servers_of_every_version() -> None:
    """Debian's own client is years old, and refuses newer servers."""
    text = stages()[MAINTENANCE]
    newest, client = text.index("apt.postgresql.org.sh -y"), text.index("postgresql-client")
    assert newest < client
    assert "pg_restore --version" in text


def test_no_rows_are_archived_into_a_container_that_goes_away() -> None:
    """A volume that the image itself declares is made anew for each container, and thrown away with it."""
    assert "VOLUME" not in stages()[MAINTENANCE]
    assert "install -d /data\n" in stages()[MAINTENANCE]
    assert "install -d -o 10001" not in stages()[MAINTENANCE]

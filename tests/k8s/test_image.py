"""The image holds what the programs need and nothing that is secret, and runs them as nobody special."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.k8s.manifests import REPOSITORY, container, pod

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
RUNTIME_LOCK = (REPOSITORY / "requirements-runtime.lock").read_text(encoding="utf-8")


def _copied() -> list[str]:
    copied: list[str] = []
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = line.split()
        copied += [source.rstrip("/") for source in sources]
    return copied


def _locked(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", text, re.MULTILINE))


def test_the_programs_start_with_what_is_copied(tmp_path: Path) -> None:
    for name in _copied():
        source = REPOSITORY / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "node_modules")
            shutil.copytree(source, tmp_path / name, ignore=ignored)
        else:
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
    assert sorted(rule[1:] for rule in rules if rule.startswith("!")) == sorted(_copied())


def test_the_image_runs_as_the_user_that_the_deployment_names() -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    security = pod()["securityContext"]
    assert user == (str(security["runAsUser"]), str(security["runAsGroup"]))


def test_the_image_listens_where_the_deployment_expects_it() -> None:
    assert f"EXPOSE {container()['ports'][0]['containerPort']}\n" in DOCKERFILE
    assert "/livez" in DOCKERFILE


def test_the_base_is_slim_and_named_by_version() -> None:
    (base,) = re.findall(r"^FROM (\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.1\d-slim-\w+", base)


def test_every_package_of_the_image_is_installed_by_hash() -> None:
    assert "--require-hashes -r requirements-runtime.lock" in DOCKERFILE
    entries = re.split(r"\n(?=\S)", RUNTIME_LOCK.strip())
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    assert "://" not in RUNTIME_LOCK


def test_the_image_holds_every_dependency_in_the_version_that_was_tested() -> None:
    runtime = _locked(RUNTIME_LOCK)
    tested = _locked((REPOSITORY / "requirements.lock").read_text(encoding="utf-8"))
    assert runtime.items() <= tested.items()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split(r"[<>=!~\[ ]", name)[0].lower() for name in project["dependencies"]}
    assert needed <= set(runtime)
    assert not {"pytest", "ruff", "mypy"} & set(runtime)

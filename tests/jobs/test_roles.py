"""Roles that only run jobs and serve their API hold no key, and need no ledger's settings."""

import os
from pathlib import Path

import pytest

import worker
from vaultmesh.domain.errors import ConfigurationError
from vaultmesh.process.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings of a root whose anchors.yaml needs a variable that is not set."""
    config = tmp_path / "vmsh" / "config"
    config.mkdir(parents=True)
    (config / "namespaces.yaml").write_text(
        '{"namespaces": {"dao:a": {"cadence": {"fast": {"target": "eip155:1", "every": "89s"}}}}}'
    )
    (config / "anchors.yaml").write_text('{"eip155": {"default": {"rpcUrl": "${NOT_SET_HERE}"}}}')
    return Settings.from_environment({**os.environ, "VMSH_ROOT": str(tmp_path)})


@pytest.mark.parametrize("roles", [["jobs"], ["api"], ["jobs", "api"]])
def test_a_worker_for_jobs_alone_starts_without_what_anchoring_needs(
    settings: Settings, roles: list[str]
) -> None:
    worker.check_configuration(settings, roles)
    namespaces, anchors = worker.watched_files(settings, roles)
    assert namespaces.look()
    assert anchors.current()


@pytest.mark.parametrize("roles", [["workflows"], ["anchors"], ["workflows", "jobs"]])
def test_a_worker_that_anchors_is_told_what_is_missing(
    settings: Settings, roles: list[str]
) -> None:
    with pytest.raises(ConfigurationError, match="NOT_SET_HERE"):
        worker.check_configuration(settings, roles)


def test_what_is_wrong_for_jobs_hides_nothing_that_is_wrong_for_anchors(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_PORT", "http")
    with pytest.raises(ConfigurationError, match="API_PORT") as caught:
        worker.check_configuration(settings, worker.ROLES)
    assert [problem for problem in caught.value.problems if "NOT_SET_HERE" in problem]

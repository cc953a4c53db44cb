"""`register` where a namespace does not take its configuration: the others do, and it is said."""

from pathlib import Path

import pytest

from tests.cli.conftest import Command, cadences, write_namespaces
from tests.support.running_namespaces import REFUSED, RunningNamespaces
from vaultmesh.cli import register
from vaultmesh.process.settings import REPOSITORY

LINES = [f"starter.py: {name}: {REFUSED}" for name in ("dao:a", "dao:c")]


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    namespaces = RunningNamespaces(draining={"dao:a", "dao:c"})

    async def connect(*_: object) -> RunningNamespaces:
        return namespaces

    async def ensure(client: object) -> None:
        assert client is namespaces

    monkeypatch.setattr(register, "connect", connect)
    monkeypatch.setattr(register, "ensure", ensure)
    monkeypatch.setattr(register, "_check_targets", lambda *_: None)
    monkeypatch.setenv("VMSH_ROOT", str(REPOSITORY))
    names = ["dao:a", "dao:b", "dao:c", "dao:d"]
    file = write_namespaces(tmp_path / "namespaces.yaml", {name: cadences() for name in names})
    return ["register", "--config", str(file)]


def test_each_refusal_is_a_line_and_the_others_are_registered(
    run: Command, arguments: list[str]
) -> None:
    outcome = run(*arguments)
    assert (outcome.code, outcome.out) == (1, "dao:b: updated\ndao:d: updated\n")
    assert outcome.err.splitlines() == LINES


def test_refusals_are_in_the_json_too(run: Command, arguments: list[str]) -> None:
    outcome = run(*arguments, "--json")
    assert outcome.code == 1
    assert [one["namespace"] for one in outcome.json()["namespaces"]] == ["dao:b", "dao:d"]
    refused = [
        f"starter.py: {one['namespace']}: {one['reason']}" for one in outcome.json()["refused"]
    ]
    assert refused == outcome.err.splitlines() == LINES

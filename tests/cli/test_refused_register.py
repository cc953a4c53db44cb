"""`register` where a clock does not take its configuration: the others do, and it is said."""

from pathlib import Path

import pytest

from tests.cli.conftest import Command, cadences, write_namespaces
from tests.support.clocks import REFUSED, Clocks
from vaultmesh.cli import register
from vaultmesh.process.settings import REPOSITORY

LINES = [f"starter.py: {name}: {REFUSED}" for name in ("dao:a", "dao:c")]


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    clocks = Clocks(draining={"dao:a", "dao:c"})

    async def connect() -> Clocks:
        return clocks

    async def ensure(client: object) -> None:
        assert client is clocks

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
    told = run(*arguments)
    assert (told.code, told.out) == (1, "dao:b: updated\ndao:d: updated\n")
    assert told.err.splitlines() == LINES


def test_refusals_are_in_the_json_too(run: Command, arguments: list[str]) -> None:
    told = run(*arguments, "--json")
    assert told.code == 1
    assert [one["namespace"] for one in told.json()["namespaces"]] == ["dao:b", "dao:d"]
    refused = [f"starter.py: {one['namespace']}: {one['reason']}" for one in told.json()["refused"]]
    assert refused == told.err.splitlines() == LINES

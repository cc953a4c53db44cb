"""One real system for all tests of commands: Temporal, anvil, the contract, and a worker process."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import starter
from tests.support.evm_system import TARGET, EvmSystem
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.seal_batch import seal_files

NAMESPACES = ("dao:one", "fin:two")
NEVER = "1000d"
"""A period of which no slot falls into a test, as a whole hour may."""


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Outcome]


def cadences(**every: str) -> dict[str, dict[str, object]]:
    return {
        label: {"target": TARGET, "every": period, "confirmations": 2}
        for label, period in (every or {"fast": NEVER, "strong": "2*fast"}).items()
    }


def write_namespaces(
    place: Path, namespaces: Mapping[str, Mapping[str, Mapping[str, object]]]
) -> Path:
    """Write a namespaces.yaml: JSON is YAML."""
    content = {name: {"cadence": each} for name, each in namespaces.items()}
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"namespaces": content}))
    return place


def anchored_directly(system: EvmSystem, namespace: str, name: str, now: int) -> Path:
    """Return the final receipt of a batch of three files, `<name>-0.txt` and so on, that was committed directly."""
    files = [system.folder / f"{name}-{position}.txt" for position in range(3)]
    for position, file in enumerate(files):
        file.write_text(f"{name} {position}")
    batch = seal_files(LocalStore(system.root), namespace, files, now=now).batch
    system.register(namespace, fast=NEVER)
    system.wait_final(namespace, batch.id)
    return system.receipt_file(namespace, batch.id)


def anchored_in_a_tree(system: EvmSystem, namespace: str) -> Path:
    """Return the final receipt of a batch that shares its transaction with another."""
    batch_ids = [system.seal(namespace), system.seal(namespace)]
    system.register(namespace, fast=NEVER)
    system.wait_final(namespace, *batch_ids)
    return system.receipt_file(namespace, batch_ids[0])


@pytest.fixture(scope="session")
def system() -> Iterator[EvmSystem]:
    with (
        tempfile.TemporaryDirectory(prefix="vaultmesh-cli-") as folder,
        EvmSystem(Path(folder), database=False) as running,
    ):
        write_namespaces(
            running.root / "vmsh/config/namespaces.yaml",
            {name: cadences() for name in NAMESPACES},
        )
        running.start_worker(VMSH_REGISTER="report")  # a test registers by itself
        yield running


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process, as `python starter.py` does."""

    def command(*arguments: object, **environment: str) -> Outcome:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        try:
            code = starter.main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(str(ended.code or 0))
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return command


@pytest.fixture
def operate(run: Command, system: EvmSystem, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command on the system, with just the two variables that every command needs."""
    system.point_at(monkeypatch)
    return run

"""A system whose namespaces come from its file alone: its workers start and stop their workflows."""

import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from temporalio.client import Client

from bench.local_system import write_whole
from devnet.ports import free_port
from tests.cli.conftest import cadences
from tests.support.evm_system import EvmSystem
from tests.support.system import reset_workflow
from vaultmesh.domain.names import namespace_workflow_id

EAGER_WORKER = "tests/process/eager_worker.py"
WITHIN_SECONDS = 240.0
"""A look of a worker, a visibility list, and a busy machine."""


class Reconciled(EvmSystem):
    """A system whose namespaces come from its file alone."""

    metrics_port = 0

    @property
    def file(self) -> Path:
        return self.root / "vmsh/config/namespaces.yaml"

    def write(self, **every: str) -> None:
        """Name these namespaces, each with the period of its one cadence."""
        write_namespaces(self.file, every)

    def begin(self, **environment: str) -> None:
        """Start a worker whose health can be asked for."""
        self.metrics_port = free_port()
        environment["METRICS_PORT"] = str(self.metrics_port)
        self.start_worker(script=EAGER_WORKER, **environment)

    def end(self) -> None:
        self.workers[-1].stop()

    def every(self, name: str) -> str:
        """Return the period with which a namespace runs."""
        return str(self.status(name)["cadences"]["fast"]["every"])

    def wait_every(self, name: str, every: str) -> None:
        self.wait(lambda: self.every(name) == every, f"{name} every {every}", WITHIN_SECONDS)

    def wait_looked(self) -> None:
        """Wait until the worker has taken another list, and compared it."""
        lists: set[int] = set()

        def looked() -> bool:
            lists.add(int(self.health()["lastTick"]))
            return len(lists) > 2  # one before, one under way, another

        self.wait(looked, "another list", WITHIN_SECONDS)

    def reset(self, name: str) -> None:
        """Start a workflow's history anew, as `status` says how."""
        self.ask(lambda client: reset_workflow(client, namespace_workflow_id(name)))

    def wait_ended(self, name: str) -> None:
        self.wait(lambda: not self.ask(lambda client: runs(client, name)), f"the end of {name}")

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/health") as answer:
            return dict(json.load(answer))

    def metric(self, line: str) -> bool:
        """Whether a worker's page has a series with this value, however the number is written."""
        series, value = line.rsplit(" ", 1)
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as page:
            lines = page.read().decode().splitlines()
        values = [each.rsplit(" ", 1)[1] for each in lines if each.startswith(f"{series} ")]
        return [float(each) for each in values] == [float(value)]

    def wait_entry(self, name: str, key: str, value: str) -> None:
        self.wait(
            lambda: self.health()["namespaces"][name].get(key) == value,
            f"{key} {value} of {name}",
            WITHIN_SECONDS,
        )

    def diff(self) -> tuple[int, dict[str, str]]:
        """Return the exit code of `diff`, and the difference of each namespace."""
        done = self.command("diff", "--json")
        found = json.loads(done.stdout)["differences"]
        return done.returncode, {each["namespace"]: each["difference"] for each in found}


def write_namespaces(file: Path, every: Mapping[str, str]) -> None:
    names = {
        name.replace("_", ":"): {"cadence": cadences(fast=each)} for name, each in every.items()
    }
    write_whole(file, json.dumps({"namespaces": names}))


async def runs(client: Client, name: str) -> bool:
    described = await client.get_workflow_handle(namespace_workflow_id(name)).describe()
    return described.status is not None and described.status.name == "RUNNING"

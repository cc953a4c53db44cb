"""The whole way from a batch to a verified token, with workers killed on the way: real server, real authority."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devnet.tsa import Tsa
from tests.support.system import REPOSITORY, System
from vaultmesh.domain.messages import Backoff
from vaultmesh.domain.names import aggregator_workflow_id, namespace_workflow_id
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration, NamespaceInput
from vaultmesh.domain.paths import path_form
from vaultmesh.domain.target import Target

pytestmark = [pytest.mark.fault, pytest.mark.server, pytest.mark.slow]
TARGET = "rfc3161:tsa"


class Stamped(System):
    """Temporal, an authority, and workers; no chain."""

    def __enter__(self) -> "Stamped":
        self.tsa = Tsa(self.root, faults=True)
        try:
            self.temporal.part.start()
            self.tsa.part.start()
            self.write_anchors()
            asyncio.run(self._ensure())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.tsa.part.kill()
        super().__exit__(*exception)

    def write_anchors(self, **changes: object) -> None:
        """Write anchors.yaml."""
        section = {"url": self.tsa.url, "spacing": "0s", "trustBundle": "tsa/roots.pem", **changes}
        config = self.root / "vmsh" / "config"
        config.mkdir(parents=True, exist_ok=True)
        (config / "namespaces.yaml").write_text("namespaces: {}\n")
        (config / "anchors.yaml").write_text(json.dumps({"rfc3161": {"default": section}}))

    def register(self, namespace: str, **cadences: str) -> None:
        """Start a namespace's workflow with a cold cadence, that even asks for a depth."""
        del cadences
        cadence = CadenceConfig(target=Target.parse(TARGET), every="2s", required_depth=3)
        configuration = Configuration(
            namespace=namespace,
            cadences={"cold": cadence},
            backoff=Backoff(base_seconds=0.5),
            anchor_timeout_seconds=5,
            config_hash="test",
        )

        async def start() -> None:
            client = await self.client()
            await client.start_workflow(
                "NamespaceWorkflow",
                NamespaceInput(configuration=configuration),
                id=namespace_workflow_id(namespace),
                task_queue="scheduler",
            )

        asyncio.run(start())

    def receipt(self, namespace: str, batch_id: str) -> dict[str, Any] | None:
        folder = self.root / "out/anchors" / path_form(namespace) / path_form(batch_id)
        place = folder / "rfc3161_tsa.json"
        return json.loads(place.read_text()) if place.exists() else None

    def rounds(self) -> list[Path]:
        """Return the folders of all rounds that were signed."""
        folder = self.root / "out/rounds/rfc3161_tsa"
        return sorted(one.parent for one in folder.glob("*/candidate-0.json"))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Return what a command says."""
        return subprocess.run(
            [sys.executable, "starter.py", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "VMSH_ROOT": str(self.root)},
            capture_output=True,
            check=False,
            text=True,
        )


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stamped]:
    with Stamped(tmp_path_factory.mktemp("stamped")) as running:
        yield running


@pytest.mark.parametrize(
    "crash_at", ["after:reserve", "after:sign", "before:broadcast", "after:broadcast", "after:record"]
)  # fmt: skip
def test_a_killed_worker_costs_no_anchor_and_a_stored_reply_is_not_asked_for_again(
    system: Stamped, tmp_path: Path, crash_at: str
) -> None:
    namespace = f"dao:{crash_at.replace(':', '-')}"
    batches = [system.seal(namespace), system.seal(namespace)]
    rounds, queries = len(system.rounds()), system.tsa.queries()
    mark = tmp_path / "crashed"
    doomed = system.start_worker(
        script="tests/faults/crashing_worker.py", CRASH_AT=crash_at, CRASH_MARK=str(mark)
    )
    system.register(namespace)
    system.wait(lambda: not doomed.alive, f"the crash at {crash_at}")
    assert mark.exists()
    survivor = system.start_worker()
    system.wait_final(namespace, *batches)
    survivor.stop()
    assert len(system.rounds()) == rounds + 1
    assert len(list(system.rounds()[-1].glob("reply-*"))) == 1
    assert system.tsa.queries() == queries + 1
    for batch_id in batches:
        receipt = system.receipt(namespace, batch_id)
        assert receipt is not None
        assert receipt["txRef"].startswith("serial:")
        assert (receipt["blockNumber"], "txHash" in receipt) == (0, False)
        told = system.command("verify", "--batch", batch_id)
        assert told.returncode == 0, told.stdout + told.stderr


def test_a_failing_authority_is_shown_and_then_gone_on_with_after_a_lost_history(
    system: Stamped, tmp_path: Path
) -> None:
    namespace = "dao:refused"
    event = tmp_path / "event.txt"
    event.write_text("something that happened")
    sealed = system.command("seal", namespace, str(event), "--json")
    assert sealed.returncode == 0, sealed.stderr
    made = json.loads(sealed.stdout)
    batch_id = made["batch"]
    system.tsa.fail("refusal")
    worker = system.start_worker()
    rounds = len(system.rounds())
    system.register(namespace)
    system.wait(lambda: len(system.rounds()) > rounds, "a signed round")
    failure = system.wait(
        lambda: system.status(namespace)["cadences"]["cold"]["in_flight"]["last_failure"],
        "the failure in the status",
    )
    assert failure["kind"] == "validation"
    assert "status: rejected" in failure["message"]
    system.ask(
        lambda client: client.get_workflow_handle(aggregator_workflow_id(TARGET)).terminate("test")
    )
    system.tsa.fail("")
    system.wait_final(namespace, batch_id)
    worker.stop()
    assert len(system.rounds()) == rounds + 1
    assert system.command("verify", "--batch", batch_id).returncode == 0
    told = system.command("verify", "--event", made["events"][0])
    assert told.returncode == 0, told.stdout + told.stderr
    assert "certificate: bound by sha256" in told.stdout, (
        "the legacy anchor's own token was checked"
    )

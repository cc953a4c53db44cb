"""Runs a local system for tests, asks it, and judges every history at its end."""

import asyncio
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError
from typing_extensions import override

from bench.local_system import Ledger, LocalSystem, write_whole
from devnet.jsonrpc import JsonRpcError
from devnet.process import Part
from devnet.tsa import Tsa
from tests.support.replays import Replays
from vaultmesh.domain.messages import Backoff
from vaultmesh.domain.names import aggregator_workflow_id, namespace_workflow_id
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration
from vaultmesh.domain.paths import path_form
from vaultmesh.domain.target import Target
from vaultmesh.process.settings import REPOSITORY

CRASHING_WORKER = "tests/faults/crashing_worker.py"
IMPATIENT_WORKER = "tests/faults/impatient_worker.py"
POLL_SECONDS = 0.2
QUERY_WITHIN = timedelta(seconds=10)
"""A query that the server hands to a stopped worker's open poll would wait much longer for nobody."""
NOT_YET = (OSError, ValueError, LookupError, RPCError, HTTPException, JsonRpcError)
"""What a question may raise while something starts or is written; a URL that does not answer is an `OSError`."""
Answer = TypeVar("Answer")


class System(LocalSystem):
    """Temporal and some ledgers. Workers are started by the test; the first ledger is the one that is asked about."""

    def __init__(self, folder: Path, *ledgers: Ledger, database: bool = True) -> None:
        file = folder / "temporal.db" if database else None
        super().__init__(folder, *ledgers, database=file)
        self.target = ledgers[0].target
        self.replays = Replays()
        """Judges every history at the end, and before the database is lost."""
        self.backoff = Backoff(base_seconds=0.5)
        """Of the namespaces that are registered from now on, and so of their aggregators."""
        self._ids = 1_761_300_000
        self._configurations: list[Configuration] = []

    @override
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        try:
            for worker in self.workers:
                worker.kill()
            if not self.temporal.alive and self.temporal.database is not None:
                self.temporal.start()
            self.replays.end(self.temporal.address, error)
        finally:
            self.stop()

    @override
    def environment(self, metrics_port: int = 0) -> dict[str, str]:
        return {**super().environment(metrics_port), "VMSH_BASE_BACKOFF": "0.5"}

    def point_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Set the two variables that every command needs in this process."""
        monkeypatch.setenv("TEMPORAL_ADDRESS", self.temporal.address)
        monkeypatch.setenv("VMSH_ROOT", str(self.root))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `starter.py`."""
        return subprocess.run(
            [sys.executable, "starter.py", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **self.environment()},
            capture_output=True,
            check=False,
            text=True,
            timeout=240,
        )

    # --- harm ------------------------------------------------------------------------------------

    def lose_histories(self) -> None:
        """Give all namespaces to a server with an empty database and a new worker; what the old one held is judged before."""
        self.workers[-1].stop()
        self.lose_database()
        asyncio.run(self._ensure())
        self.start_worker()
        for configuration in self._configurations:
            self._start(configuration)

    def lose_database(self) -> None:
        """Give the workers that run a server without anything; what the old one held is judged before."""
        self.replays.check_at(self.temporal.address)
        self.replace_database()

    def replace_database(self, copy: Path | None = None, outage_seconds: float = 0.0) -> None:
        """Kill the server, and start it again with an older copy of its database, or with none."""
        database = self.temporal.database
        assert database is not None
        kill(self.temporal)
        for place in database.parent.glob(f"{database.name}*"):
            place.unlink()
        if copy is not None:
            shutil.copy(copy, database)
        time.sleep(outage_seconds)
        self.temporal.start()

    def lose_receipts(self) -> None:
        """Remove every anchor receipt."""
        for place in (self.root / "out/anchors").rglob("*.json"):
            place.unlink()

    def terminate_aggregator(self) -> None:
        workflow_id = aggregator_workflow_id(self.target)
        self.ask(lambda client: client.get_workflow_handle(workflow_id).terminate("test"))

    def terminate_namespace(self, namespace: str) -> None:
        """End a namespace's workflow, which else takes a task for each slot as long as its server runs."""
        workflow_id = namespace_workflow_id(namespace)
        self.ask(lambda client: client.get_workflow_handle(workflow_id).terminate("test"))

    def reset_aggregator(self) -> None:
        """Reset the aggregator to its first completed workflow task, as `temporal workflow reset` does."""
        self.ask(lambda client: reset_workflow(client, aggregator_workflow_id(self.target)))

    def seal_across_a_crash(self, crash_at: str) -> tuple[str, list[str]]:
        """Seal two batches of a new namespace, whose worker kills itself at a step; return both names and start no other."""
        namespace = f"dao:{crash_at.replace(':', '-')}"
        batches = [self.seal(namespace), self.seal(namespace)]
        mark = self.folder / f"crashed-{crash_at}"
        doomed = self.start_worker(script=CRASHING_WORKER, CRASH_AT=crash_at, CRASH_MARK=str(mark))
        self.register(namespace)
        self.wait(lambda: not doomed.alive, f"the crash at {crash_at}")
        assert mark.exists()
        return namespace, batches

    # --- what is asked of the system -------------------------------------------------------------

    def seal(self, namespace: str = "", *, leaves: int = 3) -> str:
        """Write a batch file with the content of the original's sealer; returns its id."""
        batch_id, document = self.batch(namespace, leaves=leaves)
        write_whole(self.batch_file(batch_id), document)
        return batch_id

    def batch_file(self, batch_id: str) -> Path:
        """Return where a batch's file lies."""
        return self.root / "out/batches" / f"{batch_id}.json"

    def batch(self, namespace: str = "", *, leaves: int = 3) -> tuple[str, str]:
        """Return the id and the document of a new batch, of which nobody knows yet."""
        self._ids += 1
        return str(self._ids), batch_document(str(self._ids), namespace, leaves=leaves)

    def register(self, namespace: str, **cadences: str) -> None:
        """Start a namespace's workflow; a cadence is given as its `every`, and is by default every ledger's own."""
        by_cadence = {ledger.cadence: ledger for ledger in self.ledgers}
        configs = {}
        for cadence, every in (cadences or dict.fromkeys(by_cadence, "2s")).items():
            ledger = by_cadence.get(cadence, self.ledgers[0])
            configs[cadence] = CadenceConfig(
                target=Target.parse(ledger.target),
                every=every,
                required_depth=ledger.required_depth,
            )
        configuration = Configuration(
            namespace=namespace,
            cadences=configs,
            backoff=self.backoff,
            anchor_timeout_seconds=5,
            config_hash="test",
        )
        self._configurations.append(configuration)
        self._start(configuration)

    def _start(self, configuration: Configuration) -> None:
        self.ask(lambda client: self.start_namespace(client, configuration))

    def ask(self, question: Callable[[Client], Awaitable[Answer]]) -> Answer:
        """Ask Temporal something through a client of its own."""

        async def asked() -> Answer:
            return await question(await self.client())

        return asyncio.run(asked())

    def status(self, namespace: str) -> dict[str, Any]:
        """Return a namespace's `status`."""
        return self._query(namespace_workflow_id(namespace))

    def aggregator(self) -> dict[str, Any]:
        """Return the aggregator's `status`."""
        return self._query(aggregator_workflow_id(self.target))

    def _query(self, workflow_id: str) -> dict[str, Any]:
        return self.ask(
            lambda client: client.get_workflow_handle(workflow_id).query(
                "status", rpc_timeout=QUERY_WITHIN
            )
        )

    def signal(self, workflow_id: str, name: str, *arguments: object) -> None:
        self.ask(
            lambda client: client.get_workflow_handle(workflow_id).signal(name, args=arguments)
        )

    @staticmethod
    def wait(question: Callable[[], Answer], what: str, seconds: float = 180.0) -> Answer:
        """Ask until the answer is true, and return it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(*NOT_YET):
                if answer := question():
                    return answer
            time.sleep(POLL_SECONDS)
        message = f"{what} did not come within {seconds:g} s"
        raise AssertionError(message)

    # --- what files say --------------------------------------------------------------------------

    def receipt_file(self, namespace: str, batch_id: str, target: str = "") -> Path:
        """Return where an anchor receipt lies."""
        folder = self.root / "out/anchors" / path_form(namespace) / path_form(batch_id)
        return folder / f"{(target or self.target).replace(':', '_')}.json"

    def receipt(self, namespace: str, batch_id: str, target: str = "") -> dict[str, Any] | None:
        place = self.receipt_file(namespace, batch_id, target)
        return json.loads(place.read_text()) if place.exists() else None

    def state(self, namespace: str, batch_id: str, target: str = "") -> str:
        """Return the state of a batch's finality."""
        receipt = self.receipt(namespace, batch_id, target)
        return receipt["finality"]["state"] if receipt else "none"

    def is_final(self, namespace: str, batch_id: str) -> bool:
        return self.state(namespace, batch_id) == "finalized"

    def wait_final(self, namespace: str, *batch_ids: str, seconds: float = 240.0) -> None:
        try:
            self.wait(
                lambda: all(self.is_final(namespace, batch_id) for batch_id in batch_ids),
                f"final anchors of {namespace}: {', '.join(batch_ids)}",
                seconds,
            )
        except AssertionError:
            with suppress(*NOT_YET):
                print(f"{namespace} says: {json.dumps(self.status(namespace))}")
                print(f"the aggregator says: {json.dumps(self.aggregator())}")
            raise

    def wait_idle(self, *namespaces: str) -> None:
        """Wait until namespaces and aggregator are done, so that no request, round or reply is left to a later moment.

        A final receipt alone says less: a reply that came too late is asked for again, on the backoff.
        """

        self.wait_answered(*namespaces)
        self.wait(
            lambda: not (aggregator := self.aggregator())["rounds"] and not aggregator["waiting"],
            "an idle aggregator",
        )

    def wait_answered(self, *namespaces: str) -> None:
        """Wait until no request of namespaces is in flight."""

        def answered(namespace: str) -> bool:
            cadences = self.status(namespace)["cadences"].values()
            return not any(cadence["in_flight"] for cadence in cadences)

        self.wait(lambda: all(map(answered, namespaces)), "the replies to every namespace")

    def all_receipts(self) -> list[dict[str, Any]]:
        return [
            json.loads(place.read_text()) for place in (self.root / "out/anchors").rglob("*.json")
        ]


HARM = [System.terminate_aggregator, System.reset_aggregator, System.lose_histories]
"""What may happen to an aggregator at any moment."""


def authority(tsa: Tsa, *, required_depth: int = 0, **settings: object) -> Ledger:
    """Return a time-stamp authority that runs below the root, as a ledger."""
    section = {"url": tsa.url, "spacing": "0s", "trustBundle": "tsa/roots.pem", **settings}
    return Ledger("rfc3161:tsa", "cold", section, tsa, required_depth=required_depth)


async def reset_workflow(client: Client, workflow_id: str) -> None:
    """Reset a workflow to its first completed workflow task."""
    handle = client.get_workflow_handle(workflow_id)
    history = await handle.fetch_history()
    first = next(
        event.event_id
        for event in history.events
        if event.HasField("workflow_task_completed_event_attributes")
    )
    described = await handle.describe()
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=described.run_id),
            reason="test",
            workflow_task_finish_event_id=first,
            request_id=f"reset-{described.run_id}",
        )
    )


def kill(part: Part) -> None:
    """Kill a process as a power cut would."""
    os.kill(part.pid, signal.SIGKILL)
    assert part.process is not None
    part.process.wait()


def batch_document(batch_id: str, namespace: str = "", *, leaves: int = 3) -> str:
    """Return the file of a new batch with the content of the original's sealer."""
    hashes = [hashlib.sha256(secrets.token_bytes(16)).digest() for _ in range(leaves)]
    batch = {
        "id": batch_id,
        "root": f"sha256:{_legacy_root(hashes).hex()}",
        "leaves": [f"sha256:{leaf.hex()}" for leaf in hashes],
        "createdAt": int(batch_id),
    }
    if namespace:
        batch["namespace"] = namespace
    return json.dumps(batch, indent=2)


def _legacy_root(level: list[bytes]) -> bytes:
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [hashlib.sha256(pair[0] + pair[-1]).digest() for pair in pairs]
    return level[0]

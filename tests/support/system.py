"""Runs the real thing: Temporal, anvil, and workers as processes; judged by raw JSON-RPC."""

import asyncio
import hashlib
import json
import os
import secrets
import signal
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from eth_account import Account
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from contracts.check import load_artifact
from devnet.anvil import CHAIN_ID, Anvil
from devnet.jsonrpc import JsonRpcError
from devnet.ports import LOOPBACK, free_port
from devnet.process import Part
from devnet.temporal import TemporalServer
from tests.support.replays import Replays
from vaultmesh.domain.messages import Backoff
from vaultmesh.domain.names import aggregator_workflow_id, namespace_workflow_id
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration, NamespaceInput
from vaultmesh.domain.paths import path_form
from vaultmesh.domain.target import Target
from vaultmesh.process.search_attributes import ensure

REPOSITORY = Path(__file__).resolve().parents[2]
TOPIC0 = "0x422475c780472c369a714f8b6a226f0d5545429886a44c599148ec3b2e408fe2"
TARGET = f"eip155:{CHAIN_ID}"
POLL_SECONDS = 0.2
NOT_YET = (OSError, ValueError, LookupError, RPCError, HTTPException, JsonRpcError)
"""What looking may raise while something starts or is written; a URL that does not answer is an `OSError`."""
Found = TypeVar("Found")


class System:
    """Real parts below one folder. Workers are started by the test."""

    def __init__(
        self,
        folder: Path,
        *,
        confirmations: int = 2,
        block_seconds: int | None = 1,
        slots_in_an_epoch: int = 1,
        settings: Mapping[str, object] | None = None,
        database: bool = True,
    ) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.database = folder / "temporal.db" if database else None
        self.temporal = TemporalServer(folder, headless=True, database=self.database)
        self.replays = Replays()
        """Judges every history at the end, and before the database is lost."""
        self.anvil = Anvil(folder, block_seconds=block_seconds, slots_in_an_epoch=slots_in_an_epoch)
        self.rpc = self.anvil.rpc
        self.key = "0x" + secrets.token_hex(32)
        self.account = Account.from_key(self.key).address
        self.confirmations = confirmations
        self.settings = dict(settings or {})
        self.contract = ""
        self.workers: list[Part] = []
        self._ids = 1_761_300_000

    # --- parts -----------------------------------------------------------------------------------

    def __enter__(self) -> "System":
        try:
            self.temporal.part.start()
            self.anvil.part.start()
            self.anvil.fund(self.account)
            self.contract = self.anvil.deploy(str(load_artifact()["bytecode"])).lower()
            self.write_anchors()
            asyncio.run(self._ensure())
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        try:
            for worker in self.workers:
                worker.kill()
            if not self.temporal.part.alive and self.database is not None:
                self.temporal.part.start()
            self.replays.end(self.temporal.address, error)
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop everything, without a look at histories."""
        for worker in self.workers:
            worker.kill()
        self.anvil.part.stop()
        self.temporal.part.kill()

    def lose_histories(self) -> None:
        """Kill the server and remove its database; what it held is judged before."""
        assert self.database is not None
        self.replays.check_at(self.temporal.address)
        kill(self.temporal.part)
        for place in self.database.parent.glob(f"{self.database.name}*"):
            place.unlink()

    async def _ensure(self) -> None:
        await ensure(await self.client())

    def write_anchors(self, **changes: object) -> None:
        """Write anchors.yaml; the key lies in the environment of the workers only."""
        self.settings.update(changes)
        section = {
            "rpcUrl": self.anvil.url,
            "contract": self.contract,
            "key": "${EVM_ANCHOR_KEY}",
            "confirmations": self.confirmations,
            **self.settings,
        }
        if "rpcUrls" in self.settings:
            del section["rpcUrl"]
        config = self.root / "vmsh" / "config"
        config.mkdir(parents=True, exist_ok=True)
        if not (config / "namespaces.yaml").exists():
            (config / "namespaces.yaml").write_text("namespaces: {}\n")
        write_whole(config / "anchors.yaml", json.dumps({"eip155": {str(CHAIN_ID): section}}))

    async def client(self) -> Client:
        return await Client.connect(self.temporal.address, data_converter=pydantic_data_converter)

    def environment(self, metrics_port: int) -> dict[str, str]:
        return {
            "TEMPORAL_ADDRESS": self.temporal.address,
            "VMSH_ROOT": str(self.root),
            "METRICS_PORT": str(metrics_port),
            "EVM_ANCHOR_KEY": self.key,
            "VMSH_BASE_BACKOFF": "0.5",
        }

    def start_worker(self, *arguments: str, script: str = "worker.py", **environment: str) -> Part:
        """Start a worker process and wait until it is ready."""
        port = free_port()
        worker = Part(
            f"worker {len(self.workers)}",
            [sys.executable, str(REPOSITORY / script), *arguments],
            self.folder / "logs" / f"worker-{len(self.workers)}.log",
            lambda: _is_ready(port),
            environment={**self.environment(port), **environment},
            folder=REPOSITORY,
        )
        self.workers.append(worker)
        worker.metrics_port = port  # type: ignore[attr-defined]
        worker.start()
        return worker

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
        hashes = [hashlib.sha256(secrets.token_bytes(16)).digest() for _ in range(leaves)]
        batch = {
            "id": str(self._ids),
            "root": f"sha256:{_legacy_root(hashes).hex()}",
            "leaves": [f"sha256:{leaf.hex()}" for leaf in hashes],
            "createdAt": self._ids,
        }
        if namespace:
            batch["namespace"] = namespace
        return str(self._ids), json.dumps(batch, indent=2)

    def register(self, namespace: str, **cadences: str) -> None:
        """Start a namespace's workflow; a cadence is given as its `every`."""
        configuration = Configuration(
            namespace=namespace,
            cadences={
                label: CadenceConfig(
                    target=Target.parse(TARGET), every=every, required_depth=self.confirmations
                )
                for label, every in (cadences or {"fast": "2s"}).items()
            },
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

    def ask(self, question: Callable[[Client], Awaitable[Found]]) -> Found:
        """Ask Temporal something through a client of its own."""

        async def asked() -> Found:
            return await question(await self.client())

        return asyncio.run(asked())

    def status(self, namespace: str) -> dict[str, Any]:
        """Return a namespace's `status`."""
        return self.ask(
            lambda client: client.get_workflow_handle(namespace_workflow_id(namespace)).query(
                "status"
            )
        )

    def aggregator(self) -> dict[str, Any]:
        """Return the aggregator's `status`."""
        return self.ask(
            lambda client: client.get_workflow_handle(aggregator_workflow_id(TARGET)).query(
                "status"
            )
        )

    def signal(self, workflow_id: str, name: str, *arguments: object) -> None:
        self.ask(
            lambda client: client.get_workflow_handle(workflow_id).signal(name, args=arguments)
        )

    @staticmethod
    def wait(look: Callable[[], Found], what: str, seconds: float = 60.0) -> Found:
        """Look until something is found."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(*NOT_YET):
                found = look()
                if found:
                    return found
            time.sleep(POLL_SECONDS)
        message = f"{what} did not come within {seconds:g} s"
        raise AssertionError(message)

    # --- what files and chain say ----------------------------------------------------------------

    def receipt(self, namespace: str, batch_id: str) -> dict[str, Any] | None:
        place = (
            self.root
            / "out/anchors"
            / path_form(namespace)
            / path_form(batch_id)
            / f"eip155_{CHAIN_ID}.json"
        )
        return json.loads(place.read_text()) if place.exists() else None

    def is_final(self, namespace: str, batch_id: str) -> bool:
        receipt = self.receipt(namespace, batch_id)
        return receipt is not None and receipt["finality"]["state"] == "finalized"

    def wait_final(self, namespace: str, *batch_ids: str, seconds: float = 90.0) -> None:
        self.wait(
            lambda: all(self.is_final(namespace, batch_id) for batch_id in batch_ids),
            f"final anchors of {namespace}: {', '.join(batch_ids)}",
            seconds,
        )

    def wait_idle(self, *namespaces: str) -> None:
        """Wait until clocks and aggregator are done, so that no request, round or answer is left to a later moment.

        A final receipt alone says less: an answer that came too late is asked for again, on the backoff.
        """

        def answered(namespace: str) -> bool:
            cadences = self.status(namespace)["cadences"].values()
            return not any(one["in_flight"] for one in cadences)

        self.wait(lambda: all(map(answered, namespaces)), "the answers to every clock")
        self.wait(
            lambda: not (aggregator := self.aggregator())["rounds"] and not aggregator["waiting"],
            "the aggregator's rest",
        )

    def logs(self) -> list[dict[str, Any]]:
        """Return the contract's events over all blocks."""
        query = {
            "fromBlock": "0x0",
            "toBlock": "latest",
            "address": self.contract,
            "topics": [TOPIC0],
        }
        return list(self.rpc("eth_getLogs", query))

    def commitments(self) -> Counter[str]:
        """Return how often each 32-byte commitment is in the chain."""
        return Counter(entry["topics"][1] for entry in self.logs())

    def transactions(self) -> set[str]:
        """Return the hash of every transaction that our key has in the chain."""
        height = self.anvil.height()
        found = set()
        for number in range(height + 1):
            for transaction in self.rpc("eth_getBlockByNumber", hex(number), True)["transactions"]:
                if transaction["from"].lower() == self.account.lower():
                    found.add(transaction["hash"])
        return found

    def all_receipts(self) -> list[dict[str, Any]]:
        return [
            json.loads(place.read_text()) for place in (self.root / "out/anchors").rglob("*.json")
        ]

    def assert_paid_once(self, owed: Mapping[str, Sequence[str]]) -> None:
        """Judge by chain and files: each batch anchored, each root committed once, every transaction known."""
        commitments = self.commitments()
        assert all(count == 1 for count in commitments.values()), commitments
        roots: Counter[tuple[str, str]] = Counter()
        known = set()
        for receipt in self.all_receipts():
            proof = receipt["evidence"]["aggregation"]
            commitment = receipt["root"] if proof is None else rfc9162_root(proof)
            assert commitments[commitment] == 1, receipt
            known.add(receipt["txRef"])
            roots[receipt["root"], commitment] += 1
        by_root = Counter(root for root, _ in roots)
        assert all(count == 1 for count in by_root.values()), by_root
        for namespace, batch_ids in owed.items():
            for batch_id in batch_ids:
                receipt = self.receipt(namespace, batch_id)
                assert receipt is not None, (namespace, batch_id)
                assert receipt["status"] == "verified", receipt
        assert self.transactions() <= known, self.transactions() - known


def kill(part: Part) -> None:
    """Kill a process as a power cut would."""
    os.kill(part.pid, signal.SIGKILL)
    assert part.process is not None
    part.process.wait()


def write_whole(place: Path, text: str) -> None:
    """Write a file that a worker never sees in part, which may look at any moment."""
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.parent.parent / f".{place.name}.new"
    fresh.write_text(text)
    fresh.replace(place)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _legacy_root(level: list[bytes]) -> bytes:
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [hashlib.sha256(pair[0] + pair[-1]).digest() for pair in pairs]
    return level[0]


def rfc9162_root(proof: Mapping[str, Any]) -> str:
    """Return the root that an inclusion proof leads to, by the algorithm of RFC 9162 section 2.1.3.2."""
    text = json.dumps(proof["leaf"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    found = hashlib.sha256(b"\0" + text.encode()).digest()
    first, second = proof["index"], proof["treeSize"] - 1
    for node in (bytes.fromhex(entry[2:]) for entry in proof["path"]):
        assert second > 0
        if first & 1 or first == second:
            found = hashlib.sha256(b"\1" + node + found).digest()
            while not first & 1 and first:
                first, second = first >> 1, second >> 1
        else:
            found = hashlib.sha256(b"\1" + found + node).digest()
        first, second = first >> 1, second >> 1
    assert second == 0
    return "0x" + found.hex()

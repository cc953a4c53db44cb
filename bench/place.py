"""Brings up the real parts for a benchmark: Temporal in memory, a chain with 1 s blocks, worker processes."""

import asyncio
import hashlib
import json
import secrets
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil
from eth_account import Account
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, RPCStatusCode

from contracts.check import load_artifact
from devnet.anvil import CHAIN_ID, Anvil
from devnet.ports import LOOPBACK, free_port
from devnet.process import Part
from devnet.temporal import TemporalServer
from vaultmesh.domain.names import (
    NAMESPACE_WORKFLOW,
    SCHEDULER_QUEUE,
    STATUS,
    aggregator_workflow_id,
    namespace_workflow_id,
)
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration, NamespaceInput
from vaultmesh.domain.receipts.receipt import receipt_path
from vaultmesh.domain.status import AggregatorView, NamespaceView
from vaultmesh.domain.target import Target
from vaultmesh.process.search_attributes import ensure
from vaultmesh.process.sticky import FEW_NAMESPACES

REPOSITORY = Path(__file__).resolve().parents[1]
TARGET = Target.parse(f"eip155:{CHAIN_ID}")
FAST = "fast"
DEPTH = 2
AT_ONCE = 20
"""Calls under way at the same time when many namespaces are registered or asked."""
_FIRST_BATCH = 1_700_000_000
_EVENT = "0x422475c780472c369a714f8b6a226f0d5545429886a44c599148ec3b2e408fe2"
_LOOK_SECONDS = 0.25
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class BenchError(Exception):
    """A benchmark could not measure what it set out to measure."""


class Place:
    """Real parts below a temporary folder; workers are started by the benchmark."""

    def __init__(self) -> None:
        """Choose ports and keys; nothing runs before `with`."""
        self._temporary = tempfile.TemporaryDirectory(prefix="vaultmesh-bench-")
        self.folder = Path(self._temporary.name)
        self.root = self.folder / "root"
        self.temporal = TemporalServer(self.folder, headless=True)
        self.anvil = Anvil(self.folder, block_seconds=1, slots_in_an_epoch=1)
        self.workers: list[Part] = []
        self._key = "0x" + secrets.token_hex(32)
        self._contract = ""
        self._next_batch = _FIRST_BATCH

    def __enter__(self) -> "Place":
        """Start server and chain."""
        try:
            self.temporal.part.start()
            self.anvil.part.start()
            self.anvil.fund(Account.from_key(self._key).address)
            self._contract = self.anvil.deploy(str(load_artifact()["bytecode"])).lower()
            self._configure()
            asyncio.run(self._ensure())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop everything and remove the folder."""
        for worker in self.workers:
            worker.kill()
        self.anvil.part.kill()
        self.temporal.part.kill()
        self._temporary.cleanup()

    async def _ensure(self) -> None:
        await ensure(await self.client())

    def _configure(self) -> None:
        config = self.root / "vmsh" / "config"
        config.mkdir(parents=True)
        (config / "namespaces.yaml").write_text("namespaces: {}\n")
        settings = {
            "rpcUrl": self.anvil.url,
            "contract": self._contract,
            "key": "${EVM_ANCHOR_KEY}",
            "confirmations": DEPTH,
        }
        (config / "anchors.yaml").write_text(json.dumps({"eip155": {str(CHAIN_ID): settings}}))

    async def client(self) -> Client:
        """Return a client of the server."""
        return await Client.connect(self.temporal.address, data_converter=pydantic_data_converter)

    # --- workers -----------------------------------------------------------------------------------------------

    def start_worker(self, *arguments: str) -> Part:
        """Start the product's worker and wait until it is ready."""
        port = free_port()
        environment = {"METRICS_PORT": str(port), "EVM_ANCHOR_KEY": self._key}
        command = [sys.executable, str(REPOSITORY / "worker.py"), *arguments]
        return self.start_part(command, lambda: _is_ready(port), environment)

    def start_part(
        self, command: Sequence[str], is_ready: Callable[[], bool], environment: Mapping[str, str]
    ) -> Part:
        """Start a process that works for the server."""
        name = f"worker-{len(self.workers)}"
        place = {
            "TEMPORAL_ADDRESS": self.temporal.address,
            "VMSH_ROOT": str(self.root),
        }
        log = self.folder / "logs" / f"{name}.log"
        part = Part(name, command, log, is_ready, {**place, **environment}, REPOSITORY)
        self.workers.append(part)
        part.start()
        return part

    def cpu_seconds(self) -> float:
        """Return what server and workers have used of the processors so far."""
        return sum(cpu_seconds(part) for part in (self.temporal.part, *self.workers))

    # --- namespaces and batches --------------------------------------------------------------------------------

    async def register(
        self, client: Client, names: Sequence[str], every: str, phases: Sequence[int] = (0,)
    ) -> None:
        """Start the clocks of namespaces, and wait until each has dealt with its registration.

        The phases, in seconds, are dealt out in turn.
        """
        turns = [(name, phases[index % len(phases)]) for index, name in enumerate(names)]

        async def start(one: tuple[str, int]) -> None:
            name, phase = one
            await client.start_workflow(
                NAMESPACE_WORKFLOW,
                NamespaceInput(configuration=_configuration(name, every, phase)),
                id=namespace_workflow_id(name),
                task_queue=SCHEDULER_QUEUE,
            )

        await for_each(turns, start)
        await self.views(client, names)
        if (
            len(names) > FEW_NAMESPACES
        ):  # what a worker expects of its cache it decides at its start
            for worker in self.workers:
                worker.stop()
                worker.start()
            await self.views(client, names)

    async def views(self, client: Client, names: Sequence[str]) -> list[NamespaceView]:
        """Return the `status` of namespaces, whose clocks are all in the worker's memory after it."""

        async def ask(name: str) -> NamespaceView:
            clock = client.get_workflow_handle(namespace_workflow_id(name))
            return await _answered(clock)

        return await for_each(names, ask)

    async def aggregator(self, client: Client) -> AggregatorView:
        """Return the `status` of the target's aggregator."""
        aggregator = client.get_workflow_handle(aggregator_workflow_id(str(TARGET)))
        view: AggregatorView = await aggregator.query(STATUS, result_type=AggregatorView)
        return view

    async def until_final(self, client: Client) -> None:
        """Wait until no round is watched any more."""

        async def done() -> bool:
            view = await self.aggregator(client)
            return not view.rounds and not view.waiting

        await until(done, "every round to become final", 60.0)

    def seal(self, names: Sequence[str]) -> list[Path]:
        """Write one batch for each namespace, which it alone owns; returns where the receipts will lie."""
        folder = self.root / "out" / "batches"
        folder.mkdir(parents=True, exist_ok=True)
        receipts = []
        for name in names:
            self._next_batch += 1
            write_batch(folder, self._next_batch, name)
            receipts.append(self.root / receipt_path(name, str(self._next_batch), TARGET))
        return receipts

    # --- what came of it ---------------------------------------------------------------------------------------

    def transactions(self) -> int:
        """Return how many commitments the contract has taken: each one is a transaction."""
        wanted = {"fromBlock": "0x0", "address": self._contract, "topics": [_EVENT]}
        return len(list(self.anvil.rpc("eth_getLogs", {**wanted, "toBlock": "latest"})))


def names(count: int) -> list[str]:
    """Return the names of some namespaces."""
    return [f"dao:bench-{number:05}" for number in range(count)]


def _configuration(name: str, every: str, phase: int) -> Configuration:
    cadence = CadenceConfig(target=TARGET, every=every, phase=f"{phase}s", required_depth=DEPTH)
    return Configuration(namespace=name, cadences={FAST: cadence})


def write_batch(folder: Path, number: int, namespace: str) -> str:
    """Write a batch file with one leaf; returns the root as 64 hex digits."""
    root = hashlib.sha256(f"{namespace}/{number}".encode()).hexdigest()
    document = {
        "id": str(number),
        "createdAt": number,
        "root": f"sha256:{root}",
        "leaves": [f"sha256:{root}"],
        "namespace": namespace,
    }
    (folder / f"{number}.json").write_text(json.dumps(document))
    return root


def cpu_seconds(part: Part) -> float:
    """Return what a process has used of the processors so far; 0 when it is gone."""
    if not part.alive:
        return 0.0
    times = psutil.Process(part.pid).cpu_times()
    return float(times.user + times.system)


def memory(part: Part) -> int:
    """Return the resident memory of a process in bytes."""
    return int(psutil.Process(part.pid).memory_info().rss)


async def for_each(
    wanted: Sequence[Asked], ask: Callable[[Asked], Awaitable[Answer]]
) -> list[Answer]:
    """Ask for each, some at a time; answers are in the order asked."""
    at_once = asyncio.Semaphore(AT_ONCE)

    async def asked(one: Asked) -> Answer:
        async with at_once:
            return await ask(one)

    return await asyncio.gather(*map(asked, wanted))


async def until(look: Callable[[], Awaitable[bool]], what: str, seconds: float) -> None:
    """Look until it is so.

    Raises:
        BenchError: it was not so in time.
    """
    deadline = time.monotonic() + seconds
    while not await look():
        if time.monotonic() > deadline:
            message = f"waited {seconds:g} s for {what}"
            raise BenchError(message)
        await asyncio.sleep(_LOOK_SECONDS)


async def sleep_until(instant: float) -> None:
    """Sleep until a Unix time."""
    await asyncio.sleep(max(0.0, instant - time.time()))


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


async def _answered(clock: WorkflowHandle[Any, Any]) -> NamespaceView:
    """Ask a workflow for its state; a worker that registers a thousand may be busy for longer than a query waits."""
    while True:
        try:
            view: NamespaceView = await clock.query(STATUS, result_type=NamespaceView)
        except RPCError as error:
            if error.status is not RPCStatusCode.DEADLINE_EXCEEDED:
                raise
        else:
            return view

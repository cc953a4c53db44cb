"""Runs a local system for a benchmark: many namespaces on one chain with blocks of one second."""

import asyncio
import hashlib
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from typing_extensions import override

from bench.local_system import DEPTH, EvmLedger, LocalSystem
from devnet.anvil import CHAIN_ID
from devnet.process import Part
from vaultmesh.domain.names import STATUS, aggregator_workflow_id, namespace_workflow_id
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration
from vaultmesh.domain.receipts.receipt import receipt_path
from vaultmesh.domain.status import AggregatorView, NamespaceView
from vaultmesh.domain.target import Target
from vaultmesh.process.sticky import FEW

TARGET = Target.parse(f"eip155:{CHAIN_ID}")
FAST = "fast"
AT_ONCE = 20
"""Calls under way at the same time when many namespaces are registered or asked."""
_FIRST_BATCH = 1_700_000_000
_POLL_SECONDS = 0.25
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class BenchError(Exception):
    """A benchmark could not measure what it set out to measure."""


class BenchSystem(LocalSystem):
    """Temporal in memory and a chain with blocks of one second, below a temporary folder."""

    def __init__(self) -> None:
        """Choose ports and keys; nothing runs before `with`."""
        self._temporary = tempfile.TemporaryDirectory(prefix="vaultmesh-bench-")
        folder = Path(self._temporary.name)
        self.evm = EvmLedger(folder)
        super().__init__(folder, self.evm)
        self._next_batch = _FIRST_BATCH

    @override
    def stop(self) -> None:
        """Stop everything and remove the folder."""
        super().stop()
        self._temporary.cleanup()

    def cpu_seconds(self) -> float:
        """Return what server and workers have used of the processors so far."""
        return sum(cpu_seconds(part) for part in (self.temporal.part, *self.workers))

    # --- namespaces and batches --------------------------------------------------------------------------------

    async def register(
        self, client: Client, names: Sequence[str], every: str, phases: Sequence[int] = (0,)
    ) -> None:
        """Start the workflows of namespaces, and wait until each has dealt with its registration.

        The phases, in seconds, are dealt out in turn.
        """
        turns = [(name, phases[index % len(phases)]) for index, name in enumerate(names)]

        async def start(turn: tuple[str, int]) -> None:
            name, phase = turn
            await self.start_namespace(client, _configuration(name, every, phase))

        await for_each(turns, start)
        await self.views(client, names)
        if len(names) > FEW:  # a worker decides at its start how much it caches
            for worker in self.workers:
                worker.stop()
                worker.start()
            await self.views(client, names)

    async def views(self, client: Client, names: Sequence[str]) -> list[NamespaceView]:
        """Return the `status` of namespaces, whose workflows are all in the worker's memory after it."""

        async def ask(name: str) -> NamespaceView:
            return await _answered(client.get_workflow_handle(namespace_workflow_id(name)))

        return await for_each(names, ask)

    async def aggregator(self, client: Client) -> AggregatorView:
        """Return the `status` of the target's aggregator."""
        aggregator = client.get_workflow_handle(aggregator_workflow_id(str(TARGET)))
        view: AggregatorView = await aggregator.query(STATUS, result_type=AggregatorView)
        return view

    async def until_final(self, client: Client) -> None:
        """Wait until no round is open any more."""

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
        """Return how many commitments the contract has taken."""
        return len(self.evm.logs())


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

    async def asked(what: Asked) -> Answer:
        async with at_once:
            return await ask(what)

    return await asyncio.gather(*map(asked, wanted))


async def until(is_done: Callable[[], Awaitable[bool]], what: str, seconds: float) -> None:
    """Ask until the answer is yes.

    Raises:
        BenchError: it was not yes in time.
    """
    deadline = time.monotonic() + seconds
    while not await is_done():
        if time.monotonic() > deadline:
            message = f"waited {seconds:g} s for {what}"
            raise BenchError(message)
        await asyncio.sleep(_POLL_SECONDS)


async def sleep_until(instant: float) -> None:
    """Sleep until a Unix time."""
    await asyncio.sleep(max(0.0, instant - time.time()))


async def _answered(namespace: WorkflowHandle[Any, Any]) -> NamespaceView:
    """Ask a workflow for its state; a worker that registers a thousand may be busy for longer than a query waits."""
    while True:
        try:
            view: NamespaceView = await namespace.query(STATUS, result_type=NamespaceView)
        except RPCError as error:
            if error.status is not RPCStatusCode.DEADLINE_EXCEEDED:
                raise
        else:
            return view

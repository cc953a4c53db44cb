"""Runs a real system below one folder: Temporal, ledgers, configuration, and workers as processes.

Benchmarks measure such a system. Tests add what they ask it and how they judge it.
"""

import asyncio
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from eth_account import Account
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from typing_extensions import override

from contracts.artifact import load_artifact
from devnet.anvil import CHAIN_ID, Anvil
from devnet.ports import free_port
from devnet.process import Part
from devnet.temporal import TemporalServer
from vaultmesh.cli.worker_process import WorkerProcess
from vaultmesh.domain.names import NAMESPACE_WORKFLOW, SCHEDULER_QUEUE, namespace_workflow_id
from vaultmesh.domain.namespaces.state import Configuration, NamespaceInput
from vaultmesh.domain.paths import ANCHORS_FILE, CONFIG_FOLDER, NAMESPACES_FILE
from vaultmesh.process.search_attributes import ensure
from vaultmesh.process.settings import REPOSITORY

ANCHORING_ROLES = "workflows,anchors"
DEPTH = 2
"""Confirmations that are asked for."""
ANCHORED_TOPIC = "0x422475c780472c369a714f8b6a226f0d5545429886a44c599148ec3b2e408fe2"
"""Written out, and not the product's: what judges a chain shares nothing with what wrote to it."""


@dataclass
class Ledger:
    """A target with its program, and what anchors.yaml says of it."""

    target: str
    cadence: str
    """The cadence that anchors here."""
    settings: dict[str, object]
    part: Part | None = None
    environment: dict[str, str] = field(default_factory=dict)
    """What workers need: a key lies there only."""
    required_depth: int = 0
    """What a cadence asks for."""

    def start(self) -> None:
        """Start the program, and make what anchoring needs."""
        if self.part is not None:
            self.part.start()

    def kill(self) -> None:
        """End the program."""
        if self.part is not None:
            self.part.kill()


class EvmLedger(Ledger):
    """Anvil with the anchor contract and a funded key."""

    def __init__(
        self,
        folder: Path,
        *,
        confirmations: int = DEPTH,
        block_seconds: int | None = 1,
        slots_in_an_epoch: int = 1,
        **settings: object,
    ) -> None:
        """Choose port and key; without `block_seconds` no block is mined by itself."""
        self.anvil = Anvil(folder, block_seconds=block_seconds, slots_in_an_epoch=slots_in_an_epoch)
        self.key = "0x" + secrets.token_hex(32)
        self.account = Account.from_key(self.key).address
        self.contract = ""
        section = {"rpcUrls": [self.anvil.url], "key": "${EVM_ANCHOR_KEY}"}
        super().__init__(
            f"eip155:{CHAIN_ID}",
            "fast",
            {**section, "confirmations": confirmations, **settings},
            self.anvil,
            {"EVM_ANCHOR_KEY": self.key},
            confirmations,
        )

    @override
    def start(self) -> None:
        """Start the chain, fund the key, deploy the contract."""
        super().start()
        self.anvil.fund(self.account)
        self.contract = self.anvil.deploy(str(load_artifact()["bytecode"])).lower()
        self.settings["contract"] = self.contract

    def logs(self) -> list[dict[str, Any]]:
        """Return the contract's events over all blocks; each one is a transaction."""
        query = {"address": self.contract, "topics": [ANCHORED_TOPIC]}
        blocks = {"fromBlock": "0x0", "toBlock": "latest"}
        return list(self.anvil.rpc("eth_getLogs", {**query, **blocks}))


class LocalSystem:
    """Temporal and some ledgers. Workers are started one by one."""

    def __init__(self, folder: Path, *ledgers: Ledger, database: Path | None = None) -> None:
        """Choose ports; nothing runs before `with`."""
        self.folder = folder
        self.root = folder / "root"
        self.ledgers = list(ledgers)
        self.temporal = TemporalServer(folder, headless=True, database=database)
        self.workers: list[Part] = []

    def __enter__(self) -> Self:
        """Start server and ledgers, and write the configuration."""
        try:
            self.temporal.start()
            for ledger in self.ledgers:
                ledger.start()
            self.write_anchors()
            asyncio.run(self._ensure())
        except BaseException:  # also an interrupt: without `with`, nobody else would stop what runs
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop everything."""
        self.stop()

    def stop(self) -> None:
        """End every part at once."""
        parts: list[Part | Ledger] = [*self.workers, *self.ledgers, self.temporal]
        for part in parts:
            part.kill()

    async def _ensure(self) -> None:
        await ensure(await self.client())

    def write_anchors(self, **changes: object) -> None:
        """Write anchors.yaml with changed settings of the first ledger; namespaces.yaml only where there is none."""
        if changes:
            self.ledgers[0].settings.update(changes)
        sections: dict[str, dict[str, object]] = {}
        for ledger in self.ledgers:
            scheme, _, reference = ledger.target.partition(":")
            sections.setdefault(scheme, {})[reference] = ledger.settings
        config = self.root / CONFIG_FOLDER
        if not (config / NAMESPACES_FILE).exists():
            write_whole(config / NAMESPACES_FILE, "namespaces: {}\n")
        write_whole(config / ANCHORS_FILE, json.dumps(sections))

    async def client(self) -> Client:
        """Return a client of the server."""
        return await Client.connect(self.temporal.address, data_converter=pydantic_data_converter)

    def environment(self, metrics_port: int = 0) -> dict[str, str]:
        """Return what the programs of this system need in their environment."""
        keys = {name: key for ledger in self.ledgers for name, key in ledger.environment.items()}
        return {
            "TEMPORAL_ADDRESS": self.temporal.address,
            "VMSH_ROOT": str(self.root),
            "METRICS_PORT": str(metrics_port or free_port()),
            **keys,
        }

    def start_worker(
        self, *arguments: str, script: str = "worker.py", **environment: str
    ) -> WorkerProcess:
        """Start a worker, or what stands in for it, and wait until it is ready; it anchors unless its roles are named."""
        worker = self.prepare_worker(*arguments, script=script, **environment)
        worker.start()
        return worker

    def prepare_worker(
        self, *arguments: str, script: str = "worker.py", **environment: str
    ) -> WorkerProcess:
        """Return a worker that is yet to be started; it ends with the system."""
        if "--roles" not in arguments:
            arguments += ("--roles", ANCHORING_ROLES)
        name = f"worker-{len(self.workers)}"
        settings = {**self.environment(), **environment}
        worker = WorkerProcess(name, self.log(name), settings, *arguments, script=script)
        self.workers.append(worker)
        return worker

    def start_part(self, command: Sequence[str], is_ready: Callable[[], bool]) -> Part:
        """Start a program that works for the server in place of a worker."""
        name = "stand-in"
        part = Part(name, command, self.log(name), is_ready, self.environment(), REPOSITORY)
        self.workers.append(part)
        part.start()
        return part

    def log(self, name: str) -> Path:
        """Return where a part's output goes."""
        return self.folder / "logs" / f"{name}.log"

    @staticmethod
    async def start_namespace(client: Client, configuration: Configuration) -> None:
        """Start a namespace's workflow."""
        await client.start_workflow(
            NAMESPACE_WORKFLOW,
            NamespaceInput(configuration=configuration),
            id=namespace_workflow_id(configuration.namespace),
            task_queue=SCHEDULER_QUEUE,
        )


def write_whole(place: Path, text: str) -> None:
    """Write a file that a worker, which may look at any moment, never sees in part."""
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.parent.parent / f".{place.name}.new"
    fresh.write_text(text)
    fresh.replace(place)

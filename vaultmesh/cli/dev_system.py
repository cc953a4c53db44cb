"""Puts a whole local system together below one folder: parts, keys, configuration, namespaces.

A folder that was made once is gone on with: same chain, keys, contract and Temporal database. If one of them is
missing, it is refused: a chain without its keys, or keys without their chain, would only look like the old one.
"""

import asyncio
import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from pydantic_core import from_json

from contracts.artifact import load_artifact
from devnet.anvil import ANVIL, CHAIN_ID, Anvil
from devnet.bitcoind import Bitcoind
from devnet.bitcoind_fetch import BITCOIND
from devnet.errors import PartError
from devnet.keys import create_chain_key, load_chain_key
from devnet.ports import LOOPBACK, free_port, is_free
from devnet.process import Part
from devnet.supervisor import Supervisor
from devnet.supply import obtain_all
from devnet.temporal import TEMPORAL, TemporalServer
from devnet.tsa import Tsa
from vaultmesh.cli import example_config
from vaultmesh.cli.dev_jobs import DevJobs, own_maintenance
from vaultmesh.cli.dev_postgres import DevPostgres
from vaultmesh.cli.progress import Steps
from vaultmesh.cli.worker_process import WorkerProcess
from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.paths import (
    ANCHOR_RECEIPTS_FOLDER,
    ANCHORS_FILE,
    BATCHES_FOLDER,
    CONFIG_FOLDER,
    MAINTENANCE_FILE,
    NAMESPACES_FILE,
    ROUNDS_FOLDER,
)

TEMPORAL_NAMESPACE = "default"
FOREIGN = ("VMSH_NAMESPACES", "VMSH_ANCHORS", "VMSH_STATE", "VMSH_MAINTENANCE", "DATABASE_URL")
"""Variables that would bring the configuration or the database of another system in."""
ALL_ROLES = "workflows,anchors,jobs,api"
ANCHORING_ROLES = "workflows,anchors"
ANCHOR_TIMEOUT = "15s"
BITCOIN_BLOCK_SECONDS = 2.0


class NotTheSame(DomainError):
    """A folder holds only part of what an earlier `dev` made, or another one runs in it."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports that are kept from one start to the next while they are free."""

    temporal: int
    ui: int
    evm: int
    btc: int
    tsa: int
    metrics: int
    api: int
    postgres: int


class DevSystem:
    """One `dev` system below a folder."""

    def __init__(self, root: Path, steps: Steps | None = None, *, own_store: bool = False) -> None:
        """Prepare to run below `root`; nothing is made yet. `steps` tells each part as it starts.

        With `own_store` jobs lie below `root`, whatever database the environment names.
        """
        self.root = root
        self._steps = steps or Steps()
        self._state = root / "devnet"
        self._marker = self._state / "made.json"
        self.key_file = root / "keys" / "evm.key"
        self._chain_file = self._state / "anvil.json"
        self._bitcoin = self._state / "bitcoind"
        self._database = self._state / "temporal.db"
        self.jobs = DevJobs(self._state, os.environ, own_store=own_store)
        self.supervisor = Supervisor(self._rewrite)
        self.postgres = DevPostgres(root, self.supervisor)
        self.contract = ""
        self._ready = False
        self._lock: TextIO | None = None

    # --- what was made before ------------------------------------------------------------------

    def _remembered(self) -> dict[str, object]:
        if not self._marker.exists():
            self._require_unused()
            return {}
        remembered: dict[str, object] = from_json(self._marker.read_text())
        authority = (self.root / "tsa" / "roots.pem", self.root / "keys" / "tsa.key")
        database = (self.postgres.data,) if remembered.get("postgres") else ()
        for place in (
            self.key_file, self._chain_file, self._bitcoin, *authority, self._database, *database
        ):  # fmt: skip
            if not place.exists():
                message = (
                    f"{self.root} was made by an earlier dev, but {place.relative_to(self.root)} is missing; "
                    "restore it, or start in a new folder"
                )
                raise NotTheSame(message)
        return remembered

    def _require_unused(self) -> None:
        """Refuse a folder with anchors of a chain that is not known; what a start that was broken off left is used."""
        for place in (self.root / ROUNDS_FOLDER, self.root / ANCHOR_RECEIPTS_FOLDER):
            if place.is_dir() and any(place.iterdir()):
                message = (
                    f"{self.root} holds {place.relative_to(self.root)}, but {self._marker.relative_to(self.root)} "
                    "is missing; restore it, or start in a new folder"
                )
                raise NotTheSame(message)

    def _lock_folder(self) -> None:
        """Keep others out of the folder for as long as this process lives."""
        self._state.mkdir(parents=True, exist_ok=True)
        lock = (self._state / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            message = f"another dev runs in {self.root}; stop it, or start in another folder"
            raise NotTheSame(message) from error
        self._lock = lock

    def _choose_ports(self, remembered: dict[str, object]) -> Ports:
        kept = remembered.get("ports")
        ports = kept if isinstance(kept, dict) else {}

        def choose(name: str) -> int:
            port = ports.get(name)
            return port if isinstance(port, int) and is_free(port) else free_port()

        metrics_port = os.environ.get("METRICS_PORT", "")
        metrics = int(metrics_port) if metrics_port.isdecimal() else choose("metrics")
        api = self.jobs.stated_port or choose("api")
        names = ("temporal", "ui", "evm", "btc", "tsa", "postgres")
        return Ports(**{name: choose(name) for name in names}, metrics=metrics, api=api)

    # --- starting ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start everything but the worker, write the configuration, deploy the contract once.

        Raises:
            NotTheSame: the folder holds only part of an earlier system, or another one runs in it.
            PartError: a part did not start.
        """
        self._lock_folder()
        remembered = self._remembered()
        (self.root / "devnet.json").unlink(missing_ok=True)
        self.ports = self._choose_ports(remembered)
        self.postgres.begin(self.ports.postgres)
        await asyncio.to_thread(_have_programs)
        for folder in (BATCHES_FOLDER, CONFIG_FOLDER, "keys", "devnet"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "keys").chmod(0o700)
        self.jobs.start(self.ports.api)
        await self._start_parts()
        if remembered:
            self.contract = str(remembered["contract"])
        else:
            with self._steps.step("deploying the contract"):
                await self._make_chain()
        with self._steps.step("starting postgres"):
            await self.postgres.finish()
        self._write_configuration(self._moved(remembered))
        self._remember()

    async def _start_parts(self) -> None:
        self.temporal = TemporalServer(
            self.root, port=self.ports.temporal, ui_port=self.ports.ui, database=self._database
        )
        self.anvil = Anvil(
            self.root,
            port=self.ports.evm,
            block_seconds=1,
            slots_in_an_epoch=1,
            state=self._chain_file,
        )
        self.bitcoind = Bitcoind(
            self.root,
            port=self.ports.btc,
            data=self._bitcoin,
            block_seconds=BITCOIN_BLOCK_SECONDS,
        )
        self.tsa = Tsa(self.root, port=self.ports.tsa)
        for part in (self.temporal.part, self.anvil.part, self.bitcoind.part, self.tsa.part):
            with self._steps.step(f"starting {part.name}"):
                await self.supervisor.start(part)

    async def _make_chain(self) -> None:
        """Make a fresh key, give it money, deploy the contract, and wait until all of it is on disk.

        A start that was broken off may have left a key: nothing was anchored with it yet.
        """
        make = load_chain_key if self.key_file.exists() else create_chain_key
        self.anvil.fund(make(self.key_file).address)
        self.contract = await asyncio.to_thread(self.anvil.deploy, str(load_artifact()["bytecode"]))
        await asyncio.to_thread(self.anvil.save)

    def _moved(self, remembered: dict[str, object]) -> dict[int, int]:
        """Return the ports of ledgers by what they were at the last start."""
        before = remembered.get("ports")
        ports, now = before if isinstance(before, dict) else {}, asdict(self.ports)
        return {ports[name]: now[name] for name in ("evm", "btc", "tsa") if name in ports}

    def _write_configuration(self, moved: Mapping[int, int]) -> None:
        """Write what is missing; what somebody changed stays, apart from ports of ours that had to change."""
        config = self.root / "vmsh" / "config"
        namespaces = config / NAMESPACES_FILE
        if not namespaces.exists():
            namespaces.write_text(example_config.namespaces(CHAIN_ID))
        anchors = config / ANCHORS_FILE
        if moved and anchors.exists():
            text = example_config.with_ports(anchors.read_text(), moved)
        else:
            chain = example_config.Chain(CHAIN_ID, self.anvil.url, self.contract)
            text = example_config.anchors(chain, self.bitcoind.url, self.tsa.url)
        fresh = anchors.with_name(f".{anchors.name}.new")
        fresh.write_text(text)
        fresh.replace(anchors)
        self.postgres.write_configuration(config / MAINTENANCE_FILE)

    def _remember(self) -> None:
        """Mark the folder as made."""
        marker = {
            "contract": self.contract,
            "ports": asdict(self.ports),
            "postgres": self.postgres.data.exists(),
        }
        temporary = self._marker.with_name(".made.json.new")
        temporary.write_text(json.dumps(marker, indent=2))
        temporary.replace(self._marker)

    def adopt_environment(self) -> None:
        """Make this process and all it starts belong to this system, whatever the shell was set up for."""
        for name in [*FOREIGN, *(name for name in os.environ if name.startswith("TEMPORAL_"))]:
            if name != TEMPORAL.variable:
                os.environ.pop(name, None)
        os.environ.update(self.environment())

    def environment(self) -> dict[str, str]:
        """Return what every command of this system needs in its environment."""
        return {
            "TEMPORAL_ADDRESS": self.temporal.address,
            "TEMPORAL_NAMESPACE": TEMPORAL_NAMESPACE,
            # it does not exist: profiles of the user's home are no concern of this system
            "TEMPORAL_CONFIG_FILE": str(self._state / "temporal.toml"),
            "VMSH_ROOT": str(self.root),
            "METRICS_PORT": str(self.ports.metrics),
            "VMSH_ANCHOR_TIMEOUT": os.environ.get("VMSH_ANCHOR_TIMEOUT", ANCHOR_TIMEOUT),
            **({"DATABASE_URL": self.postgres.url} if self.postgres.url else {}),
        }

    async def start_worker(self) -> None:
        """Start a worker as its own process; where something about jobs keeps it from starting, one that only anchors.

        Raises:
            PartError: it does not start, and jobs are not to blame.
        """
        with self._steps.step("starting worker"):
            worker = self._worker(ALL_ROLES)
            try:
                await self.supervisor.start(worker)
            except PartError:
                self.jobs.trouble = worker.refusal()
                if not self.jobs.trouble:
                    raise
                await self.supervisor.start(self._worker(ANCHORING_ROLES))

    def _worker(self, roles: str) -> WorkerProcess:
        environment = self.environment() | self.jobs.environment()
        environment |= own_maintenance(self.root, os.environ)
        log = self.root / "logs" / "worker.log"
        worker = WorkerProcess("worker", log, environment, "--roles", roles)
        worker.grace_seconds = self.jobs.grace_seconds
        return worker

    @property
    def metrics_url(self) -> str:
        """Return where the worker answers."""
        return f"http://{LOOPBACK}:{self.ports.metrics}"

    # --- devnet.json ---------------------------------------------------------------------------

    def announce(self) -> None:
        """Write devnet.json: everything in it is ready."""
        self._ready = True
        self._write_announcement()

    def _rewrite(self, part: Part) -> None:
        del part
        if self._ready:
            self._write_announcement()

    def _write_announcement(self) -> None:
        document = {
            "temporal": {
                "address": self.temporal.address,
                "namespace": TEMPORAL_NAMESPACE,
                "ui": self.temporal.ui,
            },
            "evm": {"rpc": self.anvil.url, "chain_id": CHAIN_ID, "contract": self.contract},
            "btc": {"rpc": self.bitcoind.url, "network": self.bitcoind.network},
            "tsa": {"url": self.tsa.url, "ca": str(self.tsa.roots.relative_to(self.root))},
            "http": {"url": self.metrics_url},
            **({} if self.jobs.trouble else {"api": {"url": self.jobs.url}}),
            **({"postgres": {"url": self.postgres.url}} if self.postgres.url else {}),
            "pids": self.supervisor.pids(),
        }
        temporary = self.root / ".devnet.json.new"
        temporary.write_text(json.dumps(document, indent=2))
        temporary.replace(self.root / "devnet.json")

    def stop(self) -> None:
        """Stop every part, if this process has the folder."""
        if self._lock is None:
            return
        (self.root / "devnet.json").unlink(missing_ok=True)
        self.jobs.sample.hurry()
        self.postgres.stop()
        self.supervisor.stop()
        self.jobs.stop()
        self._lock.close()
        self._lock = None


def _have_programs() -> None:
    """Have the programs of all parts; what is missing is fetched side by side.

    Raises:
        PartError: some can't be had; one line for each.
    """
    missing = [
        str(obtained)
        for _, obtained in obtain_all((TEMPORAL, ANVIL, BITCOIND))
        if isinstance(obtained, PartError)
    ]
    if missing:
        raise PartError("\n".join(missing))

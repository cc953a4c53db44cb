"""One `starter.py dev` with every ledger, which is harmed by a test and judged by code that shares nothing with it."""

import json
import os
import signal
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

from bench.local_system import ANCHORING_ROLES, write_whole
from devnet.ports import free_port
from tests.judge.judge import Judge
from tests.support.freezing import freeze, thaw
from tests.support.running_dev import Running
from tests.support.system import System, batch_document
from vaultmesh.cli.worker_process import WorkerProcess

EVM, BITCOIN, AUTHORITY = TARGETS = ("eip155:31337", "btc:regtest", "rfc3161:tsa")
NAMESPACES = ("dao:drill", "fin:drill")
CADENCE = {
    "fast": {"target": EVM, "every": "2s", "confirmations": 4},
    "strong": {"target": BITCOIN, "every": "3s", "confirmations": 6},
    "cold": {"target": AUTHORITY, "every": "3s"},
}
"""Four blocks on top: anvil, killed while it writes, loses three seconds."""
ENVIRONMENT = {"VMSH_BASE_BACKOFF": "0.5", "VMSH_ANCHOR_TIMEOUT": "5s"}
SATISFIED_SECONDS = 120.0
NOT_NOW = (OSError, ValueError, LookupError, HTTPException, sqlite3.Error)
"""What a judge meets while a ledger starts, moves on or is locked."""


class Drill:
    """A system that runs, and its judge."""

    def __init__(self, root: Path) -> None:
        """Start a system with short cadences; JSON is YAML."""
        namespaces = {namespace: {"cadence": CADENCE} for namespace in NAMESPACES}
        write_whole(root / "vmsh/config/namespaces.yaml", json.dumps({"namespaces": namespaces}))
        self.root = root
        self.running = Running(root, environment=ENVIRONMENT)
        try:
            self.announced = self.running.announced()
        except BaseException:
            self.running.process.kill()
            raise
        self.judge = Judge(root, dict.fromkeys(NAMESPACES, TARGETS))
        self._ids = 1_761_300_000

    def end(self) -> int:
        """End the system; every history of it replays. Returns the exit code of `dev`."""
        try:
            return self.running.end()
        finally:
            self.running.process.kill()

    # --- what is sealed and judged ---------------------------------------------------------------

    def next_id(self) -> str:
        """Return the id of the batch that is sealed next."""
        return str(self._ids + 1)

    def seal(self, *namespaces: str) -> list[str]:
        """Write a batch for each namespace, by default for all, as a sealer does; returns their ids."""
        batch_ids = []
        for namespace in namespaces or NAMESPACES:
            self._ids += 1
            batch_ids.append(str(self._ids))
            place = self.root / "out/batches" / f"{self._ids}.json"
            write_whole(place, batch_document(str(self._ids), namespace))
        return batch_ids

    def wait_satisfied(self, *batch_ids: str, final: bool = False, on: str = "") -> None:
        """Wait until the judge finds nothing: with everything, or just with some batches, `on` one ledger alone."""
        if batch_ids:
            targets = (on,) if on else ()
            self._wait_for_none(lambda: self.judge.findings_of(*batch_ids, on=targets))
        else:
            self._wait_for_none(lambda: self.judge.findings(final=final))

    def wait_remembered(self) -> None:
        """Wait until each final receipt has its row in the Remembrancer."""
        self._wait_for_none(self.judge.unremembered)

    def _wait_for_none(self, question: Callable[[], list[str]]) -> None:
        deadline = time.monotonic() + SATISFIED_SECONDS
        while findings := self._asked(question):
            if time.monotonic() > deadline:
                raise AssertionError("\n".join([f"after {SATISFIED_SECONDS:g} s:", *findings]))
            time.sleep(0.2)

    @staticmethod
    def _asked(question: Callable[[], list[str]]) -> list[str]:
        try:
            return question()
        except NOT_NOW as error:
            return [f"the judge can't look: {type(error).__name__}: {error}"]

    def receipt_file(self, namespace: str, batch_id: str, target: str) -> Path:
        """Return where a receipt lies."""
        folder = self.root / "out/anchors" / namespace.replace(":", "_") / batch_id
        return folder / f"{target.replace(':', '_')}.json"

    def wait_under_way(self, target: str) -> None:
        """Wait until a round of a target is stored and not closed."""
        rounds = self.root / "out/rounds" / target.replace(":", "_")

        def is_under_way() -> bool:
            stored = [place.parent for place in rounds.glob("*/manifest.json")]
            return any(not (place / "closed.json").exists() for place in stored)

        System.wait(is_under_way, f"a round on {target}")

    # --- harm ------------------------------------------------------------------------------------

    def pid(self, name: str) -> int:
        """Return a part's process id, as announced."""
        return int(self.running.announced()["pids"][name])

    def kill(self, name: str) -> None:
        """Kill a part, and wait until `dev` has announced another process of it."""
        killed = self.pid(name)
        os.kill(killed, signal.SIGKILL)
        System.wait(lambda: self.pid(name) != killed, f"another {name}")

    @contextmanager
    def down(self, name: str) -> Iterator[None]:
        """Kill a part and keep it down meanwhile: `dev`, which would start it again at once, stands still."""
        killed, dev = self.pid(name), self.running.process.pid
        freeze(dev)
        try:
            os.kill(killed, signal.SIGKILL)
            yield
        finally:
            thaw(dev)
        System.wait(lambda: self.pid(name) != killed, f"another {name}")

    def health(self) -> dict[str, Any]:
        """Return what the worker says of its health."""
        url = f"{self.announced['http']['url']}/health"
        with urllib.request.urlopen(url, timeout=40) as answer:  # noqa: S310 - our own
            document: dict[str, Any] = json.load(answer)
        return document

    @contextmanager
    def stopped(self, *names: str) -> Iterator[None]:
        """Let parts stand still meanwhile."""
        pids = [self.pid(name) for name in names]
        try:
            for pid in pids:
                freeze(pid)
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    thaw(pid)

    def second_worker(self) -> WorkerProcess:
        """Return a worker beside that of `dev`; not yet started."""
        environment = {
            **ENVIRONMENT,
            "TEMPORAL_ADDRESS": self.announced["temporal"]["address"],
            "VMSH_ROOT": str(self.root),
            "METRICS_PORT": str(free_port()),
        }
        log = self.root / "logs" / "second.log"
        return WorkerProcess("second worker", log, environment, "--roles", ANCHORING_ROLES)

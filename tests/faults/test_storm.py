"""Slots of many cadences due in the same second, messages, and a worker killed again and again on a busy machine.

The harm: after a dozen kills a namespace failed each workflow task, and never anchored again.
"""

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest
from temporalio.client import (
    Client,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from tests.support.evm_system import EvmSystem
from tests.support.marks import FAULTS
from tests.support.replays import BUSY
from tests.support.system import kill
from vaultmesh.cli.worker_process import WorkerProcess
from vaultmesh.domain.names import namespace_workflow_id

pytestmark = [pytest.mark.timeout(900), *FAULTS]  # the first one counts
SEED = 20_261_128
KILLS = 40
NAMESPACES = [f"storm:{number}" for number in range(4)]
CADENCES = {"fast": "4s", "strong": "4s", "cold": "4s"}
MESSAGES = (
    ("pause", [{"cadence": "strong", "reason": "a storm"}]),
    ("resume", []),
    ("force_anchor", []),
    ("force_anchor", ["fast"]),
    ("pause", []),
    ("resume", ["strong"]),
    ("pause", [7]),
)
UPDATE_WITHIN = timedelta(seconds=2)
"""A worker may be dead; the update is then answered by the next one, or dropped."""
TASKS_AGAIN_SECONDS = 90.0
"""A task that was handed to dead workers again and again is handed out on a backoff."""
COMPUTING = "while True: sum(range(10_000))"
FIRST_WORD_WITHIN_SECONDS, LOOK_SECONDS = 60.0, 0.01
"""A worker's first word comes when all its modules are loaded, some 40 ms before it asks for tasks."""


class BusyMachine:
    """Other programs that compute meanwhile; they rest while a worker is being loaded, which is no part of a storm."""

    def __init__(self, processes: int = 2) -> None:
        self._running = [
            subprocess.Popen([sys.executable, "-c", COMPUTING]) for _ in range(processes)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            process.kill()
            process.wait()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Let nothing compute meanwhile."""
        self._send(signal.SIGSTOP)
        try:
            yield
        finally:
            self._send(signal.SIGCONT)

    def _send(self, what: signal.Signals) -> None:
        for process in self._running:
            process.send_signal(what)


def started(system: EvmSystem, machine: BusyMachine) -> WorkerProcess:
    """Start a worker; the machine is busy again with its first word, which comes before it asks for any task."""
    worker = system.prepare_worker()
    with machine.resting():
        worker.launch()
        deadline = time.monotonic() + FIRST_WORD_WITHIN_SECONDS
        while not worker.last_lines():
            assert worker.alive, "a worker ended without a word"
            assert time.monotonic() < deadline, "a worker was silent"
            time.sleep(LOOK_SECONDS)
    worker.wait_ready()
    return worker


def test_forty_kills_in_a_storm_wedge_nothing_lose_nothing_and_pay_once(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    owed: dict[str, list[str]] = {namespace: [] for namespace in NAMESPACES}
    with EvmSystem(tmp_path) as system:
        for namespace in NAMESPACES:
            owed[namespace].append(system.seal(namespace))
            system.register(namespace, **CADENCES)
        system.replays.plant(BUSY)  # the machine is kept busy on purpose
        sent = 0
        with BusyMachine() as machine:
            for _ in range(KILLS):
                worker = started(system, machine)
                end = time.monotonic() + chance.uniform(0.2, 5.0)
                while time.monotonic() < end:
                    disturb(system, chance, owed)
                    sent += 1
                kill(worker)
        system.start_worker()
        for namespace in NAMESPACES:
            system.ask(lambda client, namespace=namespace: _resumed(client, namespace))
            owed[namespace].append(system.seal(namespace))
        for namespace, batches in owed.items():
            system.wait_final(namespace, *batches, seconds=180)
        for namespace in NAMESPACES:
            system.signal(namespace_workflow_id(namespace), "pause")
        system.wait_idle(*NAMESPACES)
        system.assert_paid_once(owed)
        system.replays.check_at(system.temporal.address)
        assert system.replays.count("UNHANDLED_COMMAND") <= sent / 10
        assert system.replays.count("RESET_WORKFLOW") == 0


def disturb(system: EvmSystem, chance: random.Random, owed: dict[str, list[str]]) -> None:
    """Seal a batch, or send a signal or an update, as a signal does not and an update does wait for a worker."""
    namespace = chance.choice(NAMESPACES)
    what = chance.random()
    name, arguments = chance.choice(MESSAGES)
    if what < 0.3:
        owed[namespace].append(system.seal(namespace))
    elif what < 0.7:
        system.signal(namespace_workflow_id(namespace), name, *arguments)
    else:
        system.ask(lambda client: _update(client, namespace, name, arguments))
    time.sleep(chance.uniform(0.0, 0.3))


async def _resumed(client: Client, namespace: str) -> None:
    """End every pause, and wait for the answer: a `pause` whose sender gave up may still be due, and comes before it.

    A signal would not do: it is delivered before the updates that wait for the same workflow task.
    """
    handle = client.get_workflow_handle(namespace_workflow_id(namespace))
    deadline = time.monotonic() + TASKS_AGAIN_SECONDS
    while True:
        try:
            await handle.execute_update("resume", args=[])
        except RPCError as error:
            # After several tasks that no worker lived to end, the server takes no update until one is done.
            if error.status is not RPCStatusCode.FAILED_PRECONDITION or time.monotonic() > deadline:
                raise
        else:
            return
        await asyncio.sleep(1)


async def _update(client: Client, namespace: str, name: str, arguments: list[object]) -> None:
    handle = client.get_workflow_handle(namespace_workflow_id(namespace))
    with suppress(WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError, RPCError):
        await handle.execute_update(name, args=arguments, rpc_timeout=UPDATE_WITHIN)

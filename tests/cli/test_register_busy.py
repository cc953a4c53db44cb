"""`register` where the worker is busy, hangs or is gone: it says what is under way, and claims nothing else."""

import asyncio
import json
import os
import signal
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueRequest
from temporalio.client import Client

from tests.cli.conftest import Command, cadences, write_namespaces
from tests.support.evm_system import EvmSystem
from tests.support.freezing import freeze, thaw
from tests.support.replays import replayed_server
from vaultmesh.cli import register_progress
from vaultmesh.domain.names import SCHEDULER_QUEUE

pytestmark = [pytest.mark.server, pytest.mark.evm]
NAMES = [f"busy:n{number}" for number in range(20)]


def _resume_later(pid: int, seconds: float) -> threading.Timer:
    """Let a stopped process go on after a while."""
    timer = threading.Timer(seconds, os.kill, (pid, signal.SIGCONT))
    timer.start()
    return timer


def test_a_worker_that_is_busy_for_long_is_waited_for_and_never_called_missing(
    operate: Command, system: EvmSystem, tmp_path: Path
) -> None:
    """Each namespace's change is told once, although it was asked for several times."""
    place = write_namespaces(tmp_path / "namespaces.yaml", {name: cadences() for name in NAMES})
    assert operate("register", "--config", place).code == 0
    write_namespaces(place, {name: cadences(fast="900d") for name in NAMES})
    worker = system.workers[0].pid
    freeze(worker)
    timer = _resume_later(worker, 14)
    try:
        outcome = operate("register", "--config", place)
    finally:
        timer.cancel()
        thaw(worker)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines() == [f"{name}: updated" for name in NAMES]
    assert " of 20 namespaces registered, " in outcome.err
    assert "last poll" in outcome.err
    assert "no worker" not in outcome.err
    for name in NAMES:
        assert operate("unregister", name).code == 0


async def _poll(address: str) -> None:
    """Take one workflow task and never answer, as a worker does that is killed then."""
    client = await Client.connect(address)
    asked = PollWorkflowTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=SCHEDULER_QUEUE), identity="a test"
    )
    task = await client.workflow_service.poll_workflow_task_queue(
        asked, timeout=timedelta(seconds=30)
    )
    assert task.task_token


def test_a_worker_that_polled_and_was_killed_is_called_gone_with_the_time_of_its_last_poll(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register_progress, "GONE_FOR", timedelta(seconds=8))
    write_namespaces(tmp_path / "vmsh/config/namespaces.yaml", {"busy:gone": cadences()})
    anchors = tmp_path / "vmsh/config/anchors.yaml"
    section = {"rpcUrl": "http://127.0.0.1:1", "contract": "0x" + "1" * 40, "key": "${NONE}"}
    anchors.write_text(json.dumps({"eip155": {"default": section}}))
    with replayed_server(tmp_path) as server:
        place = {"TEMPORAL_ADDRESS": server.address, "VMSH_ROOT": str(tmp_path)}
        assert run("register", **place).code == 1
        asyncio.run(_poll(server.address))
        outcome = run("register", **place)
    assert outcome.code == 1
    assert "0 of 1 namespaces registered, no answer of a worker yet (last poll" in outcome.err
    assert "gone, or it hangs" in outcome.err
    assert "no worker" not in outcome.err

"""`dev` and `demo` as processes: what they announce, keep alive, go on with, refuse, and leave behind."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import yaml

from devnet.bitcoind import BitcoinRpc
from devnet.jsonrpc import JsonRpc
from devnet.ports import LOOPBACK, free_port
from tests.support.running_dev import ENDS_WITHIN_SECONDS, Running
from tests.support.system import System
from vaultmesh.process.settings import REPOSITORY

pytestmark = [pytest.mark.server, pytest.mark.evm, pytest.mark.slow, pytest.mark.timeout(700)]
FOREIGN = {"TEMPORAL_ADDRESS": "192.0.2.1:7233", "VMSH_NAMESPACES": "/no/such/namespaces.yaml"}
"""Of a shell that is set up for another system."""
SPREADS_WITHIN_SECONDS = 2.0
"""devnet.json says so soon what was started again."""


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    port = free_port()
    running = Running(
        tmp_path_factory.mktemp("dev") / "root", environment={**FOREIGN, "METRICS_PORT": str(port)}
    )
    running.announced()
    yield running
    if running.process.poll() is None:
        running.end()


def _status(running: Running) -> list[dict[str, Any]]:
    shown = running.starter("status", "--json")
    assert shown.returncode == 0, shown.stderr
    found: list[dict[str, Any]] = json.loads(shown.stdout)["namespaces"]
    return found


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own
        found: bytes = answer.read()
        return found


def _rpc(running: Running) -> JsonRpc:
    return JsonRpc(running.announced()["evm"]["rpc"])


def _bitcoin(running: Running, method: str) -> Any:
    """Ask bitcoind at the announced URL, as somebody who knows nothing else."""
    url = urlsplit(running.announced()["btc"]["rpc"])
    plain = f"http://{url.hostname}:{url.port}"
    return BitcoinRpc(plain, url.username or "", url.password or "")(method)


def _killed_until_announced(running: Running, name: str) -> float:
    """Kill a part; return the seconds until its new process is announced, to a look more or less."""
    killed, began = running.announced()["pids"][name], time.monotonic()
    os.kill(killed, signal.SIGKILL)
    System.wait(lambda: running.announced()["pids"][name] != killed, f"a new {name}, announced")
    return time.monotonic() - began


# --- what runs ---------------------------------------------------------------------------------


def test_everything_announced_is_ready(dev: Running) -> None:
    document = dev.announced()
    assert document["temporal"]["namespace"] == "default"
    assert _get(document["temporal"]["ui"])
    rpc, evm = _rpc(dev), document["evm"]
    assert int(rpc("eth_chainId"), 16) == evm["chain_id"] == 31337
    assert len(rpc("eth_getCode", evm["contract"], "latest")) > 2
    assert json.loads(_get(f"{document['http']['url']}/health"))["status"] != "unhealthy"
    parts = {"worker", "temporal", "anvil", "bitcoind", "tsa", "postgres"}
    assert set(document["pids"]) == parts
    assert document["btc"]["network"] == _bitcoin(dev, "getblockchaininfo")["chain"] == "regtest"
    assert (dev.root / document["tsa"]["ca"]).read_text().startswith("-----BEGIN CERTIFICATE-----")
    assert _get(document["tsa"]["url"])
    assert all(psutil.pid_exists(pid) for pid in document["pids"].values())


def test_ports_that_are_given_are_used(dev: Running) -> None:
    assert dev.announced()["http"]["url"].endswith(f":{dev.environment['METRICS_PORT']}")


def test_namespaces_of_its_own_are_registered_whatever_the_shell_was_set_up_for(
    dev: Running,
) -> None:
    views = _status(dev)
    assert len(views) >= 2
    assert {view["state"] for view in views} <= {"running", "backing_off"}
    targets = [one["target"] for view in views for one in view["cadences"].values()]
    assert len(targets) > len(set(targets))
    assert any("*fast" in one["every"] for view in views for one in view["cadences"].values())


def test_keys_are_readable_by_their_owner_only_and_lie_nowhere_else(dev: Running) -> None:
    keys = [path for path in (dev.root / "keys").rglob("*") if path.is_file()]
    assert keys
    for path in keys:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        key = path.read_bytes().strip().removeprefix(b"0x")
        for other in dev.root.rglob("*"):
            if other.is_file() and other not in keys:
                assert key not in other.read_bytes().lower(), other


@pytest.mark.parametrize("name", ["worker", "temporal", "anvil", "bitcoind", "tsa", "postgres"])
def test_a_part_that_is_killed_is_started_again_and_its_new_process_announced(
    dev: Running, name: str
) -> None:
    took = _killed_until_announced(dev, name)
    if took >= SPREADS_WITHIN_SECONDS:  # a pause of the machine is not dev's
        took = _killed_until_announced(dev, name)
    assert took < SPREADS_WITHIN_SECONDS
    System.wait(
        lambda: dev.starter("status", "--json").returncode == 0, "an answer of every namespace"
    )
    System.wait(lambda: int(_rpc(dev)("eth_chainId"), 16) == 31337, "the chain")
    System.wait(lambda: _bitcoin(dev, "getblockcount") > 0, "Bitcoin's chain")
    assert _get(f"{dev.announced()['http']['url']}/readyz")


def test_another_one_in_the_same_folder_is_refused_and_disturbs_nothing(dev: Running) -> None:
    before = dev.announced()
    other = Running(dev.root)
    assert other.process.wait(30) == 1
    assert "another dev runs" in dev.said()
    assert dev.announced() == before
    assert all(psutil.pid_exists(pid) for pid in before["pids"].values())


# --- how it ends -------------------------------------------------------------------------------


def test_killed_it_leaves_no_process_behind_and_another_goes_on_with_what_it_had(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    first = Running(root)
    made = first.announced()
    block = _rpc(first)("eth_getBlockByNumber", "0x1", False)["hash"]
    key = (root / "keys" / "evm.key").read_text()
    authority = (root / made["tsa"]["ca"]).read_bytes()
    runs = {view["namespace"]: view["run_id"] for view in _status(first)}
    first.end(signal.SIGKILL)
    System.wait(lambda: not first.processes(), "the end of every part", ENDS_WITHIN_SECONDS)
    first.place.unlink()
    anchors = root / "vmsh" / "config" / "anchors.yaml"
    anchors.write_text(anchors.read_text().replace("keyFile:", "bumpAfterBlocks: 7\n    keyFile:"))
    taken = socket.create_server((LOOPBACK, int(made["evm"]["rpc"].rpartition(":")[2])))
    second = Running(root)
    try:
        again = second.announced()
        taken.close()
        edited = yaml.safe_load(anchors.read_text())["eip155"][31337]
        assert (edited["bumpAfterBlocks"], edited["rpcUrl"]) == (7, again["evm"]["rpc"])
        assert again["evm"]["rpc"] != made["evm"]["rpc"]
        assert again["evm"]["contract"] == made["evm"]["contract"]
        assert _rpc(second)("eth_getBlockByNumber", "0x1", False)["hash"] == block
        assert (root / "keys" / "evm.key").read_text() == key
        assert again["btc"] == made["btc"]
        assert _bitcoin(second, "getblockcount") >= 116
        assert (root / again["tsa"]["ca"]).read_bytes() == authority
        assert {view["namespace"]: view["run_id"] for view in _status(second)} == runs
    finally:
        code = second.end(signal.SIGINT)
    assert code == 0
    assert second.processes() == []
    assert "Traceback" not in second.said()
    _assert_refused_without_each_part(root)


def _assert_refused_without_each_part(root: Path) -> None:
    """Take away one thing at a time that only the first start could have made."""
    made = ("anvil.json", "temporal.db", "bitcoind", "postgres/data", "made.json")
    for part in (
        "keys/evm.key",
        "keys/tsa.key",
        "tsa/roots.pem",
        *(f"devnet/{one}" for one in made),
    ):
        place, aside = root / part, root.parent / "aside"
        (root / "out" / "rounds" / "eip155_31337").mkdir(parents=True, exist_ok=True)
        place.rename(aside)
        refused = Running(root)
        assert refused.process.wait(30) == 1
        line = refused.said().splitlines()[-1]
        assert part in line
        assert "is missing" in line
        aside.rename(place)


def test_told_to_end_while_it_starts_it_leaves_no_process_and_a_folder_of_use(
    tmp_path: Path,
) -> None:
    first = Running(tmp_path / "root")
    System.wait((first.root / "keys" / "evm.key").exists, "the key")
    assert first.end() == 0
    assert first.processes() == []
    assert "Traceback" not in first.said()
    assert first.said().splitlines()[-1].startswith("stopping everything: ")
    second = Running(tmp_path / "root")
    second.announced()
    assert second.end() == 0


def test_a_part_that_cannot_be_brought_back_ends_it_with_a_clear_line(tmp_path: Path) -> None:
    running = Running(tmp_path / "root")
    document = running.announced()
    port = int(document["evm"]["rpc"].rsplit(":", 1)[1])
    running.process.send_signal(signal.SIGSTOP)
    os.kill(document["pids"]["anvil"], signal.SIGKILL)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

        def take() -> bool:
            taken.bind((LOOPBACK, port))
            taken.listen()
            return True

        System.wait(take, "the port")
        running.process.send_signal(signal.SIGCONT)
        assert running.wait(ENDS_WITHIN_SECONDS) == 1
    assert f"port {port}" in running.said().splitlines()[-1]
    assert running.processes() == []


# --- demo --------------------------------------------------------------------------------------


def test_a_folder_that_nobody_asked_to_keep_is_said_to_be_gone(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "starter.py", "dev"],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    System.wait(lambda: list(tmp_path.glob("vaultmesh-*/devnet.json")), "a system", 200)
    running.send_signal(signal.SIGTERM)
    said, _ = running.communicate(timeout=ENDS_WITHIN_SECONDS)
    (folder,) = re.findall(r"local system in (.+)", said)
    assert running.returncode == 0
    assert f"{folder} is removed again; --root DIR names a folder that is kept" in said
    assert not Path(folder).exists()


def test_demo_seals_and_shows_until_it_is_told_to_end(tmp_path: Path) -> None:
    running = Running(tmp_path / "root", ("demo",))
    System.wait(lambda: " finalized" in running.said(), "a final anchor", 90)
    System.wait(
        lambda: len(list((running.root / "out/batches").glob("*.json"))) > 2, "more samples", 60
    )
    assert running.end() == 0
    assert running.processes() == []
    assert "Traceback" not in running.said()


def test_every_program_that_can_not_be_had_is_named_at_once(tmp_path: Path) -> None:
    missing = {name: f"/nowhere/{name.lower()}" for name in ("ANVIL", "BITCOIND")}
    running = Running(tmp_path / "root", environment=missing)
    assert running.wait(ENDS_WITHIN_SECONDS) == 1
    for name, place in missing.items():
        assert f"{name} names {place}, which does not exist" in running.said()

"""Every `temporal` and `tctl` command of the README does what it says, on a real system."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devnet.tctl import tctl
from devnet.temporal import temporal_cli
from tests.docs.readme import commands
from tests.support.evm_system import TARGET, EvmSystem

NAMESPACE = "dao:vaultmesh"
SHOWN_TARGET, SHOWN_ADDRESS = "eip155:8453", "127.0.0.1:7233"
UNDECIDED = "no block is mined, so that a round stays open"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    """A namespace with one batch in an open round."""
    folder = tmp_path_factory.mktemp("clients")
    with EvmSystem(folder, block_seconds=None, database=False) as running:
        running.start_worker()
        running.seal()
        running.register(NAMESPACE, fast="1h", strong="2*fast")
        running.wait(lambda: running.aggregator()["rounds"], UNDECIDED)
        yield running


def _run(program: Path, given: list[str], system: EvmSystem) -> str:
    places = {SHOWN_ADDRESS: system.temporal.address}
    arguments = [places.get(one, one).replace(SHOWN_TARGET, TARGET) for one in given]
    environment = {**os.environ, "TEMPORAL_ADDRESS": system.temporal.address}
    done = subprocess.run(
        [str(program), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{given}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.server
@pytest.mark.evm
@pytest.mark.parametrize("client", ["temporal", "tctl"])
def test_every_command_that_is_shown_is_taken(system: EvmSystem, client: str) -> None:
    program = {"temporal": temporal_cli, "tctl": tctl}[client]()
    shown = commands(f"{client} ")
    assert len(shown) >= 4
    printed = [_run(program, given, system) for given in shown]
    assert any(NAMESPACE in one and "cadences" in one for one in printed)
    state = system.status(NAMESPACE)
    assert state["last_rejected"] is None
    assert state["paused"] == {}


@pytest.mark.server
@pytest.mark.evm
def test_a_pause_by_signal_shows_its_reason(system: EvmSystem) -> None:
    pause = next(given for given in commands("tctl ") if "pause" in given)
    _run(tctl(), pause, system)
    reason = json.loads(pause[-1])
    paused = system.wait(lambda: system.status(NAMESPACE)["paused"], "both cadences pause")
    assert {one["reason"] for one in paused.values()} == {reason}
    assert set(paused) == {"fast", "strong"}

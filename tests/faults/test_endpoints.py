"""An endpoint goes away and comes back, or an operator mends what held a target: the anchor follows at once."""

import os
import time
from collections.abc import Iterator

import pytest

from devnet.tsa import Tsa
from tests.support.evm_system import EvmSystem
from tests.support.freezing import freeze, thaw
from tests.support.gate import Gate
from tests.support.marks import FAULTS
from tests.support.system import System, authority
from vaultmesh.domain.messages import Backoff
from vaultmesh.storage.folder_lock import PATIENCE_SECONDS, locked

pytestmark = [*FAULTS, pytest.mark.timeout(700)]

BACKOFF = Backoff(base_seconds=100)
"""After one failure the next try is 162 s away, after two 262 s: none of them comes during a test."""
OUTAGE_SECONDS = 12.0
"""A target in trouble is asked twice in it, or once by a question that waits in vain."""
QUIET_SECONDS = 15.0
"""A target in trouble is asked three times in it."""
USED_WITHIN_SECONDS = 15.0
"""10 s are promised; this machine may be busy."""


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    with EvmSystem(tmp_path_factory.mktemp("endpoints")) as running:
        running.backoff = BACKOFF
        yield running


@pytest.fixture
def gate(system: EvmSystem) -> Iterator[Gate]:
    """Return an open gate before the chain, which is all that workers know of it."""
    before = Gate(system.anvil.port)
    before.open()
    system.write_anchors(rpcUrls=[before.url])
    yield before
    before.close()


def wait_backing_off(system: EvmSystem, seconds: float = 180.0) -> None:
    system.wait(lambda: system.aggregator()["failures"] > 0, "a target that backs off", seconds)


def assert_used_at_once(
    system: EvmSystem, owed: dict[str, list[str]], commitments: int = 1
) -> None:
    """Wait from now on until the chain has everything, and judge how long that took."""
    began = time.monotonic()
    system.wait(lambda: sum(system.commitments().values()) >= commitments, "the anchor", 200)
    took = time.monotonic() - began
    print(f"in the chain {took:.1f} s after the endpoint's return")
    for namespace, batches in owed.items():
        system.wait_final(namespace, *batches)
    system.wait_idle(*owed)
    system.assert_paid_once(owed)
    assert took < USED_WITHIN_SECONDS


@pytest.mark.parametrize("workers", [1, 2])
def test_an_endpoint_that_refused_is_used_again_at_once(
    system: EvmSystem, gate: Gate, workers: int
) -> None:
    for _ in range(workers):
        system.start_worker()
    gate.close()
    owed = {name: [system.seal(name)] for name in ("dao:first", "dao:second")}
    for name in owed:
        system.register(name)
    wait_backing_off(system)
    time.sleep(OUTAGE_SECONDS)
    gate.open()
    assert_used_at_once(system, owed)


def test_an_endpoint_that_was_mute_is_used_again_at_once(system: EvmSystem) -> None:
    system.start_worker()
    batch = system.seal("dao:mute")
    freeze(system.anvil.pid)
    try:
        system.register("dao:mute")
        wait_backing_off(system)
        time.sleep(OUTAGE_SECONDS)
    finally:
        thaw(system.anvil.pid)
    assert_used_at_once(system, {"dao:mute": [batch]})


def test_a_worker_that_is_started_during_an_outage_sees_its_end(
    system: EvmSystem, gate: Gate
) -> None:
    first = system.start_worker()
    gate.close()
    batch = system.seal("dao:restarted")
    system.register("dao:restarted")
    wait_backing_off(system)
    first.stop()
    system.start_worker()
    time.sleep(OUTAGE_SECONDS)
    gate.open()
    assert_used_at_once(system, {"dao:restarted": [batch]})


def test_a_signed_round_goes_on_at_once_when_its_endpoint_is_back(
    system: EvmSystem, gate: Gate
) -> None:
    system.start_worker()
    system.rpc("evm_setIntervalMining", 0)
    batch = system.seal("dao:signed")
    system.register("dao:signed")
    system.wait_pooled()
    gate.close()
    wait_backing_off(system)
    time.sleep(OUTAGE_SECONDS)
    system.rpc("evm_setIntervalMining", 1)
    gate.open()
    began = time.monotonic()
    system.wait(lambda: system.receipt("dao:signed", batch), "the receipt", 200)
    assert time.monotonic() - began < USED_WITHIN_SECONDS
    system.wait_final("dao:signed", batch)
    system.wait_idle("dao:signed")
    system.assert_paid_once({"dao:signed": [batch]})


def test_an_authority_that_refused_is_used_again_at_once_and_stamps_once(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("authority")
    tsa = Tsa(folder / "root")
    gate = Gate(tsa.port)
    with System(folder, authority(tsa, url=gate.url)) as system:
        system.backoff = BACKOFF
        system.start_worker()
        batch = system.seal("dao:stamped")
        system.register("dao:stamped")
        system.wait(lambda: system.aggregator()["failures"] > 0, "a target that backs off")
        time.sleep(OUTAGE_SECONDS)
        gate.open()
        began = time.monotonic()
        system.wait_final("dao:stamped", batch, seconds=200)
        took = time.monotonic() - began
        print(f"stamped {took:.1f} s after the endpoint's return")
        system.wait_idle("dao:stamped")
        assert tsa.queries() == 1
        gate.close()
    assert took < USED_WITHIN_SECONDS


def test_a_key_that_is_funded_is_used_at_once(system: EvmSystem) -> None:
    system.start_worker()
    system.anvil.fund(system.account, 0)
    batch = system.seal("dao:poor")
    system.register("dao:poor")
    system.wait(lambda: system.aggregator()["held"], "a target that is held for funds")
    time.sleep(OUTAGE_SECONDS)
    assert not system.commitments()
    system.anvil.fund(system.account)
    assert_used_at_once(system, {"dao:poor": [batch]})


@pytest.mark.parametrize("is_observed", [False, True])
def test_force_writes_receipts_at_once_that_could_not_be_written(
    system: EvmSystem, *, is_observed: bool
) -> None:
    namespace = "dao:forced"
    system.start_worker()
    system.rpc("evm_setIntervalMining", 0)
    batch = system.seal(namespace)
    folder = system.receipt_file(namespace, batch).parent
    if is_observed:
        system.register(namespace)
        system.wait_pooled()
        system.anvil.mine()
        system.wait(lambda: system.state(namespace, batch) == "observed", "the first receipt")
        system.wait_answered(namespace)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if not is_observed:
            system.register(namespace)
            system.wait_pooled()
        system.anvil.mine(4)
        mine = f"is locked by process {os.getpid()} "
        system.wait(
            lambda: any(mine in line for line in system.aggregator()["problems"]),
            "the trouble in status",
            PATIENCE_SECONDS + USED_WITHIN_SECONDS,
        )
        if not is_observed:
            flight = system.status(namespace)["cadences"]["fast"]["in_flight"]
            assert mine in flight["last_failure"]["message"]
    forced = system.command("force", namespace, "fast")
    assert forced.returncode == 0, forced.stderr
    system.wait(lambda: system.is_final(namespace, batch), "final receipts", USED_WITHIN_SECONDS)
    system.wait_idle(namespace)
    system.assert_paid_once({namespace: [batch]})


def test_nobody_is_asked_while_all_is_well(system: EvmSystem, gate: Gate) -> None:
    system.start_worker()
    batch = system.seal("dao:well")
    system.register("dao:well", fast="1h")
    system.wait_final("dao:well", batch)
    system.wait_idle("dao:well")
    quiet_since, taken = time.monotonic(), gate.taken

    def quiet() -> bool:
        nonlocal quiet_since, taken
        if gate.taken != taken:
            quiet_since, taken = time.monotonic(), gate.taken
        return time.monotonic() - quiet_since > QUIET_SECONDS

    # on a busy machine a step may have failed, whose target is asked until it answers
    system.wait(quiet, "a while without a question", 90)

"""A worker that stands still while it writes a receipt, and goes on or dies after others have taken over (X14)."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from devnet.process import Part
from tests.support.evm_system import EvmSystem
from tests.support.marks import FAULTS
from tests.support.system import IMPATIENT_WORKER

pytestmark = [*FAULTS, pytest.mark.timeout(700)]

TAKEN_OVER_SECONDS = 180.0
"""The server may hand an attempt to the open poll of the sleeper: it is lost until its heartbeat is missed."""
SHOWN_SECONDS = 30.0
"""From the failed attempt to `status`; a query that goes to a busy worker costs 10 s."""
ANCHORS = ("--roles", "anchors")
SLEEPING_WORKER = "tests/faults/sleeping_worker.py"


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    with EvmSystem(
        tmp_path_factory.mktemp("ghosts"), block_seconds=None, slots_in_an_epoch=4
    ) as running:
        yield running


def asleep(system: EvmSystem, when: str) -> tuple[Part, str, str]:
    """Return a worker that sleeps while it writes the first receipt of a batch, with namespace and batch.

    Workflows are another's, so that theirs is no task that waits for the sleeper.
    """
    namespace, mark = f"dao:{when}", system.folder / f"asleep-{when}"
    batch = system.seal(namespace)
    system.start_worker("--roles", "workflows", script=IMPATIENT_WORKER)
    ghost = system.start_worker(
        *ANCHORS, script=SLEEPING_WORKER, SLEEP_AT=when, SLEEP_MARK=str(mark)
    )
    system.register(namespace)
    system.wait_pooled()
    system.anvil.mine()
    system.wait(mark.exists, "a worker that sleeps")
    return ghost, namespace, batch


def block_in_the_chain(system: EvmSystem, tx_ref: str) -> tuple[int, str]:
    receipt = system.rpc("eth_getTransactionReceipt", tx_ref)
    return int(receipt["blockNumber"], 16), receipt["blockHash"]


def assert_follows_the_chain(system: EvmSystem, namespace: str, batch: str) -> None:
    receipt = system.receipt(namespace, batch)
    assert receipt is not None
    shown = receipt["blockNumber"], receipt["evidence"]["evm"]["blockHash"]
    assert shown == block_in_the_chain(system, receipt["txRef"])


@pytest.mark.parametrize("has_reorganised", [False, True])
def test_a_worker_that_slept_after_reading_takes_nothing_back(
    system: EvmSystem, *, has_reorganised: bool
) -> None:
    ghost, namespace, batch = asleep(system, "read")
    system.start_worker(*ANCHORS)
    system.wait(
        lambda: system.state(namespace, batch) == "observed",
        "the receipt of another",
        TAKEN_OVER_SECONDS,
    )
    if has_reorganised:
        system.anvil.mine(3)
        system.anvil.reorg(4)
        system.wait(lambda: system.state(namespace, batch) == "reorged", "the reorganised receipt")
        system.wait_pooled()
        system.anvil.mine()
        system.wait(lambda: system.state(namespace, batch) == "observed", "the new block")
    os.kill(ghost.pid, signal.SIGCONT)
    time.sleep(5)
    assert_follows_the_chain(system, namespace, batch)
    system.mine_until_final(namespace, batch)
    assert_follows_the_chain(system, namespace, batch)
    system.wait_idle(namespace)
    system.assert_paid_once({namespace: [batch]})


def holder_in_status(system: EvmSystem, other: Part) -> list[str]:
    """Wait until another worker has met a lock, and until the aggregator's status then names who holds it."""
    system.wait(
        lambda: "is locked by" in other.log.read_text(),
        "an attempt that meets the lock",
        TAKEN_OVER_SECONDS,
    )
    return system.wait(
        lambda: [line for line in system.aggregator()["problems"] if "is locked by" in line],
        "the holder of the lock in status",
        SHOWN_SECONDS,
    )


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_worker_that_sleeps_with_a_lock_holds_up_its_folder_alone(
    system: EvmSystem, *, goes_on: bool
) -> None:
    ghost, namespace, batch = asleep(system, "locked")
    problem = holder_in_status(system, system.start_worker(*ANCHORS))
    assert f"process {ghost.pid}" in problem[0]
    other = system.seal("dao:awake")
    system.register("dao:awake")
    system.mine_until_final("dao:awake", other, seconds=TAKEN_OVER_SECONDS)
    os.kill(ghost.pid, signal.SIGCONT if goes_on else signal.SIGKILL)
    system.mine_until_final(namespace, batch, seconds=TAKEN_OVER_SECONDS)
    assert_follows_the_chain(system, namespace, batch)
    system.wait_idle(namespace, "dao:awake")
    system.assert_paid_once({namespace: [batch], "dao:awake": [other]})

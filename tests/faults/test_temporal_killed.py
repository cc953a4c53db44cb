"""`kill -9` of the Temporal server, which keeps its database: the workers go on by themselves, and nothing is paid twice."""

from collections.abc import Iterator

import pytest

from tests.support.evm_system import EvmSystem
from tests.support.marks import FAULTS
from tests.support.system import kill

pytestmark = FAULTS

NAMESPACE = "dao:server"


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    with EvmSystem(tmp_path_factory.mktemp("server"), block_seconds=None) as running:
        yield running


def restart(system: EvmSystem) -> None:
    kill(system.temporal)
    system.temporal.start()


def test_a_server_killed_while_idle_loses_no_slot(system: EvmSystem) -> None:
    worker = system.start_worker()
    system.register(NAMESPACE)
    system.wait(lambda: system.status(NAMESPACE)["cadences"]["fast"]["next_due"], "the slot")
    restart(system)
    batches = [system.seal(NAMESPACE)]
    system.mine_until_final(NAMESPACE, *batches)
    assert worker.alive
    system.assert_paid_once({NAMESPACE: batches})


def test_a_server_killed_with_a_transaction_in_the_pool_pays_once(system: EvmSystem) -> None:
    worker = system.start_worker()
    batches = system.broadcast(NAMESPACE)
    restart(system)
    system.mine_until_final(NAMESPACE, *batches)
    assert worker.alive
    system.assert_paid_once({NAMESPACE: batches})


def test_a_server_killed_between_inclusion_and_finality_still_finishes_the_receipts(
    system: EvmSystem,
) -> None:
    worker = system.start_worker()
    batches = system.broadcast(NAMESPACE)
    system.anvil.mine()
    system.wait(lambda: system.receipt(NAMESPACE, batches[0]), "inclusion")
    restart(system)
    system.mine_until_final(NAMESPACE, *batches)
    assert worker.alive
    system.assert_paid_once({NAMESPACE: batches})


def test_server_and_worker_killed_together_come_back(system: EvmSystem) -> None:
    worker = system.start_worker()
    batches = system.broadcast(NAMESPACE)
    kill(worker)
    restart(system)
    system.start_worker()
    system.mine_until_final(NAMESPACE, *batches)
    system.assert_paid_once({NAMESPACE: batches})


def test_a_worker_that_is_told_to_end_drains_and_another_takes_over(system: EvmSystem) -> None:
    first = system.start_worker()
    batches = system.broadcast(NAMESPACE)
    assert first.process is not None
    first.process.terminate()
    assert first.process.wait(30) == 0
    system.start_worker()
    system.mine_until_final(NAMESPACE, *batches)
    system.assert_paid_once({NAMESPACE: batches})

"""`kill -9` of the Temporal server, which keeps its database: the workers go on by themselves, and nothing is paid twice."""

import time
from collections.abc import Iterator

import pytest

from tests.support.system import System, kill

pytestmark = [
    pytest.mark.fault,
    pytest.mark.server,
    pytest.mark.evm,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

NAMESPACE = "dao:server"


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("server"), block_seconds=None) as running:
        yield running


def restart(system: System) -> None:
    kill(system.temporal.part)
    system.temporal.part.start()


def mine_until_final(system: System, batches: list[str], seconds: float = 100.0) -> None:
    def mined() -> bool:
        system.anvil.mine()
        time.sleep(0.3)
        return all(system.is_final(NAMESPACE, batch) for batch in batches)

    system.wait(mined, "final anchors", seconds)


def test_a_server_killed_while_idle_loses_no_slot(system: System) -> None:
    worker = system.start_worker()
    system.register(NAMESPACE)
    system.wait(lambda: system.status(NAMESPACE)["cadences"]["fast"]["next_due"], "the clock")
    restart(system)
    batches = [system.seal(NAMESPACE)]
    mine_until_final(system, batches)
    assert worker.alive
    system.assert_paid_once({NAMESPACE: batches})


def test_a_server_killed_with_a_transaction_in_the_pool_pays_once(system: System) -> None:
    worker = system.start_worker()
    batches = [system.seal(NAMESPACE), system.seal(NAMESPACE)]
    system.register(NAMESPACE)
    system.wait(lambda: int(system.rpc("txpool_status")["pending"], 16), "the transaction")
    restart(system)
    mine_until_final(system, batches)
    assert worker.alive
    system.assert_paid_once({NAMESPACE: batches})


def test_a_server_killed_between_inclusion_and_finality_still_finishes_the_receipts(
    system: System,
) -> None:
    worker = system.start_worker()
    batches = [system.seal(NAMESPACE)]
    system.register(NAMESPACE)
    system.wait(lambda: int(system.rpc("txpool_status")["pending"], 16), "the transaction")
    system.anvil.mine()
    system.wait(lambda: system.receipt(NAMESPACE, batches[0]), "inclusion")
    restart(system)
    mine_until_final(system, batches)
    assert worker.alive
    system.assert_paid_once({NAMESPACE: batches})


def test_server_and_worker_killed_together_come_back(system: System) -> None:
    worker = system.start_worker()
    batches = [system.seal(NAMESPACE)]
    system.register(NAMESPACE)
    system.wait(lambda: int(system.rpc("txpool_status")["pending"], 16), "the transaction")
    kill(worker)
    restart(system)
    system.start_worker()
    mine_until_final(system, batches)
    system.assert_paid_once({NAMESPACE: batches})


def test_a_worker_that_is_told_to_end_drains_and_another_takes_over(system: System) -> None:
    first = system.start_worker()
    batches = [system.seal(NAMESPACE)]
    system.register(NAMESPACE)
    system.wait(lambda: int(system.rpc("txpool_status")["pending"], 16), "the transaction")
    assert first.process is not None
    first.process.terminate()
    assert first.process.wait(30) == 0
    system.start_worker()
    mine_until_final(system, batches)
    system.assert_paid_once({NAMESPACE: batches})

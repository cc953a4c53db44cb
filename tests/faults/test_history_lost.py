"""The aggregator's workflow is terminated, reset, or lost with its database, each with a transaction in the pool (X11)."""

from collections.abc import Iterator

import pytest

from tests.support.evm_system import EvmSystem
from tests.support.marks import FAULTS

pytestmark = FAULTS

NAMESPACE = "dao:lost"


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    with EvmSystem(tmp_path_factory.mktemp("lost"), block_seconds=None) as running:
        yield running


def test_a_terminated_aggregator_is_recovered_from_the_rounds(system: EvmSystem) -> None:
    system.start_worker()
    batches = system.broadcast(NAMESPACE)
    system.terminate_aggregator()
    system.wait(lambda: system.aggregator()["rounds"], "the recovered round")
    system.mine_until_final(NAMESPACE, *batches)
    system.assert_paid_once({NAMESPACE: batches})


def test_an_aggregator_that_is_reset_to_before_its_reservation_signs_nothing_beside_it(
    system: EvmSystem,
) -> None:
    system.start_worker()
    batches = system.broadcast(NAMESPACE)
    system.reset_aggregator()
    more = [system.seal(NAMESPACE)]
    system.mine_until_final(NAMESPACE, *batches, *more)
    system.assert_paid_once({NAMESPACE: batches + more})


def test_an_aggregator_that_is_reset_after_a_final_round_reserves_no_used_nonce(
    system: EvmSystem,
) -> None:
    system.start_worker()
    batches = system.broadcast(NAMESPACE)
    system.mine_until_final(NAMESPACE, *batches)
    system.reset_aggregator()
    more = [system.seal(NAMESPACE)]
    system.mine_until_final(NAMESPACE, *more)
    system.assert_paid_once({NAMESPACE: batches + more})


def test_a_lost_temporal_database_costs_no_second_transaction(system: EvmSystem) -> None:
    system.start_worker()
    batches = system.broadcast(NAMESPACE)
    system.lose_histories()
    system.mine_until_final(NAMESPACE, *batches)
    system.assert_paid_once({NAMESPACE: batches})


def test_lost_anchor_receipts_are_rebuilt_without_a_transaction(system: EvmSystem) -> None:
    worker = system.start_worker()
    batches = system.broadcast(NAMESPACE)
    system.mine_until_final(NAMESPACE, *batches)
    before = lasting(system, batches)
    sent = system.transactions()
    worker.stop()
    system.lose_receipts()
    system.start_worker()
    system.mine_until_final(NAMESPACE, *batches)
    assert system.transactions() == sent
    assert lasting(system, batches) == before


def test_one_slot_brings_back_the_receipts_of_many_rounds(system: EvmSystem) -> None:
    """Also of a namespace that owes a new batch, whose own round does not answer for the older ones."""
    system.start_worker()
    system.register(NAMESPACE)
    batches = []
    for _ in range(4):
        batches.append(system.seal())
        system.mine_until_final(NAMESPACE, *batches)
    before = lasting(system, batches)
    sent = system.transactions()
    slower = {"namespace": NAMESPACE, "cadence": {"fast": {"every": "1d"}}}
    system.signal(f"namespace:{NAMESPACE}", "set_cadence", slower)
    system.lose_receipts()
    system.signal(f"namespace:{NAMESPACE}", "force_anchor")
    system.wait(lambda: all(system.is_final(NAMESPACE, batch) for batch in batches), "receipts")
    assert system.transactions() == sent
    assert lasting(system, batches) == before
    system.lose_receipts()
    new = system.seal()
    system.signal(f"namespace:{NAMESPACE}", "force_anchor")
    system.mine_until_final(NAMESPACE, *batches, new)
    assert len(system.transactions()) == len(sent) + 1
    system.assert_paid_once({NAMESPACE: [*batches, new]})


def lasting(system: EvmSystem, batches: list[str]) -> list[dict[str, object]]:
    """Return receipts without what every observation changes: when it was made, how deep, and under which tag."""
    receipts = [system.receipt(NAMESPACE, batch) for batch in batches]
    assert all(receipts)
    changing = ("observedAt", "finality", "evidence")
    return [
        {key: value for key, value in receipt.items() if key not in changing}
        for receipt in receipts
        if receipt
    ]

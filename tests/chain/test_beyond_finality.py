"""Blocks leave the chain although they were final: closed rounds are opened again, and the same bytes go out (E4, E8)."""

from collections.abc import Iterator

import pytest

from tests.support.evm_system import EvmSystem
from tests.support.marks import EVM_SYSTEM

pytestmark = EVM_SYSTEM

NAMESPACE = "dao:beyond"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    with EvmSystem(tmp_path_factory.mktemp("beyond"), block_seconds=None) as running:
        running.start_worker()
        running.register(NAMESPACE, fast="2s")
        running.anvil.mine(70)
        yield running


def mine_until_idle(system: EvmSystem, *batches: str) -> None:
    system.mine_until_final(NAMESPACE, *batches)
    system.wait_idle(NAMESPACE)


@pytest.mark.parametrize(("depth", "owed"), [(12, False), (12, True), (64, False)])
def test_a_final_round_that_left_the_chain_comes_back_with_the_same_bytes(
    system: EvmSystem, depth: int, owed: bool
) -> None:
    system.anvil.mine(depth)
    first = system.seal(NAMESPACE)
    mine_until_idle(system, first)
    second = system.seal(NAMESPACE)
    mine_until_idle(system, second)
    before = {batch: system.receipt(NAMESPACE, batch) for batch in (first, second)}
    paid = len(system.transactions())
    system.anvil.mine(max(depth - 20, 1))
    height = system.anvil.height()
    blocks = [receipt["blockNumber"] for receipt in before.values() if receipt]
    system.anvil.reorg(max(depth, height - min(blocks) + 1))
    assert len(system.transactions()) == paid - 2
    batches = [first, second, *([system.seal(NAMESPACE)] if owed else [])]
    system.wait(
        lambda: {system.state(NAMESPACE, batch) for batch in (first, second)} == {"reorged"},
        "the receipts",
    )
    mine_until_idle(system, *batches)
    for batch, old in before.items():
        new = system.receipt(NAMESPACE, batch)
        assert old is not None
        assert new is not None
        assert new["txRef"] == old["txRef"]
        assert new["evidence"]["evm"]["blockHash"] != old["evidence"]["evm"]["blockHash"]
        assert new["metadata"]["revision"] > old["metadata"]["revision"]
    system.assert_paid_once({NAMESPACE: batches})
    assert len(system.transactions()) == paid + int(owed)

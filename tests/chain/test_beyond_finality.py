"""Blocks leave the chain although they were final: closed rounds are opened again, and the same bytes go out (E4, E8)."""

import time
from collections.abc import Iterator

import pytest

from tests.support.system import System

pytestmark = [pytest.mark.server, pytest.mark.evm, pytest.mark.slow, pytest.mark.timeout(300)]

NAMESPACE = "dao:beyond"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("beyond"), block_seconds=None) as running:
        running.start_worker()
        running.register(NAMESPACE, fast="2s")
        running.anvil.mine(70)
        yield running


def mine_until_final(system: System, *batches: str) -> None:
    def mined() -> bool:
        system.anvil.mine()
        time.sleep(0.3)
        return all(system.is_final(NAMESPACE, batch) for batch in batches)

    system.wait(mined, "final anchors", 90)
    system.wait_idle(NAMESPACE)


def state(system: System, batch: str) -> str:
    receipt = system.receipt(NAMESPACE, batch)
    return receipt["finality"]["state"] if receipt else "none"


@pytest.mark.parametrize(("depth", "owed"), [(12, False), (12, True), (64, False)])
def test_a_final_round_that_left_the_chain_comes_back_with_the_same_bytes(
    system: System, depth: int, owed: bool
) -> None:
    first, second = system.seal(NAMESPACE), ""
    mine_until_final(system, first)
    second = system.seal(NAMESPACE)
    mine_until_final(system, second)
    before = {one: system.receipt(NAMESPACE, one) for one in (first, second)}
    paid = len(system.transactions())
    system.anvil.mine(max(depth - 20, 1))
    height = system.anvil.height()
    blocks = [receipt["blockNumber"] for receipt in before.values() if receipt]
    system.anvil.reorg(max(depth, height - min(blocks) + 1))
    assert len(system.transactions()) == paid - 2
    batches = [first, second, *([system.seal(NAMESPACE)] if owed else [])]
    system.wait(
        lambda: {state(system, first), state(system, second)} == {"reorged"}, "the receipts"
    )
    mine_until_final(system, *batches)
    for batch, old in before.items():
        new = system.receipt(NAMESPACE, batch)
        assert old is not None
        assert new is not None
        assert new["txRef"] == old["txRef"]
        assert new["evidence"]["evm"]["blockHash"] != old["evidence"]["evm"]["blockHash"]
        assert new["metadata"]["revision"] > old["metadata"]["revision"]
    system.assert_paid_once({NAMESPACE: batches})
    assert len(system.transactions()) == paid + int(owed)

"""Blocks that we counted on leave the chain: the same bytes go out again, and receipts follow (E8)."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.evm_system import EvmSystem
from tests.support.marks import EVM_SYSTEM

pytestmark = EVM_SYSTEM

NAMESPACE = "dao:reorg"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    with EvmSystem(
        tmp_path_factory.mktemp("reorg"),
        block_seconds=None,
        slots_in_an_epoch=70,
        finality="finalized",
    ) as running:
        running.start_worker()
        running.register(NAMESPACE, fast="2s")
        yield running


def mine_until(
    system: EvmSystem, is_done: Callable[[], bool], what: str, seconds: float = 180.0
) -> None:
    def mined() -> bool:
        if system.pool():
            system.anvil.mine()
        time.sleep(0.2)
        return is_done()

    system.wait(mined, what, seconds)


@pytest.mark.parametrize("depth", [1, 2, 12, 64])
def test_a_reorganised_round_is_mined_again_with_the_same_bytes(
    system: EvmSystem, depth: int
) -> None:
    batch = system.seal(NAMESPACE)
    mine_until(system, lambda: system.state(NAMESPACE, batch) == "observed", "inclusion")
    before = system.receipt(NAMESPACE, batch)
    assert before is not None
    if depth > 1:
        system.anvil.mine(depth - 1)
    system.anvil.reorg(depth)
    system.wait(lambda: system.state(NAMESPACE, batch) == "reorged", "the reorganised receipt")
    mine_until(system, lambda: system.state(NAMESPACE, batch) == "observed", "inclusion again")
    after = system.receipt(NAMESPACE, batch)
    assert after is not None
    assert after["txRef"] == before["txRef"]
    assert after["evidence"]["evm"]["blockHash"] != before["evidence"]["evm"]["blockHash"]
    assert after["metadata"]["revision"] > before["metadata"]["revision"]
    system.assert_paid_once({NAMESPACE: [batch]})


def test_several_reorganised_rounds_come_back_in_order(system: EvmSystem) -> None:
    batches = []
    for _ in range(3):
        batches.append(system.seal(NAMESPACE))
        mine_until(system, lambda: system.state(NAMESPACE, batches[-1]) == "observed", "inclusion")
    blocks = [system.receipt(NAMESPACE, batch)["blockNumber"] for batch in batches]  # type: ignore[index]
    system.anvil.reorg(system.anvil.height() - min(blocks) + 1)
    system.wait(
        lambda: all(system.state(NAMESPACE, batch) == "reorged" for batch in batches),
        "three reorganised receipts",
    )
    mine_until(
        system,
        lambda: all(system.state(NAMESPACE, batch) == "observed" for batch in batches),
        "three inclusions",
    )
    system.assert_paid_once({NAMESPACE: batches})


def test_a_round_becomes_final_with_the_tag_and_not_with_depth_alone(system: EvmSystem) -> None:
    batch = system.seal(NAMESPACE)
    mine_until(system, lambda: system.state(NAMESPACE, batch) == "observed", "inclusion")
    system.anvil.mine(100)
    time.sleep(3)
    assert system.state(NAMESPACE, batch) == "observed"
    system.anvil.mine(60)
    system.wait(lambda: system.state(NAMESPACE, batch) == "finalized", "finality")

"""Fees that rise, pools that forget, keys that others use, calls that revert, nodes that are away (E2, E3, E6, X6)."""

import time
from collections.abc import Iterator

import pytest

from devnet.anvil import Anvil
from tests.support.evm_system import EvmSystem
from tests.support.freezing import freeze, thaw
from tests.support.marks import EVM_SYSTEM

pytestmark = EVM_SYSTEM

NAMESPACE = "dao:stubborn"
BUMP_AFTER_BLOCKS = 3


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    with EvmSystem(
        tmp_path_factory.mktemp("stubborn"),
        block_seconds=None,
        bumpAfterBlocks=BUMP_AFTER_BLOCKS,
    ) as running:
        running.start_worker()
        running.register(NAMESPACE, fast="2s")
        yield running


def test_a_stuck_transaction_is_replaced_on_the_same_nonce(system: EvmSystem) -> None:
    batch = system.seal(NAMESPACE)
    (stuck,) = system.wait_pooled()
    system.rpc("evm_setBlockGasLimit", hex(22_000))
    height = system.anvil.height()

    def blocks_go_on() -> bool:
        system.anvil.mine()
        time.sleep(0.5)
        return bool(system.aggregator()["rounds"][0]["candidates"] > 1)

    system.wait(blocks_go_on, "the higher bid")
    assert system.anvil.height() - height >= BUMP_AFTER_BLOCKS
    system.rpc("evm_setBlockGasLimit", hex(30_000_000))
    replaced = system.wait(
        lambda: [bid for bid in system.pool() if bid["hash"] != stuck["hash"]], "the replacement"
    )
    assert replaced[0]["nonce"] == stuck["nonce"]
    assert (
        int(str(replaced[0]["maxFeePerGas"]), 16) * 100 >= int(str(stuck["maxFeePerGas"]), 16) * 110
    )
    assert int(str(replaced[0]["maxPriorityFeePerGas"]), 16) > int(
        str(stuck["maxPriorityFeePerGas"]), 16
    )
    system.mine_until_final(NAMESPACE, batch)
    system.assert_paid_once({NAMESPACE: [batch]})


def test_a_dropped_transaction_is_broadcast_again_with_the_same_bytes(system: EvmSystem) -> None:
    batch = system.seal(NAMESPACE)
    (dropped,) = system.wait_pooled()
    system.anvil.drop(str(dropped["hash"]))
    (again,) = system.wait_pooled()
    assert again["hash"] == dropped["hash"]
    system.mine_until_final(NAMESPACE, batch)
    system.assert_paid_once({NAMESPACE: [batch]})


def test_a_nonce_used_by_somebody_else_is_replaced_only_after_that_is_final(
    system: EvmSystem,
) -> None:
    batch = system.seal(NAMESPACE)
    (ours,) = system.wait_pooled()
    system.anvil.drop(str(ours["hash"]))
    system.send_foreign(int(str(ours["nonce"]), 16))
    system.anvil.mine()
    system.wait(
        lambda: system.aggregator()["rounds"][0]["state"] == "displaced", "the displaced round"
    )
    held = system.aggregator()["held"]
    assert held["kind"] == "auth"
    assert not system.pool()
    system.mine_until_final(NAMESPACE, batch)
    commitments = system.commitments()
    assert all(count == 1 for count in commitments.values())
    receipt = system.receipt(NAMESPACE, batch)
    assert receipt is not None
    assert receipt["txRef"] != ours["hash"]


def test_a_foreign_transaction_before_the_first_is_waited_out(system: EvmSystem) -> None:
    first = system.seal(NAMESPACE)
    system.mine_until_final(NAMESPACE, first)
    nonce = int(system.rpc("eth_getTransactionCount", system.account, "latest"), 16)
    system.send_foreign(nonce)
    system.anvil.mine()
    second = system.seal(NAMESPACE)
    system.mine_until_final(NAMESPACE, second)
    assert all(count == 1 for count in system.commitments().values())


def test_a_node_that_is_away_shows_as_failures_and_goes_on_by_itself(system: EvmSystem) -> None:
    freeze(system.anvil.part.pid)
    try:
        batch = system.seal(NAMESPACE)

        def failures() -> int:
            flight = system.status(NAMESPACE)["cadences"]["fast"]["in_flight"]
            return flight["failures"] if flight else 0

        system.wait(lambda: failures() >= 2, "two reported failures", 90)
        view = system.status(NAMESPACE)
        assert view["state"] == "backing_off"
        assert view["cadences"]["fast"]["in_flight"]["last_failure"]["kind"] == "network"
        assert view["cadences"]["fast"]["in_flight"]["next_retry"]
    finally:
        thaw(system.anvil.part.pid)
    system.mine_until_final(NAMESPACE, batch)
    system.wait_idle(NAMESPACE)
    assert system.status(NAMESPACE)["state"] == "running"
    system.assert_paid_once({NAMESPACE: [batch]})


def test_a_wrong_chain_id_signs_nothing_and_is_mended_in_the_file(system: EvmSystem) -> None:
    with Anvil(system.folder / "wrong", chain_id=999) as wrong:
        system.write_anchors(rpcUrls=[wrong.url])
        batch = system.seal(NAMESPACE)

        def failure() -> dict[str, str] | None:
            flight = system.status(NAMESPACE)["cadences"]["fast"]["in_flight"]
            return flight["last_failure"] if flight else None

        failed = system.wait(failure, "the failure")
        assert failed["kind"] == "validation"
        assert "999" in failed["message"]
        assert not wrong.rpc("txpool_content")["pending"]
    system.write_anchors(rpcUrls=[system.anvil.url])
    system.mine_until_final(NAMESPACE, batch)
    system.assert_paid_once({NAMESPACE: [batch]})


def test_an_empty_account_holds_the_aggregator_until_it_is_funded(system: EvmSystem) -> None:
    system.anvil.fund(system.account, 0)
    batch = system.seal(NAMESPACE)
    held = system.wait(lambda: system.aggregator()["held"], "the held aggregator")
    assert held["kind"] == "auth"
    assert system.account in held["message"]
    system.anvil.fund(system.account)
    system.mine_until_final(NAMESPACE, batch)
    assert system.aggregator()["held"] is None

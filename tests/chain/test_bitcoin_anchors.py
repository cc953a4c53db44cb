"""The whole way from a batch to a final receipt on Bitcoin, with bids, reorganisations, thieves and killed parts."""

import time
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.ledgers.bitcoin.chain import PRUNING, prune
from tests.support.bitcoin_system import TARGET, BitcoinSystem
from tests.support.marks import BITCOIN_SYSTEM
from tests.support.system import kill
from vaultmesh.domain.names import aggregator_workflow_id, namespace_workflow_id
from vaultmesh.ledgers.bitcoin.core.proof import BitcoinEvidence, prove

pytestmark = BITCOIN_SYSTEM
NAMESPACE = "bitcoin:test"


def test_a_batch_becomes_a_final_receipt_that_proves_itself(tmp_path: Path) -> None:
    with BitcoinSystem(tmp_path) as system:
        batch, txid = system.begin(NAMESPACE)
        assert system.receipt(NAMESPACE, batch) is None
        system.node.mine()
        receipt = system.wait(lambda: system.receipt(NAMESPACE, batch), "a receipt")
        assert (receipt["txRef"], receipt["finality"]["state"]) == (txid, "observed")
        system.node.mine()
        system.wait_final(NAMESPACE, batch)
        receipt = system.receipt(NAMESPACE, batch)
        assert receipt is not None
        proven = prove(BitcoinEvidence.read(receipt["evidence"]["btc"]))
        assert proven.transaction.txid == receipt["txHash"] == txid
        assert proven.transaction.commitments == [bytes.fromhex(receipt["root"][2:])]
        assert (proven.depth, receipt["finality"]["observedDepth"]) == (2, 2)
        assert (receipt["chain"], receipt["txScheme"], receipt["network"]) == (
            "BTC", "btc", "btc:regtest",
        )  # fmt: skip
        time.sleep(5)
        assert system.node.rpc("getrawmempool") == []


def test_a_stuck_bid_is_raised_and_the_winner_is_in_the_receipt(tmp_path: Path) -> None:
    with BitcoinSystem(tmp_path, bumpAfter="2s", feeCapSatVb=3) as system:
        system.node.rpc("setmocktime", int(time.time()) - 60)
        system.node.mine(12)
        batch, first = system.begin(NAMESPACE)
        second = system.wait(
            lambda: pool if (pool := system.node.rpc("getrawmempool")) != [first] else None, "a bid"
        )
        assert len(second) == 1
        system.node.mine(2)
        system.wait_final(NAMESPACE, batch)
        receipt = system.receipt(NAMESPACE, batch)
        assert receipt is not None
        assert receipt["txRef"] != first
        system.assert_each_root_once(NAMESPACE, [batch])


def test_a_reorganised_anchor_is_said_to_be_and_comes_back_as_the_same_one(tmp_path: Path) -> None:
    with BitcoinSystem(tmp_path, confirmations=4) as system:
        batch, txid = system.begin(NAMESPACE)
        (block,) = system.node.mine()
        system.wait(lambda: system.receipt(NAMESPACE, batch), "a receipt")
        system.node.reorg(1)
        system.wait(
            lambda: (one := system.receipt(NAMESPACE, batch)) and one["status"] == "reorged",
            "a reorged receipt",
        )
        assert system.wait_pooled() == [txid]
        system.node.mine(4)
        system.wait_final(NAMESPACE, batch)
        receipt = system.receipt(NAMESPACE, batch)
        assert receipt is not None
        assert receipt["txRef"] == txid
        assert receipt["evidence"]["btc"]["blockHash"] != block
        system.assert_each_root_once(NAMESPACE, [batch])


def test_a_stolen_input_is_reported_and_the_root_goes_out_on_another_one(tmp_path: Path) -> None:
    with BitcoinSystem(tmp_path) as system:
        batch, txid = system.begin(NAMESPACE)
        node = system.node
        spent = system.spend_elsewhere(txid)
        held = system.wait(lambda: system.aggregator().get("held"), "a held aggregator")
        assert "none of ours" in str(held)
        node.mine()
        (other,) = system.wait_pooled()
        assert node.rpc("getrawtransaction", other, 1)["vin"][0]["txid"] != spent["txid"]
        node.mine(2)
        system.wait_final(NAMESPACE, batch)
        system.assert_each_root_once(NAMESPACE, [batch])


@pytest.mark.fault
def test_an_aggregator_that_was_terminated_adopts_what_is_in_the_pool(tmp_path: Path) -> None:
    with BitcoinSystem(tmp_path) as system:
        batch, txid = system.begin(NAMESPACE)

        async def terminate(client: Client) -> None:
            for workflow_id in (aggregator_workflow_id(TARGET), namespace_workflow_id(NAMESPACE)):
                await client.get_workflow_handle(workflow_id).terminate()

        system.ask(terminate)
        system.node.stop()
        system.node.start()
        system.register(NAMESPACE)
        system.wait(lambda: system.aggregator().get("rounds"), "an adopted round")
        assert system.wait_pooled() == [txid]
        system.node.mine(2)
        system.wait_final(NAMESPACE, batch)
        system.assert_each_root_once(NAMESPACE, [batch])


@pytest.mark.fault
def test_killed_workers_and_nodes_pay_nothing_twice(tmp_path: Path) -> None:
    with BitcoinSystem(tmp_path, block_seconds=0.7) as system:
        system.register(NAMESPACE)
        batches = []
        for number in range(4):
            batches.append(system.seal())
            worker = system.start_worker()
            time.sleep(0.7 * number)
            if number % 2:
                system.node.kill()
                system.node.start()
            kill(worker)
        system.start_worker()
        system.wait_final(NAMESPACE, *batches, seconds=100)
        system.assert_each_root_once(NAMESPACE, batches)


@pytest.mark.fault
def test_a_replaced_wallet_is_no_loss_of_what_was_sent(tmp_path: Path) -> None:
    with BitcoinSystem(tmp_path) as system:
        batch, _ = system.begin(NAMESPACE)
        system.replace_wallet()
        system.node.mine(2)
        system.wait_final(NAMESPACE, batch)
        system.assert_each_root_once(NAMESPACE, [batch])


@pytest.mark.fault
def test_a_receipt_becomes_final_after_its_block_was_pruned_and_its_wallet_is_gone(
    tmp_path: Path,
) -> None:
    with BitcoinSystem(tmp_path, options=PRUNING) as system:
        batch, _ = system.begin(NAMESPACE)
        system.node.mine()
        system.wait(lambda: system.receipt(NAMESPACE, batch), "a receipt")
        kill(system.workers[-1])
        prune(system.node)
        system.replace_wallet()
        system.start_worker()
        system.wait_final(NAMESPACE, batch)
        receipt = system.receipt(NAMESPACE, batch)
        assert receipt is not None
        assert prove(BitcoinEvidence.read(receipt["evidence"]["btc"])).depth == 2


@pytest.mark.fault
def test_a_spend_that_no_block_shows_any_more_is_held_and_named_and_costs_nothing(
    tmp_path: Path,
) -> None:
    with BitcoinSystem(tmp_path, options=PRUNING) as system:
        _, txid = system.begin(NAMESPACE)
        kill(system.workers[-1])
        node = system.node
        system.spend_elsewhere(txid)
        prune(node)
        system.start_worker()
        held = system.wait(lambda: system.aggregator().get("held"), "a held aggregator")
        assert "nobody can tell what became of output" in str(held)
        assert "are not shown (pruned?)" in str(held)
        time.sleep(5)
        assert node.rpc("getrawmempool") == []
        (row,) = system.aggregator()["rounds"]
        assert row["state"] == "pending"


@pytest.mark.parametrize("owed", [False, True])
def test_final_rounds_beyond_whose_depth_the_chain_was_rewritten_come_back_as_they_were(
    tmp_path: Path, owed: bool
) -> None:
    with BitcoinSystem(tmp_path) as system:
        system.start_worker()
        system.register(NAMESPACE)
        before = {}
        for _ in range(2):
            batch = system.seal()
            system.wait_pooled()
            system.node.mine(2)
            system.wait_final(NAMESPACE, batch)
            before[batch] = system.receipt(NAMESPACE, batch)
        system.wait(lambda: not system.aggregator()["rounds"], "closed rounds")
        system.node.mine(3)
        batches = [*before, *([system.seal()] if owed else [])]
        system.node.reorg(10)
        system.wait(
            lambda: {system.receipt(NAMESPACE, one)["status"] for one in before} == {"reorged"},  # type: ignore[index]
            "reorged receipts",
        )
        system.wait_pooled(2)

        def mined() -> bool:
            system.node.mine()
            time.sleep(1)
            return all(system.is_final(NAMESPACE, one) for one in batches)

        system.wait(mined, "final receipts", 90)
        for batch, old in before.items():
            new = system.receipt(NAMESPACE, batch)
            assert old is not None
            assert new is not None
            assert new["txRef"] == old["txRef"]
            assert new["evidence"]["btc"]["blockHash"] != old["evidence"]["btc"]["blockHash"]
            assert prove(BitcoinEvidence.read(new["evidence"]["btc"])).depth == 2
        system.assert_each_root_once(NAMESPACE, batches)
        assert sum(system.commitments().values()) == len(batches)

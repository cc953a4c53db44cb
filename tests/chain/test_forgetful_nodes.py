"""Nodes that forget what was mined, and keys that others use: nobody pays twice, and what nobody can tell is said (X6)."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import JsonValue

from tests.simulators.evm import LyingProvider
from tests.simulators.threads import lying_provider
from tests.support.evm_system import EvmSystem
from tests.support.marks import EVM_SYSTEM

pytestmark = EVM_SYSTEM

NAMESPACE = "dao:forgotten"
FORGOTTEN = ("eth_getTransactionReceipt", "eth_getTransactionByHash")
WITHOUT_RECEIPTS = (*FORGOTTEN, "eth_getBlockReceipts", "eth_getLogs")


@pytest.fixture
def system(tmp_path: Path) -> Iterator[EvmSystem]:
    with EvmSystem(tmp_path, block_seconds=None) as running:
        yield running


@pytest.fixture
def node(system: EvmSystem) -> Iterator[LyingProvider]:
    with lying_provider(system.anvil.url) as provider:
        yield provider


def forget(node: LyingProvider, *methods: str) -> None:
    for method in methods:
        answer: JsonValue = [] if method == "eth_getLogs" else None
        node.forge(method, lambda _, __, answer=answer: answer)


def begin(system: EvmSystem, *urls: str) -> None:
    system.write_anchors(rpcUrls=list(urls))
    system.start_worker()
    system.register(NAMESPACE, fast="2s")


def mine_for(system: EvmSystem, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        system.anvil.mine()
        time.sleep(0.5)


def test_a_node_without_old_transactions_costs_one_transaction_a_round(
    system: EvmSystem, node: LyingProvider
) -> None:
    forget(node, *FORGOTTEN)
    begin(system, node.url)
    batches = []
    for _ in range(3):
        batches.append(system.seal(NAMESPACE))
        system.mine_until_final(NAMESPACE, *batches)
    system.assert_paid_once({NAMESPACE: batches})
    assert len(system.transactions()) == len(batches)
    assert any("it forgets receipts" in line for line in system.aggregator()["problems"])


def test_a_node_without_receipts_holds_the_target_by_name_until_another_one_answers(
    system: EvmSystem, node: LyingProvider
) -> None:
    forget(node, *WITHOUT_RECEIPTS)
    begin(system, node.url)
    batch = system.seal(NAMESPACE)
    system.wait_pooled()
    mine_for(system, 15)
    held = system.wait(lambda: system.aggregator()["held"], "the held aggregator")
    assert "no longer shows the receipt" in held["message"]
    assert len(system.transactions()) == 1
    assert system.receipt(NAMESPACE, batch) is None
    system.write_anchors(rpcUrls=[node.url, system.anvil.url])
    system.mine_until_final(NAMESPACE, batch)
    assert system.aggregator()["held"] is None
    system.assert_paid_once({NAMESPACE: [batch]})


def test_a_foreign_transaction_loses_one_round_and_a_second_one_pauses_the_target(
    system: EvmSystem, node: LyingProvider
) -> None:
    forget(node, *FORGOTTEN)
    begin(system, node.url)
    batch = system.seal(NAMESPACE)
    for _ in range(2):
        (ours,) = system.wait_pooled()
        system.anvil.drop(str(ours["hash"]))
        system.send_foreign(int(str(ours["nonce"]), 16))
        system.anvil.mine()
        system.wait(lambda: "displaced" in states(system), "the displaced round")
        system.anvil.mine(8)
    paused = system.wait(lambda: system.aggregator()["paused"], "the paused aggregator")
    assert "2 rounds in a row" in paused["reason"]
    assert not system.commitments()
    system.signal("aggregator:eip155:31337", "resume")
    system.mine_until_final(NAMESPACE, batch)
    assert list(system.commitments().values()) == [1]
    assert len(system.transactions()) == 3, "two of theirs, one of ours"


def states(system: EvmSystem) -> set[str]:
    return {str(row["state"]) for row in system.aggregator()["rounds"]}


def test_a_refused_finality_tag_is_said_and_costs_no_anchor(
    system: EvmSystem, node: LyingProvider
) -> None:
    node.refuse(
        "eth_getBlockByNumber",
        "invalid argument 0: hex string without 0x prefix",
        code=-32602,
        unless=lambda params: params[0] != "finalized",  # type: ignore[index, call-overload]
    )
    begin(system, node.url)
    batch = system.seal(NAMESPACE)
    system.wait_pooled()
    mine_for(system, 10)
    receipt = system.wait(lambda: system.receipt(NAMESPACE, batch), "the receipt")
    assert receipt["finality"]["state"] == "observed"
    (problem,) = system.aggregator()["problems"]
    assert "refuses the tag 'finalized'" in problem
    assert "finality: depth" in problem
    system.write_anchors(rpcUrls=[system.anvil.url])
    system.mine_until_final(NAMESPACE, batch)
    system.assert_paid_once({NAMESPACE: [batch]})

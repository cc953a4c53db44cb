"""Nodes that forget what was mined, and keys that others use: nobody pays twice, and what nobody can tell is said (X6)."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account import Account
from pydantic import JsonValue

from tests.simulators.evm import LyingProvider
from tests.simulators.threads import lying_provider
from tests.support.system import System

pytestmark = [pytest.mark.server, pytest.mark.evm, pytest.mark.slow, pytest.mark.timeout(300)]

NAMESPACE = "dao:forgotten"
FORGOTTEN = ("eth_getTransactionReceipt", "eth_getTransactionByHash")
WITHOUT_RECEIPTS = (*FORGOTTEN, "eth_getBlockReceipts", "eth_getLogs")
GWEI = 10**9


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with System(tmp_path, block_seconds=None) as running:
        yield running


@pytest.fixture
def node(system: System) -> Iterator[LyingProvider]:
    with lying_provider(system.anvil.url) as provider:
        yield provider


def forget(node: LyingProvider, *methods: str) -> None:
    for method in methods:
        answer: JsonValue = [] if method == "eth_getLogs" else None
        node.forge(method, lambda _, __, told=answer: told)


def begin(system: System, *urls: str) -> None:
    system.write_anchors(rpcUrls=list(urls))
    system.start_worker()
    system.register(NAMESPACE, fast="2s")


def mine_for(system: System, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        system.anvil.mine()
        time.sleep(0.5)


def mine_until_final(system: System, *batches: str) -> None:
    def mined() -> bool:
        system.anvil.mine()
        time.sleep(0.3)
        return all(system.is_final(NAMESPACE, batch) for batch in batches)

    system.wait(mined, "final anchors", 90)


def test_a_node_without_old_transactions_costs_one_transaction_a_round(
    system: System, node: LyingProvider
) -> None:
    forget(node, *FORGOTTEN)
    begin(system, node.url)
    batches = []
    for _ in range(3):
        batches.append(system.seal(NAMESPACE))
        mine_until_final(system, *batches)
    system.assert_paid_once({NAMESPACE: batches})
    assert len(system.transactions()) == len(batches)
    assert any("it forgets receipts" in line for line in system.aggregator()["problems"])


def test_a_node_without_receipts_holds_the_target_by_name_until_another_one_answers(
    system: System, node: LyingProvider
) -> None:
    forget(node, *WITHOUT_RECEIPTS)
    begin(system, node.url)
    batch = system.seal(NAMESPACE)
    system.wait(lambda: int(system.rpc("txpool_status")["pending"], 16), "the transaction")
    mine_for(system, 15)
    held = system.wait(lambda: system.aggregator()["held"], "the held aggregator")
    assert "no longer shows the receipt" in held["message"]
    assert len(system.transactions()) == 1
    assert system.receipt(NAMESPACE, batch) is None
    system.write_anchors(rpcUrls=[node.url, system.anvil.url])
    mine_until_final(system, batch)
    assert system.aggregator()["held"] is None
    system.assert_paid_once({NAMESPACE: [batch]})


def test_a_foreign_transaction_loses_one_round_and_a_second_one_pauses_the_target(
    system: System, node: LyingProvider
) -> None:
    forget(node, *FORGOTTEN)
    begin(system, node.url)
    batch = system.seal(NAMESPACE)
    for _ in range(2):
        ours = system.wait(lambda: pending(system), "the transaction")
        system.anvil.drop(str(ours["hash"]))
        system.rpc("eth_sendRawTransaction", _transfer(system, int(str(ours["nonce"]), 16)))
        system.anvil.mine()
        system.wait(lambda: "displaced" in states(system), "the displaced round")
        system.anvil.mine(8)
    paused = system.wait(lambda: system.aggregator()["paused"], "the paused aggregator")
    assert "2 rounds in a row" in paused["reason"]
    assert not system.commitments()
    system.signal("aggregator:eip155:31337", "resume")
    mine_until_final(system, batch)
    assert list(system.commitments().values()) == [1]
    assert len(system.transactions()) == 3, "two of theirs, one of ours"


def pending(system: System) -> dict[str, object] | None:
    pool = system.rpc("txpool_content")["pending"]
    found = [one for account in pool.values() for one in account.values()]
    return found[0] if found else None


def states(system: System) -> set[str]:
    return {str(one["state"]) for one in system.aggregator()["rounds"]}


def _transfer(system: System, nonce: int) -> str:
    signed = Account.sign_transaction(
        {
            "type": 2,
            "chainId": 31337,
            "nonce": nonce,
            "to": "0x000000000000000000000000000000000000dEaD",
            "value": 1,
            "gas": 21_000,
            "maxFeePerGas": 100 * GWEI,
            "maxPriorityFeePerGas": 10 * GWEI,
        },
        system.key,
    )
    return "0x" + signed.raw_transaction.hex().removeprefix("0x")

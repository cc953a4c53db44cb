"""A round that nobody can decide is held by name; given up by an operator, it is anchored once more, whatever dies."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from eth_account import Account

import starter
from tests.faults.test_history_lost import _reset_to_the_start as reset_to_the_start
from tests.simulators.evm import LyingProvider
from tests.support.system import TARGET, System, aggregator_workflow_id
from vaultmesh.process.search_attributes import ensure

pytestmark = [
    pytest.mark.fault,
    pytest.mark.server,
    pytest.mark.evm,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

NAMESPACE = "dao:given-up"
AGGREGATOR = aggregator_workflow_id(TARGET)
FEE = 500 * 10**9


class HidingProvider:
    """A provider in a thread of its own that shows no transaction of an account in its blocks."""

    def __init__(self, upstream: str, account: str) -> None:
        self._account = account.lower()
        self._proxy = LyingProvider(upstream)
        self._ready, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        assert self._ready.wait(20)
        return self._proxy.url

    def __exit__(self, *details: object) -> None:
        self._ended.set()
        self._thread.join(20)

    async def _serve(self) -> None:
        async with self._proxy:
            for method in ("eth_getBlockByNumber", "eth_getBlockByHash"):
                self._proxy.forge(method, self._hidden)
            self._ready.set()
            await asyncio.to_thread(self._ended.wait)

    def _hidden(self, _asked: Any, true: Any) -> Any:
        if not isinstance(true, dict):
            return true
        shown = [
            one
            for one in true["transactions"]
            if not isinstance(one, dict) or one["from"].lower() != self._account
        ]
        return {**true, "transactions": shown}


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with (
        System(tmp_path_factory.mktemp("given-up"), block_seconds=None) as running,
        HidingProvider(running.anvil.url, running.account) as url,
    ):
        running.write_anchors(rpcUrls=[url])
        yield running


def use_nonce(system: System) -> str:
    """Have the key's other owner use the nonce of the transaction in the pool."""
    transaction = {
        "type": 2,
        "chainId": 31337,
        "nonce": 0,
        "to": Account.create().address,
        "value": 1,
        "gas": 21_000,
        "maxFeePerGas": FEE,
        "maxPriorityFeePerGas": FEE,
    }
    signed = Account.from_key(system.key).sign_transaction(transaction)
    system.rpc("eth_sendRawTransaction", "0x" + signed.raw_transaction.hex())
    return "0x" + signed.hash.hex()


def terminate(system: System) -> None:
    system.ask(lambda client: client.get_workflow_handle(AGGREGATOR).terminate("test"))


def reset(system: System) -> None:
    system.ask(reset_to_the_start)


def lose_the_database(system: System) -> None:
    system.workers[-1].stop()
    system.lose_histories()
    system.temporal.part.start()
    system.ask(ensure)
    system.start_worker()
    system.register(NAMESPACE)


@pytest.mark.parametrize("harm", [terminate, reset, lose_the_database])
def test_a_round_that_was_given_up_for_lost_is_anchored_once_more_and_not_twice(
    system: System,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[System], None],
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", system.temporal.address)
    monkeypatch.setenv("VMSH_ROOT", str(system.root))
    system.start_worker()
    batches = [system.seal(NAMESPACE), system.seal(NAMESPACE)]
    system.register(NAMESPACE)
    system.wait(lambda: int(system.rpc("txpool_status")["pending"], 16) == 1, "a transaction")
    (row,) = system.aggregator()["rounds"]

    def lost() -> int:
        return starter.main(["resolve", TARGET, "--lost", row["round_id"], "--yes"])

    assert lost() == 1
    assert "is not lost" in capsys.readouterr().err
    foreign = use_nonce(system)
    system.anvil.mine()
    system.anvil.mine()
    system.anvil.mine()
    system.wait(lambda: system.aggregator()["held"], "the hold")
    time.sleep(3)
    assert system.transactions() == {foreign}
    assert lost() == 0
    harm(system)

    def mined() -> bool:
        system.anvil.mine()
        time.sleep(0.3)
        return all(system.is_final(NAMESPACE, one) for one in batches)

    system.wait(mined, "final anchors", 90)
    assert len(system.transactions()) == 2
    assert all(count == 1 for count in system.commitments().values())

"""A round that nobody can decide is held by name; given up by an operator, it is anchored once more, whatever dies."""

import time
from collections.abc import Callable, Iterator

import pytest
from pydantic import JsonValue

import starter
from tests.simulators.threads import lying_provider
from tests.support.evm_system import TARGET, EvmSystem
from tests.support.marks import FAULTS
from tests.support.system import HARM

pytestmark = FAULTS

NAMESPACE = "dao:given-up"


def without_transactions_of(account: str) -> Callable[[JsonValue, JsonValue], JsonValue]:
    """Return a lie that takes an account's transactions out of a block."""

    def lie(_question: JsonValue, block: JsonValue) -> JsonValue:
        if not isinstance(block, dict) or not isinstance(block["transactions"], list):
            return block
        others = [
            transaction
            for transaction in block["transactions"]
            if not isinstance(transaction, dict)
            or str(transaction["from"]).lower() != account.lower()
        ]
        return {**block, "transactions": others}

    return lie


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    with (
        EvmSystem(tmp_path_factory.mktemp("given-up"), block_seconds=None) as running,
        lying_provider(running.anvil.url) as provider,
    ):
        for method in ("eth_getBlockByNumber", "eth_getBlockByHash"):
            provider.forge(method, without_transactions_of(running.account))
        running.write_anchors(rpcUrls=[provider.url])
        yield running


@pytest.mark.parametrize("harm", HARM)
def test_a_round_that_was_given_up_for_lost_is_anchored_once_more_and_not_twice(
    system: EvmSystem,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[EvmSystem], None],
) -> None:
    system.point_at(monkeypatch)
    system.start_worker()
    batches = system.broadcast(NAMESPACE)
    (row,) = system.aggregator()["rounds"]

    def lost() -> int:
        return starter.main(["resolve", TARGET, "--lost", row["round_id"], "--yes"])

    assert lost() == 1
    assert "is not lost" in capsys.readouterr().err
    foreign = system.send_foreign(0)
    system.anvil.mine(3)
    system.wait(lambda: system.aggregator()["held"], "the hold")
    time.sleep(3)
    assert system.transactions() == {foreign}
    assert lost() == 0
    harm(system)
    system.mine_until_final(NAMESPACE, *batches)
    assert len(system.transactions()) == 2
    assert all(count == 1 for count in system.commitments().values())

"""An operator's decision outlives everything: it is made once, and no kill, reset or lost database forgets it."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

import starter
from tests.faults.test_history_lost import _reset_to_the_start as reset_to_the_start
from tests.support.system import TARGET, System, aggregator_workflow_id, kill
from vaultmesh.process.search_attributes import ensure

pytestmark = [
    pytest.mark.fault,
    pytest.mark.server,
    pytest.mark.evm,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

NAMESPACE = "dao:decided"
AGGREGATOR = aggregator_workflow_id(TARGET)
FEE = 500 * 10**9


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("decided"), block_seconds=None) as running:
        yield running


@pytest.fixture
def resolve(system: System, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def command(*arguments: str) -> int:
        monkeypatch.setenv("TEMPORAL_ADDRESS", system.temporal.address)
        monkeypatch.setenv("VMSH_ROOT", str(system.root))
        return starter.main(["resolve", TARGET, *arguments, "--yes"])

    return command


def pooled(system: System) -> bool:
    return int(system.rpc("txpool_status")["pending"], 16) == 1


def the_round(system: System) -> Path:
    (found,) = (system.root / "out/rounds").glob("*/*/candidate-0.json")
    return found.parent


def another_bid(system: System) -> str:
    """Have a bid mined that no file has: signed with our key for the same nonce and call."""
    candidate = json.loads((the_round(system) / "candidate-0.json").read_text())
    fields: dict[str, Any] = candidate["reservation"]["fields"]
    names = ("type", "chainId", "nonce", "to", "value", "gas", "data")
    transaction = {name: fields[name] for name in names}
    transaction |= {"maxFeePerGas": FEE, "maxPriorityFeePerGas": FEE}
    signed = Account.from_key(system.key).sign_transaction(transaction)
    system.rpc("eth_sendRawTransaction", "0x" + signed.raw_transaction.hex())
    system.anvil.mine()
    return "0x" + signed.hash.hex()


def final(system: System, batches: list[str]) -> None:
    def mined() -> bool:
        system.anvil.mine()
        time.sleep(0.3)
        return all(system.is_final(NAMESPACE, one) for one in batches)

    system.wait(mined, "final anchors", 90)


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


def kill_the_worker(system: System) -> None:
    kill(system.workers[-1])
    system.start_worker()


@pytest.mark.parametrize("harm", [terminate, reset, lose_the_database, kill_the_worker])
def test_a_transaction_that_was_adopted_stays_adopted(
    system: System, resolve: Callable[..., int], harm: Callable[[System], None]
) -> None:
    system.start_worker()
    batches = [system.seal(NAMESPACE), system.seal(NAMESPACE)]
    system.register(NAMESPACE)
    system.wait(lambda: pooled(system), "a transaction in the pool")
    adopted = another_bid(system)
    assert resolve("--adopt", the_round(system).name, adopted) == 0
    harm(system)
    final(system, batches)
    assert {one["txRef"] for one in system.all_receipts()} == {adopted}
    assert len(system.transactions()) == 1
    system.assert_paid_once({NAMESPACE: batches})


def test_a_worker_that_is_killed_in_the_middle_of_a_decision_leaves_all_or_nothing(
    system: System, resolve: Callable[..., int]
) -> None:
    worker = system.start_worker()
    batches = [system.seal(NAMESPACE)]
    system.register(NAMESPACE)
    system.wait(lambda: pooled(system), "a transaction in the pool")
    adopted = another_bid(system)
    folder = the_round(system)
    from threading import Thread

    answers: list[int] = []
    deciding = Thread(
        target=lambda: answers.append(resolve("--adopt", folder.name, adopted)), daemon=True
    )
    deciding.start()
    system.wait(lambda: (folder / "resolved.json").exists(), "the decision")
    kill(worker)
    system.start_worker()
    deciding.join(90)
    assert answers == [0]
    final(system, batches)
    assert {one["txRef"] for one in system.all_receipts()} == {adopted}
    assert len(list(folder.glob("resolved*.json"))) == 1


@pytest.mark.parametrize("harm", [terminate, reset, lose_the_database])
def test_a_round_that_was_given_up_stays_given_up(
    system: System,
    resolve: Callable[..., int],
    harm: Callable[[System], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its batches are held back until then, also by every new process; afterwards they are anchored once more."""
    worker = system.start_worker()
    batches = [system.seal(NAMESPACE), system.seal(NAMESPACE)]
    system.register(NAMESPACE)
    system.wait(lambda: pooled(system), "a transaction in the pool")
    final(system, batches)
    system.wait_idle(NAMESPACE)
    given_up = the_round(system)
    worker.stop()
    manifest = given_up / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-30])
    for place in (system.root / "out/anchors").rglob("*.json"):
        place.unlink()
    system.start_worker()
    problems = system.wait(lambda: system.aggregator()["problems"], "the problem in status")
    assert given_up.name in problems[0]
    time.sleep(3)
    assert len(system.transactions()) == 1
    assert resolve("--lost", given_up.name) == 1
    assert len(system.transactions()) == 1
    assert resolve("--forget", given_up.name) == 0
    assert "may be paid for a second time" in capsys.readouterr().out
    harm(system)
    final(system, batches)
    assert system.aggregator()["problems"] == []
    assert len(system.transactions()) == 2

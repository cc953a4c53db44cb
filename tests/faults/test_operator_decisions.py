"""An operator's decision outlives everything: it is made once, and no kill, reset or lost database forgets it."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import starter
from tests.support.evm_system import TARGET, EvmSystem
from tests.support.marks import FAULTS
from tests.support.system import HARM, kill

pytestmark = FAULTS

NAMESPACE = "dao:decided"


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    with EvmSystem(tmp_path_factory.mktemp("decided"), block_seconds=None) as running:
        yield running


@pytest.fixture
def resolve(system: EvmSystem, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def command(*arguments: str) -> int:
        system.point_at(monkeypatch)
        return starter.main(["resolve", TARGET, *arguments, "--yes"])

    return command


def the_round(system: EvmSystem) -> Path:
    (candidate,) = (system.root / "out/rounds").glob("*/*/candidate-0.json")
    return candidate.parent


def another_bid(system: EvmSystem) -> str:
    """Have a bid mined that no file has: signed with our key for the same nonce and call."""
    candidate = json.loads((the_round(system) / "candidate-0.json").read_text())
    fields: dict[str, Any] = candidate["reservation"]["fields"]
    names = ("type", "chainId", "nonce", "to", "value", "gas", "data")
    tx_hash = system.send({name: fields[name] for name in names})
    system.anvil.mine()
    return tx_hash


def kill_the_worker(system: EvmSystem) -> None:
    kill(system.workers[-1])
    system.start_worker()


@pytest.mark.parametrize("harm", [*HARM, kill_the_worker])
def test_a_transaction_that_was_adopted_stays_adopted(
    system: EvmSystem, resolve: Callable[..., int], harm: Callable[[EvmSystem], None]
) -> None:
    system.start_worker()
    batches = system.broadcast(NAMESPACE)
    adopted = another_bid(system)
    assert resolve("--adopt", the_round(system).name, adopted) == 0
    harm(system)
    system.mine_until_final(NAMESPACE, *batches)
    assert {receipt["txRef"] for receipt in system.all_receipts()} == {adopted}
    assert len(system.transactions()) == 1
    system.assert_paid_once({NAMESPACE: batches})


def test_a_worker_that_is_killed_in_the_middle_of_a_decision_leaves_all_or_nothing(
    system: EvmSystem, resolve: Callable[..., int]
) -> None:
    worker = system.start_worker()
    batches = system.broadcast(NAMESPACE)
    adopted = another_bid(system)
    folder = the_round(system)
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
    system.mine_until_final(NAMESPACE, *batches)
    assert {receipt["txRef"] for receipt in system.all_receipts()} == {adopted}
    assert len(list(folder.glob("resolved*.json"))) == 1


@pytest.mark.parametrize("harm", HARM)
def test_a_round_that_was_given_up_stays_given_up(
    system: EvmSystem,
    resolve: Callable[..., int],
    harm: Callable[[EvmSystem], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its batches are held back until then, also by every new process; afterwards they are anchored once more."""
    worker = system.start_worker()
    batches = system.broadcast(NAMESPACE)
    system.mine_until_final(NAMESPACE, *batches)
    system.wait_idle(NAMESPACE)
    given_up = the_round(system)
    worker.stop()
    manifest = given_up / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-30])
    system.lose_receipts()
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
    system.mine_until_final(NAMESPACE, *batches)
    assert system.aggregator()["problems"] == []
    assert len(system.transactions()) == 2

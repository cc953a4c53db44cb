"""Settings change under load, with a round on its way: nothing is paid twice, and what was anchored still verifies."""

import json
import secrets
import time
from collections.abc import Iterator

import pytest
from eth_account import Account

import starter
from contracts.artifact import load_artifact
from tests.support.evm_system import EvmSystem
from tests.support.marks import FAULTS
from vaultmesh.domain.names import namespace_workflow_id

pytestmark = FAULTS

NAMESPACES = ("dao:a", "dao:b", "fin:c")
PERIOD_SECONDS = 2.0
"""Of every cadence, by default."""
TRIES = 5
"""On a busy machine a slot may come while batches are sealed."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    with EvmSystem(tmp_path_factory.mktemp("changed"), block_seconds=None) as system:
        system.start_worker()
        for namespace in NAMESPACES:
            system.register(namespace)
        yield system


@pytest.fixture
def system(running: EvmSystem) -> Iterator[EvmSystem]:
    """Return the system; its settings are put back after the test."""
    before = dict(running.evm.settings)
    yield running
    running.evm.settings = before
    running.write_anchors()


def under_load(system: EvmSystem) -> dict[str, list[str]]:
    """Seal batches of every namespace between two slots, and wait until one transaction that holds all is in the pool.

    Returns everything that was sealed: what an earlier try sealed is final.
    """
    owed: dict[str, list[str]] = {name: [] for name in NAMESPACES}
    for _ in range(TRIES):
        time.sleep(PERIOD_SECONDS - time.time() % PERIOD_SECONDS + 0.2)
        for name, batches in owed.items():
            batches += [system.seal(name), system.seal(name)]
        system.wait_pooled()
        if all_in_rounds(system, owed):
            return owed
        # A slot came between the batches: the others wait until this transaction is included.
        mine_until_final(system, owed)
    message = f"no transaction held every namespace's batches in {TRIES} tries"
    raise AssertionError(message)


def all_in_rounds(system: EvmSystem, owed: dict[str, list[str]]) -> bool:
    """Whether every batch is in a signed round; while one waits for its inclusion, another may be sealed."""
    manifests = [
        json.loads(place.read_text())
        for place in (system.root / "out/rounds").glob("*/*/manifest.json")
    ]
    sealed = {leaf["batchId"] for manifest in manifests for leaf in manifest["leaves"]}
    return sealed.issuperset(batch for batches in owed.values() for batch in batches)


def mine_until_final(system: EvmSystem, owed: dict[str, list[str]]) -> None:
    for namespace, batches in owed.items():
        system.mine_until_final(namespace, *batches)


def anchored(system: EvmSystem, owed: dict[str, list[str]]) -> set[str]:
    return {
        str((system.receipt(name, batch) or {}).get("txRef"))
        for name, batches in owed.items()
        for batch in batches
    }


def judge(system: EvmSystem, owed: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """All in transactions of ours; every receipt verifies, and comes back when it is lost."""
    assert system.transactions() <= {receipt["txRef"] for receipt in system.all_receipts()}
    verify(system, owed, monkeypatch)
    sent = system.transactions()
    before = anchored(system, owed)
    system.lose_receipts()
    mine_until_final(system, owed)
    assert (system.transactions(), anchored(system, owed)) == (sent, before)


def verify(system: EvmSystem, owed: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMSH_ROOT", str(system.root))
    monkeypatch.setenv("EVM_ANCHOR_KEY", system.key)
    for namespace, batches in owed.items():
        for batch in batches:
            assert starter.main(["verify", "--batch", batch, "--namespace", namespace]) == 0


CHANGES = {
    "contract": {},
    "aggregation": {"aggregation": "always"},
    "confirmations": {"confirmations": 3},
    "finality": {"finality": "depth"},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_with_a_round_on_its_way_pays_nothing_twice(
    system: EvmSystem, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = under_load(system)
    sent = system.transactions()
    change: dict[str, object] = dict(CHANGES[what])
    if what == "contract":
        change["contract"] = system.anvil.deploy(str(load_artifact()["bytecode"])).lower()
    system.write_anchors(**change)
    mine_until_final(system, first)
    assert system.transactions() - sent <= anchored(system, first)
    second = under_load(system)
    mine_until_final(system, second)
    every = {name: first[name] + second[name] for name in NAMESPACES}
    assert system.transactions() - sent <= anchored(system, every)
    judge(system, every, monkeypatch)


def test_a_changed_key_waits_for_the_round_of_the_former_one(
    system: EvmSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = under_load(system)
    other = "0x" + secrets.token_hex(32)
    system.anvil.fund(Account.from_key(other).address)
    system.write_anchors(key=other)
    mine_until_final(system, first)
    judge(system, first, monkeypatch)
    second = {name: [system.seal(name)] for name in NAMESPACES}
    mine_until_final(system, second)
    assert all(count == 1 for count in system.commitments().values())


def test_json_of_verify_names_the_contract_that_the_round_was_signed_for(
    system: EvmSystem, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = under_load(system)
    mine_until_final(system, first)
    signed_for = system.evm.contract
    system.write_anchors(contract="0x" + "11" * 20)
    monkeypatch.setenv("VMSH_ROOT", str(system.root))
    monkeypatch.setenv("EVM_ANCHOR_KEY", system.key)
    capsys.readouterr()
    batch = first[NAMESPACES[0]][0]
    assert starter.main(["verify", "--batch", batch, "--json"]) == 0
    (receipt,) = json.loads(capsys.readouterr().out)["receipts"]
    (contract,) = [check["detail"] for check in receipt["checks"] if check["name"] == "contract"]
    assert f"expected {signed_for}" in contract


def test_a_cadence_that_moves_to_another_target_leaves_its_round_to_end(
    system: EvmSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = under_load(system)
    sent = system.transactions()
    moved = {"cadence": {"fast": {"target": "btc:regtest", "every": "2s"}}}
    for name in NAMESPACES:
        system.signal(namespace_workflow_id(name), "set_cadence", {"namespace": name, **moved})
    mine_until_final(system, first)
    assert len(system.transactions()) == len(sent) + 1
    assert system.transactions() - sent <= anchored(system, first)
    assert all(count == 1 for count in system.commitments().values())
    verify(system, first, monkeypatch)

"""Many namespaces and workers, one key: one transaction at a time, each root paid once (X7, M5)."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from temporalio.client import Client

from tests.support.evm_system import AGGREGATOR, TARGET, EvmSystem
from tests.support.marks import EVM_SYSTEM

pytestmark = EVM_SYSTEM


EVERY_SECONDS = 15
WINDOW = "2s"
"""Longer than any gap between the requests of fifty namespaces that are due in the same instant."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    with EvmSystem(tmp_path_factory.mktemp("many"), window=WINDOW) as running:
        running.start_worker()
        running.start_worker()
        yield running


def test_fifty_namespaces_in_one_slot_give_one_transaction(system: EvmSystem) -> None:
    first = system.seal("fifty:first")
    system.register("fifty:first", fast="1000d")
    system.wait_final("fifty:first", first)
    before = len(system.evm.logs())
    system.signal(AGGREGATOR, "pause", "registration takes longer than a window")
    owed = {f"fifty:{index}": [system.seal(f"fifty:{index}")] for index in range(50)}
    for namespace in owed:
        system.register(namespace, fast="1000d")
    system.wait(lambda: system.aggregator()["waiting"] == len(owed), "fifty requests")
    system.signal(AGGREGATOR, "resume")
    for namespace, batches in owed.items():
        system.wait_final(namespace, *batches)
    assert len(system.evm.logs()) - before == 1
    system.wait_idle(*owed)
    owed = {namespace: [system.seal(namespace)] for namespace in owed}
    before = len(system.evm.logs())
    system.wait(lambda: 1 < time.time() % EVERY_SECONDS < EVERY_SECONDS / 3, "a quiet moment")
    system.ask(lambda client: _set_cadences(client, list(owed)))
    for namespace, batches in owed.items():
        system.wait_final(namespace, *batches)
    assert len(system.evm.logs()) - before == 1
    system.assert_paid_once(owed)


def test_two_namespaces_that_share_batches_pay_once(system: EvmSystem) -> None:
    batches = [system.seal()]
    system.register("shared:one", fast="2s")
    system.wait_final("shared:one", *batches)
    paid = len(system.evm.logs())
    system.register("shared:two", fast="2s")
    system.wait_final("shared:two", *batches)
    assert len(system.evm.logs()) == paid
    first, second = (system.receipt(name, batches[0]) for name in ("shared:one", "shared:two"))
    assert first is not None
    assert second is not None
    assert first["txRef"] == second["txRef"]
    assert second["metadata"]["namespace"] == "shared:two"
    system.assert_paid_once({"shared:one": batches, "shared:two": batches})


def test_two_workers_on_one_key_sign_one_transaction_per_round(system: EvmSystem) -> None:
    system.register("two:workers", fast="2s")
    batches = []
    for _ in range(5):
        batches.append(system.seal("two:workers"))
        system.wait_final("two:workers", batches[-1])
    system.assert_paid_once({"two:workers": batches})


async def _set_cadences(client: Client, namespaces: list[str]) -> None:
    """Give all of them the same slots, well before the next one."""

    async def set_cadence(namespace: str) -> None:
        cadence = {"fast": {"target": TARGET, "every": f"{EVERY_SECONDS}s"}}
        change = {"namespace": namespace, "cadence": cadence}
        await client.get_workflow_handle(f"namespace:{namespace}").signal("set_cadence", change)

    await asyncio.gather(*map(set_cadence, namespaces))

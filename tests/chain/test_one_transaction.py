"""Many namespaces and workers, one key: one transaction at a time, each root paid once (X7, M5)."""

from collections.abc import Iterator

import pytest

from tests.support.system import System

pytestmark = [pytest.mark.server, pytest.mark.evm, pytest.mark.slow]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("many"), settings={"window": "1s"}) as running:
        running.start_worker()
        running.start_worker()
        yield running


def test_fifty_namespaces_in_one_slot_give_one_transaction(system: System) -> None:
    before = len(system.logs())
    owed = {f"fifty:{index}": [system.seal(f"fifty:{index}")] for index in range(50)}
    for namespace in owed:
        system.register(namespace, fast="1d")
    for namespace, batches in owed.items():
        system.wait_final(namespace, *batches)
    assert len(system.logs()) - before <= 2  # registration takes longer than a window
    owed = {namespace: [system.seal(namespace)] for namespace in owed}
    before = len(system.logs())
    for namespace in owed:
        system.signal(f"namespace:{namespace}", "set_cadence", _every(namespace, "5s"))
    for namespace, batches in owed.items():
        system.wait_final(namespace, *batches)
    assert len(system.logs()) - before == 1
    system.assert_paid_once(owed)


def test_two_namespaces_that_share_batches_pay_once(system: System) -> None:
    batches = [system.seal()]
    system.register("shared:one", fast="2s")
    system.wait_final("shared:one", *batches)
    paid = len(system.logs())
    system.register("shared:two", fast="2s")
    system.wait_final("shared:two", *batches)
    assert len(system.logs()) == paid
    first, second = (system.receipt(name, batches[0]) for name in ("shared:one", "shared:two"))
    assert first is not None
    assert second is not None
    assert first["txRef"] == second["txRef"]
    assert second["metadata"]["namespace"] == "shared:two"
    system.assert_paid_once({"shared:one": batches, "shared:two": batches})


def test_two_workers_on_one_key_sign_one_transaction_per_round(system: System) -> None:
    system.register("two:workers", fast="2s")
    batches = []
    for _ in range(5):
        batches.append(system.seal("two:workers"))
        system.wait_final("two:workers", batches[-1])
    system.assert_paid_once({"two:workers": batches})


def _every(namespace: str, every: str) -> dict[str, object]:
    return {"namespace": namespace, "cadence": {"fast": {"target": "eip155:31337", "every": every}}}

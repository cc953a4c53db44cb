"""The aggregator's workflow is terminated, reset, or lost with its database, each with a transaction in the pool (X11)."""

import time
from collections.abc import Iterator

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client

from tests.support.system import TARGET, System, aggregator_workflow_id

pytestmark = [
    pytest.mark.fault,
    pytest.mark.server,
    pytest.mark.evm,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

NAMESPACE = "dao:lost"
AGGREGATOR = aggregator_workflow_id(TARGET)


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("lost"), block_seconds=None) as running:
        yield running


def broadcast(system: System) -> list[str]:
    """Seal, register, and wait until our transaction waits in the pool of a chain that stands still."""
    batches = [system.seal(NAMESPACE), system.seal(NAMESPACE)]
    system.register(NAMESPACE)
    system.wait(lambda: pending(system) == 1, "a transaction in the pool")
    return batches


def pending(system: System) -> int:
    return int(system.rpc("txpool_status")["pending"], 16)


def mine_until_final(system: System, batches: list[str], seconds: float = 90.0) -> None:
    def mined() -> bool:
        system.anvil.mine()
        time.sleep(0.3)
        return all(system.is_final(NAMESPACE, batch) for batch in batches)

    system.wait(mined, "final anchors", seconds)


def test_a_terminated_aggregator_is_recovered_from_the_rounds(system: System) -> None:
    system.start_worker()
    batches = broadcast(system)
    system.ask(lambda client: client.get_workflow_handle(AGGREGATOR).terminate("test"))
    system.wait(lambda: system.aggregator()["rounds"], "the recovered round")
    mine_until_final(system, batches)
    system.assert_paid_once({NAMESPACE: batches})


def test_an_aggregator_that_is_reset_to_before_its_reservation_signs_nothing_beside_it(
    system: System,
) -> None:
    system.start_worker()
    batches = broadcast(system)
    system.ask(_reset_to_the_start)
    more = [system.seal(NAMESPACE)]
    mine_until_final(system, batches + more)
    system.assert_paid_once({NAMESPACE: batches + more})


def test_an_aggregator_that_is_reset_after_a_final_round_reserves_no_used_nonce(
    system: System,
) -> None:
    system.start_worker()
    batches = broadcast(system)
    mine_until_final(system, batches)
    system.ask(_reset_to_the_start)
    more = [system.seal(NAMESPACE)]
    mine_until_final(system, more)
    system.assert_paid_once({NAMESPACE: batches + more})


def test_a_lost_temporal_database_costs_no_second_transaction(system: System) -> None:
    worker = system.start_worker()
    batches = broadcast(system)
    worker.stop()
    system.lose_histories()
    system.temporal.part.start()
    system.ask(_prepare)
    system.start_worker()
    system.register(NAMESPACE)
    mine_until_final(system, batches)
    system.assert_paid_once({NAMESPACE: batches})


def test_lost_anchor_receipts_are_rebuilt_without_a_transaction(system: System) -> None:
    worker = system.start_worker()
    batches = broadcast(system)
    mine_until_final(system, batches)
    before = {batch: system.receipt(NAMESPACE, batch) for batch in batches}
    sent = system.transactions()
    worker.stop()
    for place in (system.root / "out/anchors").rglob("*.json"):
        place.unlink()
    system.start_worker()
    mine_until_final(system, batches)
    assert system.transactions() == sent
    for batch in batches:
        now, then = system.receipt(NAMESPACE, batch), before[batch]
        assert now is not None
        assert then is not None
        assert lasting(now) == lasting(then)


def test_one_slot_brings_back_the_receipts_of_many_rounds(system: System) -> None:
    """Also of a namespace that owes a new batch, whose own round does not answer for the older ones."""
    system.start_worker()
    system.register(NAMESPACE)
    batches = []
    for _ in range(4):
        batches.append(system.seal())
        mine_until_final(system, batches)
    before = {batch: system.receipt(NAMESPACE, batch) for batch in batches}
    sent = system.transactions()
    slower = {"namespace": NAMESPACE, "cadence": {"fast": {"every": "1d"}}}
    system.signal(f"namespace:{NAMESPACE}", "set_cadence", slower)
    for place in (system.root / "out/anchors").rglob("*.json"):
        place.unlink()
    system.signal(f"namespace:{NAMESPACE}", "force_anchor")
    system.wait(lambda: all(system.is_final(NAMESPACE, one) for one in batches), "receipts")
    assert system.transactions() == sent
    for batch in batches:
        now, then = system.receipt(NAMESPACE, batch), before[batch]
        assert now is not None
        assert then is not None
        assert lasting(now) == lasting(then)
    for place in (system.root / "out/anchors").rglob("*.json"):
        place.unlink()
    new = system.seal()
    system.signal(f"namespace:{NAMESPACE}", "force_anchor")
    mine_until_final(system, [*batches, new])
    assert len(system.transactions()) == len(sent) + 1
    system.assert_paid_once({NAMESPACE: [*batches, new]})


def lasting(receipt: dict[str, object]) -> dict[str, object]:
    """Return a receipt without what every look changes: when it was seen, how deep, and under which tag."""
    changing = ("observedAt", "finality", "evidence")
    return {key: value for key, value in receipt.items() if key not in changing}


async def _prepare(client: Client) -> None:
    from vaultmesh.process.search_attributes import ensure

    await ensure(client)


async def _reset_to_the_start(client: Client) -> None:
    """Reset the aggregator to its first completed workflow task, as `temporal workflow reset` does."""
    handle = client.get_workflow_handle(AGGREGATOR)
    history = await handle.fetch_history()
    first = next(
        event.event_id
        for event in history.events
        if event.HasField("workflow_task_completed_event_attributes")
    )
    described = await handle.describe()
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=AGGREGATOR, run_id=described.run_id),
            reason="test",
            workflow_task_finish_event_id=first,
            request_id=f"reset-{described.run_id}",
        )
    )

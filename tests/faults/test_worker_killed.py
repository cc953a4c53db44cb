"""`kill -9` of the worker at each step from request to record: every batch anchored, every root paid once (X3, X4)."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.system import System

pytestmark = [
    pytest.mark.fault,
    pytest.mark.server,
    pytest.mark.evm,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

STEPS = ("anchor", "recover", "seal", "reserve", "sign", "broadcast", "observe", "record")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("killed")) as running:
        yield running


@pytest.mark.parametrize(
    "crash_at", [f"{when}:{step}" for step, when in itertools.product(STEPS, ("before", "after"))]
)
def test_a_killed_worker_neither_loses_nor_doubles_an_anchor(
    system: System, tmp_path: Path, crash_at: str
) -> None:
    namespace = f"dao:{crash_at.replace(':', '-')}"
    batches = [system.seal(namespace), system.seal(namespace)]
    mark = tmp_path / "crashed"
    if crash_at.endswith("recover"):
        system.ask(lambda client: _terminate(client))
    doomed = system.start_worker(
        script="tests/faults/crashing_worker.py", CRASH_AT=crash_at, CRASH_MARK=str(mark)
    )
    system.register(namespace)
    system.wait(lambda: not doomed.alive, f"the crash at {crash_at}")
    assert mark.exists()
    survivor = system.start_worker()
    system.wait_final(namespace, *batches)
    system.wait_idle(namespace)  # what is left over would crash the next test's worker too early
    survivor.stop()
    system.assert_paid_once({namespace: batches})


async def _terminate(client: object) -> None:
    from temporalio.client import Client
    from temporalio.service import RPCError, RPCStatusCode

    from tests.support.system import TARGET, aggregator_workflow_id

    assert isinstance(client, Client)
    try:
        await client.get_workflow_handle(aggregator_workflow_id(TARGET)).terminate("test")
    except RPCError as error:
        assert error.status is RPCStatusCode.NOT_FOUND

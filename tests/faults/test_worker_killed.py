"""`kill -9` of the worker at each step from request to record: every batch anchored, every root paid once (X3, X4)."""

import itertools
from collections.abc import Iterator
from contextlib import suppress

import pytest
from temporalio.service import RPCError

from tests.support.evm_system import EvmSystem
from tests.support.marks import FAULTS

pytestmark = FAULTS

STEPS = ("anchor", "recover", "seal", "reserve", "sign", "broadcast", "observe", "record")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    with EvmSystem(tmp_path_factory.mktemp("killed")) as running:
        yield running


@pytest.mark.parametrize(
    "crash_at", [f"{when}:{step}" for step, when in itertools.product(STEPS, ("before", "after"))]
)
def test_a_killed_worker_neither_loses_nor_doubles_an_anchor(
    system: EvmSystem, crash_at: str
) -> None:
    if crash_at.endswith("recover"):
        with suppress(RPCError):  # none runs before the first test
            system.terminate_aggregator()
    namespace, batches = system.seal_across_a_crash(crash_at)
    survivor = system.start_worker()
    system.wait_final(namespace, *batches)
    system.wait_idle(namespace)  # what is left over would crash the next test's worker too early
    survivor.stop()
    system.terminate_namespace(namespace)  # each later worker would replay it
    system.assert_paid_once({namespace: batches})

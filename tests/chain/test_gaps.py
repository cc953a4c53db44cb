"""A node that counted too high leaves a round beyond a gap: it is said, never bumped, and closed from below (E4)."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulators.evm import LyingProvider
from tests.simulators.threads import lying_provider
from tests.support.evm_system import EvmSystem
from tests.support.marks import EVM_SYSTEM

pytestmark = EVM_SYSTEM

NAMESPACE = "dao:gap"
GAP = 7


@pytest.fixture
def system(tmp_path: Path) -> Iterator[EvmSystem]:
    with EvmSystem(tmp_path, block_seconds=None, bumpAfterBlocks=2) as running:
        yield running


@pytest.fixture
def node(system: EvmSystem) -> Iterator[LyingProvider]:
    with lying_provider(system.anvil.url) as provider:
        yield provider


def beyond_a_gap(system: EvmSystem, node: LyingProvider, **settings: str) -> str:
    """Have a round reserved while the node counts seven too high; returns its batch."""
    node.forge("eth_getTransactionCount", lambda _, count: hex(int(str(count), 16) + GAP))
    system.write_anchors(rpcUrls=[node.url], **settings)
    system.start_worker()
    system.register(NAMESPACE, fast="2s")
    batch = system.seal(NAMESPACE)
    queued = system.wait(lambda: system.rpc("txpool_content")["queued"], "the queued transaction")
    assert [list(nonces) for nonces in queued.values()] == [[str(GAP)]]
    node.obey()
    return batch


def test_a_gap_without_waiting_roots_is_said_and_filled_by_ourselves(
    system: EvmSystem, node: LyingProvider
) -> None:
    batch = beyond_a_gap(system, node, gapFill="25s")
    held = system.wait(lambda: system.aggregator()["held"], "the words")
    assert "lies beyond a gap" in held["message"]
    for _ in range(10):
        system.anvil.mine()
        time.sleep(0.3)
    (row,) = system.aggregator()["rounds"]
    assert (row["sequence"], row["candidates"]) == (GAP, 1), "never bumped"
    system.mine_until_final(NAMESPACE, batch, seconds=200)
    assert list(system.commitments().values()) == [1]
    assert len(system.transactions()) == GAP + 1
    receipt = system.receipt(NAMESPACE, batch)
    assert receipt is not None
    assert receipt["txRef"] == row["tx_ref"]
    folder = next((system.root / "out/rounds").glob("*/*/manifest.json")).parent
    assert len(list(folder.glob("filler-*.json"))) == GAP


def test_waiting_roots_take_the_free_nonces_and_every_root_is_mined_once(
    system: EvmSystem, node: LyingProvider
) -> None:
    first = beyond_a_gap(system, node, gapFill="45s")
    others = {}
    for number in range(2):
        other = f"dao:other{number}"
        system.register(other, fast="2s")
        others[other] = system.seal(other)
        system.mine_until_final(other, others[other], seconds=200)
        assert not system.is_final(NAMESPACE, first)
    sent = [system.rpc("eth_getTransactionByHash", tx) for tx in system.transactions()]
    assert {int(transaction["nonce"], 16) for transaction in sent} == {0, 1}
    system.mine_until_final(NAMESPACE, first, seconds=200)
    assert all(system.is_final(*other) for other in others.items())
    assert list(system.commitments().values()) == [1, 1, 1]
    assert len(system.transactions()) == GAP + 1


def test_a_worker_killed_while_filling_sends_the_same_bytes_and_no_more(
    system: EvmSystem, node: LyingProvider
) -> None:
    batch = beyond_a_gap(system, node, gapFill="22s")
    system.wait(lambda: fillers(system), "the first filler", 90)
    system.workers[0].kill()
    before = fillers(system)
    system.start_worker()
    system.mine_until_final(NAMESPACE, batch, seconds=200)
    assert before <= fillers(system)
    assert len(system.transactions()) == GAP + 1
    assert list(system.commitments().values()) == [1]


def fillers(system: EvmSystem) -> set[str]:
    return {place.read_text() for place in (system.root / "out/rounds").glob("*/*/filler-*.json")}

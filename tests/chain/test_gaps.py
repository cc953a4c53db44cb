"""A node that counted too high leaves a round beyond a gap: it is said, never bumped, and closed from below (E4)."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulators.evm import LyingProvider
from tests.simulators.threads import lying_provider
from tests.support.system import System

pytestmark = [pytest.mark.server, pytest.mark.evm, pytest.mark.slow, pytest.mark.timeout(300)]

NAMESPACE = "dao:gap"
GAP = 7


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with System(tmp_path, block_seconds=None, settings={"bumpAfterBlocks": 2}) as running:
        yield running


@pytest.fixture
def node(system: System) -> Iterator[LyingProvider]:
    with lying_provider(system.anvil.url) as provider:
        yield provider


def beyond_a_gap(system: System, node: LyingProvider, **settings: str) -> str:
    """Have a round reserved while the node counts seven too high; returns its batch."""
    node.forge("eth_getTransactionCount", lambda _, told: hex(int(str(told), 16) + GAP))
    system.write_anchors(rpcUrls=[node.url], **settings)
    system.start_worker()
    system.register(NAMESPACE, fast="2s")
    batch = system.seal(NAMESPACE)
    queued = system.wait(lambda: system.rpc("txpool_content")["queued"], "the queued transaction")
    assert [list(one) for one in queued.values()] == [[str(GAP)]]
    node.obey()
    return batch


def mine_until_final(system: System, **batches: str) -> None:
    """Mine until one batch of each namespace is final."""

    def mined() -> bool:
        system.anvil.mine()
        time.sleep(0.5)
        return all(system.is_final(namespace, batch) for namespace, batch in batches.items())

    system.wait(mined, "final anchors", 200)


def test_a_gap_without_waiting_roots_is_said_and_filled_by_ourselves(
    system: System, node: LyingProvider
) -> None:
    batch = beyond_a_gap(system, node, gapFill="25s")
    held = system.wait(lambda: system.aggregator()["held"], "the words")
    assert "lies beyond a gap" in held["message"]
    for _ in range(10):
        system.anvil.mine()
        time.sleep(0.3)
    (row,) = system.aggregator()["rounds"]
    assert (row["sequence"], row["candidates"]) == (GAP, 1), "never bumped"
    mine_until_final(system, **{NAMESPACE: batch})
    assert list(system.commitments().values()) == [1]
    assert len(system.transactions()) == GAP + 1
    receipt = system.receipt(NAMESPACE, batch)
    assert receipt is not None
    assert receipt["txRef"] == row["tx_ref"]
    folder = next((system.root / "out/rounds").glob("*/*/manifest.json")).parent
    assert len(list(folder.glob("filler-*.json"))) == GAP


def test_waiting_roots_take_the_free_nonces_and_every_root_is_mined_once(
    system: System, node: LyingProvider
) -> None:
    first = beyond_a_gap(system, node, gapFill="45s")
    others = {}
    for number in range(2):
        other = f"dao:other{number}"
        system.register(other, fast="2s")
        others[other] = system.seal(other)
        mine_until_final(system, **others)
        assert not system.is_final(NAMESPACE, first)
    found = [system.rpc("eth_getTransactionByHash", one) for one in system.transactions()]
    assert {int(one["nonce"], 16) for one in found} == {0, 1}
    mine_until_final(system, **others, **{NAMESPACE: first})
    assert list(system.commitments().values()) == [1, 1, 1]
    assert len(system.transactions()) == GAP + 1


def test_a_worker_killed_while_filling_sends_the_same_bytes_and_no_more(
    system: System, node: LyingProvider
) -> None:
    batch = beyond_a_gap(system, node, gapFill="22s")
    system.wait(lambda: fillers(system), "the first filler", 90)
    system.workers[0].kill()
    before = fillers(system)
    system.start_worker()
    mine_until_final(system, **{NAMESPACE: batch})
    assert before <= fillers(system)
    assert len(system.transactions()) == GAP + 1
    assert list(system.commitments().values()) == [1]


def fillers(system: System) -> set[str]:
    return {one.read_text() for one in (system.root / "out/rounds").glob("*/*/filler-*.json")}

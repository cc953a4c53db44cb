"""What is owed is counted from files, off the event loop, and a storage that fails stops nothing."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from vaultmesh.domain.batches.batch import Refused
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.namespaces.config import NamespaceSpec
from vaultmesh.domain.namespaces.state import CadenceConfig
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.status import CadenceMemo, NamespaceMemo
from vaultmesh.domain.target import Target
from vaultmesh.process import counts as module
from vaultmesh.process.counts import Counts, count, count_all
from vaultmesh.process.metrics import Metrics
from vaultmesh.storage.batches import BatchRef
from vaultmesh.storage.receipts import Uncovered

REF = BatchRef("1", MerkleRoot(bytes(32)), "", 0, "out/batches")
MEMO = NamespaceMemo(
    namespace="dao:one",
    batches="elsewhere",
    cadences={"fast": CadenceMemo(target="eip155:1"), "cold": CadenceMemo(target="rfc3161:tsa")},
)


def _owed(namespace: str, target: Target, folder: str) -> Uncovered:
    assert (namespace, folder) == ("dao:one", "elsewhere")
    if target.scheme == "rfc3161":
        message = "out/batches can't be listed:\nstale file handle"
        raise NetworkFailure(message)
    return Uncovered([REF, REF], [Refused(f"b{number}", "no JSON") for number in range(9)])


def test_a_count_names_the_first_refused_batches_each_in_a_line() -> None:
    found = count(_owed, "dao:one", "eip155:1", "elsewhere")
    assert (found.unanchored, found.oldest) == (2, 0)
    assert len(found.problems) == module.MOST_PROBLEMS
    assert found.problems[0] == "b0: no JSON"


def test_a_storage_that_can_not_be_read_is_a_problem_and_no_count() -> None:
    found = count(_owed, "dao:one", "rfc3161:tsa", "elsewhere")
    assert found.unanchored is None
    assert found.problems == (
        "batches can't be counted: out/batches can't be listed: stale file handle",
    )


def test_a_target_that_means_nothing_is_a_problem_too() -> None:
    found = count(_owed, "dao:one", "nonsense", "elsewhere")
    assert found.unanchored is None
    assert "nonsense" in found.problems[0]


def test_all_cadences_of_a_namespace_are_counted_by_its_memo() -> None:
    assert count_all(_owed, MEMO).unanchored == {"fast": 2, "cold": None}


def _counting(calls: list[float]) -> Callable[[str, Target, str], Uncovered]:
    def owed(namespace: str, target: Target, folder: str) -> Uncovered:
        calls.append(time.monotonic())
        return Uncovered([REF], [])

    return owed


async def test_counts_are_kept_for_a_while_but_a_new_namespace_is_counted_at_once() -> None:
    calls: list[float] = []
    counts = Counts(_counting(calls))
    assert await counts.current({}) == {}
    shown = await counts.current({"dao:one": MEMO})
    assert shown["dao:one"].unanchored == {"fast": 1, "cold": 1}
    await asyncio.gather(*(counts.current({"dao:one": MEMO}) for _ in range(5)))
    assert len(calls) == 2


async def test_a_slow_count_rests_long_so_that_it_takes_a_small_part_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[float] = []
    monkeypatch.setattr(module, "KEPT_SECONDS", 0.0)
    slow = _counting(calls)

    def owed(namespace: str, target: Target, folder: str) -> Uncovered:
        time.sleep(0.1)
        return slow(namespace, target, folder)

    counts = Counts(owed)
    for _ in range(3):
        await counts.current({"dao:one": MEMO})
    assert len(calls) == 2
    monkeypatch.setattr(module, "REST_FACTOR", 0)
    counts = Counts(owed)
    await counts.current({"dao:one": MEMO})
    await counts.current({"dao:one": MEMO})
    assert len(calls) == 6


async def test_a_storage_that_hangs_blocks_neither_the_loop_nor_health(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released = threading.Event()

    def hanging(namespace: str, target: Target, folder: str) -> Uncovered:
        released.wait(30)
        return Uncovered([REF], [])

    monkeypatch.setattr(module, "WAITED_SECONDS", 0.2)
    counts = Counts(hanging)
    started = time.monotonic()
    try:
        assert await counts.current({"dao:one": MEMO}) == {}
        assert time.monotonic() - started < 5
    finally:
        monkeypatch.undo()
        released.set()
    shown = await counts.current({"dao:one": MEMO})
    assert shown["dao:one"].unanchored == {"fast": 1, "cold": 1}


async def test_a_count_that_takes_very_long_is_made_again_within_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The harm: after a count of ten seconds, what is owed was as old as three minutes."""
    calls: list[float] = []
    counts = Counts(_counting(calls))
    now = time.monotonic()
    monkeypatch.setattr(module, "REST_FACTOR", 1e9)
    await counts.current({"dao:one": MEMO})
    assert now + module.LONGEST_REST_SECONDS <= counts.due <= time.monotonic() + 45


async def test_what_is_owed_is_counted_without_anybody_asking_and_without_a_workflow() -> None:
    """The harm: with Temporal silent since the start, nothing was shown as owed."""
    counted = asyncio.Event()
    loop = asyncio.get_running_loop()

    def owed(namespace: str, target: Target, folder: str) -> Uncovered:
        loop.call_soon_threadsafe(counted.set)
        return Uncovered([REF], [])

    spec = NamespaceSpec(
        name="dao:one",
        cadences={"fast": CadenceConfig(target=Target.parse("eip155:1"), every="1m")},
    )
    metrics = Metrics()
    metrics.configured({"dao:one": spec})
    counts = Counts(owed)
    running = asyncio.create_task(counts.run(metrics.cadences.known))
    await counted.wait()
    metrics.counted(await counts.current(metrics.cadences.known()))
    running.cancel()
    labels = 'namespace="dao:one",cadence="fast",target="eip155:1"'
    assert f"scheduler_owed_batches{{{labels}}} 1\n" in metrics.page().decode()

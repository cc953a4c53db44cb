"""An older copy is put back under running workers: of Temporal's database, or of the volume (X15).

0 paid twice, 0 left out; what can't go on says so, and all goes on by itself or by one `resolve`.
"""

import json
import re
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.local_system import write_whole
from devnet.ports import free_port
from devnet.tsa import Tsa
from tests.support.evm_system import EvmSystem
from tests.support.freezing import freeze, thaw
from tests.support.marks import FAULTS
from tests.support.system import System, authority, kill
from vaultmesh.domain.aggregator.rounds import MOST_ENDED

pytestmark = FAULTS

NAMESPACES = {"dao:restored-a": "2s", "dao:restored-b": "3s", "dao:restored-c": "4s"}
Batches = dict[str, list[str]]


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    with EvmSystem(tmp_path_factory.mktemp("restored")) as running:
        yield running


def anchors_for(system: EvmSystem, seconds: float, batches: Batches) -> None:
    """Seal a batch in turn for each namespace while their cadences go on."""
    ends, turn = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        namespace = list(NAMESPACES)[turn % len(NAMESPACES)]
        batches.setdefault(namespace, []).append(system.seal(namespace))
        turn += 1
        time.sleep(0.8)


def wait_all_final(system: EvmSystem, batches: Batches) -> None:
    for namespace, batch_ids in batches.items():
        system.wait_final(namespace, *batch_ids)


def running(system: EvmSystem) -> Batches:
    """Return a system with two workers whose namespaces have final anchors."""
    system.start_worker()
    system.start_worker()
    for namespace, every in NAMESPACES.items():
        system.register(namespace, fast=every)
    batches: Batches = {}
    anchors_for(system, 4, batches)
    wait_all_final(system, batches)
    return batches


# --- Temporal's database -------------------------------------------------------------------------


@pytest.mark.parametrize("outage_seconds", [0, 15])
def test_an_older_copy_of_temporals_database_pays_nothing_twice_and_leaves_nothing_out(
    system: EvmSystem, outage_seconds: float
) -> None:
    batches = running(system)
    copy = system.temporal.copy_database(system.folder / "copy.db")
    anchors_for(system, 15, batches)
    system.replays.check_at(system.temporal.address)
    system.replace_database(copy, outage_seconds)
    anchors_for(system, 8, batches)
    wait_all_final(system, batches)
    assert all(worker.alive for worker in system.workers)
    system.assert_paid_once(batches)
    system.replays.check_at(system.temporal.address)
    for worker in system.workers:
        worker.stop()
    system.start_worker()
    anchors_for(system, 3, batches)
    wait_all_final(system, batches)
    system.wait_idle(*NAMESPACES)
    system.assert_paid_once(batches)


# --- the volume ----------------------------------------------------------------------------------


@pytest.fixture
def slow_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvmSystem]:
    """Rounds are included at once, and final only after some seconds."""
    with EvmSystem(tmp_path_factory.mktemp("volume"), slots_in_an_epoch=3) as running:
        yield running


def copy_volume(system: System) -> Path:
    copy = system.folder / "copy"
    shutil.copytree(system.root / "out", copy, symlinks=True)
    return copy


def put_volume_back(system: System, copy: Path) -> None:
    """Put the copy in the place of all files; who seals batches has those that are missing, and writes them again."""
    batches = {place: place.read_text() for place in (system.root / "out/batches").glob("*.json")}
    for _ in range(20):  # workers that run write while it is removed
        shutil.rmtree(system.root / "out", ignore_errors=True)
        if not (system.root / "out").exists():
            break
    shutil.copytree(copy, system.root / "out", symlinks=True, dirs_exist_ok=True)
    for place, text in batches.items():
        if not place.exists():
            write_whole(place, text)


def rounds_of(system: EvmSystem) -> set[str]:
    return {
        place.parent.name for place in (system.root / "out/rounds").glob("*/*/candidate-0.json")
    }


def test_an_older_copy_of_the_volume_under_running_workers_comes_right_by_itself(
    slow_system: EvmSystem,
) -> None:
    """What was signed is known to the aggregator, and what the rounds hold to the workers."""
    system = slow_system
    batches = running(system)
    copy = copy_volume(system)
    before = rounds_of(system)
    anchors_for(system, 12, batches)
    assert len(rounds_of(system) - before) > 1
    sent = system.transactions()
    put_volume_back(system, copy)
    wait_all_final(system, batches)
    anchors_for(system, 3, batches)
    wait_all_final(system, batches)
    assert sent < system.transactions()
    system.assert_paid_once(batches)
    system.wait_idle(*NAMESPACES)


def test_what_nobody_knows_of_an_older_copy_of_the_volume_is_held_until_one_resolve(
    slow_system: EvmSystem,
) -> None:
    """The workers that knew what the rounds hold have ended; Temporal goes on."""
    system = slow_system
    batches = running(system)
    copy = copy_volume(system)
    before = rounds_of(system)
    anchors_for(system, 6, batches)
    wait_all_final(system, batches)
    anchors_for(system, 4, batches)
    assert len(rounds_of(system) - before) > 1
    alone = direct(system)
    for worker in system.workers:
        kill(worker)
    put_volume_back(system, copy)
    system.start_worker()
    system.wait(lambda: unread(system), "rounds that can't be read", 120)
    system.wait(
        lambda: all(row["state"] == "included" for row in system.aggregator()["rounds"]),
        "what was signed",
    )
    sent = system.transactions()
    time.sleep(5)
    assert system.transactions() == sent
    forget_all(system)
    wait_all_final(system, batches)
    anchors_for(system, 3, batches)
    wait_all_final(system, batches)
    assert_nothing_is_held(system)
    assert all(count == 1 for count in system.commitments().values())
    assert all(receipt["status"] == "verified" for receipt in system.all_receipts())
    assert alone.items() <= direct(system).items(), "they are known from their batches"
    system.wait_idle(*NAMESPACES)


def direct(system: EvmSystem) -> dict[str, str]:
    """Return the transactions of the roots that were committed themselves."""
    return {
        receipt["root"]: receipt["txRef"]
        for receipt in system.all_receipts()
        if receipt["evidence"]["aggregation"] is None
    }


def unread(system: EvmSystem) -> list[str]:
    """Return what holds something back; what a round held may be known from its batches, and is no such thing."""
    problems = system.aggregator()["problems"]
    return [problem for problem in problems if "nothing is held back" not in problem]


def forget_all(system: EvmSystem) -> None:
    """Give up what can't be read; that is refused until what was signed of it is final."""

    def done() -> bool:
        return system.command("resolve", system.target, "--forget", "all", "--yes").returncode == 0

    system.wait(done, "the decision", 90)


def assert_nothing_is_held(system: EvmSystem) -> None:
    assert unread(system) == []
    assert system.aggregator()["held"] is None


def test_bytes_in_the_pool_of_a_round_whose_files_are_gone_are_sent_on_and_no_others(
    tmp_path: Path,
) -> None:
    namespace = "dao:pool"
    with EvmSystem(tmp_path, block_seconds=None) as system:
        worker = system.start_worker()
        batches = [system.seal(namespace), system.seal(namespace)]
        copy = copy_volume(system)
        system.register(namespace)
        (pooled,) = system.wait_pooled()
        kill(worker)
        put_volume_back(system, copy)
        system.rpc("anvil_dropTransaction", pooled["hash"])
        system.start_worker()

        system.wait(
            lambda: [waiting["hash"] for waiting in system.pool()] == [pooled["hash"]],
            "the same bytes",
            90,
        )
        system.anvil.mine()
        more = [system.seal(namespace)]
        system.wait(lambda: system.aggregator()["held"], "the hold", 90)
        for _ in range(4):
            system.anvil.mine()
        assert system.transactions() == {pooled["hash"]}
        forget_all(system)
        system.mine_until_final(namespace, *batches, *more)
        assert_nothing_is_held(system)
        assert all(count == 1 for count in system.commitments().values())
        assert len(system.transactions()) == 2


# --- more rounds than an aggregator remembers ----------------------------------------------------


def many_rounds(system: EvmSystem, batches: Batches) -> Path:
    """Return a copy of the volume that lacks more final rounds than an aggregator remembers."""
    copy = copy_volume(system)
    before = rounds_of(system)
    ends = time.monotonic() + 240
    while len(rounds_of(system) - before) < MOST_ENDED + 6:
        assert time.monotonic() < ends, "too few rounds"
        anchors_for(system, 3, batches)
    wait_all_final(system, batches)
    system.wait_idle(*NAMESPACES)
    return copy


def test_more_rounds_than_an_aggregator_remembers_are_not_paid_again_after_an_older_copy(
    system: EvmSystem,
) -> None:
    """The workers that wrote them go on, and know them."""
    batches = running(system)
    copy = many_rounds(system, batches)
    put_volume_back(system, copy)
    wait_all_final(system, batches)
    anchors_for(system, 3, batches)
    wait_all_final(system, batches)
    system.assert_paid_once(batches)
    system.wait_idle(*NAMESPACES)


def test_what_only_numbers_tell_of_an_older_copy_is_said_and_held_until_one_resolve(
    system: EvmSystem,
) -> None:
    """The workers have ended, and the aggregator remembers the newest rounds only."""
    batches = running(system)
    copy = many_rounds(system, batches)
    for worker in system.workers:
        kill(worker)
    put_volume_back(system, copy)
    sent = system.transactions()
    port = free_port()
    system.start_worker(METRICS_PORT=str(port))
    gone = system.wait(
        lambda: [problem for problem in unread(system) if "signed rounds are gone" in problem],
        "the rounds that are gone",
        120,
    )
    assert "restore them" in gone[0]
    system.wait(lambda: owed_by_metrics(port) > 0, "what is owed, in the metrics")
    page = page_of(port, "metrics")
    assert re.search(
        rf'^scheduler_unreadable_rounds{{target="{system.target}"}} [1-9]', page, re.MULTILINE
    )
    health = json.loads(page_of(port, "health"))
    counted = [row["unanchored"]["fast"] for row in health["namespaces"].values()]
    assert sum(counted) > 0
    status = json.loads(system.command("status", "--json").stdout)
    assert any(gone[0] in target["problems"] for target in status["targets"])
    owed = [row["cadences"]["fast"]["unanchored"] for row in status["namespaces"]]
    assert sum(owed) > 0
    time.sleep(5)
    assert system.transactions() == sent
    forget_all(system)
    wait_all_final(system, batches)
    anchors_for(system, 3, batches)
    wait_all_final(system, batches)
    assert_nothing_is_held(system)
    system.wait_idle(*NAMESPACES)


def page_of(port: int, name: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}") as page:
        return str(page.read().decode())


def owed_by_metrics(port: int) -> float:
    """Return how many batches the metrics say to be owed."""
    lines = re.findall(r"^scheduler_owed_batches{.*} (.*)$", page_of(port, "metrics"), re.MULTILINE)
    return sum(map(float, lines))


# --- parts of the volume -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "folders", [["out/rounds"], ["out/rounds", "out/anchors"]], ids=["rounds", "with receipts"]
)
def test_all_rounds_deleted_under_running_workers_pay_nothing_twice_and_come_back(
    system: EvmSystem, folders: list[str]
) -> None:
    batches = running(system)
    anchors_for(system, 8, batches)
    wait_all_final(system, batches)
    before = rounds_of(system)
    anchors_for(system, 2, batches)
    for folder in folders:
        shutil.rmtree(system.root / folder, ignore_errors=True)
    anchors_for(system, 3, batches)
    wait_all_final(system, batches)
    system.wait(lambda: before <= rounds_of(system), "the rounds", 90)
    system.wait_idle(*NAMESPACES)
    system.assert_paid_once(batches)
    assert system.aggregator()["held"] is None


def test_a_round_that_an_older_copy_has_open_becomes_final_although_nothing_is_owed(
    slow_system: EvmSystem,
) -> None:
    """Its aggregator knows it as ended, and nobody asks for anything: all batches have receipts."""
    system, namespace = slow_system, "dao:at-rest"
    system.start_worker()
    batch = system.seal(namespace)
    system.register(namespace, fast="2s")
    system.wait(lambda: system.state(namespace, batch) == "observed", "a receipt")
    copy = copy_volume(system)
    system.wait_final(namespace, batch)
    system.wait_idle(namespace)
    put_volume_back(system, copy)
    assert system.state(namespace, batch) == "observed"
    system.wait_final(namespace, batch, seconds=180)
    system.assert_paid_once({namespace: [batch]})


def test_time_stamps_whose_tokens_an_older_copy_lacks_are_asked_for_again(tmp_path: Path) -> None:
    """An authority keeps nothing: the tokens lay in the round's folder and in receipts, and both are gone."""
    namespace = "dao:stamped"
    with System(tmp_path, authority(Tsa(tmp_path / "root"))) as system:
        system.start_worker()
        system.register(namespace)
        first = system.seal(namespace)
        system.wait_final(namespace, first)
        copy = copy_volume(system)
        second = system.seal(namespace)
        system.wait_final(namespace, second)
        system.wait_idle(namespace)
        put_volume_back(system, copy)
        assert not system.is_final(namespace, second)
        system.wait_final(namespace, first, second, seconds=180)
        system.wait_idle(namespace)
        assert len(list((system.root / "out/rounds").glob("*/*/candidate-0.json"))) == 2


# --- at any moment -------------------------------------------------------------------------------


def test_copies_of_a_moment_ago_put_back_again_and_again_pay_nothing_twice(
    slow_system: EvmSystem,
) -> None:
    """Two workers seal, sign, send and record meanwhile: some of it is gone each time."""
    system = slow_system
    batches = running(system)
    for seconds in (0.5, 1.0, 2.0, 1.5, 3.0):
        copy = copy_volume(system)
        anchors_for(system, seconds, batches)
        put_volume_back(system, copy)
        shutil.rmtree(copy)
        anchors_for(system, 1.0, batches)
    wait_all_final(system, batches)
    system.assert_paid_once(batches)
    system.wait_idle(*NAMESPACES)
    assert system.aggregator()["held"] is None


def test_an_older_copy_put_back_while_a_target_backs_off_pays_nothing_twice(
    slow_system: EvmSystem,
) -> None:
    system = slow_system
    batches = running(system)
    copy = copy_volume(system)
    anchors_for(system, 3, batches)
    freeze(system.anvil.pid)
    try:
        anchors_for(system, 3, batches)
        system.wait(lambda: system.aggregator()["failures"] > 0, "a target that backs off", 120)
        put_volume_back(system, copy)
        anchors_for(system, 3, batches)
    finally:
        thaw(system.anvil.pid)
    for namespace, batch_ids in batches.items():
        system.wait_final(namespace, *batch_ids, seconds=240)
    system.assert_paid_once(batches)
    system.wait_idle(*NAMESPACES)

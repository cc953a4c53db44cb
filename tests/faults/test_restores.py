"""An older copy is put back under running workers: of Temporal's database, or of the volume (X15).

0 paid twice, 0 left out; what can't go on says so, and all goes on by itself or by one `resolve`.
"""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.evm_system import EvmSystem
from tests.support.marks import FAULTS
from tests.support.system import kill

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


def copy_database(system: EvmSystem) -> Path:
    """Copy the database of the running server as it is between two transactions."""
    assert system.temporal.database is not None
    copy = system.folder / "copy.db"
    with (
        closing(sqlite3.connect(system.temporal.database)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
    return copy


def put_database_back(system: EvmSystem, copy: Path, outage_seconds: float) -> None:
    database = system.temporal.database
    assert database is not None
    kill(system.temporal)
    for place in database.parent.glob(f"{database.name}*"):
        place.unlink()
    shutil.copy(copy, database)
    time.sleep(outage_seconds)
    system.temporal.start()


@pytest.mark.parametrize("outage_seconds", [0, 15])
def test_an_older_copy_of_temporals_database_pays_nothing_twice_and_leaves_nothing_out(
    system: EvmSystem, outage_seconds: float
) -> None:
    batches = running(system)
    copy = copy_database(system)
    anchors_for(system, 15, batches)
    system.replays.check_at(system.temporal.address)
    put_database_back(system, copy, outage_seconds)
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

"""What was deleted stays provable: every archived file is sealed once, also after a kill, and what could not be sealed is told."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from devnet.postgres import POSTGRES
from tests.cli.conftest import cadences, write_namespaces
from tests.postgres.shop import NOON, REPOSITORY, SECONDS, Said, Shop, wait_until
from vaultmesh.domain.batches import tree
from vaultmesh.domain.batches.batch import Batch, parse_batch
from vaultmesh.domain.batches.event_receipt import EventReceipt, parse_event_receipt
from vaultmesh.domain.maintenance.outcomes import Outcome

NAMESPACE = "dao:shop"
OLD, BATCH = 500, 250
"""Rows that are old, and those of one file."""
ORDERS = "CREATE TABLE orders (id serial PRIMARY KEY, at timestamptz, note text); CREATE INDEX ON orders (at)"
MORE = f"INSERT INTO orders (at) SELECT '2025-10-01'::timestamptz FROM generate_series(1, {OLD})"
RETAIN = {
    "kind": "retain", "table": "public.orders", "ageColumn": "at", "keep": "90d", "batch": BATCH, "pause": "0s",
}  # fmt: skip
SEALED = {**RETAIN, "archive": {"folder": "archive", "sealTo": NAMESPACE}}
WITHOUT_RIGHTS = "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1, 0, 0, 0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
"""Starts a program that may not pass over the permissions of files, even if we may."""


@pytest.fixture
def orders(shop: Shop) -> Shop:
    shop.sql(ORDERS)
    shop.sql(MORE)
    write_namespaces(shop.root / "vmsh/config/namespaces.yaml", {NAMESPACE: cadences()})
    shop.write({"it": SEALED})
    return shop


def manifests(shop: Shop) -> list[Path]:
    return sorted((shop.root / "archive").glob("[!.]*.json"))


def batches(shop: Shop) -> list[Batch]:
    paths = sorted((shop.root / "out/batches").glob("*.json"))
    return [parse_batch(path.read_bytes(), name=path.stem) for path in paths]


def receipts(shop: Shop) -> list[EventReceipt]:
    paths = (shop.root / "out/receipts").glob("*.json")
    return [parse_event_receipt(path.read_bytes()) for path in paths]


def leaf_of(note: Path) -> bytes:
    return sha256(note.read_bytes()).digest()


def require_each_proven(shop: Shop, notes: list[Path]) -> None:
    """Each note has one event, whose path leads from its hash to the root of a batch that has it as a leaf."""
    roots = {batch.root for batch in batches(shop)}
    leaves = [leaf.digest for batch in batches(shop) for leaf in batch.leaves]
    assert sorted(leaves) == sorted(leaf_of(note) for note in notes)
    by_leaf = {receipt.event_hash.digest: receipt for receipt in receipts(shop)}
    assert len(by_leaf) == len(receipts(shop)) == len(notes)
    for note in notes:
        receipt = by_leaf[leaf_of(note)]
        path = [sibling.digest for sibling in receipt.path]
        assert receipt.batch_root in roots
        assert tree.leads_to(leaf_of(note), path, receipt.batch_root.digest)


def steps(said: Said) -> list[dict[str, object]]:
    [task] = said.json["tasks"]  # type: ignore[misc]
    found: list[dict[str, object]] = task["steps"]  # type: ignore[index]
    return found


def test_an_archive_is_sealed_by_the_run_that_made_it_and_proven_from_its_manifest(
    orders: Shop,
) -> None:
    said = orders.command("run", "--once", "--json")
    assert said.code == 0, said
    notes = manifests(orders)
    assert len(notes) == OLD // BATCH
    [batch] = batches(orders)
    assert batch.namespace == NAMESPACE
    assert f"2 files sealed for {NAMESPACE} in batch {batch.id}" in str(steps(said)[-1]["detail"])
    require_each_proven(orders, notes)
    for note in notes:
        data = note.with_name(note.name.replace(".json", ".csv.gz"))
        assert json.loads(note.read_bytes())["sha256"] == sha256(data.read_bytes()).hexdigest()


def test_two_runs_seal_each_file_once_and_one_with_nothing_new_makes_no_batch(
    orders: Shop,
) -> None:
    assert orders.command("run", "--once").code == 0
    again = orders.command("run", "--once", "--json")
    assert (again.code, len(batches(orders))) == (0, 1)
    assert [step["outcome"] for step in steps(again)] == ["not needed"]
    orders.sql(MORE)
    assert orders.command("run", "--once").code == 0
    assert len(batches(orders)) == 2
    require_each_proven(orders, manifests(orders))


def test_what_a_run_archived_that_died_before_it_sealed_is_sealed_by_the_next(
    orders: Shop,
) -> None:
    orders.write({"it": {**SEALED, "batch": 10, "pause": "50ms"}})
    process = orders.start("run", "--once")
    wait_until(lambda: len(manifests(orders)) > 2, "some files")
    process.kill()
    process.wait()
    assert not (orders.root / "out/batches").exists()
    said = orders.command("run", "--once", "--json")
    assert said.code == 0
    assert len(batches(orders)) == 1
    assert len(manifests(orders)) == OLD // 10
    require_each_proven(orders, manifests(orders))


def test_a_run_that_finds_nothing_old_seals_what_is_left(orders: Shop) -> None:
    assert orders.run(**SEALED).outcome is Outcome.DONE  # what seals comes after this function
    assert not (orders.root / "out").exists()
    said = orders.command("run", "--once", "--json")
    [task] = said.json["tasks"]  # type: ignore[misc]
    assert (said.code, task["outcome"]) == (0, "done")  # type: ignore[index]
    require_each_proven(orders, manifests(orders))


def test_a_signal_leaves_nothing_that_is_archived_unsealed(orders: Shop) -> None:
    orders.write({"it": {**SEALED, "batch": 10, "pause": "200ms"}})
    process = orders.start("run", "--once")
    wait_until(lambda: len(manifests(orders)) > 2, "some files")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    require_each_proven(orders, manifests(orders))


@pytest.fixture
def read_only(orders: Shop) -> Iterator[Callable[[], Said]]:
    """Run the tasks while nothing can be written below `out`."""
    out = orders.root / "out"
    out.mkdir()

    def run() -> Said:
        out.chmod(0o555)
        command = [sys.executable, "-c", WITHOUT_RIGHTS, str(REPOSITORY / "starter.py")]
        done = subprocess.run(
            [*command, "maintenance", "run", "--once", "--json"],
            env={
                "PATH": os.environ["PATH"],
                "VMSH_ROOT": str(orders.root),
                "DATABASE_URL": orders.url,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        out.chmod(0o755)
        return Said(done.returncode, done.stdout, done.stderr)

    yield run
    out.chmod(0o755)


def test_an_out_that_can_not_be_written_is_told_each_time_and_the_archive_stays(
    orders: Shop, read_only: Callable[[], Said]
) -> None:
    for _ in range(2):
        said = read_only()
        assert said.code == 1, said
        [task] = said.json["tasks"]  # type: ignore[misc]
        assert (task["outcome"], task["success_due"]) == ("failed", None)  # type: ignore[index]
        last = steps(said)[-1]
        assert last["subject"] == str(orders.root / "archive")
        assert f"2 archived files are not sealed for {NAMESPACE}: could not" in str(last["detail"])
        assert "check the storage, its space and its permissions" in str(last["detail"])
        assert len(manifests(orders)) == 2
    assert orders.sql("SELECT count(*) FROM orders") == "0"
    assert orders.command("run", "--once").code == 0
    require_each_proven(orders, manifests(orders))


def test_a_namespace_that_nobody_configured_is_told_with_its_mend(orders: Shop) -> None:
    place = write_namespaces(orders.root / "vmsh/config/namespaces.yaml", {"dao:other": cadences()})
    said = orders.command("run", "--once")
    assert said.code == 1
    assert f"namespace '{NAMESPACE}' is not in namespaces.yaml - add it there" in said.out
    assert (len(manifests(orders)), batches(orders)) == (2, [])
    write_namespaces(place, {NAMESPACE: cadences()})
    assert orders.command("run", "--once").code == 0
    require_each_proven(orders, manifests(orders))


def test_tasks_that_share_a_folder_seal_their_own_files_only(orders: Shop) -> None:
    other = {**SEALED, "table": "public.others", "archive": {"folder": "archive"}}
    orders.sql("CREATE TABLE others AS SELECT * FROM orders")
    orders.write({"other": other, "it": SEALED})
    assert orders.command("run", "--once").code == 0
    own = [note for note in manifests(orders) if json.loads(note.read_bytes())["task"] == "it"]
    assert (len(manifests(orders)), len(own)) == (4, 2)
    require_each_proven(orders, own)


def test_verify_says_in_which_batch_an_archive_is_sealed_and_notices_another_manifest(
    orders: Shop,
) -> None:
    assert orders.run(**SEALED).outcome is Outcome.DONE
    note = manifests(orders)[0]
    data = note.with_name(note.name.replace(".json", ".csv.gz"))
    before = orders.command("verify", str(data))
    assert (before.code, before.out.count(f"; not sealed below {orders.root}")) == (0, 1)
    assert orders.command("run", "--once").code == 0
    [batch] = batches(orders)
    after = orders.command("verify", str(data), "--json")
    event = batch.events[batch.leaves.index(type(batch.leaves[0])(leaf_of(note)))]
    assert after.json["sealed"] == {"event": event, "batch": batch.id}
    assert f"sealed in batch {batch.id} as event {event}" in orders.command("verify", str(data)).out
    note.write_bytes(note.read_bytes().replace(b"public.orders", b"public.others"))
    changed = orders.command("verify", str(data))
    assert changed.code == 1
    assert "is not what was sealed" in changed.out + changed.errors


def test_a_sealed_manifest_outlives_its_rows(orders: Shop) -> None:
    assert orders.command("run", "--once").code == 0
    kept = {**SEALED, "archive": {"folder": "archive", "sealTo": NAMESPACE, "keep": "365d"}}
    orders.run(**kept, now=NOON + timedelta(days=3_650))
    assert list((orders.root / "archive").glob("*.csv.gz")) == []
    require_each_proven(orders, manifests(orders))


def test_the_hash_of_a_backup_is_sealed(orders: Shop) -> None:
    programs = str(POSTGRES.obtain().resolve().parent)
    backup = {"kind": "backup", "folder": "backups", "sealTo": NAMESPACE, "programs": programs}
    orders.write({"dump": {**backup, "deadline": "10m"}})
    assert orders.command("run", "--once", "dump").code == 0
    [dump] = (orders.root / "backups").glob("*.dump")
    require_each_proven(orders, [dump.with_name(f"{dump.name}.sha256")])
    [batch] = batches(orders)
    assert f"sealed in batch {batch.id}" in orders.command("verify", str(dump)).out

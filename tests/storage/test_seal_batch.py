"""Sealing files and pending events, with a power cut at every step."""

import json
import os
import sys
from contextlib import suppress
from hashlib import sha256
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from typing_extensions import override

from tests.storage.test_receipts import receipt as anchor_receipt
from vaultmesh.domain.batches import tree
from vaultmesh.domain.batches.batch import parse_batch
from vaultmesh.domain.batches.event_receipt import parse_event_receipt
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.receipts import ReceiptStore
from vaultmesh.storage.seal_batch import (
    NothingPending,
    SealedBatch,
    find_seal,
    seal_files,
    seal_new_files,
    seal_pending,
)

NOW = 1761300000
CUTS = 12
"""More than the changes that a seal of three makes."""
NAMESPACE = "dao:vaultmesh"


class PowerCutError(Exception):
    """The machine stopped here."""


class FailingStore(LocalStore):
    """A real store that stops before the change with the given number."""

    def __init__(self, root: Path, changes: int) -> None:
        super().__init__(root)
        self.left = changes

    def _count(self) -> None:
        if self.left == 0:
            raise PowerCutError
        self.left -= 1

    @override
    def create(self, path: str, content: bytes) -> bool:
        self._count()
        return super().create(path, content)

    @override
    def delete(self, path: str) -> None:
        self._count()
        super().delete(path)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "root")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in ("a.txt", "B ü.md", "c.bin")]
    for file in made:
        file.write_bytes(file.name.encode())
    return made


def put_pending(store: LocalStore, event_id: str, *, at: int = 0, **changes: object) -> str:
    event_hash = "sha256:" + sha256(os.fsencode(event_id)).hexdigest()
    entry = {"eventHash": event_hash, "eventId": event_id, "status": "pending", "receivedAt": at}
    entry = {key: value for key, value in {**entry, **changes}.items() if value is not ...}
    path = f"out/provisional/{event_id.replace('/', '-')}.json"
    store.write(path, json.dumps(entry).encode())
    return path


def sealed(result: SealedBatch | NothingPending) -> SealedBatch:
    assert isinstance(result, SealedBatch)
    return result


def require_complete(store: LocalStore, result: SealedBatch) -> None:
    """Check a batch and its event receipts with nothing but the formats."""
    batch = parse_batch(store.read(result.path) or b"", name=result.batch.id)
    assert batch == result.batch
    for event_id, leaf in zip(batch.events, batch.leaves, strict=True):
        receipt = parse_event_receipt(store.read(f"out/receipts/{event_id}.json") or b"")
        assert receipt.event_hash == leaf
        assert receipt.event_id_in(batch) == event_id
        path = [node.digest for node in receipt.path]
        assert tree.leads_to(leaf.digest, path, batch.root.digest)
        assert receipt.anchor.model_dump(exclude_none=True) == {
            "chain": "vm:internal",
            "tx": f"batch:{batch.id}",
            "block": 0,
            "ts": batch.created_at,
        }
    assert store.names("out/.sealing") == []


def test_files_become_a_batch(store: LocalStore, files: list[Path]) -> None:
    result = seal_files(store, NAMESPACE, files, now=NOW)
    batch = result.batch
    assert (batch.id, batch.namespace, batch.created_at) == (str(NOW), NAMESPACE, NOW)
    hashes = [sha256(file.read_bytes()).hexdigest() for file in files]
    assert [leaf.digest.hex() for leaf in batch.leaves] == hashes
    names = ["a.txt", "~42~20~c3~bc.md", "c.bin"]
    expected = [f"{name}-{digest[:16]}" for name, digest in zip(names, hashes, strict=True)]
    assert list(batch.events) == expected
    require_complete(store, result)


def test_a_taken_second_moves_the_batch_to_the_next_free_one(
    store: LocalStore, files: list[Path]
) -> None:
    store.write(f"out/batches/{NOW}.json", b"{}")
    store.write(f"out/batches/{NOW + 1}.json", b"{}")
    assert seal_files(store, NAMESPACE, files[:1], now=NOW).batch.id == str(NOW + 2)
    assert seal_files(store, NAMESPACE, files[1:], now=NOW).batch.id == str(NOW + 3)
    assert store.read(f"out/batches/{NOW}.json") == b"{}"


def test_equal_files_are_refused(store: LocalStore, files: list[Path]) -> None:
    files[2].write_bytes(files[0].read_bytes())
    with pytest.raises(InvalidValue, match="same content"):
        seal_files(store, NAMESPACE, files, now=NOW)
    assert not store.exists("out")


def test_a_file_that_is_sealed_already_is_refused_naming_its_batch(
    store: LocalStore, files: list[Path]
) -> None:
    seal_files(store, NAMESPACE, files[:2], now=NOW)
    for namespace in (NAMESPACE, "fin:clearing"):
        with pytest.raises(InvalidValue, match=f"B ü.md is sealed in batch {NOW}"):
            seal_files(store, namespace, files[1:], now=NOW + 5)
    assert store.names("out/batches") == [f"{NOW}.json"]


AT_ONCE = 4


def seal_in_another_process(root: Path, file: Path, ready: Barrier) -> None:
    ready.wait(timeout=240)
    try:
        seal_files(LocalStore(root), NAMESPACE, [file], now=NOW)
    except InvalidValue as error:
        sys.exit(str(error))


def test_the_same_file_sealed_by_several_processes_at_once_is_in_one_batch(
    store: LocalStore, files: list[Path]
) -> None:
    spawning = get_context("spawn")
    ready = spawning.Barrier(AT_ONCE)
    processes = [
        spawning.Process(target=seal_in_another_process, args=(store.root, files[0], ready))
        for _ in range(AT_ONCE)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=90)
    assert sorted(bool(process.exitcode) for process in processes) == [False] + [True] * 3
    assert len(store.names("out/batches")) == 1


def test_no_file_and_an_unreadable_one_are_refused(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="at least one file"):
        seal_files(store, NAMESPACE, [], now=NOW)
    for file in (tmp_path / "absent", tmp_path):
        with pytest.raises(InvalidValue, match="could not read"):
            seal_files(store, NAMESPACE, [file], now=NOW)


def test_pending_events_are_sealed_in_order_of_arrival(store: LocalStore) -> None:
    for event_id, at in (("evt-2", 20), ("evt-1", 30), ("evt-3", 10)):
        put_pending(store, event_id, at=at)
    result = sealed(seal_pending(store, NAMESPACE, now=NOW))
    assert result.batch.events == ("evt-3", "evt-2", "evt-1")
    require_complete(store, result)
    assert store.names("out/provisional") == []


def test_nothing_pending_writes_nothing(store: LocalStore) -> None:
    assert isinstance(seal_pending(store, NAMESPACE, now=NOW), NothingPending)
    put_pending(store, "evt-1", eventHash="pending")
    left = seal_pending(store, NAMESPACE, now=NOW)
    assert isinstance(left, NothingPending)
    assert len(left.left) == 1
    assert not store.exists("out/batches")


def test_events_of_another_namespace_are_left_alone(store: LocalStore) -> None:
    put_pending(store, "named", namespace=NAMESPACE)
    put_pending(store, "subject", subject=f"{NAMESPACE}:registry")
    put_pending(store, "enveloped")
    put_pending(store, "anybody")
    put_pending(store, "foreign-named", namespace="fin:clearing")
    put_pending(store, "foreign-subject", subject="fin:clearing:book")
    put_pending(store, "foreign-enveloped")
    for event_id, subject in (("enveloped", NAMESPACE), ("foreign-enveloped", "fin:clearing")):
        envelope = json.dumps({"event:id": event_id, "subject": f"{subject}:x"})
        store.write(f"out/events/{event_id}.json", envelope.encode())
    result = sealed(seal_pending(store, NAMESPACE, now=NOW))
    assert sorted(result.batch.events) == ["anybody", "enveloped", "named", "subject"]
    assert len(result.left) == 3
    others = sealed(seal_pending(store, "fin:clearing", now=NOW))
    assert len(others.batch.events) == 3


def test_what_is_not_plainly_pending_is_left_alone_with_the_reason(store: LocalStore) -> None:
    put_pending(store, "good", eventId=..., status=...)
    untouched = [
        put_pending(store, "md5", eventHash="md5:00"),
        put_pending(store, "short", eventHash="sha256:00"),
        put_pending(store, "done", status="sealed"),
        put_pending(store, "odd", eventId=7),
        put_pending(store, "half", eventId="\ud800"),
        put_pending(store, "zzz", eventHash="sha256:" + sha256(b"good").hexdigest(), at=9),
    ]
    store.write("out/provisional/broken.json", b"{")
    result = sealed(seal_pending(store, NAMESPACE, now=NOW))
    assert result.batch.events == ("good",)
    assert {left.path for left in result.left} == {*untouched, "out/provisional/broken.json"}
    assert all(store.exists(path) for path in untouched)


def test_an_event_that_is_sealed_already_is_not_sealed_again(store: LocalStore) -> None:
    put_pending(store, "evt-1")
    seal_pending(store, NAMESPACE, now=NOW)
    put_pending(store, "evt-1")
    again = seal_pending(store, NAMESPACE, now=NOW + 9)
    assert isinstance(again, NothingPending)
    assert f"batch {NOW}" in again.left[0].reason


def test_an_event_id_that_is_no_file_name_gets_one(store: LocalStore) -> None:
    put_pending(store, "a/../b", namespace=NAMESPACE)
    sealed(seal_pending(store, NAMESPACE, now=NOW))
    assert store.names("out/receipts") == ["a~2f..~2fb.json"]


@pytest.mark.parametrize("changes", range(CUTS))
def test_a_seal_of_files_that_was_cut_is_finished_by_the_same_command(
    tmp_path: Path, files: list[Path], changes: int
) -> None:
    try:
        seal_files(FailingStore(tmp_path / "root", changes), NAMESPACE, files, now=NOW)
        cut = False
    except PowerCutError:
        cut = True
    store = LocalStore(tmp_path / "root")
    if cut:
        require_complete_once(store, seal_files(store, NAMESPACE, files, now=NOW + 4_000))
    assert len(store.names("out/batches")) == 1
    assert len(store.names("out/receipts")) == len(files)


@pytest.mark.parametrize("changes", range(CUTS))
def test_a_seal_of_events_that_was_cut_is_finished_by_the_same_command(
    tmp_path: Path, changes: int
) -> None:
    store = LocalStore(tmp_path / "root")
    for n in range(3):
        put_pending(store, f"evt-{n}", at=n)
    try:
        seal_pending(FailingStore(tmp_path / "root", changes), NAMESPACE, now=NOW)
    except PowerCutError:
        seal_pending(store, NAMESPACE, now=NOW + 4_000)
    (name,) = store.names("out/batches")
    batch = parse_batch(store.read(f"out/batches/{name}") or b"", name=name.removesuffix(".json"))
    require_complete_once(store, SealedBatch(batch, f"out/batches/{name}"))
    assert store.names("out/provisional") == []


def test_a_pending_file_whose_name_is_no_text_is_left_alone(store: LocalStore) -> None:
    name = os.fsdecode(b"caf\xe9")
    named = put_pending(store, name, eventId="evt-1")
    put_pending(store, f"{name}-nameless", eventId=...)
    left = seal_pending(store, NAMESPACE, now=NOW)
    assert isinstance(left, NothingPending)
    assert [str(one).split(",")[0] for one in left.left] == [
        r"out/provisional/caf\udce9-nameless.json: its name is not UTF-8",
        r"out/provisional/caf\udce9.json: its name is not UTF-8",
    ]
    put_pending(store, "evt-2")
    result = sealed(seal_pending(store, NAMESPACE, now=NOW))
    assert result.batch.events == ("evt-2",)
    assert store.exists(named)
    require_complete(store, result)


class AnchoredAtOnce(LocalStore):
    """A real store in which a batch is anchored for good while its event receipts are written."""

    @override
    def create(self, path: str, content: bytes) -> bool:
        if path.endswith("/evt-1.json"):
            batch = parse_batch(self.read(f"out/batches/{NOW}.json") or b"", name=str(NOW))
            receipts = ReceiptStore(self)
            root = batch.root.receipt_form
            receipts.write(anchor_receipt(metadata={"batchId": batch.id}, root=root))
            receipts.derive_event_receipts(batch.id, batch.root)
        return super().create(path, content)


def test_event_receipts_follow_an_anchor_that_was_quicker(tmp_path: Path) -> None:
    store = AnchoredAtOnce(tmp_path)
    for n in range(3):
        put_pending(store, f"evt-{n}", at=n)
    batch = sealed(seal_pending(store, NAMESPACE, now=NOW)).batch
    (anchor,) = ReceiptStore(store).of_batch(batch.id)
    for event_id in batch.events:
        derived = parse_event_receipt(store.read(f"out/receipts/{event_id}.json") or b"").anchor
        assert (derived.chain, derived.tx) == (str(anchor.network), anchor.tx_ref)


def require_complete_once(store: LocalStore, result: SealedBatch) -> None:
    require_complete(store, result)
    assert store.names("out/batches") == [f"{result.batch.id}.json"]


@pytest.mark.parametrize("changes", range(CUTS))
def test_files_that_are_new_are_sealed_once_after_a_power_cut_at_any_change(
    store: LocalStore, files: list[Path], changes: int
) -> None:
    seal_files(store, NAMESPACE, files[:1], now=NOW)
    with suppress(PowerCutError):
        seal_new_files(FailingStore(store.root, changes), NAMESPACE, files[:2], now=NOW + 5)
    seal_new_files(store, NAMESPACE, files, now=NOW + 7_200)
    assert seal_new_files(store, NAMESPACE, files, now=NOW + 7_300) is None
    batches = [
        parse_batch(store.read(f"out/batches/{name}") or b"", name=name.removesuffix(".json"))
        for name in store.names("out/batches")
    ]
    leaves = [leaf for batch in batches for leaf in batch.leaves]
    assert sorted(leaf.digest for leaf in leaves) == sorted(
        sha256(file.read_bytes()).digest() for file in files
    )
    for file in files:
        seal = find_seal(store, file)
        assert seal is not None
        [batch] = [batch for batch in batches if batch.id == seal[1]]
        assert seal[0] in batch.events
    files[0].write_bytes(b"changed")
    assert find_seal(store, files[0]) is None


def test_a_batch_of_new_files_that_was_cut_off_is_finished_and_told(
    store: LocalStore, files: list[Path]
) -> None:
    with pytest.raises(PowerCutError):
        seal_new_files(FailingStore(store.root, 3), NAMESPACE, files[:1], now=NOW)
    again = seal_new_files(store, NAMESPACE, files[:1], now=NOW + 1)
    assert again is not None
    assert (again.batch.id, store.names("out/batches")) == (str(NOW), [f"{NOW}.json"])

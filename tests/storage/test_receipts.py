"""Anchor receipts on disk, and the event receipts that follow them (X9)."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.domain.batches.test_event_receipt import FILE, OBSERVED, ROOT
from tests.domain.receipts.test_receipt import BTC, EVM, TSA, read
from vaultmesh.domain.batches.batch import Batch, batch_document
from vaultmesh.domain.batches.event_receipt import parse_event_receipt
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.receipts.receipt import AnchorReceipt, receipt_document
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.target import Target
from vaultmesh.storage import event_receipts
from vaultmesh.storage.batches import BatchRef
from vaultmesh.storage.files import LocalStore, NoFile
from vaultmesh.storage.receipts import ReceiptStore, Written

NAMESPACE, BATCH = "dao:example", "1761300000"
TARGET = Target.parse("btc:regtest")
BATCH_ROOT = MerkleRoot.parse(ROOT)
REORGED = {"observedDepth": 0, "requiredDepth": 6, "state": "reorged"}
PLACEHOLDER = {"chain": "vm:internal", "tx": "batch:1761300000", "block": 0, "ts": 1761300000}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


@pytest.fixture
def receipts(store: LocalStore) -> ReceiptStore:
    return ReceiptStore(store)


def receipt(revision: int = 3, document: dict[str, Any] = BTC, **changes: object) -> AnchorReceipt:
    own = changes.pop("metadata", {})
    assert isinstance(own, dict)
    metadata = {**BTC["metadata"], "revision": revision, **own}
    return read(document, metadata=metadata, **changes)


def ref(batch_id: str, root: MerkleRoot = BATCH_ROOT) -> BatchRef:
    return BatchRef(batch_id, root, "", 0, "out/batches")


def put_event(store: LocalStore, event_id: str = "evt-0001", **changes: object) -> str:
    path = f"out/receipts/{event_id}.json"
    integrity = f"vmr1-{BATCH}-{event_id}"
    document = {**FILE, "anchor": PLACEHOLDER, "integrity": integrity, **changes}
    store.write(path, json.dumps(document, indent=2).encode())
    return path


def anchor_at(store: LocalStore, path: str) -> str:
    return parse_event_receipt(store.read(path) or b"").anchor.chain


def test_a_written_receipt_is_read_back(receipts: ReceiptStore, store: LocalStore) -> None:
    assert receipts.read(NAMESPACE, BATCH, TARGET) is None
    assert receipts.write(receipt()) is Written.WRITTEN
    assert receipts.read(NAMESPACE, BATCH, TARGET) == receipt()
    path = receipts.path(NAMESPACE, BATCH, TARGET)
    assert store.read(path) == receipt_document(receipt()).encode()


def test_writing_again_changes_nothing_and_a_later_look_is_the_same(receipts: ReceiptStore) -> None:
    receipts.write(receipt())
    assert receipts.write(receipt()) is Written.SAME
    assert receipts.write(receipt(observedAt="2027-01-01T00:00:00Z")) is Written.SAME
    deeper = {**BTC["finality"], "observedDepth": 9}
    assert receipts.write(receipt(finality=deeper)) is Written.SAME


def test_a_late_writer_finds_the_newer_receipt(receipts: ReceiptStore) -> None:
    receipts.write(receipt(4))
    late = receipt(3, status="reorged", finality=REORGED)
    assert receipts.write(late) is Written.NEWER_EXISTS
    assert receipts.read(NAMESPACE, BATCH, TARGET) == receipt(4)
    assert receipts.write(receipt(5, status="reorged", finality=REORGED)) is Written.WRITTEN


def test_a_receipt_that_says_the_same_stays_where_only_what_differs_is_written(
    receipts: ReceiptStore,
) -> None:
    receipts.write(receipt(4))
    assert receipts.write(receipt(9), only_differing=True) is Written.SAME
    assert receipts.read(NAMESPACE, BATCH, TARGET) == receipt(4)
    assert receipts.write(receipt(3), only_differing=True) is Written.NEWER_EXISTS
    moved = receipt(9, blockNumber=51)
    assert receipts.write(moved, only_differing=True) is Written.WRITTEN
    assert receipts.read(NAMESPACE, BATCH, TARGET) == moved


def test_an_earlier_attempt_of_an_order_takes_nothing_back_that_a_later_one_wrote(
    receipts: ReceiptStore,
) -> None:
    later = receipt(4, observedAt="2027-01-01T00:00:10Z", blockNumber=51)
    receipts.write(later)
    ghost = receipt(4, observedAt="2027-01-01T00:00:00Z", blockNumber=21)
    assert receipts.write(ghost) is Written.NEWER_EXISTS
    assert receipts.read(NAMESPACE, BATCH, TARGET) == later


def test_other_targets_never_touch_a_receipt(receipts: ReceiptStore, store: LocalStore) -> None:
    receipts.write(receipt())
    path = receipts.path(NAMESPACE, BATCH, TARGET)
    before = store.read(path), store.stamp(path)
    receipts.write(receipt(9, EVM))
    receipts.write(receipt(9, TSA))
    assert (store.read(path), store.stamp(path)) == before
    assert len(receipts.of_batch(BATCH)) == 3
    assert receipts.of_batch(BATCH, TARGET) == [receipt()]
    assert receipts.of_batch("1") == []


def test_covered_is_any_state_but_failed(receipts: ReceiptStore, store: LocalStore) -> None:
    states = {
        "final": receipt(metadata={"batchId": "final"}),
        "observed": receipt(metadata={"batchId": "observed"}, finality=OBSERVED),
        "reorged": receipt(metadata={"batchId": "reorged"}, status="reorged", finality=REORGED),
        "failed": receipt(metadata={"batchId": "failed"}, status="failed", finality=OBSERVED),
    }
    for one in states.values():
        receipts.write(one)
    asked = [*states, "never"]
    for view in (receipts, ReceiptStore(store)):
        refs = [ref(batch_id) for batch_id in asked]
        owed = view.uncovered(NAMESPACE, refs, TARGET).owed
        assert [batch.batch_id for batch in owed] == ["failed", "never"]
        assert view.uncovered(NAMESPACE, refs, Target.parse("btc:mainnet")).owed == refs
        assert view.uncovered("fin:y", refs, TARGET).owed == refs


def test_the_same_question_notices_receipts_that_came(receipts: ReceiptStore) -> None:
    batches = (ref(BATCH), ref("2"))
    assert len(receipts.uncovered(NAMESPACE, batches, TARGET).owed) == 2
    receipts.write(receipt())
    assert [one.batch_id for one in receipts.uncovered(NAMESPACE, batches, TARGET).owed] == ["2"]


def test_questions_that_grow_shrink_or_change_get_the_right_answers(receipts: ReceiptStore) -> None:
    one, two, three = ref("1"), ref("2"), ref("3")
    receipts.write(receipt(metadata={"batchId": "2"}))
    for asked, owed in (
        ((one,), [one]),
        ((one, two), [one]),
        ((one, two, three), [one, three]),
        ((two, three), [three]),
        ((), []),
        ((three, one), [three, one]),
    ):
        assert list(receipts.uncovered(NAMESPACE, asked, TARGET).owed) == owed
    asked = (one, two, three)
    receipts.uncovered(NAMESPACE, asked, TARGET)
    failed = receipt(9, metadata={"batchId": "2"}, status="failed", finality=OBSERVED)
    receipts.write(failed)
    assert list(receipts.uncovered(NAMESPACE, asked, TARGET).owed) == [one, two, three]


def test_receipts_of_another_process_are_noticed(receipts: ReceiptStore, store: LocalStore) -> None:
    batches = (ref(BATCH),)
    assert receipts.uncovered(NAMESPACE, batches, TARGET).owed
    ReceiptStore(store).write(receipt())
    assert not receipts.uncovered(NAMESPACE, batches, TARGET).owed


def test_lost_receipts_are_owed_again(receipts: ReceiptStore, store: LocalStore) -> None:
    receipts.write(receipt())
    batches = (ref(BATCH),)
    assert not receipts.uncovered(NAMESPACE, batches, TARGET).owed
    shutil.rmtree(store.root / "out/anchors")
    assert receipts.uncovered(NAMESPACE, batches, TARGET).owed


def test_a_batch_whose_root_changed_after_it_was_anchored_is_refused(
    receipts: ReceiptStore,
) -> None:
    receipts.write(receipt())
    batches = (ref(BATCH, MerkleRoot(bytes(32))),)
    for _ in range(2):
        found = receipts.uncovered(NAMESPACE, batches, TARGET)
        assert not found.owed
        assert [one.path for one in found.refused] == [f"out/batches/{BATCH}.json"]
    assert receipts.read(NAMESPACE, BATCH, TARGET) == receipt()


def test_a_receipt_in_a_foreign_place_or_edited_covers_nothing(
    receipts: ReceiptStore, store: LocalStore
) -> None:
    content = receipt_document(receipt()).encode()
    store.write(receipts.path(NAMESPACE, "2", TARGET), content)
    store.write(receipts.path(NAMESPACE, "3", TARGET), content.replace(b"final", b"fatal"))
    refs = [ref("2"), ref("3")]
    assert receipts.uncovered(NAMESPACE, refs, TARGET).owed == refs
    for batch_id in ("2", "3"):
        with pytest.raises(InvalidValue):
            receipts.read(NAMESPACE, batch_id, TARGET)
    assert receipts.write(receipt(metadata={"batchId": "3"})) is Written.WRITTEN


def test_event_receipts_follow_the_best_final_direct_anchor(
    receipts: ReceiptStore, store: LocalStore
) -> None:
    path = put_event(store)
    receipts.write(receipt(document=BTC, finality=OBSERVED))
    receipts.derive_event_receipts(BATCH, BATCH_ROOT)
    assert anchor_at(store, path) == "vm:internal"
    for document, chain in ((TSA, "rfc3161:tsa"), (EVM, "eip155:31337")):
        receipts.write(receipt(document=document))
        assert receipts.derive_event_receipts(BATCH, BATCH_ROOT) == []
        assert anchor_at(store, path) == chain
    receipts.write(receipt(4))
    receipts.derive_event_receipts(BATCH, BATCH_ROOT)
    assert anchor_at(store, path) == "btc:regtest"
    stamp = store.stamp(path)
    receipts.derive_event_receipts(BATCH, BATCH_ROOT)
    assert store.stamp(path) == stamp


def test_only_the_batch_s_own_event_receipts_change(
    receipts: ReceiptStore, store: LocalStore
) -> None:
    own = put_event(store, "a"), put_event(store, "b_C:d")
    foreign = (
        put_event(store, "prefix", integrity="vmr1-176130000-prefix"),
        put_event(store, "inside", integrity=f"vmr1-9-{BATCH}-inside"),
        put_event(store, "root", batchRoot="sha256:" + "00" * 32),
    )
    store.write("out/receipts/broken.json", b"{")
    put_event(store, "odd", path="x")
    receipts.write(receipt())
    refused = receipts.derive_event_receipts(BATCH, BATCH_ROOT)
    assert [one.path for one in refused] == ["out/receipts/odd.json"]
    assert {anchor_at(store, path) for path in own} == {"btc:regtest"}
    assert {anchor_at(store, path) for path in foreign} == {"vm:internal"}
    later = put_event(store, "later")
    receipts.derive_event_receipts(BATCH, BATCH_ROOT)
    assert anchor_at(store, later) == "btc:regtest"


def test_a_batch_that_names_its_events_needs_no_search(
    receipts: ReceiptStore, store: LocalStore
) -> None:
    document = {"id": BATCH, "root": FILE["eventHash"], "leaves": [FILE["eventHash"]]}
    batch = json.dumps({**document, "events": ["evt-0001"]})
    store.write(f"out/batches/{BATCH}.json", batch.encode())
    root = MerkleRoot.parse(FILE["eventHash"])
    named = put_event(store, batchRoot=root.batch_form)
    receipts.write(receipt(root=root.receipt_form))
    receipts.derive_event_receipts(BATCH, root)
    assert anchor_at(store, named) == "btc:regtest"


def test_a_folder_in_a_named_event_receipts_place_is_told_and_the_other_events_have_the_anchor(
    receipts: ReceiptStore, store: LocalStore
) -> None:
    leaves = [MerkleRoot(bytes([number]) * 32) for number in (1, 2)]
    root = MerkleRoot(sha256(leaves[0].digest + leaves[1].digest).digest())
    batch = Batch(BATCH, root, tuple(leaves), created_at=1, events=("blocked", "other"))
    store.write(f"out/batches/{BATCH}.json", batch_document(batch).encode())
    (store.root / "out/receipts/blocked.json").mkdir(parents=True)
    other = put_event(store, "other", batchRoot=root.batch_form)
    receipts.write(receipt(root=root.receipt_form))
    with pytest.raises(NoFile, match=r"out/receipts/blocked.json .*take it away"):
        receipts.derive_event_receipts(BATCH, root)
    assert anchor_at(store, other) == "btc:regtest"


def test_a_storage_that_hangs_takes_the_thread_that_reads_it_and_no_other(
    receipts: ReceiptStore, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_receipts, "READING_SECONDS", 0.1)
    put_event(store)
    receipts.write(receipt())
    hangs, reads = threading.Event(), threading.Event()

    def names(folder: str) -> list[str]:
        if folder == "out/receipts":
            reads.set()
            hangs.wait(60)
        return LocalStore.names(store, folder)

    monkeypatch.setattr(store, "names", names)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(receipts.derive_event_receipts, BATCH, BATCH_ROOT)
        assert reads.wait(30)
        with pytest.raises(NetworkFailure, match="see whether the storage hangs"):
            receipts.derive_event_receipts(BATCH, BATCH_ROOT)
        hangs.set()
        assert first.result(30) == []


def test_an_event_receipt_that_was_mended_in_its_place_is_anchored(
    receipts: ReceiptStore, store: LocalStore
) -> None:
    path = put_event(store)
    whole = (store.root / path).read_bytes()
    (store.root / path).write_bytes(b"{")
    receipts.write(receipt())
    receipts.derive_event_receipts(BATCH, BATCH_ROOT)
    (store.root / path).write_bytes(whole)
    assert receipts.derive_event_receipts(BATCH, BATCH_ROOT) == []
    assert anchor_at(store, path) == "btc:regtest"


def test_receipts_of_several_namespaces_for_one_anchor_count_once(
    receipts: ReceiptStore, store: LocalStore
) -> None:
    path = put_event(store)
    for namespace in ("dao:a", "dao:b"):
        receipts.write(receipt(metadata={"namespace": namespace}))
    receipts.derive_event_receipts(BATCH, BATCH_ROOT)
    assert anchor_at(store, path) == "btc:regtest"
    assert len(receipts.of_batch(BATCH)) == 2
    assert len(receipts.of_batch(BATCH, namespace="dao:a")) == 1


def test_an_anchor_that_vaultmesh_s_own_scripts_wrote_is_kept_until_there_is_a_derived_one(
    receipts: ReceiptStore, store: LocalStore
) -> None:
    path = put_event(store, anchor=FILE["anchor"])
    receipts.write(receipt(finality=OBSERVED))
    receipts.derive_event_receipts(BATCH, BATCH_ROOT)
    assert anchor_at(store, path) == "eip155:31337"


def test_a_folder_in_a_receipts_place_stops_that_batch_alone(
    receipts: ReceiptStore, store: LocalStore
) -> None:
    (store.root / receipts.path(NAMESPACE, "2", TARGET)).mkdir(parents=True)
    batches = [ref("1"), ref("2"), ref("3")]
    for _ in range(2):
        uncovered = receipts.uncovered(NAMESPACE, batches, TARGET)
        assert [owed.batch_id for owed in uncovered.owed] == ["1", "3"]
        (refused,) = uncovered.refused
        assert "out/batches/2.json" in str(refused)
        assert "it is no file; take it away" in str(refused)
    batches = [*batches, ref("4")]
    assert len(receipts.uncovered(NAMESPACE, batches, TARGET).refused) == 1
    (store.root / receipts.path(NAMESPACE, "2", TARGET)).rmdir()
    uncovered = receipts.uncovered(NAMESPACE, batches, TARGET)
    assert ({owed.batch_id for owed in uncovered.owed}, list(uncovered.refused)) == (
        {"1", "2", "3", "4"},
        [],
    )

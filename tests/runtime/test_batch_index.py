"""Which batches are a namespace's (X10)."""

import json
import os
import time
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.batch import Refused
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.runtime.batch_index import LOOK_AGAIN_SECONDS, BatchIndex, BatchRef, changes
from vaultmesh.runtime.storage import LocalStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def index(root: Path) -> BatchIndex:
    return BatchIndex(LocalStore(root))


def put(root: Path, batch_id: str, folder: str = "out/batches", **keys: object) -> Path:
    path = root / folder / f"{batch_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = sha256(batch_id.encode()).hexdigest()
    path.write_text(json.dumps({"id": batch_id, "root": f"sha256:{digest}", **keys}))
    return path


def ids(index: BatchIndex, namespace: str, folder: str = "") -> list[str]:
    return [ref.batch_id for ref in index.owned(namespace, folder).batches]


def test_an_absent_folder_holds_nothing(index: BatchIndex) -> None:
    owned = index.owned("dao:x")
    assert (list(owned.batches), list(owned.refused)) == ([], [])


def test_batches_come_oldest_first_whatever_their_names(index: BatchIndex, root: Path) -> None:
    put(root, "999", createdAt=999)
    put(root, "1761300000", createdAt=1761300000)
    put(root, "b", createdAt=5)
    put(root, "a", createdAt=5)
    os.utime(put(root, "by-hand"), (2_000, 2_000))
    assert ids(index, "dao:x") == ["a", "b", "999", "by-hand", "1761300000"]


def test_a_batch_that_names_a_namespace_is_that_one_s_alone(index: BatchIndex, root: Path) -> None:
    put(root, "1", createdAt=1)
    put(root, "2", createdAt=2, namespace="dao:x")
    put(root, "3", createdAt=3)
    assert ids(index, "dao:x") == ["1", "2", "3"]
    assert ids(index, "fin:y") == ["1", "3"]
    leaf_namespaces = [ref.leaf_namespace for ref in index.owned("dao:x").batches]
    assert leaf_namespaces == ["", "dao:x", ""]


def test_namespaces_may_have_folders_of_their_own(index: BatchIndex, root: Path) -> None:
    put(root, "1")
    put(root, "2", folder="other/place")
    assert ids(index, "dao:x") == ["1"]
    assert ids(index, "dao:x", "other/place") == ["2"]


def test_what_comes_and_goes_is_noticed(index: BatchIndex, root: Path) -> None:
    first = put(root, "1", createdAt=1)
    assert ids(index, "dao:x") == ["1"]
    put(root, "2", createdAt=2)
    put(root, "0", createdAt=0)
    assert ids(index, "dao:x") == ["0", "1", "2"]
    first.unlink()
    assert ids(index, "dao:x") == ["0", "2"]


def test_a_hundred_batches_at_once_are_the_same_as_one_by_one(
    index: BatchIndex, root: Path
) -> None:
    for n in range(100):
        put(root, str(n), createdAt=n, **({"namespace": "dao:x"} if n % 3 else {}))
    assert ids(index, "dao:x") == [str(n) for n in range(100)]
    assert ids(index, "fin:y") == [str(n) for n in range(0, 100, 3)]


def test_a_file_that_can_not_be_used_is_reported_and_stops_nobody(
    index: BatchIndex, root: Path
) -> None:
    put(root, "1")
    put(root, "2").write_text("{")
    put(root, "3", id="4")
    put(root, "5", namespace="fin:y", leaves=["sha256:" + "ab" * 32])
    (root / "out/batches/6.json").mkdir()
    (root / "out/batches/readme.txt").write_text("no batch")
    (root / "out/batches/.7.json").write_text("half")
    owned = index.owned("dao:x")
    assert [ref.batch_id for ref in owned.batches] == ["1"]
    assert sorted(refused.path for refused in owned.refused) == [
        "out/batches/2.json",
        "out/batches/3.json",
        "out/batches/6.json",
    ]
    assert len(index.owned("fin:y").refused) == 4


def test_a_mended_file_is_taken(index: BatchIndex, root: Path) -> None:
    path = put(root, "1")
    path.write_text("{")
    assert len(index.owned("dao:x").refused) == 1
    put(root, "1")
    assert ids(index, "dao:x") == ["1"]
    assert not index.owned("dao:x").refused


def test_a_changed_file_is_noticed(index: BatchIndex, root: Path) -> None:
    path = put(root, "1")
    (ref,) = index.owned("dao:x").batches
    assert index.reload(ref) == ref
    assert index.read(ref).root == ref.root
    path.write_text(json.dumps({"id": "1", "root": "sha256:" + "ab" * 32}))
    changed = index.reload(ref)
    assert isinstance(changed, BatchRef)
    assert changed.root.digest == b"\xab" * 32
    assert list(index.owned("dao:x").batches) == [changed]
    with pytest.raises(InvalidValue, match="changed"):
        index.read(ref)
    path.unlink()
    gone = index.reload(ref)
    assert isinstance(gone, Refused)
    with pytest.raises(InvalidValue, match="gone"):
        index.read(ref)


def test_a_changed_file_is_noticed_after_a_short_rest_in_a_small_folder(
    index: BatchIndex, root: Path
) -> None:
    path = put(root, "1")
    index.owned("dao:x")
    time.sleep(LOOK_AGAIN_SECONDS)
    path.write_text(json.dumps({"id": "1", "root": "sha256:" + "ab" * 32}))
    (ref,) = index.owned("dao:x").batches
    assert ref.root.digest == b"\xab" * 32


NAMES = st.lists(st.sampled_from("abcdefghij"), unique=True)


@given(NAMES, NAMES)
def test_what_came_and_went_is_found_whatever_the_order(before: list[str], now: list[str]) -> None:
    came, gone = changes(before, now)
    assert (set(came), set(gone)) == (set(now) - set(before), set(before) - set(now))
    assert len(came) + len(gone) == len(set(came)) + len(set(gone))


@given(NAMES, st.integers(0, 9), st.sampled_from(["new", "more"]))
def test_one_new_name_among_known_ones_is_the_only_change(
    before: list[str], place: int, name: str
) -> None:
    now = [*before[:place], name, *before[place:]]
    assert changes(before, now) == ([name], [])
    assert changes(now, before) == ([], [name])
    assert changes(now, list(now)) == ([], [])

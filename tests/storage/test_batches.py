"""Which batches are a namespace's (X10)."""

import json
import os
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.storage.batches import (
    LOOK_AGAIN_SECONDS,
    BatchIndex,
)
from vaultmesh.storage.files import SETTLED_NS, FileStamp, LocalStore
from vaultmesh.storage.folder_index import LOOKED_AT_AGAIN, changes

FEW, MANY = 5, LOOKED_AT_AGAIN + 5
"""Files that are taken one by one, and all at once."""


def unchanged(path: str) -> None:
    """Let a look at a file be."""


def nothing() -> None:
    """Let a look at a folder be."""


class InterruptedStore(LocalStore):
    """A store that lets something happen before a file, or after a folder, is looked at."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.before_look: Callable[[str], None] = unchanged
        self.after_version: Callable[[], None] = nothing

    @override
    def stamp(self, path: str) -> FileStamp | None:
        self.before_look(path)
        return super().stamp(path)

    @override
    def version(self, folder: str) -> str | None:
        version = super().version(folder)
        self.after_version()
        return version


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def store(root: Path) -> InterruptedStore:
    return InterruptedStore(root)


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


def test_a_batch_that_changed_since_it_was_listed_is_not_read(
    index: BatchIndex, root: Path
) -> None:
    path = put(root, "1")
    (ref,) = index.owned("dao:x").batches
    assert index.read(ref).root == ref.root
    path.write_text(json.dumps({"id": "1", "root": "sha256:" + "ab" * 32}))
    with pytest.raises(InvalidValue, match="changed"):
        index.read(ref)
    path.unlink()
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


def always_at(path: str) -> Callable[[str], None]:
    """Return what fails at each look at one file."""

    def look(at: str) -> None:
        if at == path:
            message = f"could not look at {at}: Input/output error"
            raise NetworkFailure(message)

    return look


def at_third_look(failure: Exception, *, looks: int = 1) -> Callable[[str], None]:
    """Return what fails at the third look at a file from now on and at those after it, `looks` in all."""
    count = 0

    def look(path: str) -> None:
        nonlocal count
        count += 1
        if 3 <= count < 3 + looks:
            raise failure

    return look


@pytest.mark.parametrize("count", [FEW, MANY])
def test_a_file_at_which_the_storage_fails_is_refused_and_the_others_are_taken(
    store: InterruptedStore, count: int
) -> None:
    every = [put(store.root, str(n), createdAt=n).stem for n in range(count)]
    index = BatchIndex(store)
    store.before_look = always_at("out/batches/1.json")
    assert ids(index, "dao:x") == [one for one in every if one != "1"]
    (refused,) = index.owned("dao:x").refused
    assert (refused.path, "Input/output" in refused.reason) == ("out/batches/1.json", True)
    store.before_look = unchanged
    assert ids(index, "dao:x") == every
    assert not index.owned("dao:x").refused


def test_a_known_file_at_which_the_storage_fails_is_refused_until_it_can_be_looked_at(
    store: InterruptedStore,
) -> None:
    every = [put(store.root, str(n), createdAt=n).stem for n in range(FEW)]
    index = BatchIndex(store)
    assert ids(index, "dao:x") == every
    time.sleep(LOOK_AGAIN_SECONDS)
    store.before_look = always_at("out/batches/1.json")
    assert ids(index, "dao:x") == [one for one in every if one != "1"]
    assert len(index.owned("dao:x").refused) == 1
    store.before_look = unchanged
    assert ids(index, "dao:x") == every
    assert not index.owned("dao:x").refused


def test_more_failures_than_are_looked_at_again_at_once_are_mended_by_the_next_listing(
    store: InterruptedStore,
) -> None:
    count = 3 * LOOKED_AT_AGAIN
    for n in range(count):
        put(store.root, f"bad-{n}").write_text("{")
        put(store.root, str(n), createdAt=n)
    index = BatchIndex(store)
    store.before_look = at_third_look(NetworkFailure("Stale file handle"), looks=3 * count)
    assert len(index.owned("dao:x").refused) > count + LOOKED_AT_AGAIN
    store.before_look = unchanged
    put(store.root, str(count), createdAt=count)
    assert ids(index, "dao:x") == [str(n) for n in range(count + 1)]


@pytest.mark.parametrize("count", [FEW, MANY])
def test_a_link_to_itself_does_not_matter_to_the_others(
    store: InterruptedStore, count: int
) -> None:
    loop = store.root / "out/batches/0loop.json"
    loop.parent.mkdir(parents=True)
    loop.symlink_to(loop)
    every = [put(store.root, str(n), createdAt=n).stem for n in range(1, count)]
    index = BatchIndex(store)
    for _ in range(2):
        assert ids(index, "dao:x") == every
        (refused,) = index.owned("dao:x").refused
        assert refused.path == "out/batches/0loop.json"
    loop.unlink()
    put(store.root, "0loop", createdAt=0)
    assert ids(index, "dao:x") == ["0loop", *every]


@pytest.mark.parametrize("count", [FEW, MANY])
def test_a_listing_that_was_broken_off_leaves_nothing_out(
    store: InterruptedStore, count: int
) -> None:
    index = BatchIndex(store)
    put(store.root, "0", createdAt=0)
    assert ids(index, "dao:x") == ["0"]
    (store.root / "out/batches/0.json").unlink()
    for n in range(1, count):
        put(store.root, str(n), createdAt=n)
    store.before_look = at_third_look(MemoryError())
    with pytest.raises(MemoryError):
        index.owned("dao:x")
    put(store.root, "0", createdAt=0)
    assert ids(index, "dao:x") == [str(n) for n in range(count)]


@pytest.mark.parametrize("count", [FEW, MANY])
def test_a_file_that_goes_between_listing_and_look_is_taken_when_it_is_back(
    store: InterruptedStore, count: int
) -> None:
    every = [put(store.root, str(n), createdAt=n).stem for n in range(count)]

    def look(path: str) -> None:
        if path.endswith("/1.json"):
            (store.root / path).unlink(missing_ok=True)

    index = BatchIndex(store)
    store.before_look = look
    assert ids(index, "dao:x") == [one for one in every if one != "1"]
    store.before_look = unchanged
    put(store.root, "1", createdAt=1)
    assert ids(index, "dao:x") == every


def test_a_refused_file_that_goes_after_the_folder_was_looked_at_is_taken_when_it_is_back(
    store: InterruptedStore,
) -> None:
    bad = put(store.root, "1")
    bad.write_text("{")
    put(store.root, "2", createdAt=2)
    time.sleep(2 * SETTLED_NS / 1e9)
    index = BatchIndex(store)
    assert ids(index, "dao:x") == ["2"]
    store.after_version = lambda: bad.unlink(missing_ok=True)
    assert not index.owned("dao:x").refused
    store.after_version = nothing
    put(store.root, "1", createdAt=1)
    assert ids(index, "dao:x") == ["1", "2"]


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

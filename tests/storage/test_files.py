"""Files below the root: whole, durable, exclusive."""

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.storage.files import LocalStore

PATH = "out/batches/1.json"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "root")


def fail_at(monkeypatch: pytest.MonkeyPatch, step: str, count: int) -> None:
    """Let the system call fail the `count`-th time that it is used from now on."""
    original = getattr(os, step)
    left = [count]

    def broken(*args: object, **kwargs: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*args, **kwargs)

    monkeypatch.setattr(os, step, broken)


def test_what_was_written_is_read_and_listed(store: LocalStore) -> None:
    assert store.read(PATH) is None
    assert store.names("out/batches") == []
    store.write(PATH, b"one")
    store.write(PATH, b"two")
    assert store.read(PATH) == b"two"
    assert store.names("out/batches") == ["1.json"]
    assert store.exists(PATH)
    assert store.exists("out")
    assert list((store.root / "out/batches").iterdir()) == [store.root / PATH]


def test_creating_is_exclusive(store: LocalStore) -> None:
    assert store.create(PATH, b"one")
    assert not store.create(PATH, b"two")
    assert store.read(PATH) == b"one"


def test_of_many_creators_exactly_one_succeeds(store: LocalStore) -> None:
    start, results = threading.Barrier(8), []

    def create(n: int) -> None:
        start.wait()
        results.append((store.create(PATH, b"%d" % n), n))

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [n for created, n in results if created]
    assert store.read(PATH) == b"%d" % winner
    assert len(list((store.root / "out/batches").iterdir())) == 1


def test_temporary_files_are_not_listed(store: LocalStore) -> None:
    store.write(PATH, b"")
    (store.root / "out/batches/.x.new").write_bytes(b"half")
    assert store.names("out/batches") == ["1.json"]


@pytest.mark.parametrize("step", ["mkdir", "fsync", "link", "open", "replace"])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("verb", ["write", "create"])
def test_a_failing_step_never_leaves_half_a_file(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, step: str, count: int, verb: str
) -> None:
    act: Callable[[str, bytes], object] = getattr(store, verb)
    with monkeypatch.context() as broken:
        fail_at(broken, step, count)
        try:
            act(PATH, b"whole")
            said = ""
        except NetworkFailure as failure:
            said = str(failure)
    if said:
        assert PATH in said
        assert store.read(PATH) in (None, b"whole")
    else:
        assert store.read(PATH) == b"whole"
    assert store.names("out/batches") in ([], ["1.json"])
    act(PATH, b"whole")
    assert store.read(PATH) == b"whole"


def test_a_failed_overwrite_leaves_the_old_content(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(PATH, b"old")
    with monkeypatch.context() as broken:
        fail_at(broken, "fsync", 1)
        with pytest.raises(NetworkFailure, match="No space left"):
            store.write(PATH, b"new")
    assert store.read(PATH) == b"old"
    assert len(list((store.root / "out/batches").iterdir())) == 1


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "out/../../x", "a\0b"])
def test_a_path_that_leaves_the_root_is_refused(store: LocalStore, path: str) -> None:
    with pytest.raises(InvalidValue, match="leaves the root"):
        store.read(path)
    with pytest.raises(InvalidValue, match="leaves the root"):
        store.write(path, b"")


def test_deleting_twice_is_harmless(store: LocalStore) -> None:
    store.write(PATH, b"")
    store.delete(PATH)
    store.delete(PATH)
    assert not store.exists(PATH)


def test_a_version_changes_with_the_names_and_is_unknown_while_young(store: LocalStore) -> None:
    assert store.version("out/batches") == "absent"
    store.write(PATH, b"")
    folder = store.root / "out/batches"
    soon = time.time_ns() + 60 * 10**9  # it stays young, however long this test is held up
    os.utime(folder, ns=(soon, soon))
    assert store.version("out/batches") is None
    os.utime(folder, ns=(1, 1))
    before = store.version("out/batches")
    assert before == store.version("out/batches") is not None
    os.utime(folder, ns=(2, 2))
    assert store.version("out/batches") != before


def test_a_stamp_changes_when_a_file_is_replaced(store: LocalStore) -> None:
    assert store.stamp(PATH) is None
    store.write(PATH, b"a")
    before = store.stamp(PATH)
    store.write(PATH, b"b")
    assert store.stamp(PATH) != before


def test_what_the_storage_refuses_is_a_network_failure(store: LocalStore) -> None:
    store.write("file", b"")
    with pytest.raises(NetworkFailure, match="check the storage"):
        store.write("file/below", b"")
    store.write(PATH, b"")
    with pytest.raises(NetworkFailure, match="could not read"):
        store.read("out")


def test_what_is_no_file_fails_at_once_and_never_waits_for_a_writer(store: LocalStore) -> None:
    store.write(PATH, b"one")
    folder = store.root / "out/batches"
    (folder / "2.json").mkdir()
    os.mkfifo(folder / "3.json")
    for name in ("2.json", "3.json"):
        with pytest.raises(NetworkFailure, match="it is no file"):
            store.read(f"out/batches/{name}")

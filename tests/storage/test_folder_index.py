"""What is read of a folder, and when it is read again."""

import os
from pathlib import Path

import pytest
from typing_extensions import override

from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.storage import folder_index
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.folder_index import FolderIndex, Look

FOLDER = "notes"


class Unreliable(LocalStore):
    """A store whose folder may not seem to change, or to hold anything."""

    is_still = hides_all = False

    @override
    def version(self, folder: str) -> str | None:
        return "1" if self.is_still else super().version(folder)

    @override
    def names(self, folder: str) -> list[str]:
        return [] if self.hides_all else super().names(folder)


class Notes(FolderIndex[str]):
    """An index of texts: "open" is an unsettled one, and reads of `failing` ones fail."""

    def __init__(self, store: LocalStore, *, stamped: bool = False) -> None:
        super().__init__(store, FOLDER, self.read, ".txt")
        self.store, self.stamped = store, stamped
        self.reads: list[str] = []
        self.failing: set[str] = set()

    def read(self, name: str) -> Look[str] | None:
        self.reads.append(name)
        if name in self.failing:
            message = f"could not read {name}"
            raise NetworkFailure(message)
        stamp = self.store.stamp(f"{FOLDER}/{name}")
        content = self.store.read(f"{FOLDER}/{name}")
        if content is None:
            return None
        text = content.decode()
        return Look(text, text != "open", hash(stamp) if self.stamped else None)

    def refreshed(self) -> dict[str, str]:
        """Return what is known, and forget what was read before."""
        self.reads.clear()
        self.refresh()
        return {name: look.value for name, look in sorted(self.known.items())}


@pytest.fixture
def store(tmp_path: Path) -> Unreliable:
    return Unreliable(tmp_path)


def put(store: LocalStore, **texts: str) -> None:
    for name, text in texts.items():
        store.write(f"{FOLDER}/{name}.txt", text.encode())


def test_a_settled_entry_is_read_once_and_an_unsettled_one_each_time(store: LocalStore) -> None:
    put(store, a="done", b="open")
    index = Notes(store)
    assert index.refreshed() == {"a.txt": "done", "b.txt": "open"}
    index.refreshed()
    assert index.reads == ["b.txt"]
    put(store, b="done")
    assert index.refreshed()["b.txt"] == "done"
    index.refreshed()
    assert index.reads == []


def test_an_unsettled_entry_with_a_stamp_is_read_when_it_changed(store: LocalStore) -> None:
    put(store, a="open")
    index = Notes(store, stamped=True)
    index.refreshed()
    index.refreshed()
    assert index.reads == []
    put(store, a="done")
    assert index.refreshed() == {"a.txt": "done"}


def test_a_noted_entry_is_read_again_though_it_was_settled(store: LocalStore) -> None:
    put(store, a="done")
    index = Notes(store)
    index.refreshed()
    put(store, a="open")
    index.note(["a.txt"])
    assert index.refreshed() == {"a.txt": "open"}
    assert list(index.unsettled) == ["a.txt"]


def test_a_look_that_fails_keeps_what_it_read_and_reads_the_rest_next_time(
    store: LocalStore,
) -> None:
    put(store, a="done", b="done", c="done")
    index = Notes(store)
    index.failing = {"b.txt"}
    with pytest.raises(NetworkFailure):
        index.refreshed()
    index.failing.clear()
    before = set(index.known)
    assert list(index.refreshed()) == ["a.txt", "b.txt", "c.txt"]
    assert not before.intersection(index.reads)


def test_entries_come_in_turn_and_one_that_fails_does_not_hold_up_those_after_it(
    store: LocalStore,
) -> None:
    put(store, a="done", b="done", c="done", d="done")
    index = Notes(store)
    names = sorted(index.refreshed())
    assert sorted([*index.in_turn(3), *index.in_turn(3)]) == names
    first, *others = list(index.known)[::-1]
    index.reads.clear()
    index.failing = {first}
    with pytest.raises(NetworkFailure):
        index.look_at(index.in_turn(4))
    index.look_at(index.in_turn(4))
    assert index.reads == [first, *others]


def test_a_name_that_a_listing_leaves_out_is_forgotten_only_if_it_is_gone(
    store: Unreliable,
) -> None:
    put(store, a="done", b="done")
    index = Notes(store)
    index.refreshed()
    store.delete(f"{FOLDER}/b.txt")
    store.hides_all = True
    assert index.refreshed() == {"a.txt": "done"}
    store.hides_all = False
    put(store, b="open")
    assert index.refreshed() == {"a.txt": "done", "b.txt": "open"}


def test_a_folder_is_listed_again_after_a_long_rest_though_its_version_is_as_it_was(
    store: Unreliable, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.is_still = True
    index = Notes(store)
    put(store, a="done")
    assert list(index.refreshed()) == ["a.txt"]
    put(store, b="done")
    assert list(index.refreshed()) == ["a.txt"]
    monkeypatch.setattr(folder_index, "LISTED_AGAIN_SECONDS", 0.0)
    fresh = Notes(store)
    fresh.refreshed()
    put(store, c="done")
    assert list(fresh.refreshed()) == ["a.txt", "b.txt", "c.txt"]


def test_a_rest_begins_when_the_one_before_is_over(store: LocalStore) -> None:
    index = Notes(store)
    assert index.has_rested(60.0)
    assert not index.has_rested(60.0)


def test_other_names_are_passed_over(store: LocalStore) -> None:
    put(store, a="done")
    store.write(f"{FOLDER}/readme.md", b"done")
    os.mkfifo(store.root / FOLDER / "pipe")
    assert list(Notes(store).refreshed()) == ["a.txt"]

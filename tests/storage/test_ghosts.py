"""A writer that stood still while others went on: its folder waits for it, and what it read is not written any more."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.freezing import freeze, thaw
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.storage import folder_lock
from vaultmesh.storage.files import ABSENT, LocalStore, change, version_of

PATH = "out/anchors/dao_one/1/eip155_1.json"
BESIDE = "out/anchors/dao_one/2/eip155_1.json"
HOLDS = """
import sys
from pathlib import Path
from vaultmesh.storage.folder_lock import locked
with locked(Path(sys.argv[1])):
    print("holds", flush=True)
    sys.stdin.readline()
"""
CHANGES = """
import sys
from pathlib import Path
from vaultmesh.storage.files import LocalStore, change

def highest(content):
    print("read", content.decode(), flush=True)
    sys.stdin.readline()
    return b"5" if int(content) < 5 else None

print(change(LocalStore(Path(sys.argv[1])), sys.argv[2], highest), flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


@contextmanager
def process(script: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """Run a script that talks by lines; it is continued and killed at the end, if it still runs."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def said(started: "subprocess.Popen[str]") -> str:
    assert started.stdout is not None
    return started.stdout.readline().strip()


def answer(started: "subprocess.Popen[str]") -> None:
    assert started.stdin is not None
    started.stdin.write("\n")
    started.stdin.flush()


def names(store: LocalStore) -> list[str]:
    """Return the names beside the file, also those that start with a dot."""
    return [place.name for place in (store.root / PATH).parent.iterdir()]


def test_a_file_is_replaced_only_over_the_version_that_was_read(store: LocalStore) -> None:
    assert store.replace(PATH, b"1", ABSENT)
    assert not store.replace(PATH, b"2", ABSENT)
    assert store.replace(PATH, b"2", version_of(b"1"))
    assert not store.replace(PATH, b"3", version_of(b"1"))
    assert store.read(PATH) == b"2"
    assert names(store) == [Path(PATH).name]


def test_a_change_that_another_writer_came_before_is_made_anew(store: LocalStore) -> None:
    store.write(PATH, b"1")
    seen: list[bytes | None] = []

    def next_number(content: bytes | None) -> bytes:
        seen.append(content)
        if len(seen) == 1:
            store.write(PATH, b"2")
        return b"%d" % (int(content or 0) + 1)

    assert change(store, PATH, next_number)
    assert (seen, store.read(PATH)) == ([b"1", b"2"], b"3")


def test_a_file_that_others_keep_changing_is_told(store: LocalStore) -> None:
    def restless(content: bytes | None) -> bytes:
        store.write(PATH, (content or b"") + b"x")
        return b"mine"

    with pytest.raises(NetworkFailure, match="other writers keep changing out/anchors/dao_one/1"):
        change(store, PATH, restless)


def test_a_stopped_holder_is_named_and_only_its_folder_waits(store: LocalStore) -> None:
    store.write(PATH, b"1")
    folder = store.root / Path(PATH).parent
    with process(HOLDS, folder) as holder:
        assert said(holder) == "holds"
        freeze(holder.pid)
        began = time.monotonic()
        with (
            pytest.raises(NetworkFailure, match=f"locked by process {holder.pid} on .* since 2"),
            folder_lock.locked(folder, 0.3),
        ):
            pytest.fail("two hold one lock")
        assert 0.3 <= time.monotonic() - began < 5
        assert store.replace(BESIDE, b"1", ABSENT)
        thaw(holder.pid)
        answer(holder)
        holder.wait(10)
    assert store.replace(PATH, b"2", version_of(b"1"))


def test_a_locked_folder_takes_one_thread_of_a_pool_and_the_others_go_on(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harm: each file of the folder took a thread for as long as a lock is waited for, and all steps stood still."""
    monkeypatch.setattr(folder_lock, "TURN_SECONDS", 0.2)
    store.write(PATH, b"1")
    folder = store.root / Path(PATH).parent
    places = [f"{Path(PATH).parent}/{number}" for number in range(4)]
    with process(HOLDS, folder) as holder, ThreadPoolExecutor(4) as pool:
        assert said(holder) == "holds"
        began = time.monotonic()
        waiting = [pool.submit(store.replace, place, b"1", ABSENT) for place in places]
        for _ in zip(places[1:], as_completed(waiting, timeout=30), strict=False):
            pass
        assert pool.submit(store.replace, BESIDE, b"1", ABSENT).result(30)
        assert time.monotonic() - began < folder_lock.PATIENCE_SECONDS
        failed = [attempt for attempt in waiting if attempt.done()]
        assert len(failed) == len(places) - 1
        for attempt in failed:
            assert f"locked by process {holder.pid}" in str(attempt.exception())
        answer(holder)
        holder.wait(30)
        assert sum(attempt.exception() is None for attempt in waiting) == 1


def test_a_holder_that_is_killed_keeps_nobody_waiting(store: LocalStore) -> None:
    store.write(PATH, b"1")
    folder = store.root / Path(PATH).parent
    with process(HOLDS, folder) as holder:
        assert said(holder) == "holds"
        assert json.loads((folder / ".lock").read_text())["process"] == holder.pid
        holder.kill()
        holder.wait(10)
    assert store.replace(PATH, b"2", version_of(b"1"))
    assert names(store) == [Path(PATH).name]


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_writer_that_slept_after_reading_writes_nothing_older(
    store: LocalStore, *, goes_on: bool
) -> None:
    store.write(PATH, b"4")
    with process(CHANGES, store.root, PATH) as ghost:
        assert said(ghost) == "read 4"
        freeze(ghost.pid)
        assert store.replace(PATH, b"6", version_of(b"4"))
        if goes_on:
            thaw(ghost.pid)
            answer(ghost)
            assert said(ghost) == "read 6"
            answer(ghost)
            assert said(ghost) == "False"
    assert store.read(PATH) == b"6"

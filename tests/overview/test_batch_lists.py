"""Lists of batches: newest first, a page at a time, whatever lies in the folder."""

import json
import os
from pathlib import Path

import pytest
from typing_extensions import override

from tests.overview.recorded import BATCH_ID, NAMESPACE, TARGETS, recorded, write, write_batch
from vaultmesh.domain.receipts.levels import Level
from vaultmesh.domain.target import Target
from vaultmesh.overview.batch_lists import MOST_LOOKED_AT, PAGE, BatchLists
from vaultmesh.storage.batch_files import BatchFiles
from vaultmesh.storage.files import LocalStore

EVERY_TARGET = [Target.parse(target) for target in TARGETS.values()]


class CountingStore(LocalStore):
    """A store that counts what is read and listed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read_files = self.listed_folders = 0

    @override
    def read(self, path: str) -> bytes | None:
        self.read_files += 1
        return super().read(path)

    @override
    def names(self, folder: str) -> list[str]:
        self.listed_folders += folder == "out/batches"
        return super().names(folder)


def ids(lists: BatchLists, before: str = "", namespace: str = NAMESPACE) -> list[str]:
    return [batch.batch_id for batch in lists.page(namespace, "", [], before).batches]


def test_the_newest_come_first_by_the_value_of_their_ids(tmp_path: Path) -> None:
    for batch_id in ("999", "1000", "20000", "first", "weekly"):
        write_batch(tmp_path, batch_id)
    assert ids(BatchLists(BatchFiles(tmp_path))) == ["20000", "1000", "999", "weekly", "first"]


def test_every_batch_is_on_one_page_alone(tmp_path: Path) -> None:
    wanted = [str(1_795_000_000 + place) for place in range(2 * PAGE + 7)]
    for batch_id in wanted:
        write_batch(tmp_path, batch_id)
    lists = BatchLists(BatchFiles(tmp_path))
    seen: list[str] = []
    before = ""
    while True:
        page = lists.page(NAMESPACE, "", [], before)
        seen += [batch.batch_id for batch in page.batches]
        before = page.older
        if not before:
            break
    assert seen == wanted[::-1]


def test_a_page_goes_on_where_the_last_batch_was_taken_away(tmp_path: Path) -> None:
    for batch_id in ("3", "2", "1"):
        write_batch(tmp_path, batch_id)
    lists = BatchLists(BatchFiles(tmp_path))
    (tmp_path / "out/batches/2.json").unlink()
    assert ids(lists, before="2") == ["1"]


def test_batches_of_other_namespaces_are_not_listed(tmp_path: Path) -> None:
    write_batch(tmp_path, "1", namespace=NAMESPACE)
    write_batch(tmp_path, "2", namespace="dao:other")
    write_batch(tmp_path, "3")
    assert ids(BatchLists(BatchFiles(tmp_path))) == ["3", "1"]


def test_a_file_that_cannot_be_used_is_told_and_hides_no_other(tmp_path: Path) -> None:
    write_batch(tmp_path, "1")
    write(tmp_path / "out/batches/2.json", "{")
    write(tmp_path / "out/batches/3.json", json.dumps({"id": "4", "root": "sha256:00"}))
    (tmp_path / "out/batches/5.json").mkdir()
    write(tmp_path / "out/batches/6.json", json.dumps({"id": "6", "root": 7, "createdAt": 10**30}))
    problems = {
        batch.batch_id: batch.problem
        for batch in BatchLists(BatchFiles(tmp_path)).page(NAMESPACE, "", []).batches
    }
    assert problems["1"] == ""
    assert all(problems[batch_id] for batch_id in ("2", "3", "5", "6"))


@pytest.mark.parametrize(
    "name", ["<script>alert(1)<", "..", "ü" * 100, "a b\n", "-1", "\N{RIGHT-TO-LEFT OVERRIDE}x"]
)
def test_a_hostile_name_is_a_batch_like_any_other(tmp_path: Path, name: str) -> None:
    write_batch(tmp_path, name)
    write_batch(tmp_path, "1")
    names = ids(BatchLists(BatchFiles(tmp_path)))
    assert "1" in names
    assert name in names or name.startswith(".")  # those are temporary files


def test_a_name_that_is_no_text_is_told_without_a_link(tmp_path: Path) -> None:
    write_batch(tmp_path, "1")
    write(tmp_path / "out/batches" / os.fsdecode(b"\xff.json"), "{}")
    listed = BatchLists(BatchFiles(tmp_path)).page(NAMESPACE, "", []).batches
    assert [(batch.batch_id, batch.can_be_shown) for batch in listed] == [
        ("1", True),
        ("\\udcff", False),
    ]


def test_levels_are_those_that_real_receipts_say(tmp_path: Path) -> None:
    recorded(tmp_path)
    (batch,) = BatchLists(BatchFiles(tmp_path)).page(NAMESPACE, "", EVERY_TARGET).batches
    levels = {str(proof.target): proof.level for proof in batch.levels.proven}
    assert batch.batch_id == BATCH_ID
    assert levels == {
        "eip155:31337": Level.FINAL,
        "btc:regtest": Level.FINAL,
        "rfc3161:tsa": Level.TOKEN,
    }
    assert batch.levels.awaited == []


def test_what_has_no_receipt_is_awaited(tmp_path: Path) -> None:
    write_batch(tmp_path, "1")
    (batch,) = BatchLists(BatchFiles(tmp_path)).page(NAMESPACE, "", EVERY_TARGET).batches
    assert {str(level.target) for level in batch.levels.awaited} == set(TARGETS.values())


@pytest.mark.slow
def test_of_a_hundred_thousand_batches_a_page_reads_few_files(tmp_path: Path) -> None:
    """The budget is counted in files, which a busy machine does not change."""
    folder = tmp_path / "out/batches"
    write_batch(tmp_path, "0")
    for number in range(1, 100_000):
        (folder / f"{number}.json").symlink_to("0.json")
    for number in range(100_000, 100_000 + 2 * PAGE):
        write_batch(tmp_path, str(number))
    os.utime(folder, (1_795_000_000, 1_795_000_000))  # nothing came for long
    files = BatchFiles(tmp_path)
    files.store = store = CountingStore(tmp_path)
    lists = BatchLists(files)
    first = lists.page(NAMESPACE, "", [])
    assert first.batches[0].batch_id == str(100_000 + 2 * PAGE - 1)
    assert (first.files, store.listed_folders) == (100_000 + 2 * PAGE, 1)
    assert store.read_files <= PAGE
    lists.page(NAMESPACE, "", [], first.older)
    assert store.read_files <= 2 * PAGE
    assert store.listed_folders == 1


def test_a_page_ends_where_all_newer_ones_are_another_namespace_s(tmp_path: Path) -> None:
    write_batch(tmp_path, "1")
    document = write_batch(tmp_path, "2", namespace="dao:other")
    assert document.namespace
    content = (tmp_path / "out/batches/2.json").read_text()
    for number in range(3, MOST_LOOKED_AT + 10):
        text = content.replace('"id": "2"', f'"id": "{number}"')
        (tmp_path / f"out/batches/{number}.json").write_text(text)
    lists = BatchLists(BatchFiles(tmp_path))
    first = lists.page(NAMESPACE, "", [])
    assert first.batches == []
    found: list[str] = []
    before = first.older
    while before:
        page = lists.page(NAMESPACE, "", [], before)
        found += [batch.batch_id for batch in page.batches]
        before = page.older
    assert found == ["1"]

"""`seal`: files and pending events become batches, whatever runs."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Command, cadences, write_namespaces


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMSH_ROOT", str(tmp_path))
    write_namespaces(tmp_path / "vmsh/config/namespaces.yaml", {"dao:one": cadences()})
    return tmp_path


def _files(folder: Path, *contents: str) -> list[Path]:
    places = [folder / f"file-{position}.txt" for position in range(len(contents))]
    for place, content in zip(places, contents, strict=True):
        place.write_text(content)
    return places


def test_seal_prints_the_batch_id_alone_and_beside_it_the_ids_of_its_events(
    run: Command, root: Path
) -> None:
    outcome = run("seal", "dao:one", *_files(root, "a", "b", "c"))
    assert outcome.code == 0
    batch_id = outcome.out.removesuffix("\n")
    receipts = {path.stem for path in (root / "out/receipts").iterdir()}
    assert len(receipts) == 3
    assert set(outcome.err.splitlines()) == {f"event {event_id}" for event_id in receipts}
    batch = json.loads((root / "out/batches" / f"{batch_id}.json").read_text())
    assert (batch["id"], batch["namespace"]) == (batch_id, "dao:one")
    assert batch["leaves"] == [
        f"sha256:{hashlib.sha256(c).hexdigest()}" for c in (b"a", b"b", b"c")
    ]


def test_seal_of_a_sealed_file_names_its_batch(run: Command, root: Path) -> None:
    files = _files(root, "a")
    batch_id = run("seal", "dao:one", *files).out.strip()
    outcome = run("seal", "dao:one", *files)
    assert (outcome.code, outcome.out) == (1, "")
    assert batch_id in outcome.err


def test_seal_of_equal_or_absent_files_fails_clearly(run: Command, root: Path) -> None:
    assert run("seal", "dao:one", *_files(root, "a", "a")).code == 1
    outcome = run("seal", "dao:one", root / "absent.txt")
    assert outcome.code == 1
    assert "absent.txt" in outcome.err


def test_seal_pending_takes_what_waits_and_is_content_with_nothing(
    run: Command, root: Path
) -> None:
    outcome = run("seal", "dao:one", "--pending")
    assert (outcome.code, outcome.out) == (0, "")
    assert run("seal", "dao:one", "--pending", "--json").json()["batch"] is None


def test_seal_pending_makes_a_batch_of_what_waits_and_names_what_it_left(
    run: Command, root: Path
) -> None:
    folder = root / "out/provisional"
    folder.mkdir(parents=True)
    event = {
        "eventId": "evt-1",
        "status": "pending",
        "namespace": "dao:one",
        "eventHash": "sha256:" + "ab" * 32,
        "receivedAt": 1_768_471_200,
    }
    (folder / "evt-1.json").write_text(json.dumps(event))
    (folder / "broken.json").write_text("{")
    outcome = run("seal", "dao:one", "--pending")
    assert outcome.code == 0
    batch = json.loads((root / f"out/batches/{outcome.out.strip()}.json").read_text())
    assert batch["leaves"] == [event["eventHash"]]
    assert "broken.json" in outcome.err


def test_seal_json_names_root_and_events(run: Command, root: Path) -> None:
    document = run("seal", "dao:one", *_files(root, "a", "b"), "--json").json()
    assert document["root"].startswith("sha256:")
    assert len(document["events"]) == document["leaves"] == 2


def test_seal_for_a_namespace_that_is_not_configured_says_that_its_batch_waits(
    run: Command, root: Path
) -> None:
    outcome = run("seal", "dao:later", *_files(root, "a"))
    assert outcome.code == 0
    assert outcome.out.strip().isdecimal()
    assert "dao:later" in outcome.err


def test_files_may_come_after_an_option(run: Command, root: Path) -> None:
    first, second = _files(root, "a", "b")
    outcome = run("seal", "dao:one", first, "--json", second).json()
    assert outcome["leaves"] == 2
    assert outcome["events"][0].startswith("file-0.txt-")


def test_a_file_whose_name_is_no_text_is_sealed_by_the_bytes_of_its_name(
    run: Command, root: Path
) -> None:
    place = root / os.fsdecode(b"inv\xff.txt")
    place.write_text("a")
    outcome = run("seal", "dao:one", place, "--json").json()
    assert outcome["events"][0].startswith("inv~ff.txt-")


@pytest.mark.parametrize("name", ["", "../up", "two words"])
def test_what_no_namespace_is_called_is_not_sealed_for(run: Command, root: Path, name: str) -> None:
    outcome = run("seal", name, *_files(root, "a"))
    assert (outcome.code, outcome.out) == (2, "")
    assert "is not a namespace's name" in outcome.err
    assert not (root / "out/batches").exists()


def test_a_folder_or_pipe_among_pending_events_holds_up_nothing(run: Command, root: Path) -> None:
    pending = root / "out/provisional"
    (pending / "folder.json").mkdir(parents=True)
    os.mkfifo(pending / "pipe.json")
    digest = hashlib.sha256(b"a").hexdigest()
    (pending / "evt-1.json").write_text(json.dumps({"eventHash": f"sha256:{digest}"}))
    outcome = run("seal", "dao:one", "--pending", "--json").json()
    assert outcome["events"] == ["evt-1"]
    assert [line.split(":")[0] for line in outcome["left"]] == [
        "out/provisional/folder.json",
        "out/provisional/pipe.json",
    ]


@pytest.mark.parametrize(
    "command",
    [
        ("seal", "dao:one", "a"),
        ("verify", "--batch", "1"),
        ("verify", "--offline", "--event", "e"),
        ("proof", "e"),
        ("status",),
        ("register",),
    ],
    ids=" ".join,
)
def test_a_root_that_is_no_folder_is_told_apart_from_one_where_nothing_happened(
    run: Command, tmp_path: Path, command: tuple[str, ...]
) -> None:
    outcome = run(*command, VMSH_ROOT=str(tmp_path / "mistyped"))
    assert (outcome.code, outcome.out) == (2, "")
    assert "mistyped is no folder" in outcome.err
    assert not (tmp_path / "mistyped").exists()

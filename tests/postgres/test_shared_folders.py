"""Tasks that share a folder of archived rows, and a plan beside a run, never stop each other."""

import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.postgres.shop import INTO_FILES, NOON, Shop
from vaultmesh.domain.maintenance.archived import DATA, NOTE, PENDING, Manifest
from vaultmesh.domain.maintenance.outcomes import Outcome
from vaultmesh.postgres import archive_files
from vaultmesh.postgres.archive_files import Folder
from vaultmesh.storage import seal_archives
from vaultmesh.storage.seal_archives import ArchiveSeals

TABLE = "CREATE TABLE orders (id serial PRIMARY KEY, at timestamptz); CREATE INDEX ON orders (at)"
FILL = "INSERT INTO orders (at) SELECT '2025-10-01' FROM generate_series(1, 400)"


@pytest.fixture
def filled(shop: Shop) -> Shop:
    shop.sql(TABLE)
    shop.sql(FILL)
    return shop


def of_another_task(shop: Shop) -> tuple[Manifest, Folder]:
    """Archive one file, and have it be another task's, whose transaction is open."""
    shop.run(**{**INTO_FILES, "batch": 1, "maxRows": 1})
    folder = Folder(shop.root / "archive")
    [note] = folder.path.glob(f"*{NOTE}")
    manifest = archive_files.read_manifest(note).model_copy(update={"task": "other"})
    folder.data(manifest, pending=False).rename(folder.data(manifest, pending=True))
    note.unlink()
    folder.note(manifest, pending=True).write_text(manifest.model_dump_json())
    return manifest, folder


@pytest.mark.parametrize("end", [Folder.keep, Folder.drop], ids=["named", "removed"])
def test_a_file_that_another_task_ends_while_it_is_looked_at_stops_no_run(
    filled: Shop, monkeypatch: pytest.MonkeyPatch, end: Any
) -> None:
    """The harm: a task fails, and tells its operator to mend a file of which nothing is wrong."""
    manifest, folder = of_another_task(filled)
    read, pending = archive_files.read_manifest, folder.note(manifest, pending=True)

    def read_late(path: Path) -> Manifest:
        if path == pending and path.exists():
            end(folder, manifest)
        return read(path)

    monkeypatch.setattr(archive_files, "read_manifest", read_late)
    assert filled.run(**INTO_FILES).outcome is Outcome.DONE
    assert not list(folder.path.glob(f"{PENDING}*"))


def test_old_files_that_another_task_is_about_to_name_stop_no_run(filled: Shop) -> None:
    manifest, folder = of_another_task(filled)
    data = folder.data(manifest, pending=False)
    folder.data(manifest, pending=True).rename(data)
    old = {**INTO_FILES, "archive": {"folder": "archive", "keep": "91d"}}
    assert filled.run(now=NOON + timedelta(days=30), **old).outcome is Outcome.DONE
    assert [data.exists(), folder.note(manifest, pending=True).exists()] == [True, True]


def test_a_plan_beside_a_run_takes_nothing_away_from_it(
    filled: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harm: a command that changes nothing has the run fail that is under way."""
    write, planned = Folder.note_written, list[bool]()

    def written(folder: Folder, manifest: Manifest) -> None:
        scratch = folder.path / f".it~{manifest.xid}.new"
        scratch.write_text("half of a manifest")
        if not planned:
            planner = threading.Thread(target=lambda: filled.plan(**INTO_FILES))
            planner.start()
            planner.join()
        planned.append(scratch.exists())
        write(folder, manifest)

    monkeypatch.setattr(Folder, "note_written", written)
    assert filled.run(**INTO_FILES).outcome is Outcome.DONE
    assert planned
    assert all(planned)


def test_a_run_that_stood_still_until_its_lock_was_gone_writes_into_no_manifest_of_the_next(
    filled: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harm: files whose manifest says that another transaction deletes their rows."""
    manifest, folder = of_another_task(filled)
    first, second = (manifest.model_copy(update={"xid": xid}) for xid in ("1", "2"))
    replace, halted = Path.replace, list[Path]()

    def halt(path: Path, target: Path) -> Path:
        if not halted:
            halted.append(path)
            folder.claim(second)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", halt)
    folder.claim(first)
    noted = {manifest.xid: manifest for manifest in folder.pending("other")}
    assert noted == {each.xid: each for each in (first, manifest, second)}


@pytest.mark.parametrize("name", [".it.new", ".it~77.new"])
def test_a_run_removes_the_manifest_that_a_killed_run_wrote_half(filled: Shop, name: str) -> None:
    scratch = filled.root / "archive" / name
    scratch.parent.mkdir()
    scratch.write_text("half of a manifest")
    assert filled.run(**{**INTO_FILES, "keep": "3650d"}).outcome is Outcome.NOT_NEEDED
    assert not scratch.exists()
    assert not list(scratch.parent.glob(f"*{DATA}"))


def test_a_manifest_that_another_task_deletes_while_it_is_looked_at_keeps_none_from_being_sealed(
    filled: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, folder = of_another_task(filled)
    folder.keep(manifest)
    sealing = {
        **INTO_FILES,
        "keep": "3650d",
        "archive": {"folder": "archive", "sealTo": "dao:vaultmesh"},
    }
    result = filled.run(**sealing)

    def sealed_late(_: object, notes: Sequence[Path]) -> set[Path]:
        for note in notes:
            note.unlink()
        return set()

    monkeypatch.setattr(seal_archives, "sealed_names", sealed_late)
    seals = ArchiveSeals(filled.root, lambda _: None)
    assert seals.sealed(filled.config(**sealing).tasks[0], result, 0) == result

"""What a power cut may take from an archive in files: never a row, and never more of the next run's time than a look."""

import csv
import errno
import gzip
import os
from pathlib import Path

import pytest

from tests.postgres.shop import INTO_FILES, Shop
from vaultmesh.domain.maintenance.archived import DATA, NOTE, PENDING
from vaultmesh.domain.maintenance.outcomes import Outcome
from vaultmesh.postgres.archive_files import Folder
from vaultmesh.postgres.connection import Sent, Session

TABLE = "CREATE TABLE orders (id serial PRIMARY KEY, at timestamptz); CREATE INDEX ON orders (at)"
OLD = 25
FILL = f"INSERT INTO orders (at) SELECT '2025-10-01' FROM generate_series(1, {OLD})"
BLANK = {"no manifest": None, "an empty manifest": b"", "a manifest of NULs": b"\0" * 400}


def archived(shop: Shop) -> list[int]:
    """Return the id of each row in files with final names."""
    rows = []
    for path in (shop.root / "archive").glob(f"[!.]*{DATA}"):
        with gzip.open(path, "rt", newline="") as file:
            rows += [int(row["id"]) for row in csv.DictReader(file)]
    return sorted(rows)


def left(shop: Shop, xid: str, note: bytes | None) -> tuple[Path, Path]:
    """Leave what a power cut leaves of a transaction whose manifest it took."""
    folder = shop.root / "archive"
    folder.mkdir(exist_ok=True)
    data, manifest = folder / f"{PENDING}{xid}{DATA}", folder / f"{PENDING}{xid}{NOTE}"
    data.write_bytes(b"half of a fi")
    if note is not None:
        manifest.write_bytes(note)
    return data, manifest


@pytest.fixture
def filled(shop: Shop) -> Shop:
    shop.sql(TABLE)
    shop.sql(FILL)
    return shop


@pytest.mark.parametrize("note", BLANK.values(), ids=BLANK)
@pytest.mark.parametrize("fate", ["undone", "a number that the server lost"])
def test_a_manifest_that_a_power_cut_took_stops_no_run(
    filled: Shop, note: bytes | None, fate: str
) -> None:
    """The harm: an operator has to mend by hand what cannot have deleted anything."""
    xid = "99999999"
    if fate == "undone":
        [xid] = filled.sql("BEGIN; SELECT pg_current_xact_id(); ROLLBACK").split()
    places = left(filled, xid, note)
    (step, *_) = filled.plan(**INTO_FILES)
    assert step.reason == f"transaction {xid} of an interrupted run is settled first"
    assert filled.run(**INTO_FILES).outcome is Outcome.DONE
    assert not [place for place in places if place.exists()]
    assert archived(filled) == list(range(1, OLD + 1))


@pytest.mark.parametrize("note", BLANK.values(), ids=BLANK)
def test_a_manifest_that_is_gone_from_beside_a_committed_transaction_is_not_guessed_about(
    filled: Shop, note: bytes | None
) -> None:
    [xid] = filled.sql("SELECT pg_current_xact_id()").split()
    data, _ = left(filled, xid, note)
    for _ in range(2):
        result = filled.run(**INTO_FILES)
        assert result.outcome is Outcome.FAILED
        assert f"{data}: its manifest is gone" in result.detail
    assert data.read_bytes() == b"half of a fi"
    assert filled.sql("SELECT count(*) FROM orders") == str(OLD)


def test_rows_whose_manifest_has_its_last_name_are_not_removed(filled: Shop) -> None:
    assert filled.run(**INTO_FILES).outcome is Outcome.DONE
    first = min((filled.root / "archive").glob(f"*{DATA}"))
    pending = first.with_name(f"{PENDING}{first.name.removesuffix(DATA).split('-')[1]}{DATA}")
    content = first.read_bytes()
    first.rename(pending)
    filled.run(**INTO_FILES)
    assert pending.read_bytes() == content


def test_rows_manifest_and_names_are_on_the_disk_before_each_commit(
    filled: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: dict[int, object] = {}
    commits: list[int] = []
    folder, send = filled.root / "archive", Session.send

    def state(stat: os.stat_result) -> object:
        """What a flush makes lasting: a file's content, a folder's names."""
        names = sorted(path.name for path in folder.glob(f"{PENDING}*"))
        return names if stat.st_ino == folder.stat().st_ino else (stat.st_size, stat.st_mtime_ns)

    def flush(descriptor: int) -> None:
        stat = os.fstat(descriptor)
        flushed[stat.st_ino] = state(stat)

    async def sent(session: Session, statement: str) -> Sent:
        if statement == "COMMIT":
            places = [path.stat() for path in (folder, *folder.glob(f"{PENDING}*"))]
            assert [flushed.get(place.st_ino) for place in places] == [*map(state, places)]
            commits.append(len(places))
        return await send(session, statement)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Session, "send", sent)
    assert filled.run(**INTO_FILES).outcome is Outcome.DONE
    assert commits == [3, 3, 3]
    assert flushed[folder.stat().st_ino] == []  # the last names last as well


@pytest.mark.parametrize("place", ["the manifest's", "the last names", "the end"])
def test_a_folder_that_can_no_longer_be_written_is_told_in_a_line_with_its_mend(
    filled: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """The harm: an operator is told a number of the system and a traceback, not what became of his rows."""
    replace, task = Path.replace, INTO_FILES

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    def named(path: Path, target: Path) -> Path:
        if path.name.startswith(PENDING):
            refuse()
        return replace(path, target)

    with monkeypatch.context() as patch:
        if place == "the manifest's":
            patch.setattr(Folder, "drop_scratch", refuse)
        elif place == "the last names":
            patch.setattr(Path, "replace", named)
        else:
            patch.setattr(Folder, "sync", refuse)
            task = {**INTO_FILES, "keep": "3650d"}
        result = filled.run(**task)
    assert result.outcome is Outcome.FAILED
    said = result.detail or result.steps[0].detail
    assert said.startswith(f"{filled.root / 'archive'}: Read-only file system; ")
    assert said.endswith(" - make it writable, or name another folder")
    assert not caplog.records
    assert filled.run(**INTO_FILES).outcome is Outcome.DONE
    assert archived(filled) == list(range(1, OLD + 1))

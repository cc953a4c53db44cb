"""Keeps archived rows in files: how they are named, noted, settled after a crash, and verified.

A batch of rows is a file of CSV, compressed. While its transaction is open it is `.pending-<xid>.csv.gz`, beside
`.pending-<xid>.json`, which says which transaction of which server deletes the rows. After the commit both get the name
`<cut-off>-<xid>`. So a file without the dot holds rows that are deleted, and every deleted row is in one file.

Each flush of the disk holds up whoever writes to it, so there are three: of the rows, of the manifest that says what they came
to, and of both names, all before the commit. What a power cut may take needs none: a claim whose rows can't be deleted yet, and
a name that `settle` would give again.
"""

import csv
import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vaultmesh.domain.errors import DomainError, in_one_line
from vaultmesh.domain.maintenance.archived import (
    ARCHIVED,
    DATA,
    DUMP,
    HASH,
    NOTE,
    PENDING,
    ArchiveDamaged,
    Manifest,
)

_LONGEST_PATH = 200
"""Characters of a path in a message, so that room is left for its mend."""
_CHUNK = 1 << 20
_COMPRESSED_AT_ONCE = 1 << 16
_LARGEST_FIELD = 1 << 30
"""PostgreSQL's own limit; the reader's usual one, 128 KB, is less than many a text has."""
_LEVEL = 3
"""Of compression: half of the time of the usual 6, which the server and whoever writes beside us have then, for 7 % more room."""


class NoFolder(DomainError):
    """Where files are to go there is nothing to put them into."""


class Folder:
    """A folder of archived rows."""

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is looked at yet."""
        self.path = path

    def check(self, root: Path, key: str = "archive.folder") -> None:
        """Make a folder below the root; elsewhere it has to be there, since it may be a disk that is not mounted.

        Raises:
            NoFolder: it can't be made, or is not there.
        """
        why = "is no folder"
        try:
            if Path(os.path.normpath(self.path)).is_relative_to(root):
                self.path.mkdir(parents=True, exist_ok=True)
            if self.path.is_dir():
                return
        except OSError as error:
            why = f"can't be made: {error.strerror or error}"
        place = in_one_line(str(self.path), _LONGEST_PATH)
        message = f"{place} {why} - mount it, make it, or name another one in {key}"
        raise NoFolder(message)

    def data(self, manifest: Manifest, *, pending: bool) -> Path:
        """Return where a manifest's rows are."""
        return self.path / f"{self._stem(manifest, pending)}{DATA}"

    def note(self, manifest: Manifest, *, pending: bool) -> Path:
        """Return where a manifest is."""
        return self.path / f"{self._stem(manifest, pending)}{NOTE}"

    def claim(self, manifest: Manifest) -> None:
        """Note that a transaction is about to write files here.

        Raises:
            ArchiveDamaged: files of its number are here, of another database, or of this one before it was restored.
        """
        places = [
            place(manifest, pending=state)
            for place in (self.data, self.note)
            for state in (True, False)
        ]
        if taken := next(filter(Path.exists, places), None):
            message = f"{taken} is of another transaction of the same number - name a folder for this database alone, or settle that file"
            raise ArchiveDamaged(message)
        self._write_note(manifest, lasts=False)

    def note_written(self, manifest: Manifest) -> None:
        """Write what came of a pending file into its manifest, so that it survives a power cut."""
        self._write_note(manifest, lasts=True)
        self.sync()

    def _write_note(self, manifest: Manifest, *, lasts: bool) -> None:
        place = self.note(manifest, pending=True)
        # Whoever else writes as this task, as one that stood still until its lock was gone, writes into another file.
        scratch = self.path / f".{manifest.task}~{manifest.xid}.new"
        with scratch.open("wb") as file:
            file.write(manifest.model_dump_json(indent=1).encode())
            file.flush()
            if lasts:
                os.fsync(file.fileno())
        scratch.replace(place)

    def sync(self) -> None:
        """Have the names of files survive a power cut."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def pending(self, task: str) -> list[Manifest]:
        """Return what a task left pending, which is nothing unless it was killed, or runs.

        Raises:
            ArchiveDamaged: a manifest can't be read.
        """
        if not self.path.is_dir():
            return []
        lost = {f"{PENDING}{xid}{NOTE}" for xid in self.lost_claims()}
        notes = sorted(
            path for path in self.path.glob(f"{PENDING}*{NOTE}") if path.name not in lost
        )
        manifests = [manifest for note in notes if (manifest := _still_noted(note, note))]
        return [manifest for manifest in manifests if manifest.task == task]

    def drop_scratch(self, task: str) -> None:
        """Remove the half-written manifest of a run that was killed; the task's lock MUST be held."""
        earlier_name = self.path / f".{task}.new"
        for scratch in (earlier_name, *self.path.glob(f".{task}~*.new")):
            scratch.unlink(missing_ok=True)

    def lost_claims(self) -> list[str]:
        """Return the transactions of pending files of which nothing is noted: a power cut took that, and it comes before any commit."""
        if not self.path.is_dir():
            return []
        pending = [*self.path.glob(f"{PENDING}*{DATA}"), *self.path.glob(f"{PENDING}*{NOTE}")]
        xids = {path.name.removeprefix(PENDING).partition(".")[0] for path in pending}
        return sorted(xid for xid in xids if xid.isdecimal() and self._is_lost(xid))

    def drop_lost(self, xid: str) -> None:
        """Remove the files of a lost claim."""
        for ending in (DATA, NOTE):
            (self.path / f"{PENDING}{xid}{ending}").unlink(missing_ok=True)

    def _is_lost(self, xid: str) -> bool:
        """Whether a manifest is not there, or has the size of its text and nothing in it, as a power cut leaves it."""
        try:
            return not (self.path / f"{PENDING}{xid}{NOTE}").read_bytes().strip(b"\0")
        except FileNotFoundError:
            # Another task may have ended meanwhile; it takes the rows' name away before the manifest's.
            is_there = (self.path / f"{PENDING}{xid}{DATA}").exists()
            return is_there and not any(self.path.glob(f"*-{xid}{NOTE}"))
        except OSError:
            return False

    def keep(self, manifest: Manifest) -> None:
        """Give the files of deleted rows their name, which `sync` makes lasting.

        Raises:
            ArchiveDamaged: the rows are not there as they were noted.
        """
        pending, final = (self.data(manifest, pending=state) for state in (True, False))
        if pending.exists():
            _check(pending, manifest)
            pending.replace(final)
        elif not final.exists():
            message = f"{pending} is gone, whose {manifest.rows} rows are deleted from {manifest.table} - put it back from a copy"
            raise ArchiveDamaged(message)
        self.note(manifest, pending=True).replace(self.note(manifest, pending=False))

    def drop(self, manifest: Manifest) -> None:
        """Remove the files of rows that were not deleted."""
        self.data(manifest, pending=True).unlink(missing_ok=True)
        self.note(manifest, pending=True).unlink(missing_ok=True)
        self.sync()

    def older_than(self, instant: datetime, task: str) -> list[Path]:
        """Return a task's files of rows whose cut-off is older than an instant, without their manifests.

        Several tasks may share the folder: whose a file is, its manifest says.

        Raises:
            ArchiveDamaged: a manifest can't be read, so nobody knows whose its rows are.
        """
        old = [
            path
            for path in sorted(self.path.glob(f"*{DATA}"))
            if (match := ARCHIVED.fullmatch(path.name.removesuffix(DATA)))
            and _instant(match["cutoff"]) < instant
        ]
        return [
            path
            for path in old
            if not self._is_being_named(path)
            and (manifest := _still_noted(_note_of(path), path))
            and manifest.task == task
        ]

    def _is_being_named(self, path: Path) -> bool:
        """Whether another task, which may run or be killed, has given rows their name, and not yet their manifest."""
        xid = path.name.removesuffix(DATA).rpartition("-")[2]
        return (self.path / f"{PENDING}{xid}{NOTE}").exists()

    @staticmethod
    def _stem(manifest: Manifest, pending: bool) -> str:
        return f"{PENDING}{manifest.xid}" if pending else manifest.stem


class RowFile:
    """A file of rows that is being written: compressed, hashed, and safe on the disk once closed."""

    def __init__(self, path: Path) -> None:
        """Create the file.

        Raises:
            OSError: it exists, or can't be made.
        """
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        # Only its owner may read it: rows are nobody else's business.
        self._file = os.fdopen(os.open(path, flags, 0o600), "wb")
        self._hash = hashlib.sha256()
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        self._waiting = bytearray()

    def write(self, block: bytes | bytearray | memoryview) -> None:
        """Add bytes of CSV; those of one row alone are not worth a call of the compressor."""
        self._waiting += block
        if len(self._waiting) >= _COMPRESSED_AT_ONCE:
            self._compress()

    def finish(self) -> str:
        """Write what is left to the disk; return the SHA-256 of the file."""
        self._compress()
        self._write(self._compressor.flush())
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._hash.hexdigest()

    def close(self) -> None:
        """Let go of the file, also of a half-written one on a full disk."""
        with suppress(OSError):
            self._file.close()

    def _compress(self) -> None:
        self._write(self._compressor.compress(self._waiting))
        self._waiting.clear()

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self._file.write(data)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        ArchiveDamaged: it is none.
    """
    content = None
    with suppress(OSError):
        content = path.read_bytes()
    return Manifest.parse(content, path)


def _still_noted(note: Path, listed: Path) -> Manifest | None:
    """Read the manifest of a file that was listed; None if it is gone since, as another task of the folder named or deleted it.

    Raises:
        ArchiveDamaged: it is there, and its manifest can't be read.
    """
    try:
        return read_manifest(note)
    except ArchiveDamaged:
        if listed.exists():
            raise
        return None


def read_rows(path: Path) -> Iterator[list[str]]:
    """Return the lines of an archived file, its header first.

    Raises:
        ArchiveDamaged: it is cut off or changed.
    """
    csv.field_size_limit(_LARGEST_FIELD)
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            yield from csv.reader(file)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        message = f"{path} can't be read: {error} - put it back from a copy"
        raise ArchiveDamaged(message) from error


def keys_of(path: Path, manifest: Manifest, most: int) -> Sequence[tuple[str, ...]]:
    """Return the primary keys of the first rows of a file; none if the table has none."""
    rows = read_rows(path)
    head = next(rows, [])
    places = [head.index(name) for name in manifest.key if name in head]
    if not places or len(places) < len(manifest.key):
        return ()
    return [
        tuple(row[place] for place in places) for row, _ in zip(rows, range(most), strict=False)
    ]


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def verify_archive(path: Path) -> dict[str, Any]:
    """Check a file of rows against its manifest, or a backup against its hash; return what it is.

    Raises:
        ArchiveDamaged: it is not what was written.
        OSError: it is not there.
    """
    if path.name.endswith(DATA):
        return _verified_rows(path)
    if path.name.endswith(DUMP):
        noted = (
            path.with_name(path.name + HASH)
            .read_text(encoding="utf-8", errors="replace")
            .partition(" ")[0]
        )
        if hash_of(path) != noted:
            message = f"{path} was changed since it was written: its SHA-256 is another one - use another copy"
            raise ArchiveDamaged(message)
        return {"kind": "backup", "sha256": noted, "bytes": path.stat().st_size}
    message = f"{path} is neither a {DATA} file of rows nor a {DUMP} file - name one"
    raise ArchiveDamaged(message)


def _verified_rows(path: Path) -> dict[str, Any]:
    manifest = read_manifest(_note_of(path))
    _check(path, manifest)
    rows = read_rows(path)
    head = next(rows, [])
    count = sum(1 for _ in rows)
    if tuple(head) != manifest.columns or count != manifest.rows:
        message = f"{path} has {count} rows and {len(head)} columns, noted are {manifest.rows} and {len(manifest.columns)} - use another copy"
        raise ArchiveDamaged(message)
    return {
        "kind": "rows",
        "table": manifest.table,
        "rows": count,
        "cutoff": manifest.cutoff.isoformat(),
        "sha256": manifest.sha256,
    }


def _note_of(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(DATA) + NOTE)


def _check(path: Path, manifest: Manifest) -> None:
    if manifest.sha256 is None or hash_of(path) != manifest.sha256:
        message = (
            f"{path} is not what was written: its SHA-256 is another one - put it back from a copy"
        )
        raise ArchiveDamaged(message)


def _instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)

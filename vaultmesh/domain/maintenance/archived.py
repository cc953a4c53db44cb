"""Names the files that maintenance leaves behind, and reads what is noted of archived rows.

A file of rows lies beside its manifest, a backup beside its hash. Either note names the SHA-256 of its file, so whoever seals
the note has sealed the file.
"""

import re
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from vaultmesh.domain.errors import DomainError
from vaultmesh.domain.maintenance.config import Kind

DATA, NOTE = ".csv.gz", ".json"
PENDING = ".pending-"
DUMP, HASH = ".dump", ".sha256"
ARCHIVED = re.compile(r"(?P<cutoff>[0-9]{8}T[0-9]{6}Z)-[0-9]+")
"""Name of rows that are deleted, without ending."""
_STAMP = "[0-9]{8}T[0-9]{6}Z"


class ArchiveDamaged(DomainError):
    """A file of archived rows, or a backup, is not what was written."""


class Manifest(BaseModel):
    """What is known of a file of rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = 1
    task: str
    table: str
    key: tuple[str, ...] = ()
    """Columns that tell a row of that table from all others; none if it has no primary key."""
    columns: tuple[str, ...]
    cutoff: datetime
    xid: str
    """Transaction that deletes the rows."""
    system_identifier: str
    timeline: str
    database: str
    wal_position: str
    """Where the server's log was before; it only grows, unless an older copy is put back."""
    rows: int | None = None
    sha256: str | None = None
    """Of the compressed file; with `rows`, noted before the commit."""

    @classmethod
    def parse(cls, content: bytes | None, place: PurePath) -> Self:
        """Read a manifest that lies at a place; None is one that could not be read.

        Raises:
            ArchiveDamaged: it is none.
        """
        try:
            return cls.model_validate_json(content or b"")
        except ValidationError as error:
            message = (
                f"{place} can't be read as the manifest of archived rows - put it back from a copy"
            )
            raise ArchiveDamaged(message) from error

    @property
    def stem(self) -> str:
        """The name of its files once the rows are deleted, without ending."""
        return f"{self.cutoff.astimezone(UTC):%Y%m%dT%H%M%SZ}-{self.xid}"


def note_of(name: str) -> str | None:
    """Return the name of the note beside a file of rows or a backup; None if it is neither."""
    if name.endswith(DATA):
        return name.removesuffix(DATA) + NOTE
    return name + HASH if name.endswith(DUMP) else None


def is_note_of(kind: Kind, task: str, name: str) -> bool:
    """Whether a name may be of a note that a task of this kind left; whose a manifest is, it says itself."""
    if kind is Kind.BACKUP:
        return is_backup_of(task, name.removesuffix(HASH)) and name.endswith(HASH)
    stem = name.removesuffix(NOTE)
    return stem != name and ARCHIVED.fullmatch(stem) is not None


def is_backup_of(task: str, name: str) -> bool:
    """Whether a name is of a backup that a task wrote."""
    return re.fullmatch(rf"{re.escape(task)}-{_STAMP}{re.escape(DUMP)}", name) is not None

"""Enters final anchors and deployments in the Remembrancer: a row each, appended, never changed."""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import UTC
from pathlib import Path

from vaultmesh.domain.deployment import DEPLOYMENT, Deployment
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.receipts.receipt import AnchorReceipt

BUSY_SECONDS = 30.0
"""How long a writer waits for another one: appending takes milliseconds."""
EXAMINED_SECONDS = 3.0
"""How long an examination waits for a writer, and reads at the most."""
_WRITE_AND_UNDO = ("BEGIN IMMEDIATE", "CREATE TABLE doctor (look)", "ROLLBACK")
"""SQLite says of a volume that is read-only no earlier than when something is written."""
_STEPS = 10_000
"""Of SQLite's machine between two looks at the clock."""
TURN_SECONDS = 0.5
"""How long a thread waits for its turn in this process: behind a locked file, all threads would else stand still."""
ANCHOR_TYPE = "anchor"
COMPONENT = "scheduler"

_CREATE = """
CREATE TABLE IF NOT EXISTS memories (
  id TEXT PRIMARY KEY, timestamp TEXT NOT NULL, type TEXT NOT NULL, component TEXT, version TEXT,
  hash TEXT, sig TEXT, data JSON, merkle_root TEXT);
CREATE INDEX IF NOT EXISTS idx_timestamp ON memories(timestamp);
CREATE INDEX IF NOT EXISTS idx_component ON memories(component);
CREATE INDEX IF NOT EXISTS idx_type ON memories(type);
"""
_APPEND = """
INSERT INTO memories (id, timestamp, type, component, version, hash, sig, data, merkle_root)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(id) DO NOTHING
"""
_DEPLOYMENTS = """
SELECT timestamp, component, version, hash FROM memories WHERE type = ? AND component = ? AND id LIKE 'deployment:%' ORDER BY rowid
"""
_RECORDS = "SELECT json_extract(data, '$.receipt') FROM memories WHERE type = ? AND id LIKE 'deployment:%' AND json_valid(data)"


class Remembrancer:
    """The table `memories` of one SQLite file; used by any thread."""

    def __init__(self, path: Path) -> None:
        """Open nothing before the first row."""
        self._path = path
        self._turn = threading.Lock()

    def append(self, *receipts: AnchorReceipt) -> int:
        """Append a row for each final receipt that has none; the key: target, namespace, batch.

        Returns how many rows are new.

        Raises:
            NetworkFailure: the file can't be written, or another thread has waited for it for a while.
        """
        return self._append_in_turn([_row(receipt) for receipt in receipts if receipt.is_final])

    def append_deployment(self, deployment: Deployment, path: str, event: str, batch: str) -> bool:
        """Append the row of a deployment if there is none; tells whether it is new.

        Raises:
            NetworkFailure: as `append` does.
        """
        return self._append_in_turn([_row_of_deployment(deployment, path, event, batch)]) > 0

    def deployments(self, component: str) -> list[Deployment]:
        """Return the deployments of a component that have rows, in the order in which they were appended.

        Raises:
            NetworkFailure: the file can't be read.
        """
        rows = self._read(_DEPLOYMENTS, DEPLOYMENT, component)
        keys = ("at", "component", "version", "sha256")
        return [Deployment.model_validate(dict(zip(keys, row, strict=True))) for row in rows]

    def records(self) -> list[str]:
        """Return which records of deployments rows name, by their paths.

        Raises:
            NetworkFailure: the file can't be read.
        """
        paths = self._read(_RECORDS, DEPLOYMENT)
        return [path for (path,) in paths if isinstance(path, str)]

    def _read(self, query: str, *values: str) -> list[tuple[object, ...]]:
        if not self._path.exists():
            return []
        try:
            with closing(sqlite3.connect(self._path, timeout=BUSY_SECONDS)) as database:
                return database.execute(query, values).fetchall() if _has_table(database) else []
        except sqlite3.Error as error:
            message = f"could not read {self._path}: {error}; check the file and its folder"
            raise NetworkFailure(message) from error

    def examine(self) -> int | None:
        """Return how many rows there are, after a look whether one could be appended; None if there is no file yet.

        Raises:
            NetworkFailure: it is locked, damaged, or can't be written.
        """
        if not os.path.lexists(self._path):
            return None
        try:
            with closing(sqlite3.connect(self._path, timeout=EXAMINED_SECONDS)) as database:
                for statement in _WRITE_AND_UNDO:
                    database.execute(statement)
                self._check(database)
                if not _has_table(database):
                    return 0
                return int(database.execute("SELECT count(*) FROM memories").fetchone()[0])
        except sqlite3.Error as error:
            mend = (
                "see who locks it"
                if "locked" in str(error)
                else "check its rights, or restore it from a copy"
            )
            message = f"{self._path}: {error}; {mend}"
            raise NetworkFailure(message) from error

    @staticmethod
    def _check(database: sqlite3.Connection) -> None:
        """Have SQLite read the whole file; of a large one, what is read within some seconds.

        Raises:
            sqlite3.Error: it is damaged.
        """
        until = time.monotonic() + EXAMINED_SECONDS
        database.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
        try:
            (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if "interrupted" not in str(error):
                raise
            said = "ok"
        database.set_progress_handler(None, 0)
        if said != "ok":
            raise sqlite3.DatabaseError(" ".join(str(said).split()))

    def _append_in_turn(self, rows: Sequence[tuple[str, ...]]) -> int:
        if not rows:
            return 0
        if not self._turn.acquire(timeout=TURN_SECONDS):
            message = f"another thread waits for {self._path}; it is tried again - see who locks it"
            raise NetworkFailure(message)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return self._append(rows)
        except (sqlite3.Error, OSError) as error:
            message = f"could not append to {self._path}: {error}; check the file and its folder"
            raise NetworkFailure(message) from error
        finally:
            self._turn.release()

    def _append(self, rows: Iterable[tuple[str, ...]]) -> int:
        with closing(sqlite3.connect(self._path, timeout=BUSY_SECONDS)) as database:
            if not _has_table(database):
                database.executescript(_CREATE)
            with database:
                before = database.total_changes
                database.executemany(_APPEND, rows)
                return database.total_changes - before


def _has_table(database: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'memories'"
    return database.execute(query).fetchone() is not None


def _row(receipt: AnchorReceipt) -> tuple[str, ...]:
    metadata = receipt.metadata
    data = {
        "namespace": metadata.namespace,
        "cadence": metadata.cadence,
        "slot": metadata.slot,
        "batchId": metadata.batch_id,
        "target": str(receipt.network),
        "txRef": receipt.tx_ref,
        "blockNumber": receipt.block_number,
        "anchorTs": receipt.anchor_ts.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "round": metadata.round,
        "commitment": receipt.proven_commitment().receipt_form,
        "receipt": receipt.path,
    }
    return (
        f"anchor:{receipt.network}:{metadata.namespace}:{metadata.batch_id}",
        receipt.observed_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        ANCHOR_TYPE,
        COMPONENT,
        receipt.verifier.partition("/")[2],
        receipt.root.digest.hex(),
        "",
        json.dumps(data, separators=(",", ":"), ensure_ascii=False),
        "",
    )


def _row_of_deployment(
    deployment: Deployment, path: str, event: str, batch: str
) -> tuple[str, ...]:
    data = {
        "namespace": deployment.namespace,
        "eventId": event,
        "batchId": batch,
        "receipt": path,
        "by": deployment.by,
        "note": deployment.note,
    }
    return (
        deployment.id,
        deployment.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        DEPLOYMENT,
        deployment.component,
        deployment.version,
        deployment.sha256,
        "",
        json.dumps(data, separators=(",", ":"), ensure_ascii=False),
        "",
    )

"""Enters final anchors in the Remembrancer: a row each, appended, never changed."""

import json
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.receipts.receipt import AnchorReceipt

BUSY_SECONDS = 30.0
"""How long a writer waits for another one: appending takes milliseconds."""
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
        rows = [_row(receipt) for receipt in receipts if receipt.is_final]
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

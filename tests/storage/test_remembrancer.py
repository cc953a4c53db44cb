"""Rows of final anchors."""

import json
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.domain.batches.test_event_receipt import OBSERVED
from tests.domain.receipts.test_receipt import BTC, EVM, read
from vaultmesh.domain.failures import NetworkFailure
from vaultmesh.domain.paths import REMEMBRANCER_DATABASE
from vaultmesh.storage.remembrancer import Remembrancer


def rows(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT * FROM memories ORDER BY id").fetchall()


def test_a_final_anchor_becomes_a_row(tmp_path: Path) -> None:
    path = tmp_path / REMEMBRANCER_DATABASE
    assert Remembrancer(path).append(read(BTC)) == 1
    (row,) = rows(path)
    assert row[:7] == (
        "anchor:btc:regtest:dao:example:1761300000",
        "2026-01-15T11:02:00Z",
        "anchor",
        "scheduler",
        "2.0.0",
        "50298939464ed02cbf2b587250a55746b3422e133ac4f09b7e2b07869023bc9e",
        "",
    )
    data = json.loads(row[7])
    assert (data["namespace"], data["cadence"]) == ("dao:example", "strong")
    assert data["txRef"] == BTC["txRef"]
    assert row[8] == ""


def test_a_row_is_appended_once_and_never_changed(tmp_path: Path) -> None:
    path = tmp_path / REMEMBRANCER_DATABASE
    remembrancer = Remembrancer(path)
    remembrancer.append(read(BTC))
    before = rows(path)
    assert remembrancer.append(read(BTC, observedAt="2027-01-01T00:00:00Z")) == 0
    assert rows(path) == before
    assert remembrancer.append(read(BTC), read(EVM)) == 1


def test_what_is_not_final_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / REMEMBRANCER_DATABASE
    assert Remembrancer(path).append(read(BTC, finality=OBSERVED)) == 0
    assert not path.exists()


def test_a_table_of_the_remembrancer_is_kept_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rem.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "CREATE TABLE memories (id TEXT PRIMARY KEY, timestamp TEXT NOT NULL, type TEXT NOT"
            " NULL, component TEXT, version TEXT, hash TEXT, sig TEXT, data JSON, merkle_root TEXT)"
        )
        database.execute("INSERT INTO memories (id, timestamp, type) VALUES ('old', 't', 'codex')")
        database.commit()
    Remembrancer(path).append(read(BTC))
    assert [row[0] for row in rows(path)] == ["anchor:btc:regtest:dao:example:1761300000", "old"]


def test_several_writers_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / REMEMBRANCER_DATABASE
    documents = [read(BTC, metadata={**BTC["metadata"], "batchId": str(n)}) for n in range(8)]
    threads = [threading.Thread(target=Remembrancer(path).append, args=documents) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows(path)) == 8


def test_a_file_that_can_not_be_written_is_a_network_failure(tmp_path: Path) -> None:
    path = tmp_path / "rem.db"
    path.write_text("this is no database, but it is long enough to be looked at")
    with pytest.raises(NetworkFailure, match="could not append"):
        Remembrancer(path).append(read(BTC))


def test_behind_a_locked_file_one_thread_waits_and_the_others_go_on(tmp_path: Path) -> None:
    """The harm: every thread of a worker stood still behind the lock, and nothing was anchored any more."""
    path = tmp_path / REMEMBRANCER_DATABASE
    remembrancer = Remembrancer(path)
    remembrancer.append(read(BTC))
    with closing(sqlite3.connect(path)) as locker:
        locker.execute("BEGIN EXCLUSIVE")
        waiting = threading.Thread(target=remembrancer.append, args=(read(EVM),))
        waiting.start()
        time.sleep(0.2)
        began = time.monotonic()
        with pytest.raises(NetworkFailure, match="another thread waits"):
            remembrancer.append(read(EVM))
        assert time.monotonic() - began < 5
        assert waiting.is_alive()
        locker.rollback()
    waiting.join(60)
    assert len(rows(path)) == 2

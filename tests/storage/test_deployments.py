"""A deployment is recorded once, whatever is cut off in between: one record, one sealed event, one row."""

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vaultmesh.domain.audit_chain import Head
from vaultmesh.domain.deployment import Deployment, read_deployment
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.paths import BATCHES_FOLDER, DEPLOYMENTS_FOLDER, REMEMBRANCER_DATABASE
from vaultmesh.storage.deployments import Deployments, Recorded

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)
ONE, OTHER = "1" * 64, "2" * 64


def asked(version: str = "2.0.0", sha256: str = ONE, **more: object) -> Deployment:
    fields = {"component": "scheduler", "by": "operator ada", "namespace": "dao:one", "at": AT}
    head = Head(entry=3, hash="a" * 64)
    values = {"version": version, "sha256": sha256, "note": 'say "hi": ~', "audit": head}
    return Deployment.model_validate({**fields, **values, **more})


def record(root: Path, deployment: Deployment, now: int = 1_772_452_800) -> Recorded:
    return Deployments(root).record(deployment, BATCHES_FOLDER, now=now)


def rows(root: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(root / REMEMBRANCER_DATABASE)) as database:
        query = "SELECT id, timestamp, type, component, version, hash, data FROM memories ORDER BY rowid"
        return database.execute(query).fetchall()


def batches(root: Path) -> int:
    return len(list((root / BATCHES_FOLDER).glob("*.json")))


def test_the_row_names_version_artifact_event_and_batch(tmp_path: Path) -> None:
    recorded = record(tmp_path, asked())
    assert recorded.is_new
    ((name, at, kind, component, version, sha256, data),) = rows(tmp_path)
    assert (name, kind) == ("deployment:scheduler:2.0.0:1", "deployment")
    assert (at, component, version, sha256) == ("2026-03-02T12:00:00Z", "scheduler", "2.0.0", ONE)
    assert json.loads(str(data)) == {
        "namespace": "dao:one",
        "eventId": recorded.event,
        "batchId": recorded.batch,
        "receipt": "ops/receipts/deploy/scheduler-2.0.0.receipt",
        "by": "operator ada",
        "note": 'say "hi": ~',
    }
    text = (tmp_path / recorded.path).read_bytes()
    assert read_deployment(text) == asked()
    assert (tmp_path / f"out/receipts/{recorded.event}.json").exists()


def test_the_same_again_later_makes_no_second_row_event_or_record(tmp_path: Path) -> None:
    first = record(tmp_path, asked())
    again = record(tmp_path, asked(at=AT + timedelta(hours=1), note="other"), now=1_772_456_400)
    assert (again.is_new, again.event, again.batch) == (False, first.event, first.batch)
    assert (len(rows(tmp_path)), batches(tmp_path)) == (1, 1)


_KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from tests.storage.test_deployments import asked, record
sqlite3.connect = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
record(Path(sys.argv[1]), asked())
"""


def test_a_kill_between_event_and_row_is_finished_by_the_same_command(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(tmp_path)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (batches(tmp_path), (tmp_path / REMEMBRANCER_DATABASE).exists()) == (1, False)
    finished = record(tmp_path, asked(at=AT + timedelta(hours=1)), now=1_772_456_400)
    assert (finished.is_new, finished.deployment.at) == (True, AT)
    assert (len(rows(tmp_path)), batches(tmp_path)) == (1, 1)


def test_a_kill_between_record_and_event_is_finished_by_the_same_command(tmp_path: Path) -> None:
    file = tmp_path / DEPLOYMENTS_FOLDER / asked().file_name
    file.parent.mkdir(parents=True)
    file.write_text(asked().text())
    record(tmp_path, asked(at=AT + timedelta(hours=1)))
    assert file.read_text() == asked().text()
    assert (len(rows(tmp_path)), batches(tmp_path)) == (1, 1)


def test_going_back_to_an_earlier_version_is_a_deployment_of_its_own(tmp_path: Path) -> None:
    for hour, version in enumerate(("2.0.0", "2.0.1", "2.0.0", "2.0.0")):
        sha256 = OTHER if version == "2.0.1" else ONE
        deployment = asked(version, sha256, at=AT + timedelta(hours=hour))
        record(tmp_path, deployment, now=1_772_452_800 + hour)
    assert [row[0] for row in rows(tmp_path)] == [
        "deployment:scheduler:2.0.0:1",
        "deployment:scheduler:2.0.1:1",
        "deployment:scheduler:2.0.0:2",
    ]
    heads, changed = Deployments(tmp_path).heads()
    assert ([kept.head.entry for kept in heads], changed) == ([3, 3, 3], [])


def test_a_version_names_one_artifact(tmp_path: Path) -> None:
    record(tmp_path, asked())
    with pytest.raises(InvalidValue, match="a version names one artifact"):
        record(tmp_path, asked(sha256=OTHER))
    assert (len(rows(tmp_path)), batches(tmp_path)) == (1, 1)


def test_a_record_that_was_changed_since_it_was_sealed_is_said_and_not_sealed_again(
    tmp_path: Path,
) -> None:
    recorded = record(tmp_path, asked())
    file = tmp_path / recorded.path
    file.write_text(file.read_text().replace("entry: 3", "entry: 2"))
    heads, changed = Deployments(tmp_path).heads()
    assert (heads, changed) == ([], [recorded.path])
    with pytest.raises(InvalidValue, match="changed since it was sealed"):
        record(tmp_path, asked())
    assert batches(tmp_path) == 1


def test_the_record_of_an_earlier_tool_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / DEPLOYMENTS_FOLDER / "scheduler-1.9.0.receipt"
    file.parent.mkdir(parents=True)
    text = (
        "---\ntype: deployment\ncomponent: scheduler\nversion: 1.9.0\ntimestamp: 2026-01-15T11:02:00Z\n"
        f"evidence:\n  artifact: scheduler.tgz\n  sha256: {ONE}\nstatus: active\n"
        "verified_by: remembrancer-cli\n---\n\nDeployed.\n"
    )
    file.write_text(text)
    recorded = record(tmp_path, asked("1.9.0"))
    assert recorded.deployment.at == datetime(2026, 1, 15, 11, 2, tzinfo=UTC)
    assert file.read_text() == text
    assert Deployments(tmp_path).heads() == ([], [])

"""Files whose names are not UTF-8: whatever is said of them can be sent, logged and printed."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.storage.test_receipts import BATCH, BATCH_ROOT, put_event, receipt
from vaultmesh.domain.errors import DomainError, InvalidValue
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import Backoff, ReportFailure
from vaultmesh.domain.target import Target
from vaultmesh.process import logs
from vaultmesh.process.settings import REPOSITORY
from vaultmesh.storage.batches import BatchIndex
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.receipts import ReceiptStore
from vaultmesh.storage.rounds import RoundStore

ODD = os.fsdecode(b"caf\xe9")
SHOWN = r"caf\udce9"
TARGET = Target.parse("eip155:31337")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def require_sendable(lines: Iterable[object]) -> None:
    """Send refusals as a worker does."""
    messages = [str(line) for line in lines]
    assert len(messages) == 1
    assert SHOWN in messages[0]
    report = ReportFailure(
        target=TARGET,
        requests=[],
        kind=FailureKind.VALIDATION,
        message=messages[0],
        backoff=Backoff(),
    )
    assert ReportFailure.model_validate_json(report.model_dump_json()) == report


def test_batches(store: LocalStore) -> None:
    store.write(f"out/batches/{ODD}.json", b"{}")
    require_sendable(BatchIndex(store).owned("dao:x").refused)


@pytest.mark.parametrize("manifest", [b"{", b"{}"])
def test_rounds(store: LocalStore, manifest: bytes) -> None:
    rounds = RoundStore(store, TARGET)
    for name, content in (("manifest.json", manifest), ("candidate-0.json", b"{}")):
        store.write(f"{rounds.folder}/{ODD}/{name}", content)
    require_sendable(rounds.unreadable())
    assert rounds.open_rounds() == []
    with pytest.raises(InvalidValue) as refused:
        rounds.highest_sequence("a")
    require_sendable([refused.value])


def test_event_receipts(store: LocalStore) -> None:
    path = put_event(store, ODD, integrity=f"vmr1-{BATCH}-evt-1")
    receipts = ReceiptStore(store)
    receipts.write(receipt())
    assert receipts.derive_event_receipts(BATCH, BATCH_ROOT) == []
    document = json.loads(store.read(path) or b"")
    assert document["anchor"]["chain"] == "btc:regtest"
    store.write(path, json.dumps({**document, "verifier": 7}).encode())
    require_sendable(receipts.derive_event_receipts(BATCH, BATCH_ROOT))


def test_log_lines() -> None:
    record = logging.makeLogRecord({"msg": "odd", "file": ODD, "err": str(DomainError(ODD))})
    line = logs.JsonLines().format(record)
    assert json.loads(line.encode())["file"] == ODD
    assert json.loads(line)["err"] == SHOWN


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["seal", "dao:x", "--pending"], 0),
        (["seal", "dao:x", "--pending", "--json"], 0),
        (["verify"], 1),
        (["verify", "--json"], 1),
        (["verify", "--offline", "--json"], 1),
    ],
)
def test_commands(store: LocalStore, arguments: list[str], code: int) -> None:
    pending = f"out/provisional/{ODD}.json"
    store.write(pending, json.dumps({"eventHash": BATCH_ROOT.batch_form}).encode())
    store.write("vmsh/config/namespaces.yaml", b"namespaces: {}\n")
    named = [] if arguments[0] == "seal" else [store.root / pending]
    done = subprocess.run(
        [sys.executable, "starter.py", *arguments, *named],
        cwd=REPOSITORY,
        env={**os.environ, "VMSH_ROOT": str(store.root)},
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert SHOWN in (done.stdout + done.stderr).decode()
    assert "Traceback" not in done.stderr.decode()
    assert ("--json" in arguments) is done.stdout.startswith(b"{")
    assert "--json" not in arguments or json.loads(done.stdout)
    assert store.exists(pending)
    assert store.names("out/.sealing") == []

"""A ledger is one room and one row: nothing else knows the notary, and it is anchored on and verified all the same."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from bench.local_system import Ledger, write_whole
from tests.cli.conftest import Command, run, write_namespaces
from tests.ledgers.notary import row
from tests.support.system import System
from vaultmesh.domain.checks import Standing
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.process.settings import REPOSITORY
from vaultmesh.verification import Trust, verify

__all__ = ["run"]
pytestmark = [pytest.mark.server, pytest.mark.slow]
NAMESPACE, TARGET = "dao:notarised", "notary:village"
KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """Return Temporal and workers; no chain."""
    monkeypatch.setitem(SCHEMES, row.NAME, row.ROW)
    notarised = System(tmp_path, Ledger(TARGET, "fast", {"keyFile": "key"}))
    private = KEY.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    write_whole(notarised.root / "key", private.hex())
    write_namespaces(
        notarised.root / "vmsh/config/namespaces.yaml",
        {NAMESPACE: {"fast": {"target": TARGET, "every": "1h"}}},
    )
    with notarised as running:
        running.point_at(monkeypatch)
        yield running


def test_a_row_and_a_room_make_a_ledger(system: System, run: Command) -> None:
    batch_id = system.seal(NAMESPACE)
    system.start_worker(script="tests/ledgers/notary/worker.py")
    assert run("register").code == 0
    system.wait_final(NAMESPACE, batch_id)
    live = run("verify", "--batch", batch_id)
    assert live.code == 0, live.out
    assert "✓ signature" in live.out
    (place,) = (system.root / "out/anchors").rglob("notary_village.json")
    content = place.read_bytes()
    assert verify(content, Trust()).standing is Standing.CONSISTENT
    assert verify(content, Trust(further={"notary": (PUBLIC,)})).proven
    stranger = Ed25519PrivateKey.generate().public_key()
    other = stranger.public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert verify(content, Trust(further={"notary": (other,)})).standing is Standing.REFUTED
    trusted = system.root / "notary.key"
    trusted.write_bytes(PUBLIC)
    offline = run("verify", "--offline", place, "--trust", f"notary={trusted}")
    assert offline.code == 0, offline.out
    assert run("verify", "--offline", place).code == 1


def test_nothing_else_names_the_notary() -> None:
    done = subprocess.run(
        ["git", "grep", "-il", "notary", "--", "*.py"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert {name.split("/")[2] for name in done.stdout.split()} == {"notary"}

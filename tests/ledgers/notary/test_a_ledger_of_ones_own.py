"""A ledger is one room and one row: nothing else knows the notary, and it is anchored on and verified all the same."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.cli.conftest import Command, run
from tests.ledgers.notary import row
from tests.support.system import REPOSITORY, System
from vaultmesh.domain.checks import Standing
from vaultmesh.domain.paths import path_form
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.verification import Trust, verify

__all__ = ["run"]
pytestmark = [pytest.mark.server, pytest.mark.slow]
NAMESPACE, TARGET = "dao:notarised", "notary:village"
KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


class Notarised(System):
    """Temporal and workers; no chain."""

    def __enter__(self) -> "Notarised":
        self.root.mkdir(parents=True, exist_ok=True)
        private = KEY.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        (self.root / "key").write_text(private.hex())
        config = self.root / "vmsh" / "config"
        config.mkdir(parents=True, exist_ok=True)
        cadence = {"fast": {"target": TARGET, "every": "1h"}}
        (config / "namespaces.yaml").write_text(
            json.dumps({"namespaces": {NAMESPACE: {"cadence": cadence}}})
        )
        (config / "anchors.yaml").write_text(
            json.dumps({"notary": {"default": {"keyFile": "key"}}})
        )
        try:
            self.temporal.part.start()
            asyncio.run(self._ensure())
        except BaseException:
            self.__exit__()
            raise
        return self

    def receipt(self, namespace: str, batch_id: str) -> dict[str, Any] | None:
        folder = self.root / "out/anchors" / path_form(namespace) / path_form(batch_id)
        place = folder / "notary_village.json"
        return json.loads(place.read_text()) if place.exists() else None


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notarised]:
    monkeypatch.setitem(SCHEMES, row.NAME, row.ROW)
    with Notarised(tmp_path) as running:
        monkeypatch.setenv("TEMPORAL_ADDRESS", running.temporal.address)
        monkeypatch.setenv("VMSH_ROOT", str(running.root))
        yield running


def test_a_row_and_a_room_make_a_ledger(system: Notarised, run: Command) -> None:
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

"""A missing key or trust shows in the first second, for its own target alone; a key that others may read is warned of."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from devnet.ports import free_port
from vaultmesh.domain.schemes import SCHEMES
from vaultmesh.domain.target import Target
from vaultmesh.ledgers.targets import settings_model
from vaultmesh.process.config_files import load_anchors
from vaultmesh.process.readiness import Readiness
from vaultmesh.process.settings import REPOSITORY

KEY = "0x" + "ab" * 32
EVM, OTHER, TSA = map(Target.parse, ("eip155:1", "eip155:2", "rfc3161:tsa"))
MODELS = {target: settings_model(target) for target in (EVM, OTHER, TSA)}
CHAIN = {"rpcUrl": "http://127.0.0.1:1", "contract": "0x" + "1" * 40}
WITHIN_SECONDS = 120.0


def anchors(root: Path, **sections: Mapping[str, object]) -> Any:
    """Write anchors.yaml with a right key for `eip155:2`."""
    (root / "fine.key").write_text(KEY)
    (root / "fine.key").chmod(0o640)
    path = root / "vmsh" / "config" / "anchors.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    chains = {"2": {"keyFile": "fine.key"}, "1": sections.get("chain", {"keyFile": "fine.key"})}
    authority = {"url": "http://127.0.0.1:1", "trustBundle": "roots.pem"}
    path.write_text(
        json.dumps(
            {"eip155": {"default": CHAIN, **chains}, "rfc3161": {"tsa": authority}}, indent=1
        )
    )
    return load_anchors(path, {"THE_KEY": KEY})


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    lines = [
        (record.levelname, getattr(record, "target", ""), getattr(record, "detail", ""))
        for record in caplog.records
        if record.name.endswith("readiness")
    ]
    caplog.clear()
    return lines


@pytest.fixture(autouse=True)
def listening(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_each_target_without_its_file_is_named_once_and_once_more_when_it_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    readiness = Readiness(tmp_path)
    file = anchors(tmp_path, chain={"keyFile": "late.key"})
    readiness.look(file, MODELS)
    (key, trust) = said(caplog)
    assert key[:2] == ("ERROR", "eip155:1")
    assert f"{tmp_path}/late.key cannot be read (No such file or directory): check path" in key[2]
    assert trust[:2] == ("ERROR", "rfc3161:tsa")
    assert "put the roots there" in trust[2]
    readiness.look(file, MODELS)
    assert said(caplog) == []
    (tmp_path / "late.key").write_text(KEY)
    (tmp_path / "late.key").chmod(0o600)
    readiness.look(file, MODELS)
    assert said(caplog) == [("INFO", "eip155:1", "")]


@pytest.mark.parametrize(
    ("mode", "warns"),
    [(0o400, False), (0o600, False), (0o440, False), (0o640, False), (0o644, True), (0o660, True),
     (0o604, True), (0o777, True)],
)  # fmt: skip
def test_a_key_that_others_may_read_is_warned_of(
    mode: int, warns: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = anchors(tmp_path)
    (tmp_path / "fine.key").chmod(mode)
    Readiness(tmp_path).look(file, {EVM: MODELS[EVM]})
    lines = said(caplog)
    assert [line[0] for line in lines] == ["WARNING"] * warns
    assert all(f"mode {mode:04o}" in line[2] and "chmod 640" in line[2] for line in lines)


@pytest.mark.parametrize(("key", "warns"), [(KEY, True), ("${THE_KEY}", False)])
def test_a_key_that_stands_in_the_file_is_warned_of_with_its_line_and_without_its_value(
    key: str, warns: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = anchors(tmp_path, chain={"key": key})
    Readiness(tmp_path).look(file, {EVM: MODELS[EVM]})
    lines = said(caplog)
    assert [line[0] for line in lines] == ["WARNING"] * warns
    for _, _, detail in lines:
        assert detail.startswith(f"{file.path}:")
        assert "eip155.1.key: holds the key itself - write ${NAME}" in detail
        assert KEY[2:] not in detail


@pytest.mark.parametrize("text", ["", "no key", "0x" + "0" * 10])
def test_a_file_that_holds_no_key_is_named(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = anchors(tmp_path)
    (tmp_path / "fine.key").write_text(text)
    Readiness(tmp_path).look(file, {EVM: MODELS[EVM]})
    ((level, _, detail),) = said(caplog)
    assert level == "ERROR"
    assert "write 64 hex digits, nothing else" in detail


def test_every_secret_of_a_ledger_is_a_key_of_its_settings() -> None:
    for scheme in SCHEMES:
        model = settings_model(Target(scheme, "x"))
        keys = {field.alias or name for name, field in model.model_fields.items()}
        assert keys >= model.SECRETS


# --- a worker ------------------------------------------------------------------------------------


@pytest.mark.server
@pytest.mark.parametrize("roles", ["workflows,anchors", "workflows"])
def test_a_worker_names_the_missing_key_before_it_works_and_starts_all_the_same(
    roles: str, address: str, tmp_path: Path
) -> None:
    anchors(tmp_path, chain={"keyFile": "late.key"})
    cadence = {"fast": {"target": "eip155:1", "every": "1d"}}
    (tmp_path / "vmsh/config/namespaces.yaml").write_text(
        json.dumps({"namespaces": {"a:b": {"cadence": cadence}}})
    )
    log = tmp_path / "worker.log"
    with log.open("w") as lines:
        worker = subprocess.Popen(
            [sys.executable, "worker.py", "--roles", roles],
            cwd=REPOSITORY,
            env={
                **os.environ, "TEMPORAL_ADDRESS": address, "VMSH_ROOT": str(tmp_path), "VMSH_REGISTER": "report",
                "METRICS_PORT": str(free_port()),
            },
            stdout=lines,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + WITHIN_SECONDS
        while "scheduler starting" not in log.read_text() and time.monotonic() < deadline:
            assert worker.poll() is None, log.read_text()
            time.sleep(0.2)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(WITHIN_SECONDS) == 0
    finally:
        worker.kill()
        worker.wait()
    told = [json.loads(line) for line in log.read_text().splitlines()]
    sentences = [line["msg"] for line in told]
    if "anchors" in roles:
        assert sentences.index("target not ready") < sentences.index("scheduler starting")
    else:
        assert "target not ready" not in sentences

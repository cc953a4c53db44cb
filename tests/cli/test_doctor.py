"""`doctor` says what is wrong with real parts, what to do about it, and nothing of what is right."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from eth_account import Account

from devnet.ports import free_port
from tests.support.freezing import freeze, thaw
from tests.support.running_dev import Running
from vaultmesh.process.settings import REPOSITORY

pytestmark = [pytest.mark.server, pytest.mark.evm, pytest.mark.btc, pytest.mark.timeout(700)]
SECONDS = 90.0
Line = dict[str, Any]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("doctor") / "root")
    running.announced()
    yield running
    running.end()


def doctor(dev: Running, *arguments: str, **environment: str) -> tuple[int, list[Line]]:
    """Run it with JSON; returns exit code and lines."""
    done = subprocess.run(
        [sys.executable, "starter.py", "doctor", "--json", *arguments],
        cwd=REPOSITORY,
        env={
            "PATH": os.environ["PATH"],
            "TEMPORAL_ADDRESS": dev.announced()["temporal"]["address"],
            "VMSH_ROOT": str(dev.root),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["checks"]


def anchors(dev: Running, place: Path, scheme: str, reference: object, **changes: Any) -> str:
    """Write a copy of anchors.yaml in which one target's section is changed."""
    document = yaml.safe_load((dev.root / "vmsh/config/anchors.yaml").read_text())
    section = document[scheme][reference]
    section.update(changes)
    document[scheme][reference] = {
        key: value for key, value in section.items() if value is not None
    }
    place.write_text(yaml.safe_dump(document))
    return str(place)


def wrong_lines(lines: list[Line]) -> list[Line]:
    return [line for line in lines if line["condition"] == "wrong"]


def only_wrong(lines: list[Line], check: str) -> Line:
    """Return the one line that is wrong; each says what to do."""
    (line,) = wrong_lines(lines)
    assert line["check"] == check, lines
    assert line["mend"]
    return line


def test_a_sound_system_has_a_line_for_everything_and_nothing_wrong(dev: Running) -> None:
    code, lines = doctor(dev)
    assert code == 0, wrong_lines(lines)
    checks = {(line["part"].split(" ")[0], line["check"]) for line in lines}
    chain = {"chain id", "newest block", "finality", "block receipts", "contract", "key", "balance"}
    assert {("eip155:31337", check) for check in chain} <= checks
    assert {
        ("btc:regtest", check) for check in ("network", "newest block", "wallet", "balance")
    } <= checks
    stamps = ("pinned root", "time stamp", "clock", "signer's certificate")
    assert {("rfc3161:tsa", check) for check in stamps} <= checks
    temporal = ("server", "retention", "search attributes", "worker")
    assert {("temporal", check) for check in temporal} <= checks
    assert {("storage", "files"), ("storage", "space"), ("jobs", "store")} <= checks
    assert ("audit", "orders") in checks
    assert not [place for place in dev.root.iterdir() if place.name.startswith(".doctor")]


def test_strict_fails_for_a_warning(dev: Running) -> None:
    """A development server keeps closed workflows for a day, which is warned of."""
    assert doctor(dev, "--only", "temporal")[0] == 0
    code, lines = doctor(dev, "--only", "temporal", "--strict")
    assert code == 1
    assert [line["check"] for line in lines if line["condition"] == "warning"] == ["retention"]


def test_a_dead_endpoint_beside_a_live_one_is_named_alone(dev: Running, tmp_path: Path) -> None:
    live, dead = dev.announced()["evm"]["rpc"], f"http://127.0.0.1:{free_port()}"
    place = anchors(
        dev, tmp_path / "anchors.yaml", "eip155", 31337, rpcUrl=None, rpcUrls=[dead, live]
    )
    code, lines = doctor(dev, "--only", "targets", VMSH_ANCHORS=place)
    assert code == 1
    assert only_wrong(lines, "answers")["part"] == f"eip155:31337 {dead}"
    assert f"eip155:31337 {live}" in {line["part"] for line in lines}


def test_a_key_without_funds_and_a_contract_that_is_not_there_are_told(
    dev: Running, tmp_path: Path
) -> None:
    poor = Account.create()
    place = anchors(
        dev,
        tmp_path / "anchors.yaml",
        "eip155",
        31337,
        keyFile=None,
        key=poor.key.hex(),
        contract="0x" + "11" * 20,
    )
    code, lines = doctor(dev, "--only", "targets", VMSH_ANCHORS=place)
    assert code == 1
    found = {line["check"]: line for line in wrong_lines(lines)}
    assert set(found) == {"contract", "balance"}
    assert poor.address in found["balance"]["mend"]
    assert "contract deploy" in found["contract"]["mend"]
    assert poor.key.hex() not in json.dumps(lines)


def test_a_key_file_that_is_gone_is_told_and_the_chain_is_examined_all_the_same(
    dev: Running, tmp_path: Path
) -> None:
    place = anchors(dev, tmp_path / "anchors.yaml", "eip155", 31337, keyFile="keys/none.key")
    code, lines = doctor(dev, "--only", "targets", VMSH_ANCHORS=place)
    assert code == 1
    assert "keys/none.key" in only_wrong(lines, "key")["detail"]
    assert ("eip155:31337", "contract") in {(line["part"], line["check"]) for line in lines}


def test_a_chain_of_another_id_is_told(dev: Running, tmp_path: Path) -> None:
    """The harm: an endpoint of another network, behind the right name, would be found at the first signature."""
    document = yaml.safe_load((dev.root / "vmsh/config/anchors.yaml").read_text())
    document["eip155"] = {1: document["eip155"][31337]}
    anchors_file, namespaces = tmp_path / "anchors.yaml", tmp_path / "namespaces.yaml"
    anchors_file.write_text(yaml.safe_dump(document))
    text = (dev.root / "vmsh/config/namespaces.yaml").read_text()
    namespaces.write_text(text.replace("eip155:31337", "eip155:1"))
    environment = {"VMSH_ANCHORS": str(anchors_file), "VMSH_NAMESPACES": str(namespaces)}
    code, lines = doctor(dev, "--only", "targets", **environment)
    assert code == 1
    chain = next(line for line in wrong_lines(lines) if line["check"] == "chain id")
    assert "serves chain 31337, not 1" in chain["detail"]


def test_a_root_that_did_not_sign_the_authoritys_tokens_is_told(
    dev: Running, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign.pem"
    made = ["req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=foreign", "-days", "9"]
    key = str(tmp_path / "foreign.key")
    subprocess.run(["openssl", *made, "-keyout", key, "-out", str(foreign)], check=True)
    place = anchors(dev, tmp_path / "anchors.yaml", "rfc3161", "tsa", trustBundle=str(foreign))
    code, lines = doctor(dev, "--only", "targets", VMSH_ANCHORS=place)
    assert code == 1
    assert "trustBundle" in only_wrong(lines, "time stamp")["mend"]
    roots = [line for line in lines if line["check"] == "pinned root"]
    assert [line["condition"] for line in roots] == ["warning"]  # it ends within 30 days


def test_a_wallet_that_is_not_loaded_is_told(dev: Running, tmp_path: Path) -> None:
    place = anchors(dev, tmp_path / "anchors.yaml", "btc", "regtest", wallet="nobodys")
    code, lines = doctor(dev, "--only", "targets", VMSH_ANCHORS=place)
    assert code == 1
    line = only_wrong(lines, "wallet")
    assert "loadwallet" in line["mend"]
    password = dev.announced()["btc"]["rpc"].split("@")[0].rsplit(":", 1)[1]
    assert password not in json.dumps(lines)
    assert "network" in {line["check"] for line in lines}  # the node itself is well


def test_temporal_away_hides_nothing_else(dev: Running) -> None:
    code, lines = doctor(dev, TEMPORAL_ADDRESS=f"127.0.0.1:{free_port()}")
    assert code == 1
    assert only_wrong(lines, "server")["part"] == "temporal"
    assert "balance" in {line["check"] for line in lines}


def test_malformed_files_are_lines_and_no_crash(dev: Running, tmp_path: Path) -> None:
    bad = tmp_path / "namespaces.yaml"
    bad.write_text("namespaces: {a: {cadence: {fast: {evry: 1s}}}}")
    code, lines = doctor(
        dev, "--only", "configuration", "--only", "storage", VMSH_NAMESPACES=str(bad)
    )
    assert code == 1
    (typing_error,) = (line for line in wrong_lines(lines) if "evry" in line["detail"])
    assert "did you mean 'every'" in typing_error["mend"]
    assert "space" in {line["check"] for line in lines}


def test_a_root_that_is_no_folder_and_a_database_that_is_away_are_told(
    dev: Running, tmp_path: Path
) -> None:
    code, lines = doctor(
        dev,
        "--only",
        "storage",
        "--only",
        "jobs",
        VMSH_ROOT=str(tmp_path / "none"),
        JOBS_DATABASE_URL=f"postgresql://someone:hidden-word@127.0.0.1:{free_port()}/jobs",
        REPORT_SERVICE_URL=f"http://127.0.0.1:{free_port()}",
    )
    assert code == 1
    assert {line["check"] for line in wrong_lines(lines)} == {"writable", "store"}
    service = next(line for line in lines if line["check"].startswith("service"))
    assert service["condition"] == "warning"
    assert "hidden-word" not in json.dumps(lines)


def test_the_table_for_people_names_what_is_wrong_first_in_its_line(dev: Running) -> None:
    done = subprocess.run(
        [sys.executable, "starter.py", "doctor", "--only", "storage"],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], "VMSH_ROOT": "/no/such/root"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.startswith("WRONG ")
    assert "VMSH_ROOT" in done.stdout
    assert "1 wrong" in done.stdout


@contextmanager
def standing_still(dev: Running) -> Iterator[None]:
    """Stop every program of the system, as a machine does that swaps or a hypervisor that pauses it."""
    parts = psutil.Process(dev.process.pid).children(recursive=True)
    for part in parts:
        freeze(part.pid)
    try:
        yield
    finally:
        for part in parts:
            thaw(part.pid)


def test_half_a_minute_is_enough_where_nothing_answers_at_all(dev: Running, tmp_path: Path) -> None:
    """The harm: an init container or a person at night waits for minutes, and one file that hangs takes every other line."""
    fifo = tmp_path / "hangs.key"
    os.mkfifo(fifo)
    place = anchors(dev, tmp_path / "anchors.yaml", "eip155", 31337, keyFile=str(fifo))
    with socket.create_server(("127.0.0.1", 0)) as silent, standing_still(dev):
        url = f"postgresql://someone:word@127.0.0.1:{silent.getsockname()[1]}/jobs"
        began = time.monotonic()
        code, lines = doctor(dev, VMSH_ANCHORS=place, JOBS_DATABASE_URL=url)
        took = time.monotonic() - began
    assert code == 1
    assert took < 30
    parts = {line["part"].split(" ")[0] for line in wrong_lines(lines)}
    assert parts == {"temporal", "eip155:31337", "btc:regtest", "rfc3161:tsa", "jobs"}
    assert all(line["mend"] for line in lines if line["condition"] != "ok")


def test_a_setting_that_is_refused_is_a_line_of_json_like_all_others(dev: Running) -> None:
    """The harm: whoever reads the JSON got nothing at all for the commonest mistake."""
    code, lines = doctor(dev, LOG_LEVEL="loud", METRICS_PORT="many")
    assert code == 2
    refused = {line["detail"].split(":")[0] for line in wrong_lines(lines)}
    assert refused == {"LOG_LEVEL", "METRICS_PORT"}


def test_a_key_that_others_may_read_is_warned_of(dev: Running, tmp_path: Path) -> None:
    key = tmp_path / "open.key"
    key.write_text((dev.root / "keys/evm.key").read_text())
    key.chmod(0o644)
    place = anchors(dev, tmp_path / "anchors.yaml", "eip155", 31337, keyFile=str(key))
    code, lines = doctor(dev, "--only", "targets", VMSH_ANCHORS=place)
    assert code == 0
    (line,) = (line for line in lines if line["check"] == "key file")
    assert (line["condition"], line["mend"]) == ("warning", "chmod 640, or 600")


def test_what_listens_without_tls_has_one_mend_and_it_is_the_right_one(dev: Running) -> None:
    """The harm: two mends in a line, of which the second sent people to an address that was right."""
    code, lines = doctor(dev, "--only", "temporal", TEMPORAL_TLS="true")
    assert code == 1
    assert only_wrong(lines, "server")["mend"].startswith("unset TEMPORAL_TLS")


def test_a_root_that_was_mistyped_leads_nobody_to_register_the_examples(
    dev: Running, tmp_path: Path
) -> None:
    """The harm: the repository's own namespaces stood in, and `register` was named as the mend of what they differ by."""
    code, lines = doctor(dev, "--only", "configuration", VMSH_ROOT=str(tmp_path / "none"))
    assert code == 0
    assert "register" not in json.dumps(lines)
    assert [line["check"] for line in lines if line["condition"] == "warning"] == ["stands in"]


@pytest.mark.parametrize("harm", ["locked", "damaged"])
def test_a_remembrancer_that_takes_no_row_is_told(dev: Running, tmp_path: Path, harm: str) -> None:
    """The harm: anchors become final and the row of each waits, while every line said ok."""
    place = tmp_path / "ops/data/remembrancer.db"
    place.parent.mkdir(parents=True)
    with closing(sqlite3.connect(place, isolation_level=None)) as database:
        database.execute("CREATE TABLE memories (id TEXT PRIMARY KEY)")
        if harm == "locked":
            database.execute("BEGIN EXCLUSIVE")
        else:
            place.write_bytes(b"no database" * 1_000)
        code, lines = doctor(dev, "--only", "storage", VMSH_ROOT=str(tmp_path))
    assert code == 1
    assert str(place) in only_wrong(lines, "Remembrancer")["part"]


def test_a_service_that_jobs_call_and_that_has_no_url_is_named(
    dev: Running, tmp_path: Path
) -> None:
    store = tmp_path / "ops/data/jobs.db"
    store.parent.mkdir(parents=True)
    with (
        closing(sqlite3.connect(dev.root / "ops/data/jobs.db")) as source,
        closing(sqlite3.connect(store)) as database,
    ):
        source.backup(database)
        job = "INSERT INTO job_schedules (job_name, service, enabled) VALUES (?, ?, 1)"
        database.execute(job, ("daily", "report-service"))
        database.commit()
    code, lines = doctor(dev, "--only", "jobs", VMSH_ROOT=str(tmp_path))
    assert code == 0
    (line,) = (line for line in lines if line["check"] == "service report-service")
    assert (line["condition"], "REPORT_SERVICE_URL" in line["mend"]) == ("warning", True)
    assert "service report-service" not in {
        line["check"]
        for line in doctor(dev, "--only", "jobs", REPORT_SERVICE_URL="http://127.0.0.1:1")[1]
        if line["detail"].startswith("jobs call it")
    }


def test_a_store_that_takes_no_writes_is_not_called_well(dev: Running) -> None:
    """The harm: a replica answers each question, and every registration and run is refused."""
    url = dev.announced()["postgres"]["url"]
    read_only = f"{url}?options=-c%20default_transaction_read_only%3Don"
    assert doctor(dev, "--only", "jobs", JOBS_DATABASE_URL=url)[0] == 0
    code, lines = doctor(dev, "--only", "jobs", JOBS_DATABASE_URL=read_only)
    assert code == 1
    assert "name the primary" in only_wrong(lines, "store")["mend"]


def test_what_stands_where_databases_are_made_is_told(dev: Running, tmp_path: Path) -> None:
    """The harm: both were called well, since neither is there yet, and the first row of each failed."""
    (tmp_path / "ops").write_text("in the way")
    code, lines = doctor(dev, "--only", "storage", "--only", "jobs", VMSH_ROOT=str(tmp_path))
    assert code == 1
    assert {line["check"] for line in wrong_lines(lines)} == {"Remembrancer", "store"}
    assert all("is no folder" in line["detail"] for line in wrong_lines(lines))

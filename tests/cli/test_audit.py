"""`record-deploy` and `audit`, without a server: what they write, print and refuse."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Outcome, cadences, write_namespaces
from vaultmesh.domain.paths import JOBS_DATABASE

DIGEST = "0123456789abcdef" * 4
NAMESPACES = "vmsh/config/namespaces.yaml"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMSH_ROOT", str(tmp_path))
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    monkeypatch.delenv("JOBS_DATABASE_URL", raising=False)
    monkeypatch.setattr("vaultmesh.process.client.CONNECT_SECONDS", 0.5)
    write_namespaces(tmp_path / NAMESPACES, {"dao:one": cadences()})
    return tmp_path


def deploy(run: Command, *more: str, version: str = "2.0.0") -> Outcome:
    return run("record-deploy", "--version", version, "--sha256", DIGEST, *more)


def sql(root: Path, statement: str) -> None:
    with closing(sqlite3.connect(root / JOBS_DATABASE)) as database, database:
        database.execute(statement)


def test_a_deployment_stands_in_the_audit_once_and_can_be_verified(
    run: Command, root: Path
) -> None:
    first = deploy(run, "--note", "change 1234")
    assert first.code == 0
    assert "scheduler 2.0.0: recorded; sealed in batch" in first.out
    again = deploy(run, "--json")
    assert (again.code, again.json()["recorded"]) == (0, "before")
    assert deploy(run, version="2.0.1").code == 0
    shown = run("audit", "scheduler", "--json")
    assert shown.code == 0
    assert "orders to workflows of late may be missing" in shown.err
    assert "orders were never read into this store" in shown.err
    newest, oldest = shown.json()
    assert (oldest["action"], oldest["job_name"]) == ("record-deploy", "deployment:scheduler")
    assert oldest["actor"].startswith("operator ")
    assert oldest["detail"]["note"] == "change 1234"
    assert (oldest["entry"], newest["entry"]) == (2, 3)
    assert "record-deploy" in run("audit").out
    report = run("audit", "--verify", "--json")
    assert (report.code, report.json()["ok"], report.json()["entries"]) == (0, True, 3)
    assert report.json()["headsThatAgree"] == report.json()["headsKeptElsewhere"] == 2


def test_a_changed_line_and_an_end_that_was_cut_off_end_verify_with_1(
    run: Command, root: Path
) -> None:
    for number in range(3):
        deploy(run, version=f"2.0.{number}")
    (head,) = re.findall(r"[0-9]+:[0-9a-f]{64}", run("audit", "--verify").out)
    sql(root, "DELETE FROM job_audit_chain WHERE seq = 4")
    sql(root, "DELETE FROM job_audit WHERE id = 4")
    (root / "ops/data/audit-head.json").rename(root / "kept-by-nobody.json")
    assert run("audit", "--verify").code == 0
    cut = run("audit", "--verify", "--head", head)
    assert cut.code == 1
    assert "the chain ends at entry 3, and --head knows entry 4" in cut.err
    sql(root, "UPDATE job_audit SET actor = 'mallory' WHERE id = 2")
    changed = run("audit", "--verify", "--json")
    assert (changed.code, changed.json()["entries"]) == (1, 1)
    assert "entry 2: its line was changed" in changed.json()["problem"]


def test_a_kept_end_that_was_spoilt_and_a_record_that_is_gone_end_verify_with_1(
    run: Command, root: Path
) -> None:
    """The harm: who cut the end off and spoilt the file that knew of it was told that all is whole."""
    for number in range(3):
        deploy(run, version=f"2.0.{number}")
    assert run("audit", "--verify").code == 0
    kept, record = root / "ops/data/audit-head.json", "ops/receipts/deploy/scheduler-2.0.1.receipt"
    whole = kept.read_text()
    kept.write_text("{")
    sql(root, "DELETE FROM job_audit_chain WHERE seq = 4")
    sql(root, "DELETE FROM job_audit WHERE id = 4")
    outcome = run("audit", "--verify")
    assert outcome.code == 1
    assert "audit-head.json holds no end of a chain any more" in outcome.err
    assert kept.read_text() == "{"
    kept.write_text(whole)
    assert "its end was cut off" in run("audit", "--verify").err
    kept.unlink()
    assert run("audit", "--verify").code == 0
    (root / record).unlink()
    gone = run("audit", "--verify", "--json")
    assert gone.code == 1
    assert gone.json()["problem"] == f"{record} was removed, and the Remembrancer has its row"


def test_sealed_heads_show_that_the_whole_database_was_written_anew(
    run: Command, root: Path
) -> None:
    deploy(run)
    deploy(run, version="2.0.1")  # its record holds entry 2
    sql(root, "DELETE FROM job_audit_chain")
    sql(root, "UPDATE job_audit SET actor = 'mallory' WHERE id = 2")
    (root / "ops/data").joinpath("audit-head.json").unlink(missing_ok=True)
    outcome = run("audit", "--verify")
    assert outcome.code == 1
    assert (
        "entry 2 has another hash than ops/receipts/deploy/scheduler-2.0.1.receipt says"
        in outcome.err
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--sha256", "xyz"), "is no SHA-256"),
        (("--version", "../x"), "is no version"),
        (("--namespace", "no:body"), "is not in namespaces.yaml"),
    ],
)
def test_what_can_not_be_recorded_is_bad_usage_and_leaves_nothing(
    more: tuple[str, ...], said: str, run: Command, root: Path
) -> None:
    outcome = deploy(run, *more)
    assert outcome.code == 2
    assert said in outcome.err
    assert not (root / "ops/receipts").exists()


def test_without_one_namespace_to_seal_in_it_is_said_what_to_do(run: Command, root: Path) -> None:
    write_namespaces(root / NAMESPACES, {"dao:one": cadences(), "dao:two": cadences()})
    several = deploy(run)
    assert several.code == 2
    assert "name one by --namespace; there are: dao:one, dao:two" in several.err
    (root / NAMESPACES).write_text("namespaces: {}\n")
    none = deploy(run)
    assert none.code == 2
    assert "sealed as an event of one - write one there first" in none.err


def test_a_log_in_in_a_note_reaches_neither_record_nor_audit(run: Command, root: Path) -> None:
    assert deploy(run, "--note", "postgresql://ada:hunter2pass@db/x moved").code == 0
    everything = b"".join(file.read_bytes() for file in root.rglob("*") if file.is_file())
    assert b"@db/x moved" in everything
    assert b"hunter2pass" not in everything

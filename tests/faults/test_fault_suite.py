"""One system with every ledger, harmed in one way after the other; its judge shares no code with it.

After each harm every batch is anchored once on each ledger, nothing else is paid, and receipts say what the ledgers
say. At the end the judge itself is judged: it refuses what was doctored.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from devnet.bitcoind import WALLET, BitcoinRpc
from devnet.jsonrpc import JsonRpc
from tests.faults.drill import AUTHORITY, BITCOIN, EVM, NAMESPACES, TARGETS, Drill
from tests.judge.judge import Judge
from tests.support.marks import FAULTS
from tests.support.system import System

pytestmark = FAULTS

STOPPED_SECONDS = 12.0
"""Longer than a heartbeat may be missed, so that others take over what the worker had begun."""
SILENT_SECONDS = 8.0
"""Longer than an attempt to anchor takes at most."""
OUTAGE_SECONDS = 20.0
USED_WITHIN_SECONDS = 15.0
"""10 s are promised after a ledger's return; this machine may be busy."""
TWO_ROUNDS_SECONDS = 30.0
"""What was signed before the outage, then what was owed meanwhile: blocks come every 2 s, slots every 3 s."""
LOCKED_SECONDS = 15.0
HOLDER = """import fcntl, os, signal, sys
folder = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(folder, fcntl.LOCK_EX)
print("locked", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    started = Drill(tmp_path_factory.mktemp("suite") / "root")
    try:
        started.seal()
        started.wait_satisfied()
        started.wait_remembered()
        yield started
    finally:
        code = started.end()  # every history replays
    assert code == 0
    assert started.running.processes() == []


@pytest.fixture(autouse=True)
def timed(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    began = time.monotonic()
    yield
    with capsys.disabled():
        print(f"\n{request.node.name}: {time.monotonic() - began:.1f} s", end=" ", flush=True)


# --- harm --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "target"),
    [
        ("worker", EVM),
        ("worker", BITCOIN),
        ("temporal", EVM),
        ("anvil", EVM),
        ("bitcoind", BITCOIN),
        ("tsa", None),
    ],
)
def test_a_part_killed_with_an_anchor_under_way_loses_no_batch_and_pays_none_twice(
    drill: Drill, part: str, target: str | None
) -> None:
    drill.seal()
    if target is not None:
        drill.wait_under_way(target)
    drill.kill(part)
    drill.seal()
    drill.wait_satisfied()


def test_a_worker_that_stood_still_takes_nothing_back_from_the_one_that_went_on(
    drill: Drill,
) -> None:
    with drill.second_worker():
        drill.seal()
        drill.wait_under_way(BITCOIN)
        with drill.stopped("worker"):
            drill.seal()
            time.sleep(STOPPED_SECONDS)
        drill.wait_satisfied()
    drill.seal()
    drill.wait_satisfied()


def test_ledgers_that_were_silent_get_what_was_owed_once(drill: Drill) -> None:
    drill.seal()
    with drill.stopped("anvil", "bitcoind", "tsa"):
        drill.seal()
        time.sleep(SILENT_SECONDS)
    drill.wait_satisfied()


def test_an_outage_of_bitcoin_holds_up_no_other_ledger_is_named_in_health_and_ends_at_once(
    drill: Drill,
) -> None:
    drill.seal()
    drill.wait_under_way(BITCOIN)
    with drill.down("bitcoind"):
        began = time.monotonic()
        meanwhile = drill.seal()
        System.wait(lambda: BITCOIN in drill.health()["targets"], "the target in trouble", 30)
        health = drill.health()
        assert health["targets"].keys() == {BITCOIN}
        assert health["targets"][BITCOIN]["status"] == "unreachable"
        for target in (EVM, AUTHORITY):
            drill.wait_satisfied(*meanwhile, on=target)
        time.sleep(max(0.0, began + OUTAGE_SECONDS - time.monotonic()))
    System.wait(lambda: drill.judge.chains[BITCOIN].ask("getblockcount"), "bitcoind", 60)
    back = time.monotonic()
    System.wait(lambda: BITCOIN not in drill.health().get("targets", {}), "the endpoint's use", 60)
    used = time.monotonic() - back
    drill.wait_satisfied(*meanwhile, on=BITCOIN)
    anchored = time.monotonic() - back
    drill.wait_satisfied()
    assert used < USED_WITHIN_SECONDS
    assert anchored < USED_WITHIN_SECONDS + TWO_ROUNDS_SECONDS


def test_a_locked_remembrancer_holds_up_no_anchor(drill: Drill) -> None:
    drill.wait_remembered()
    with closing(sqlite3.connect(drill.root / "ops/data/remembrancer.db", timeout=30)) as locker:
        locker.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        while time.monotonic() - began < LOCKED_SECONDS:  # more rounds than a worker has threads
            drill.seal()
            time.sleep(1.5)
        drill.wait_satisfied()
        locker.rollback()
    drill.wait_remembered()


def test_a_folder_in_a_receipts_place_holds_up_its_batch_alone(drill: Drill) -> None:
    dao, fin = NAMESPACES
    place = drill.receipt_file(dao, drill.next_id(), EVM)
    place.mkdir(parents=True)
    (behind, *others) = drill.seal(dao, fin, dao)
    drill.wait_satisfied(*others)
    assert_behind_on(drill, behind, EVM)
    place.rmdir()
    drill.wait_satisfied()


def test_a_stopped_process_with_the_lock_of_a_receipt_folder_holds_up_its_batch_alone(
    drill: Drill,
) -> None:
    dao, fin = NAMESPACES
    folder = drill.receipt_file(dao, drill.next_id(), EVM).parent
    folder.mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"locked\n"
            (behind, *others) = drill.seal(dao, fin, dao)
            drill.wait_satisfied(*others)
            assert_behind_on(drill, behind, *TARGETS)
        finally:
            holder.kill()
    drill.wait_satisfied()


def test_in_the_end_every_anchor_is_final_and_remembered(drill: Drill) -> None:
    drill.wait_satisfied(final=True)
    drill.wait_remembered()


def assert_behind_on(drill: Drill, batch_id: str, *targets: str) -> None:
    """Wait until a batch has its receipts, but for those on these targets."""
    expected = [
        f"batch {batch_id} of {NAMESPACES[0]} on {target}: there is no receipt"
        for target in TARGETS
        if target in targets
    ]
    System.wait(lambda: drill.judge.findings_of(batch_id) == expected, "its other receipts")


# --- the judge can refuse ----------------------------------------------------------------------


Receipt = dict[str, Any]
LIES: list[tuple[str, str, Callable[[Receipt], object], str]] = [
    ("root", EVM, lambda it: it.update(root="0x" + "11" * 32), "its root is"),
    ("salt", EVM, lambda it: proof(it)["leaf"].update(salt="0x" + "11" * 32), "leads to"),
    ("path", BITCOIN, lambda it: proof(it)["path"].append("0x" + "11" * 32), "fits no tree"),
    ("batch", BITCOIN, lambda it: proof(it)["leaf"].update(batchId="1"), "its proof is of"),
    ("commitment", EVM, lambda it: proof(it).update(root="0x" + "11" * 32), "leads to"),
    ("transaction", EVM, lambda it: it.update(txRef="0x" + "11" * 32), "it is in transaction"),
    ("height", EVM, lambda it: it.update(blockNumber=1), "it is in block"),
    ("block", EVM, lambda it: it["evidence"]["evm"].update(blockHash="0x"), "its block is"),
    ("block", BITCOIN, lambda it: it["evidence"]["btc"].update(blockHash=""), "its block is"),
    ("time", BITCOIN, lambda it: it.update(anchorTs="2026-01-01T00:00:00Z"), "time is"),
    ("depth", BITCOIN, lambda it: it["finality"].update(requiredDepth=10**6), "final at depth"),
    ("status", EVM, lambda it: it.update(status="reorged"), "its receipt is"),
    ("serial", AUTHORITY, lambda it: it.update(txRef="serial:1"), "another serial number"),
    ("time", AUTHORITY, lambda it: it.update(anchorTs="2026-01-01T00:00:00Z"), "another time"),
    (
        "token",
        AUTHORITY,
        lambda it: it["evidence"]["rfc3161"].update(token=it["evidence"]["rfc3161"]["request"]),
        "openssl refuses",
    ),
]
"""What a receipt may lie about, of which ledger, how, and what the judge says then."""


def proof(receipt: Receipt) -> dict[str, Any]:
    aggregation: dict[str, Any] = receipt["evidence"]["aggregation"]
    return aggregation


@pytest.fixture
def copied(drill: Drill, tmp_path: Path) -> Judge:
    """Return a judge of a copy of everything that it reads, which asks the same ledgers and finds nothing."""
    drill.wait_satisfied(final=True)
    drill.wait_remembered()
    copy = tmp_path / "copy"
    for name in ("out", "ops", "tsa"):
        shutil.copytree(drill.root / name, copy / name)
    shutil.copy(drill.root / "devnet.json", copy)
    judge = Judge(copy, drill.judge.owed)
    assert [*judge.findings(final=True), *judge.unremembered()] == []
    return judge


def aggregated(judge: Judge, target: str) -> Path:
    """Return the place of a receipt whose batch shares its anchor with others."""
    places = sorted((judge.root / "out/anchors").rglob(f"{target.replace(':', '_')}.json"))
    return next(place for place in places if proof(json.loads(place.read_text())))


@pytest.mark.parametrize(
    ("target", "lie", "refusal"),
    [pytest.param(*each, id=f"{name}-{each[0]}") for name, *each in LIES],
)
def test_the_judge_refuses_a_doctored_receipt(
    copied: Judge, target: str, lie: Callable[[Receipt], object], refusal: str
) -> None:
    place = aggregated(copied, target)
    receipt = json.loads(place.read_text())
    lie(receipt)
    place.write_text(json.dumps(receipt))
    findings = copied.findings(final=True)
    assert any(refusal in finding and target in finding for finding in findings), findings


@pytest.mark.parametrize("target", TARGETS)
def test_the_judge_misses_a_receipt_that_is_gone(copied: Judge, target: str) -> None:
    for place in (copied.root / "out/anchors").rglob(f"{target.replace(':', '_')}.json"):
        place.unlink()
    findings = copied.findings()
    assert sum("there is no receipt" in finding for finding in findings) == len(copied.batches())
    unnamed = [finding for finding in findings if "no receipt names transaction" in finding]
    assert bool(unnamed) == (target != AUTHORITY)


@pytest.mark.parametrize("target", TARGETS)
def test_the_judge_refuses_a_root_that_two_rounds_took_to_one_ledger(
    copied: Judge, target: str
) -> None:
    rounds = copied.root / "out/rounds" / target.replace(":", "_")
    for place in [place for place in rounds.iterdir() if place.is_dir()]:
        # each of them: a round that was signed is not in the ledger yet
        shutil.copytree(place, rounds / f"{place.name}-again")
    assert any(f"{target}: 2 rounds took" in finding for finding in copied.findings())


def test_the_judge_misses_a_row_of_the_remembrancer(copied: Judge) -> None:
    with closing(sqlite3.connect(copied.root / "ops/data/remembrancer.db")) as database, database:
        database.execute("DELETE FROM memories WHERE id = (SELECT min(id) FROM memories)")
        database.execute("UPDATE memories SET hash = '' WHERE id = (SELECT max(id) FROM memories)")
    assert len(copied.unremembered()) == 2


def test_the_judge_refuses_a_root_that_was_paid_for_twice(drill: Drill) -> None:
    """The last test: somebody else pays with our key and our wallet, which a system does not get over by itself."""
    drill.wait_satisfied(final=True)
    evm, bitcoin = (next(iter(chain.view().commitments)) for chain in drill.judge.chains.values())
    rpc = JsonRpc(drill.announced["evm"]["rpc"])
    paid = rpc("eth_getTransactionByHash", evm.tx)
    rpc("anvil_impersonateAccount", paid["from"])
    again = {"from": paid["from"], "to": paid["to"], "data": paid["input"]}
    txs = [rpc("eth_sendTransaction", again)]
    url = urlsplit(drill.announced["btc"]["rpc"])
    place = f"http://{url.hostname}:{url.port}/wallet/{WALLET}"
    wallet = BitcoinRpc(place, url.username or "", url.password or "")
    raw = wallet("createrawtransaction", [], [{"data": "5256" + bitcoin.value[2:]}])
    funded = wallet("fundrawtransaction", raw)["hex"]
    signed = wallet("signrawtransactionwithwallet", funded)["hex"]
    txs.append(wallet("sendrawtransaction", signed))

    def refused() -> bool:
        findings = "\n".join(drill.judge.findings())
        twice = [f"{value} is in the ledger 2 times" for value in (evm.value, bitcoin.value)]
        unknown = [f"no receipt names transaction {tx}" for tx in txs]
        return all(line in findings for line in (*twice, *unknown))

    System.wait(refused, "the judge's refusal of both")

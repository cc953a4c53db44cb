"""Deadlines and metrics on real parts: each cause is made, and what misses its promise is shown with that cause and no other."""

import asyncio
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client

from bench.local_system import write_whole
from devnet.jsonrpc import JsonRpc
from devnet.promtool import promtool
from tests.support.freezing import freeze, thaw
from tests.support.running_dev import Running
from tests.support.system import System
from vaultmesh.domain.names import namespace_workflow_id
from vaultmesh.process.promises import PERIOD_SECONDS

pytestmark = [
    pytest.mark.server,
    pytest.mark.evm,
    pytest.mark.fault,
    pytest.mark.timeout(700),
]
TARGET = "eip155:31337"
DEADLINE_SECONDS = 6
PLAIN_SECONDS = 20
"""Of the namespace that keeps its promise while nothing is wrong."""
SHOWN_SECONDS = 90.0
"""A look each 15 s, a visibility list each 15 s, a busy machine."""
PLAIN, DEEP = "dao:plain", "dao:deep"


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("deadlines") / "root"
    fast = {"target": TARGET, "every": "2s", "confirmations": 2, "deadline": f"{DEADLINE_SECONDS}s"}
    plain = {"cadence": {"fast": {**fast, "deadline": f"{PLAIN_SECONDS}s"}}}
    deep = {"cadence": {"fast": {**fast, "confirmations": 5_000}}}
    content = json.dumps({"namespaces": {PLAIN: plain, DEEP: deep}})
    write_whole(root / "vmsh/config/namespaces.yaml", content)
    running = Running(root, environment={"VMSH_BASE_BACKOFF": "0.5", "VMSH_ANCHOR_TIMEOUT": "5s"})
    running.announced()
    yield running
    running.end()


def seal(dev: Running, namespace: str) -> None:
    place = dev.root / f"{time.time_ns()}.txt"
    place.write_text(str(time.time_ns()))
    sealed = dev.starter("seal", namespace, str(place))
    assert sealed.returncode == 0, sealed.stderr


def rows(dev: Running, name: str, namespace: str) -> dict[str, float]:
    """Return a metric's values of a namespace by cause, as the worker's page shows them now."""
    url = dev.announced()["http"]["url"] + "/metrics"
    with urllib.request.urlopen(url, timeout=40) as answer:  # noqa: S310 - our own
        page = answer.read().decode()
    found = {}
    for row in page.splitlines():
        if row.startswith(f"scheduler_{name}{{") and f'namespace="{namespace}"' in row:
            labels, _, value = row.rpartition(" ")
            found[labels.split('cause="')[1].split('"')[0]] = float(value)
    return found


def wait_for(dev: Running, namespace: str, cause: str) -> None:
    """Wait until the batches past their deadline are shown with this cause alone."""

    def is_shown() -> bool:
        overdue = rows(dev, "deadline_overdue_batches", namespace)
        return set(overdue) == {cause} and (cause == "none" or overdue[cause] > 0)

    System.wait(is_shown, f"{namespace} overdue by {cause}", SHOWN_SECONDS)


def test_what_is_final_in_time_is_no_miss(dev: Running) -> None:
    """Also: the series are there from the start, so that the first miss changes a value and not a page."""
    wait_for(dev, PLAIN, "none")
    seal(dev, PLAIN)
    System.wait(
        lambda: list((dev.root / "out/anchors").rglob("*.json")), "a receipt", SHOWN_SECONDS
    )
    time.sleep(PLAIN_SECONDS + PERIOD_SECONDS)  # a look after the deadline has passed
    wait_for(dev, PLAIN, "none")
    assert "deadline missed" not in dev.said()


def test_a_depth_that_takes_longer_than_the_deadline_is_told(dev: Running) -> None:
    seal(dev, DEEP)
    wait_for(dev, DEEP, "confirmations")
    assert sum(rows(dev, "deadline_missed_total", DEEP).values()) == 1


def test_a_paused_namespace_misses_and_says_so(dev: Running) -> None:
    assert dev.starter("pause", PLAIN, "--reason", "a test").returncode == 0
    seal(dev, PLAIN)
    wait_for(dev, PLAIN, "paused")
    assert dev.starter("resume", PLAIN).returncode == 0
    wait_for(dev, PLAIN, "none")


def test_an_account_without_funds_is_told_as_what_holds_the_target(dev: Running) -> None:
    rpc = JsonRpc(dev.announced()["evm"]["rpc"])
    account = _account(dev)
    balance = rpc("eth_getBalance", account, "latest")
    rpc("anvil_setBalance", account, "0x1")
    try:
        seal(dev, PLAIN)
        wait_for(dev, PLAIN, "held")
    finally:
        rpc("anvil_setBalance", account, balance)
    wait_for(dev, PLAIN, "none")


def test_a_ledger_that_does_not_answer_is_told(dev: Running) -> None:
    anvil = dev.announced()["pids"]["anvil"]
    freeze(anvil)
    try:
        seal(dev, PLAIN)
        wait_for(dev, PLAIN, "endpoint")
    finally:
        thaw(anvil)
    wait_for(dev, PLAIN, "none")


def test_a_worker_that_starts_anew_knows_what_was_missed_before(dev: Running) -> None:
    """The harm: what was overdue before a restart was shown as nothing after it."""
    os.kill(dev.announced()["pids"]["worker"], signal.SIGKILL)

    def is_another() -> bool:
        try:
            return bool(rows(dev, "deadline_overdue_batches", DEEP))
        except OSError:
            return False

    System.wait(is_another, "the next worker's page", SHOWN_SECONDS)
    wait_for(dev, DEEP, "confirmations")


def test_the_log_names_each_batch_once_with_cause_and_promise(dev: Running) -> None:
    lines = [
        json.loads(line)
        for line in _worker_log(dev).splitlines()
        if line.startswith("{") and '"deadline missed"' in line
    ]
    batches = [line["batch"] for line in lines if line["ns"] == PLAIN]
    assert len(batches) == len(set(batches)) == 3
    assert all(line["cause"] and line["detail"] for line in lines)
    assert all("to be final within" in line["promise"] for line in lines)


def _page(dev: Running) -> str:
    url = dev.announced()["http"]["url"] + "/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own
        page: str = answer.read().decode()
    return page


def _value(page: str, name: str, *labels: str) -> float | None:
    """Return the sum of a metric's series that have these labels; None if there is none."""
    values = [
        float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if line.startswith(f"scheduler_{name}") and all(label in line for label in labels)
    ]
    return sum(values) if values else None


def _files_without_receipt(dev: Running, namespace: str) -> int:
    """Count by files alone, as nobody in the product does."""
    batches = (dev.root / "out/batches").glob("*.json")
    own = [
        place.stem for place in batches if json.loads(place.read_text())["namespace"] == namespace
    ]
    folder = dev.root / "out/anchors" / namespace.replace(":", "_")
    return sum(not any((folder / batch).glob("*.json")) for batch in own)


def test_failures_never_exceed_attempts_also_where_the_worker_is_killed_in_an_outage(
    dev: Running,
) -> None:
    """The harm: the alert on the share of failures saw 400 %, then nothing. What is owed is what files say, meanwhile."""
    announced, target = dev.announced(), f'target="{TARGET}"'
    host = announced["evm"]["rpc"].partition("://")[2]
    freeze(announced["pids"]["anvil"])
    try:
        seal(dev, PLAIN)
        seal(dev, PLAIN)
        own = f'namespace="{PLAIN}"'
        System.wait(
            lambda: (_value(_page(dev), "anchors_failed_total", own) or 0) > 0, "a failure", 90
        )
        os.kill(announced["pids"]["worker"], signal.SIGKILL)
        seen: list[tuple[float, float]] = []

        def fails_again() -> bool:
            try:
                page = _page(dev)
            except OSError:
                return False
            attempted = _value(page, "anchors_attempted_total", own)
            failed = _value(page, "anchors_failed_total", own)
            assert attempted is not None
            assert failed is not None
            seen.append((attempted, failed))
            errors = _value(page, "endpoint_errors_total", target, f'host="{host}"') or 0
            return failed > 0 and errors > 0

        System.wait(fails_again, "a failure in the next worker", 90)
        assert all(failed <= attempted for attempted, failed in seen)
        owed = _files_without_receipt(dev, PLAIN)
        assert owed >= 2
        System.wait(lambda: _value(_page(dev), "owed_batches", own) == owed, "what files say", 60)
        oldest = _value(_page(dev), "oldest_owed_timestamp_seconds", own)
        assert oldest is not None
        assert time.time() - 300 < oldest < time.time()
    finally:
        thaw(announced["pids"]["anvil"])
    wait_for(dev, PLAIN, "none")


def test_a_signal_that_means_nothing_is_counted(dev: Running) -> None:
    async def send() -> None:
        client = await Client.connect(dev.announced()["temporal"]["address"])
        await client.get_workflow_handle(namespace_workflow_id(PLAIN)).signal("nonsense")

    name, kind = "signals_rejected_total", 'type="NamespaceWorkflow"'
    assert _value(_page(dev), name, kind) == 0
    asyncio.run(send())
    System.wait(lambda: _value(_page(dev), name, kind) == 1, "the rejected signal", SHOWN_SECONDS)


def test_a_workers_page_shows_its_targets_itself_and_the_sdk(dev: Running) -> None:
    System.wait(
        lambda: (_value(_page(dev), "runway_anchors", TARGET) or 0) > 0, "a look at the target", 90
    )
    page = _page(dev)
    checked = subprocess.run(
        [str(promtool()), "check", "metrics"],
        input=page.encode(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    for name in ("open_rounds", "balance", "current_bid", "fees_paid_total", "fee_cap_reached"):
        assert _value(page, name, TARGET) is not None
    for name in ("reorganisations_total", "foreign_uses_total", "fee_bumps_total", "build_info"):
        assert _value(page, name) is not None
    assert "\nprocess_resident_memory_bytes " in page
    assert "\ntemporal_activity_execution_latency_seconds_count{" in page


def _account(dev: Running) -> str:
    """Return the address that anchors, from the doctor."""
    done = dev.starter("doctor", "--only", "targets", "--json")
    checks = json.loads(done.stdout)["checks"]
    key = next(line for line in checks if line["check"] == "key")
    return str(key["detail"]).removeprefix("signs as ")


def _worker_log(dev: Running) -> str:
    logs = [place for place in Path(dev.root).rglob("*.log") if "worker" in place.name]
    return "\n".join(place.read_text() for place in logs) or dev.said()

"""Orders that histories hold stand in the audit, once, with who gave them and by whichever tool."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from activities.jobs import lone_audit, order_audit
from activities.jobs.lone_audit import LoneAudit
from activities.jobs.order_audit import OrderAudit
from devnet.ports import free_port
from tests.cli.conftest import cadences, write_namespaces
from vaultmesh.domain.audit_chain import Head
from vaultmesh.domain.jobs.records import AuditEntry
from vaultmesh.domain.jobs.storable import storable
from vaultmesh.domain.names import SCHEDULER_QUEUE
from vaultmesh.domain.namespaces.stopped import StopDecision
from vaultmesh.process import search_attributes
from vaultmesh.process.anchor_workflows import OrderRefused, order
from vaultmesh.process.client import connect
from vaultmesh.process.config_files import load_namespaces
from vaultmesh.process.job_settings import JobSettings
from vaultmesh.process.orders import OF_ANCHORING, executions, order_line, orders_of, update_key
from vaultmesh.process.registration import register
from vaultmesh.process.settings import Settings
from vaultmesh.storage.audit_checks import keep_head, kept_head, verify
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.job_store import JobStore
from vaultmesh.storage.stopped import StoppedNamespaces
from worker import _lone_audit, sandbox
from workflows.namespace.workflow import NamespaceWorkflow

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]
ADA = "operator ada@desk"
BOB = "bob@laptop"


@pytest.fixture
async def client(address: str) -> AsyncIterator[Client]:
    """Return a client of an operator, beside a worker of namespaces."""
    client = await connect(ADA)
    await search_attributes.ensure(client)
    runner = sandbox()
    serving = Worker(
        client,
        task_queue=SCHEDULER_QUEUE,
        workflows=[NamespaceWorkflow],
        workflow_runner=runner,
    )
    runner.serve(serving)
    async with serving:
        yield client


async def registered(client: Client, root: Path, name: str, **every: str) -> None:
    file = write_namespaces(root / "namespaces.yaml", {name: cadences(**every)})
    settings = Settings.from_environment({"VMSH_ROOT": str(root)})
    async for _ in register(client, load_namespaces(file).specs, settings):
        pass


async def ordered(client: Client, root: Path, name: str) -> None:
    """Give every kind of order, by our own commands and by another tool."""
    await registered(client, root, name)
    await registered(client, root, name)  # changes nothing
    await order(client, name, "pause", {"cadence": "fast", "reason": "upgrade"})
    other = (await connect(BOB)).get_workflow_handle(f"namespace:{name}")
    await other.signal("resume", "fast")
    await other.signal("pause", {"reason": "see postgresql://bob:hunter2pass@db/x"})
    await other.signal("note_failure", {"no": "report"})
    await other.signal("sing\0", args=[["a\0", "b" * 900]])
    await other.signal("hum", {"a\0": ["b\0", 2**70]})
    await registered(client, root, name, fast="999d")
    with pytest.raises(OrderRefused):
        await order(client, name, "pause", {"cadence": "hourly"})
    await order(client, name, "stop", {"reason": "moved"})


async def test_every_order_stands_in_the_audit_once_whoever_reads(
    client: Client, tmp_path: Path
) -> None:
    name = f"dao:{secrets.token_hex(4)}"
    await ordered(client, tmp_path, name)
    files = LocalStore(tmp_path)
    store = await JobStore.open(None, tmp_path)
    audits = [OrderAudit(client, store, tmp_path) for _ in range(2)]
    try:
        for audit in (*audits, *audits):
            assert await audit.look() > 0
        entries = await store.of_audit(lambda audit: audit.entries(name, 100, 0))
        assert (await verify(store)).problem == ""
        _check([entry for entry in reversed(entries) if entry.action != "stop"], name)
        assert (entries[0].action, entries[0].detail) == ("stop", {"argument": {"reason": "moved"}})
        assert kept_head(files) == await store.of_audit(lambda audit: audit.head())
    finally:
        await store.close()


def _check(entered: list[AuditEntry], name: str) -> None:
    said = [(entry.actor, entry.action, entry.detail) for entry in entered]
    by_signal = {"by": "signal"}
    assert said[:3] == [
        (ADA, "start", None),
        (ADA, "pause", {"argument": {"cadence": "fast", "reason": "upgrade"}}),
        (BOB, "resume", {"argument": "fast", **by_signal}),
    ]
    assert [(who, what) for who, what, _ in said[3:]] == [
        (BOB, "pause"),
        (BOB, "sing\N{REPLACEMENT CHARACTER}"),
        (BOB, "hum"),
        (ADA, "configure"),
    ]
    text = json.dumps([detail for *_, detail in said])
    assert "hunter2pass" not in text
    assert all(
        storable(detail) == detail for *_, detail in said
    )  # a NUL would keep all lines out of PostgreSQL
    assert len(text) < 2_000
    assert "999d on eip155:" in text
    assert {entry.job_name for entry in entered} == {f"namespace:{name}"}


async def test_an_order_that_its_sender_entered_is_not_entered_again_with_a_process_as_sender(
    client: Client, tmp_path: Path
) -> None:
    name, update = f"dao:{secrets.token_hex(4)}", secrets.token_hex(8)
    await registered(client, tmp_path, name)
    view = await order(client, name, "pause", {}, update)
    store = await JobStore.open(None, tmp_path)
    try:
        line = order_line(view.paused["fast"].since, "user_2abc", "pause", view.workflow_id, {})
        await store.note(line, update_key(view.workflow_id, update))
        await OrderAudit(client, store, tmp_path).look()
        entries = await store.of_audit(lambda audit: audit.entries(name, 100, 0))
        pauses = [entry.actor for entry in entries if entry.action == "pause"]
        assert pauses == ["user_2abc"]
        (run,) = [
            run
            for run in await executions(client, line.at, OF_ANCHORING)
            if run.id == view.workflow_id
        ]
        actions = [order.line.action for order in await orders_of(client, run, line.at)]
        assert actions == ["pause"]  # the start came before
    finally:
        await store.close()
        await order(client, name, "stop", {})


async def test_a_decision_to_stop_stands_there_while_no_workflow_can_be_told(
    client: Client, tmp_path: Path
) -> None:
    store = await JobStore.open(None, tmp_path)
    decision = StopDecision.model_validate(
        {"namespace": "dao:away", "at": "2026-03-02T12:00:00Z", "by": "ada@desk", "reason": "moved"}
    )
    StoppedNamespaces(LocalStore(tmp_path)).keep(decision)
    try:
        for _ in range(2):
            await OrderAudit(client, store, tmp_path).look()
        (entry,) = await store.of_audit(lambda audit: audit.entries("dao:away", 9, 0))
        assert (entry.actor, entry.action) == ("operator ada@desk", "unregister")
        assert (entry.at, entry.detail) == (decision.at, {"reason": "moved"})
    finally:
        await store.close()


async def test_a_worker_overwrites_no_kept_head_that_its_chain_lacks(
    client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files, kept = LocalStore(tmp_path), Head(entry=1, hash="f" * 64)
    keep_head(files, kept)
    store = await JobStore.open(None, tmp_path)
    try:
        await OrderAudit(client, store, tmp_path).look()
    finally:
        await store.close()
    assert kept_head(files) == kept
    assert "the audit lost entries, or they were changed" in caplog.messages


async def test_an_installation_whose_workers_only_anchor_has_its_orders_in_the_audit(
    client: Client, tmp_path: Path
) -> None:
    """The harm: no worker read the histories, and after Temporal's retention nobody knew who had paused what."""
    name = f"dao:{secrets.token_hex(4)}"
    settings = Settings.from_environment({"VMSH_ROOT": str(tmp_path)})
    await registered(client, tmp_path, name)
    task = asyncio.create_task(
        _lone_audit(client, settings, ["workflows", "anchors"])[order_audit.TASK]()
    )
    try:
        async with asyncio.timeout(60):
            while not (actions := await _actions(tmp_path, name)):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.2)
        assert actions == ["start"]
    finally:
        task.cancel()
        await order(client, name, "stop", {})


@pytest.mark.parametrize(
    ("days", "left"), [(None, ["pause"]), ("0", ["pause", "resume"]), ("9", [])]
)
async def test_old_lines_go_where_workers_only_anchor(
    client: Client,
    tmp_path: Path,
    days: str | None,
    left: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The harm: only workers with role jobs deleted lines, so that these installations kept all, whatever JOBS_KEEP_DAYS said."""
    if days is not None:
        monkeypatch.setenv("JOBS_KEEP_DAYS", days)
    name = f"dao:{secrets.token_hex(4)}"
    store = await JobStore.open(None, tmp_path)
    for action, age in (("resume", 401), ("pause", 399)):
        at = datetime.now(UTC) - timedelta(days=age)
        await store.note(order_line(at, ADA, action, name, {}))
    await store.close()
    task = asyncio.create_task(LoneAudit(client, tmp_path).run())
    try:
        async with asyncio.timeout(60):
            while await _actions(tmp_path, name) != left or days == "0":
                await asyncio.sleep(0.2)
                if days == "0" and kept_head(LocalStore(tmp_path)) is not None:
                    break
    finally:
        task.cancel()
    assert await _actions(tmp_path, name) == left


def test_lines_of_a_database_stay_unless_this_process_is_told_otherwise() -> None:
    """Its workers with role jobs may keep all, which a worker without that role is not told."""
    store = SimpleNamespace(is_a_file=False, made_by_us=True)
    assert lone_audit.keep_of(JobSettings.from_environment({}), store) is None
    told = JobSettings.from_environment({"JOBS_KEEP_DAYS": "30"})
    assert lone_audit.keep_of(told, store) == timedelta(days=30)


async def _actions(root: Path, name: str) -> list[str]:
    store = await JobStore.open(None, root)
    try:
        entries = await store.of_audit(lambda audit: audit.entries(name, 9, 0))
        return [entry.action for entry in entries]
    finally:
        await store.close()


async def test_a_store_that_can_not_be_used_is_said_once_and_ends_no_worker_that_anchors(
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("JOBS_DATABASE_URL", f"postgresql://nobody:word@127.0.0.1:{free_port()}/x")
    monkeypatch.setattr(lone_audit, "AGAIN_SECONDS", 0.01)
    task = asyncio.create_task(LoneAudit(client, tmp_path).run())
    async with asyncio.timeout(60):
        while "orders not entered in the audit" not in caplog.messages:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)
    assert not task.done()
    assert caplog.messages.count("orders not entered in the audit") == 1
    task.cancel()

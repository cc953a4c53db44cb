"""A storage that hangs is said as what it is: it is no silent Temporal, and holds up no look at what runs."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import pytest
from temporalio.client import Client
from typing_extensions import override

from tests.cli.conftest import cadences, write_namespaces
from tests.support.running_namespaces import RunningNamespaces
from vaultmesh.domain.names import namespace_workflow_id
from vaultmesh.domain.namespaces.stopped import Entries
from vaultmesh.process import desired, reconcile, turns
from vaultmesh.process.client import connect
from vaultmesh.process.config_files import AnchorsSource, NamespacesSource, anchors_path
from vaultmesh.process.health import DEGRADED, HEALTHY, health
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.reconcile import Reconciler, Sources
from vaultmesh.process.settings import Settings
from vaultmesh.process.visibility import Snapshot, Visibility
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.receipts import ReceiptStore
from vaultmesh.storage.stopped import Decisions, StoppedNamespaces

NAMES = [f"dao:n{number}" for number in range(40)]


class Hanging(StoppedNamespaces):
    """Decisions on a volume that may stop answering."""

    def __init__(self, root: Path) -> None:
        super().__init__(LocalStore(root))
        self.answers = threading.Event()
        self.answers.set()
        self.looks = 0

    @override
    def look(self, entries: Entries) -> Decisions:
        self.looks += 1
        self.answers.wait(60)
        return super().look(entries)


class Slow(RunningNamespaces):
    """A Temporal that takes a while for each namespace."""

    @override
    async def describe(self, **rest: object) -> object:  # type: ignore[override] # the same, later
        await asyncio.sleep(0.3)
        return await super().describe(**rest)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Hanging]:
    write_namespaces(tmp_path / "vmsh/config/namespaces.yaml", {name: cadences() for name in NAMES})
    made = Hanging(tmp_path)
    yield made
    made.answers.set()


def reconciler_of(
    tmp_path: Path,
    volume: Hanging,
    client: object,
    snapshot: Callable[[], Snapshot],
    *,
    is_offering: bool = True,
) -> Reconciler:
    settings = Settings.from_environment({"VMSH_ROOT": str(tmp_path)})
    sources = Sources(
        NamespacesSource(settings),
        AnchorsSource(anchors_path(settings)),
        volume,
        ReceiptStore(LocalStore(tmp_path)).has_any,
    )
    return Reconciler(
        cast("Client", client),
        settings,
        sources,
        Metrics(),
        snapshot,
        is_offering=is_offering,
    )


@asynccontextmanager
async def running(*work: object) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(each) for each in work]  # type: ignore[call-overload, var-annotated]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)


async def until(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@pytest.mark.server
async def test_a_volume_that_hangs_does_not_look_like_a_silent_temporal(
    address: str, tmp_path: Path, volume: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "READ_WITHIN_SECONDS", 0.3)
    monkeypatch.setattr(reconcile, "PERIOD_SECONDS", 0.1)
    monkeypatch.setattr("vaultmesh.process.visibility.PERIOD_SECONDS", 0.2)
    client = await connect()
    reconciler = reconciler_of(
        tmp_path, volume, client, lambda: visibility.snapshot, is_offering=False
    )
    visibility = Visibility(client, Metrics(), reconciler.expected)

    def page() -> Mapping[str, object]:
        seen = visibility.snapshot
        return health(seen, started=0, now=time.time(), desired=reconciler.state)

    async with running(visibility.run(), reconciler.run()):
        await until(lambda: len(visibility.snapshot.missing) == len(NAMES))
        volume.answers.clear()
        await until(lambda: bool(reconciler.state.storage))
        hung, looks = visibility.snapshot.taken_at, volume.looks
        await until(lambda: visibility.snapshot.taken_at > hung + 2)
        assert volume.looks == looks  # no second reading beside the one that hangs
        assert page()["status"] == DEGRADED
        assert "storage" in page()
        assert len(visibility.snapshot.missing) == len(NAMES)
        volume.answers.set()
        await until(lambda: not reconciler.state.storage)
        assert "storage" not in page()


async def test_what_differs_is_said_before_hundreds_of_offers_are_through(
    tmp_path: Path, volume: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desired, "SETTLED_SECONDS", 0.0)
    monkeypatch.setattr(turns, "BEGUN_WITHIN_SECONDS", 0.2)
    (tmp_path / "vmsh/config/anchors.yaml").write_text("{")
    namespaces = Slow()
    runs = {namespace_workflow_id(name) for name in NAMES}
    reconciler = reconciler_of(
        tmp_path, volume, namespaces, lambda: Snapshot(time.time(), running=runs)
    )
    looking = asyncio.create_task(reconciler.look())
    await until(lambda: bool(reconciler.state.refused))
    assert not looking.done()
    await looking
    assert 0 < len(namespaces.configured) < len(NAMES)
    for _ in range(len(NAMES)):
        await reconciler.look()
    assert sorted(namespaces.configured) == sorted(NAMES)


async def test_a_registration_shows_at_once_and_not_after_fifteen_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vaultmesh.process.visibility.CHANGED_SECONDS", 0.05)
    visibility = Visibility(cast("Client", None), Metrics())
    lists: list[float] = []

    async def refresh() -> None:
        lists.append(time.monotonic())

    monkeypatch.setattr(visibility, "refresh", refresh)
    async with running(visibility.run()):
        await until(lambda: len(lists) == 1)
        visibility.wake()
        visibility.wake()
        await until(lambda: len(lists) == 2)
        await asyncio.sleep(0.5)
    assert len(lists) == 2


def test_a_worker_is_healthy_while_what_an_operator_stopped_drains() -> None:
    name = namespace_workflow_id("dao:a")
    snapshot = Snapshot(100.0, running={name}, missing=["dao:b"])
    state = desired.DesiredState(stopped={"dao:a": "unregistered", "dao:b": "unregistered"})
    document = health(snapshot, started=0, now=101, desired=state)
    assert document["status"] == HEALTHY
    namespaces = cast("dict[str, dict[str, object]]", document["namespaces"])
    statuses = {name: entry["status"] for name, entry in namespaces.items()}
    assert statuses == {"dao:a": "draining", "dao:b": "stopped"}
    assert "missing" not in document

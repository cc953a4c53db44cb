"""Namespaces that do not take what the file says hold up no other one."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from typing_extensions import override

from tests.cli.conftest import cadences, write_namespaces
from tests.support.running_namespaces import REFUSED, RunningNamespaces
from vaultmesh.domain.names import namespace_workflow_id
from vaultmesh.domain.namespaces.state import Decided
from vaultmesh.domain.paths import STOPPED_FOLDER, path_form
from vaultmesh.domain.status import NamespaceMemo
from vaultmesh.process import desired, reconcile
from vaultmesh.process.config_files import AnchorsSource, NamespacesSource, anchors_path
from vaultmesh.process.metrics import Metrics
from vaultmesh.process.reconcile import Reconciler, Sources
from vaultmesh.process.settings import Settings
from vaultmesh.process.unforeseen import Unforeseen
from vaultmesh.process.visibility import Snapshot
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.receipts import ReceiptStore
from vaultmesh.storage.stopped import StoppedNamespaces

NAMES = ("dao:a", "dao:b")
SINCE = datetime(2026, 1, 15, tzinfo=UTC)


class AwayFor(RunningNamespaces):
    """Answers nobody while Temporal is away."""

    is_away = True

    @override
    async def describe(self, **rest: object) -> SimpleNamespace:
        if self.is_away:
            raise RPCError("gone", RPCStatusCode.UNAVAILABLE, b"")
        return await super().describe(**rest)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(desired, "SETTLED_SECONDS", 0.0)
    return write_namespaces(
        tmp_path / "vmsh/config/namespaces.yaml", {name: cadences() for name in NAMES}
    )


@pytest.fixture
def reconciler_of(tmp_path: Path, file: Path) -> Callable[[RunningNamespaces], Reconciler]:
    """Make what looks at a Temporal where everything runs, with content that nobody knows."""

    def made(namespaces: RunningNamespaces) -> Reconciler:
        settings = Settings.from_environment({"VMSH_ROOT": str(tmp_path)})
        sources = Sources(
            NamespacesSource(settings),
            AnchorsSource(anchors_path(settings)),
            StoppedNamespaces(LocalStore(tmp_path)),
            ReceiptStore(LocalStore(tmp_path)).has_any,
        )
        running = {namespace_workflow_id(name) for name in NAMES}
        return Reconciler(
            cast("Client", namespaces),
            settings,
            sources,
            Metrics(),
            lambda: Snapshot(time.time(), running=running),
            is_offering=True,
        )

    return made


def edit(file: Path, period: str) -> None:
    write_namespaces(file, {name: cadences(fast=period) for name in NAMES})


async def test_a_namespace_that_refuses_is_asked_until_it_takes_the_change(
    reconciler_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    namespaces = RunningNamespaces(draining={"dao:a"})
    reconciler = reconciler_of(namespaces)
    with caplog.at_level(logging.WARNING, "vaultmesh.process.reconcile"):
        for _ in range(3):
            await reconciler.look()
    assert namespaces.configured == ["dao:b"]
    (line,) = caplog.records
    assert vars(line)["err"].endswith(REFUSED)
    assert reconciler.state.problems["dao:a"].endswith(REFUSED)
    namespaces.draining.clear()
    await reconciler.look()
    assert namespaces.configured == ["dao:b", "dao:a"]
    assert reconciler.state.problems == {}


async def test_a_second_change_reaches_all_while_one_still_refuses_the_first(
    reconciler_of: Any, file: Path
) -> None:
    namespaces = RunningNamespaces(draining={"dao:a"})
    reconciler = reconciler_of(namespaces)
    await reconciler.look()
    edit(file, "2h")
    await reconciler.look()
    assert namespaces.configured == ["dao:b", "dao:b"]
    namespaces.draining.clear()
    await reconciler.look()
    assert namespaces.configured == ["dao:b", "dao:b", "dao:a"]


async def test_what_could_not_be_offered_while_temporal_was_away_is_offered_when_it_is_back(
    reconciler_of: Any,
) -> None:
    namespaces = AwayFor()
    reconciler = reconciler_of(namespaces)
    await reconciler.look()
    assert namespaces.configured == []
    assert set(reconciler.state.problems) == set(NAMES)
    namespaces.is_away = False
    await reconciler.look()
    assert sorted(namespaces.configured) == list(NAMES)


async def test_a_file_that_is_gone_starts_no_example(
    reconciler_of: Any, file: Path, tmp_path: Path
) -> None:
    """A missing file must not be taken for the repository's own, whose namespaces cost money."""
    namespaces = RunningNamespaces()
    reconciler = reconciler_of(namespaces)
    file.unlink()
    await reconciler.look()
    assert namespaces.configured == []
    edit(file, "2h")
    await reconciler.look()
    assert sorted(namespaces.configured) == list(NAMES)
    file.unlink()
    await reconciler.look()
    assert sorted(reconciler.expected()) == list(NAMES)
    assert str(file) in reconciler.state.refused["namespaces.yaml"]


async def test_a_look_that_fails_for_ever_is_shown_and_not_taken_for_healthy(
    reconciler_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconciler = reconciler_of(RunningNamespaces())
    monkeypatch.setattr(reconcile, "JITTER_SECONDS", 0.0)
    monkeypatch.setattr(reconciler, "_read", lambda: {}["nobody foresaw this"])
    errors = Unforeseen(Metrics())
    keeping = asyncio.create_task(errors.keep("reconciler", reconciler.run))
    try:
        async with asyncio.timeout(60):
            while not errors.shown():  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)
    finally:
        keeping.cancel()
    assert "nobody foresaw this" in errors.shown()["reconciler"]


@pytest.mark.parametrize(
    ("memo", "decided"),
    [
        ({}, {}),
        ({"unknown_since": SINCE}, {"dao:a": Decided()}),
        ({"paused": ["fast"]}, {"dao:a": Decided()}),
    ],
    ids=["a memo that can't be read", "a past that nobody knows", "a memo of an earlier version"],
)
async def test_a_pause_that_could_not_be_read_is_not_remembered_as_nothing_decided(
    reconciler_of: Any, memo: dict[str, Any], decided: dict[str, Decided]
) -> None:
    reconciler = reconciler_of(RunningNamespaces())
    seen = NamespaceMemo(namespace="dao:a", **memo)
    reconciler._decided["dao:a"] = Decided()
    reconciler._remember(Snapshot(time.time(), {"dao:a": seen}, decided=decided))
    assert "dao:a" not in reconciler._decided


async def test_a_namespace_that_ended_since_the_list_is_not_started_where_its_decision_cannot_be_read(
    reconciler_of: Any, tmp_path: Path
) -> None:
    """The harm: what an operator had stopped a moment ago anchored again, since its decision was damaged."""
    started: list[str] = []

    class Ended(RunningNamespaces):
        """A Temporal whose workflows have all just ended."""

        @override
        async def describe(self, **_: object) -> SimpleNamespace:
            raise RPCError("none", RPCStatusCode.NOT_FOUND, b"")

        @override
        async def start_workflow(self, _: str, __: object, *, id: str, **___: object) -> None:
            started.append(id)

    place = tmp_path / STOPPED_FOLDER / f"{path_form('dao:a')}.json"
    place.parent.mkdir(parents=True)
    place.write_text("{", encoding="utf-8")
    reconciler = reconciler_of(Ended())
    await reconciler.look()
    assert started == [namespace_workflow_id("dao:b")]
    assert "can't be read" in reconciler.state.problems["dao:a"]

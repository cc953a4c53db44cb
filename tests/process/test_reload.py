"""A changed namespaces.yaml where some namespaces do not take their configuration."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from temporalio.client import Client

from tests.cli.conftest import cadences, write_namespaces
from tests.support.running_namespaces import RunningNamespaces
from vaultmesh.process import reload
from vaultmesh.process.settings import Settings

WITHIN_SECONDS = 20


@pytest.fixture
def namespaces() -> RunningNamespaces:
    return RunningNamespaces()


@pytest.fixture
async def file(
    tmp_path: Path, namespaces: RunningNamespaces, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Path]:
    """A file that is watched."""
    monkeypatch.setattr(reload, "PERIOD_SECONDS", 0.02)
    place = tmp_path / "vmsh/config/namespaces.yaml"
    write_namespaces(place, {"dao:a": cadences(), "dao:b": cadences()})
    settings = Settings.from_environment({"VMSH_ROOT": str(tmp_path)})
    watching = reload.Reload(cast("Client", namespaces), settings)
    task = asyncio.create_task(watching.run())
    await asyncio.sleep(0.2)
    yield place
    assert not task.done()
    task.cancel()


async def configured(namespaces: RunningNamespaces, names: list[str]) -> None:
    async with asyncio.timeout(WITHIN_SECONDS):
        while len(namespaces.configured) < len(names):  # noqa: ASYNC110 - what it calls has no event
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    assert namespaces.configured == names


def edit(file: Path, period: str) -> None:
    """Change the file as a whole: half of it would be malformed."""
    changed = {name: cadences(fast=period) for name in ("dao:a", "dao:b")}
    write_namespaces(file.with_name("new"), changed).replace(file)


async def test_a_clock_that_refuses_is_asked_until_it_takes_the_change(
    file: Path, namespaces: RunningNamespaces, caplog: pytest.LogCaptureFixture
) -> None:
    namespaces.draining.add("dao:a")
    with caplog.at_level(logging.WARNING, "vaultmesh.process.reload"):
        edit(file, "2h")
        await configured(namespaces, ["dao:b"])
    (line,) = caplog.records
    assert vars(line)["err"].startswith("dao:a: its workflow refused")
    namespaces.draining.clear()
    await configured(namespaces, ["dao:b", "dao:a"])


async def test_a_second_change_reaches_all_while_a_clock_still_refuses_the_first(
    file: Path, namespaces: RunningNamespaces
) -> None:
    namespaces.draining.add("dao:a")
    edit(file, "2h")
    await configured(namespaces, ["dao:b"])
    edit(file, "3h")
    await configured(namespaces, ["dao:b", "dao:b"])
    namespaces.draining.clear()
    await configured(namespaces, ["dao:b", "dao:b", "dao:a"])

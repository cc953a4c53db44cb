"""`dev` in a folder that is used again: its worker may need a while before it answers, and is asked until it does."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vaultmesh.cli import dev
from vaultmesh.domain.namespaces.stopped import Entries
from vaultmesh.process.polling import NobodyPolls
from vaultmesh.process.registration import Registered


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dev.System:
    """A system whose parts are said to run."""
    file = SimpleNamespace(specs={}, entries=Entries({}, 0.0))
    monkeypatch.setattr(dev, "load_namespaces", lambda *_: file)
    monkeypatch.setattr(dev, "namespaces_path", lambda _: tmp_path)
    made = dev.System(tmp_path)
    made.client, made.settings = cast("Any", object()), cast("Any", object())
    return made


def _answers_after(monkeypatch: pytest.MonkeyPatch, silent: int) -> list[int]:
    """Let the worker be silent so many times; return a list that grows with each time it is asked."""
    asked: list[int] = []

    async def register(*_: object) -> AsyncIterator[Registered]:
        asked.append(len(asked))
        if len(asked) <= silent:
            raise NobodyPolls
        for nothing in ():
            yield nothing

    monkeypatch.setattr(dev, "register", register)
    return asked


async def test_a_worker_that_reads_long_histories_is_asked_again(
    system: dev.System, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[bool] = []
    monkeypatch.setattr(system.dev_system, "announce", lambda: announced.append(True))
    asked = _answers_after(monkeypatch, silent=2)
    await system.register()
    assert (len(asked), announced) == (3, [True])


async def test_a_worker_that_never_answers_ends_the_start(
    system: dev.System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev, "REGISTER_SECONDS", 0.0)
    _answers_after(monkeypatch, silent=99)
    with pytest.raises(NobodyPolls):
        await system.register()


async def test_nobody_is_asked_again_once_the_system_was_told_to_end(
    system: dev.System, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _answers_after(monkeypatch, silent=99)
    system.stopped.set()
    with pytest.raises(NobodyPolls):
        await system.register()
    assert len(asked) == 1

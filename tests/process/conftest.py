"""One Temporal server for all tests of how a process talks to it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devnet.temporal import TemporalServer
from tests.support.replays import Replays, replayed_server


@pytest.fixture(scope="session")
def replays() -> Replays:
    """Return what the check at the end lets pass; a test says here what it breaks on purpose."""
    return Replays(foreign=["AnotherWorkflow"])


@pytest.fixture(scope="session")
def temporal(replays: Replays) -> Iterator[TemporalServer]:
    with (
        tempfile.TemporaryDirectory(prefix="vaultmesh-runtime-") as folder,
        replayed_server(Path(folder), replays) as server,
    ):
        yield server


@pytest.fixture
def address(temporal: TemporalServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the server's address, which is in the environment too."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal.address)
    return temporal.address

"""Gives tests of the job store a database of each kind."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devnet.postgres import Pgbouncer, PostgresServer
from devnet.postgres_newest import POSTGRES_NEWEST
from tests.storage.jobs.places import KINDS, NEWEST, Place, emptied
from vaultmesh.storage.job_store import JobStore

DATABASE = "jobs"


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        server.create(DATABASE)
        yield server


@pytest.fixture(scope="session")
def newest_server() -> Iterator[PostgresServer]:
    with PostgresServer(supply=POSTGRES_NEWEST) as server:
        server.create(DATABASE)
        yield server


@pytest.fixture(scope="session")
def pooler(server: PostgresServer) -> Iterator[Pgbouncer]:
    with Pgbouncer(server) as pooler:
        yield pooler


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place(tmp_path)
    if request.param == NEWEST:
        return _emptied(request.getfixturevalue("newest_server"), tmp_path)
    postgres: Place = request.getfixturevalue("postgres")
    if request.param == "postgresql":
        return postgres
    pooler: Pgbouncer = request.getfixturevalue("pooler")
    return replace(postgres, url=pooler.url(DATABASE))


@pytest.fixture
def postgres(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """The host's PostgreSQL, unless a test says more."""
    newest = getattr(request, "param", "") == NEWEST
    return _emptied(request.getfixturevalue("newest_server" if newest else "server"), tmp_path)


def _emptied(server: PostgresServer, tmp_path: Path) -> Place:
    emptied(server, DATABASE)
    return Place(tmp_path, server, DATABASE, server.url(DATABASE))


@pytest.fixture
async def store(place: Place) -> AsyncIterator[JobStore]:
    async with place.store() as store:
        yield store

"""Gives tests of maintenance a real PostgreSQL, and a database that is as good as new."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devnet.postgres import PostgresServer
from devnet.postgres_newest import POSTGRES_NEWEST
from tests.postgres.shop import DATABASE, HOSTS_OWN, Shop

OPTIONS = {"autovacuum": "off", "deadlock_timeout": "200ms"}


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A server without autovacuum: what happens to tables is the tests' doing alone."""
    with PostgresServer(OPTIONS) as server:
        server.create(DATABASE)
        yield server


@pytest.fixture(scope="session")
def newest_server() -> Iterator[PostgresServer]:
    """The same of the newest version."""
    with PostgresServer(OPTIONS, POSTGRES_NEWEST) as server:
        server.create(DATABASE)
        yield server


@pytest.fixture
def version(request: pytest.FixtureRequest) -> str:
    """Which PostgreSQL a test runs on: the host's, unless it says more."""
    return getattr(request, "param", HOSTS_OWN)


@pytest.fixture
def shop(version: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    name = "server" if version == HOSTS_OWN else "newest_server"
    shop = Shop(request.getfixturevalue(name), tmp_path)
    shop.empty()
    yield shop
    shop.close()

"""Gives tests of maintenance a real PostgreSQL, and a database that is as good as new."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devnet.postgres import PostgresServer
from tests.postgres.shop import DATABASE, Shop


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A server without autovacuum: what happens to tables is the tests' doing alone."""
    with PostgresServer({"autovacuum": "off", "deadlock_timeout": "200ms"}) as server:
        server.create(DATABASE)
        yield server


@pytest.fixture
def shop(server: PostgresServer, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(server, tmp_path)
    shop.empty()
    yield shop
    shop.close()

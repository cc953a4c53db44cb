"""Gives each module one system of maintenance tasks, and each test a table with dead rows."""

from collections.abc import Iterator

import pytest

from devnet.postgres import PostgresServer
from tests.maintenance_runs.task_system import DATABASE, TaskSystem


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server without autovacuum: what happens to tables is the tasks' doing alone."""
    with PostgresServer({"autovacuum": "off"}) as server:
        server.create(DATABASE)
        yield server


@pytest.fixture(scope="module")
def running(
    server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TaskSystem]:
    with TaskSystem(tmp_path_factory.mktemp("tasks"), server) as running:
        yield running


@pytest.fixture
def system(running: TaskSystem) -> Iterator[TaskSystem]:
    """The system with a full table; its workers end with the test."""
    running.speed_up()
    running.fill()
    yield running
    for worker in running.workers:
        worker.kill()

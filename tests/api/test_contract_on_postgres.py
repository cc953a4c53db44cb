"""The contract holds on PostgreSQL as it does on SQLite."""

from tests.api.running import running
from tests.api.test_contract import breaches
from tests.storage.jobs import conftest
from tests.storage.jobs.places import Place

server, postgres = conftest.server, conftest.postgres


async def test_every_row_of_the_contract_is_kept_on_postgresql(postgres: Place) -> None:
    async with running(postgres.root, database=postgres.url) as api:
        assert await breaches(api) == []

"""Gives the tests of the Bitcoin room their real parts."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from devnet.bitcoind import Bitcoind
from tests.ledgers.bitcoin.chain import BitcoinSubmitter, close_submitters, network, open_submitter


@pytest_asyncio.fixture(autouse=True)
async def _no_open_connection() -> AsyncIterator[None]:
    yield
    await close_submitters()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Bitcoind]:
    """Return a network of the test's own."""
    with network(tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bitcoind]:
    """Return a network that the tests of a module share."""
    with network(tmp_path_factory.mktemp("bitcoin")) as started:
        yield started


@pytest.fixture
def submitter(node: Bitcoind) -> BitcoinSubmitter:
    """Return an aggregator on the test's network."""
    return open_submitter(node.url)

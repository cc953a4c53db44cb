"""Gives the tests of the EVM room their real parts."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
import pytest_asyncio
from pydantic import JsonValue

from tests.ledgers.evm.chain import Chain, Submitter, open_submitter
from tests.simulators.evm import LyingProvider

MakeSubmitter = Callable[..., Awaitable[Submitter]]


@pytest_asyncio.fixture
async def chain() -> AsyncIterator[Chain]:
    """Return a fresh anvil with the contract on it."""
    async with Chain() as started:
        yield started


@pytest_asyncio.fixture
async def proxy(chain: Chain) -> AsyncIterator[LyingProvider]:
    """Return a provider that misbehaves on request."""
    async with LyingProvider(chain.url) as started:
        yield started


@pytest.fixture
def key() -> str:
    """Return a fresh private key."""
    return "0x" + secrets.token_hex(32)


@pytest_asyncio.fixture
async def make_submitter(chain: Chain, key: str) -> AsyncIterator[MakeSubmitter]:
    """Return a function that opens a target with a funded account."""
    opened: list[Submitter] = []

    async def make(urls: Sequence[str] = (), **settings: JsonValue) -> Submitter:
        own = str(settings.pop("key", key))
        await chain.fund(own)
        contract = str(settings.pop("contract", chain.contract))
        submitter = open_submitter(urls or [chain.url], contract, own, **settings)  # type: ignore[arg-type]
        opened.append(submitter)
        return submitter

    yield make
    for submitter in opened:
        await submitter.target.close()


@pytest_asyncio.fixture
async def submitter(make_submitter: MakeSubmitter) -> Submitter:
    """Return a target with one provider."""
    return await make_submitter()

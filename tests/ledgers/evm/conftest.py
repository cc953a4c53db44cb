"""The place where the activities' tests get their real parts."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
import pytest_asyncio
from pydantic import JsonValue

from tests.ledgers.evm.chain import Chain, Pen, open_pen
from tests.simulators.evm import LyingProvider

MakePen = Callable[..., Awaitable[Pen]]


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
async def make_pen(chain: Chain, key: str) -> AsyncIterator[MakePen]:
    """Return a function that opens a target with a funded account."""
    opened: list[Pen] = []

    async def make(urls: Sequence[str] = (), **settings: JsonValue) -> Pen:
        own = str(settings.pop("key", key))
        await chain.fund(own)
        contract = str(settings.pop("contract", chain.contract))
        pen = open_pen(urls or [chain.url], contract, own, **settings)  # type: ignore[arg-type]
        opened.append(pen)
        return pen

    yield make
    for pen in opened:
        await pen.target.close()


@pytest_asyncio.fixture
async def pen(make_pen: MakePen) -> Pen:
    """Return a target with one provider."""
    return await make_pen()

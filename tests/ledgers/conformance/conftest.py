"""Puts every scheme of the table on trial."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.ledgers.conformance.bench import BENCHES, Bench
from tests.ledgers.conformance.trial import Trial
from vaultmesh.domain.schemes import SCHEMES

MARKS = {"eip155": [pytest.mark.evm], "btc": [pytest.mark.btc]}
ON_TRIAL = [pytest.param(scheme, marks=MARKS.get(scheme, [])) for scheme in sorted(SCHEMES)]


def bench_class(scheme: str) -> type[Bench]:
    """Return a scheme's bench, or fail: a target that nobody tries does not enter the registry."""
    if scheme not in BENCHES:
        pytest.fail(f"scheme {scheme} is in the registry and has no bench in tests/conformance")
    return BENCHES[scheme]


@pytest.fixture(scope="session", params=ON_TRIAL)
def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """Return a scheme's running ledger, shared by the suite."""
    kind = bench_class(request.param)
    with kind(tmp_path_factory.mktemp(kind.SCHEME)) as started:
        yield started


@pytest.fixture(params=ON_TRIAL)
def mortal(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """Return a scheme's running ledger that the test may break."""
    kind = bench_class(request.param)
    with kind(tmp_path_factory.mktemp(f"{kind.SCHEME}-mortal")) as started:
        yield started


@pytest_asyncio.fixture
async def trial(bench: Bench) -> AsyncIterator[Trial]:
    """Return an opened target with an account of its own; no text that it gave may show a secret."""
    opened = Trial(bench)
    yield opened
    await opened.target.close()
    secrets = bench.secrets_of(opened.section)
    assert secrets
    assert not [text for text in opened.texts if any(secret in text for secret in secrets)]

"""Revocation lists beside the pinned roots decide what is taken, and are kept with what they let through (T5, T6)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from devnet.tsa import Tsa
from tests.ledgers.rfc3161.authority import ROOTS, TsaSubmitter, failed, settings_of
from tests.simulators.timestamps import Holder, new_list
from vaultmesh.domain.aggregator.ledger_messages import RoundState
from vaultmesh.domain.failures import ValidationFailure
from vaultmesh.ledgers.rfc3161.core.evidence import entry_of_list

MakeSubmitter = Callable[..., Awaitable[TsaSubmitter]]
COMPROMISED = x509.ReasonFlags.key_compromise


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tsa]:
    with Tsa(tmp_path_factory.mktemp("tsa")) as started:
        yield started


@pytest_asyncio.fixture
async def make_submitter(tsa: Tsa, tmp_path: Path) -> AsyncIterator[MakeSubmitter]:
    opened: list[TsaSubmitter] = []

    async def make(*lists: x509.CertificateRevocationList) -> TsaSubmitter:
        text = tsa.roots.read_bytes() + b"".join(one.public_bytes(Encoding.PEM) for one in lists)
        (tmp_path / ROOTS).write_bytes(text)
        opened.append(TsaSubmitter(settings_of(tsa, root=tmp_path), tmp_path))
        return opened[-1]

    yield make
    for submitter in opened:
        await submitter.target.close()


def holders(tsa: Tsa) -> tuple[Holder, Holder]:
    """Return root and leaf of a running authority."""
    found = []
    for file, key in zip((tsa.roots, tsa.place / "leaf.pem"), tsa.key_files, strict=True):
        private = load_pem_private_key(key.read_bytes(), None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        found.append(Holder(private, x509.load_pem_x509_certificate(file.read_bytes())))
    root, leaf = found
    return root, leaf


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


async def test_the_list_at_hand_is_kept_and_carried_also_when_a_newer_one_takes_its_place(
    tsa: Tsa, make_submitter: MakeSubmitter
) -> None:
    root, _ = holders(tsa)
    first = new_list(root, issued=now() - timedelta(days=1))
    submitter = await make_submitter(first)
    watched = await submitter.anchor()
    before = (await submitter.evidence(watched)).scheme
    assert before["revocation"] == [entry_of_list(first)]
    later = await make_submitter(new_list(root, issued=now()))
    later.candidates = submitter.candidates
    assert (await later.evidence(watched)).scheme == before
    checks = await later.target.verify(await later.claim(watched))
    assert failed(checks) == []
    assert "revocation" in [one.name for one in checks]


async def test_without_a_list_nothing_of_it_is_carried(make_submitter: MakeSubmitter) -> None:
    submitter = await make_submitter()
    assert "revocation" not in (await submitter.evidence(await submitter.anchor())).scheme


async def test_a_revoked_authority_is_refused_until_the_list_is_put_right(
    tsa: Tsa, make_submitter: MakeSubmitter
) -> None:
    root, leaf = holders(tsa)
    submitter = await make_submitter(new_list(root, (leaf, now(), COMPROMISED), issued=now()))
    watched = await submitter.sign()
    with pytest.raises(ValidationFailure, match=r"revocation: .*keyCompromise.*none of its tokens"):
        await submitter.broadcast(watched)
    assert submitter.replies(watched) == []
    mended = await make_submitter()
    mended.candidates = submitter.candidates
    await mended.broadcast(watched)
    assert (await mended.look(watched)).state is RoundState.INCLUDED


async def test_a_token_that_was_taken_is_told_to_be_lost_when_its_authority_is_revoked_later(
    tsa: Tsa, make_submitter: MakeSubmitter
) -> None:
    root, leaf = holders(tsa)
    submitter = await make_submitter()
    claim = await submitter.claim(await submitter.anchor())
    soon = now() + timedelta(hours=1)
    for reason, lost in ((x509.ReasonFlags.superseded, []), (COMPROMISED, ["revocation"])):
        later = await make_submitter(new_list(root, (leaf, soon, reason), issued=soon))
        assert failed(await later.target.verify(claim)) == lost


async def test_a_list_that_can_not_be_read_stops_stamping_with_a_clear_line(
    make_submitter: MakeSubmitter, tmp_path: Path
) -> None:
    submitter = await make_submitter()
    with (tmp_path / ROOTS).open("ab") as file:
        file.write(b"-----BEGIN X509 CRL-----\nbm9uZQ==\n-----END X509 CRL-----\n")
    with pytest.raises(ValidationFailure, match=r"trustBundle .* revocation list that can't be"):
        await submitter.sign()

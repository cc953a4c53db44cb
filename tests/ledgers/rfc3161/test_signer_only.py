"""Openssl stamps with its own certificate only, or binds it by SHA-1: what is taken, kept and proven then (T3, T5, T6)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from devnet.tsa import Tsa
from tests.ledgers.rfc3161.authority import ROOTS, TsaSubmitter, failed, settings_of
from tests.ledgers.rfc3161.core.second_judge import openssl_objects
from tests.simulators.certificates import issuer_of, signer_of
from tests.simulators.timestamps import Holder
from vaultmesh.domain.aggregator.ledger_messages import RoundState
from vaultmesh.domain.failures import NetworkFailure, ValidationFailure
from vaultmesh.ledgers.rfc3161.core.evidence import bytes_of
from vaultmesh.ledgers.rfc3161.core.token import read_reply

MakeSubmitter = Callable[..., Awaitable[TsaSubmitter]]


class Authority:
    """An authority with an intermediate, and what it signs with."""

    def __init__(self, tsa: Tsa) -> None:
        """Give a made authority another chain; it reads its files with each stamp."""
        self.tsa = tsa
        key = load_pem_private_key(tsa.key_files[1].read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.root = issuer_of("root")
        self.middle = issuer_of("middle", self.root)
        self.signer = signer_of(self.middle, key=key)
        (tsa.place / "leaf.pem").write_bytes(self.signer.pem)

    def configure(self, **changes: str) -> None:
        """Change lines of the authority's configuration; an empty value takes one out."""
        file = self.tsa.place / "tsa.cnf"
        lines = [
            line for line in file.read_text().splitlines() if line.split(" ")[0] not in changes
        ]
        lines += [f"{name} = {value}" for name, value in changes.items() if value]
        file.write_text("\n".join(lines) + "\n")


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    with Tsa(tmp_path / "authority") as tsa:
        started = Authority(tsa)
        started.configure(certs="")
        yield started


@pytest_asyncio.fixture
async def make_submitter(authority: Authority, tmp_path: Path) -> AsyncIterator[MakeSubmitter]:
    """Return a function that opens a target: what its bundle holds, and further settings."""
    opened: list[TsaSubmitter] = []

    async def make(*bundle: Holder, **settings: Any) -> TsaSubmitter:
        (tmp_path / ROOTS).write_bytes(b"".join(one.pem for one in bundle))
        made = settings_of(authority.tsa, root=tmp_path, **settings)
        opened.append(TsaSubmitter(made, tmp_path))
        return opened[-1]

    yield make
    for submitter in opened:
        await submitter.target.close()


async def test_a_token_with_the_signers_certificate_only_is_taken_with_the_bundles_intermediate(
    authority: Authority, make_submitter: MakeSubmitter, tmp_path: Path
) -> None:
    submitter = await make_submitter(authority.middle, authority.root)
    watched = await submitter.anchor()
    (reply,) = (file.read_bytes() for file in submitter.replies(watched))
    token = read_reply(reply).token
    assert token is not None
    assert token.certificates == (authority.signer.der,)
    claim = await submitter.claim(watched)
    request = bytes_of(claim.evidence["request"])
    assert request is not None
    roots, between = [authority.root], [authority.middle]
    assert openssl_objects(reply, request, roots, between, moment=token.gen_time) == ""
    assert openssl_objects(reply, request, roots, moment=token.gen_time)
    assert failed(await submitter.target.verify(claim)) == []


async def test_the_whole_chain_is_kept_for_the_day_when_the_bundle_holds_the_root_alone(
    authority: Authority, make_submitter: MakeSubmitter, tmp_path: Path
) -> None:
    submitter = await make_submitter(authority.root, authority.middle)
    watched = await submitter.anchor()
    (tmp_path / ROOTS).write_bytes(authority.root.pem)
    assert (await submitter.look(watched)).state is RoundState.INCLUDED
    claim = await submitter.claim(watched)
    chain = [authority.signer, authority.middle, authority.root]
    carried: Any = claim.evidence["certificates"]
    assert [bytes_of(text) for text in carried] == [one.der for one in chain]
    for file in submitter.folder(watched).iterdir():
        file.unlink()
    assert failed(await submitter.target.verify(claim)) == []


async def test_a_stored_chain_that_was_damaged_counts_for_nothing(
    authority: Authority, make_submitter: MakeSubmitter, tmp_path: Path
) -> None:
    submitter = await make_submitter(authority.root, authority.middle)
    watched = await submitter.anchor()
    (kept,) = submitter.folder(watched).glob("chain-*.pem")
    for damage in (b"", b"no pem", issuer_of("middle", issuer_of("root")).pem):
        kept.write_bytes(damage)
        assert (await submitter.look(watched)).state is RoundState.INCLUDED
    (tmp_path / ROOTS).write_bytes(authority.root.pem)
    for damage in (b"", b"no pem", issuer_of("middle", issuer_of("root")).pem):
        kept.write_bytes(damage)
        assert (await submitter.look(watched)).state is RoundState.MISSING
    with pytest.raises(NetworkFailure, match="restore out/rounds, or the roots in trustBundle"):
        await submitter.target.evidence(watched, await submitter.look(watched), "")


async def test_without_the_intermediate_the_refusal_names_it(
    authority: Authority, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter(authority.root)
    watched = await submitter.sign()
    wanted = r"chain: leads to no pinned root: no certificate of CN=middle is at hand"
    with pytest.raises(ValidationFailure, match=wanted):
        await submitter.broadcast(watched)
    assert submitter.replies(watched) == []


async def test_a_bundle_of_intermediates_alone_stamps_nothing_and_says_what_it_lacks(
    authority: Authority, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter(authority.middle)
    with pytest.raises(ValidationFailure, match=r"trustBundle .* holds no root"):
        await submitter.sign()


async def test_sha1_is_refused_with_advice_and_the_open_round_goes_on_once_it_is_followed(
    authority: Authority, make_submitter: MakeSubmitter
) -> None:
    authority.configure(certs="", ess_cert_id_alg="sha1")
    bundle = (authority.root, authority.middle)
    refusing = await make_submitter(*bundle)
    watched = await refusing.sign()
    with pytest.raises(ValidationFailure, match="allowSha1CertId: true"):
        await refusing.broadcast(watched)
    allowing = await make_submitter(*bundle, allowSha1CertId=True)
    allowing.candidates = refusing.candidates
    await allowing.broadcast(watched)
    assert (await allowing.look(watched)).state is RoundState.INCLUDED
    assert (await allowing.evidence(watched)).scheme["allowSha1CertId"] is True


async def test_leave_for_sha1_is_recorded_and_outlives_its_setting(
    authority: Authority, make_submitter: MakeSubmitter
) -> None:
    authority.configure(certs="", ess_cert_id_alg="sha1")
    bundle = (authority.root, authority.middle)
    allowing = await make_submitter(*bundle, allowSha1CertId=True)
    watched = await allowing.anchor()
    assert watched.reservation.fields["allowSha1CertId"] is True
    claim = await allowing.claim(watched)
    refusing = await make_submitter(*bundle)
    assert (await refusing.look(watched)).state is RoundState.INCLUDED
    checks = await refusing.target.verify(claim)
    assert failed(checks) == []
    (told,) = [one.detail for one in checks if one.name == "certificate"]
    assert told == "bound by sha1 alone, which allowSha1CertId allows"


async def test_leave_that_nobody_needs_is_not_written_into_receipts(
    authority: Authority, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter(authority.root, authority.middle, allowSha1CertId=True)
    claim = await submitter.claim(await submitter.anchor())
    assert "allowSha1CertId" not in claim.evidence

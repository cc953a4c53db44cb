"""Two authorities of different makers, openssl's and sigstore's, stamp one round, and each proves it alone."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web
from asn1crypto import cms, tsp
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from devnet.timestamp_server import TimestampServer
from devnet.tsa import Tsa
from tests.ledgers.rfc3161.authority import ROOTS, TARGET, TsaSubmitter, failed, openssl_says
from vaultmesh.domain.aggregator.ledger_messages import RoundState, Verdict
from vaultmesh.domain.checks import Found, SchemeFindings, Standing, Trust, standing_of
from vaultmesh.domain.failures import FailureKind, NetworkFailure, ValidationFailure
from vaultmesh.domain.receipts.receipt import (
    AnchorReceipt,
    Finality,
    ReceiptFinality,
    ReceiptMetadata,
    Status,
    parse_receipt,
    receipt_document,
)
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.ledgers.driver import Claim
from vaultmesh.ledgers.rfc3161.core.offline import find
from vaultmesh.ledgers.targets import open_target
from vaultmesh.process.config_files import load_anchors

OPENSSL, SIGSTORE, SPARE = "openssl", "sigstore", "spare"
SIGNERS = {
    OPENSSL: "CN=openssl authority,O=VaultMesh devnet",
    SIGSTORE: "CN=Test TSA Timestamping,O=local",
    SPARE: "CN=spare authority,O=VaultMesh devnet",
}
MakeSubmitter = Callable[..., Awaitable[TsaSubmitter]]


class OpenedSubmitter(TsaSubmitter):
    """A target that was opened as a worker opens it: from anchors.yaml, through the registry."""

    def __init__(self, section: dict[str, Any], root: Path) -> None:
        self.root = root
        self.candidates = {}
        file = root / "anchors.yaml"
        file.write_text(json.dumps({"rfc3161": {"default": section}}))
        self.target = open_target(TARGET, load_anchors(file, {}), root)  # type: ignore[assignment]


@dataclass(frozen=True)
class Makers:
    """The authorities by name; the spare one has its keys, and does not run yet."""

    openssl: Tsa
    sigstore: TimestampServer
    spare: Tsa

    def __getitem__(self, name: str) -> Tsa | TimestampServer:
        by_name: dict[str, Tsa | TimestampServer] = {
            OPENSSL: self.openssl,
            SIGSTORE: self.sigstore,
            SPARE: self.spare,
        }
        return by_name[name]

    def roots(self, *names: str) -> bytes:
        """Return the roots of some, PEM."""
        return b"".join(self[name].roots.read_bytes() for name in names)


@pytest.fixture
def makers(tmp_path: Path) -> Iterator[Makers]:
    folder = tmp_path / "authorities"
    with Tsa(folder, name=OPENSSL) as openssl, TimestampServer(folder) as sigstore:
        spare = Tsa(folder, name=SPARE)
        spare.make()
        try:
            yield Makers(openssl, sigstore, spare)
        finally:
            spare.stop()


@pytest_asyncio.fixture
async def make_submitter(makers: Makers, tmp_path: Path) -> AsyncIterator[MakeSubmitter]:
    """Return a function that opens a target: whom it asks, whose roots it pins."""
    opened: list[TsaSubmitter] = []

    async def make(*asked: str, pinned: tuple[str, ...] = (), **settings: Any) -> TsaSubmitter:
        (tmp_path / ROOTS).write_bytes(makers.roots(*(pinned or asked)))
        urls = [makers[name].url for name in asked]
        section = {"urls": urls, "spacing": "0s", "trustBundle": ROOTS, **settings}
        opened.append(OpenedSubmitter(section, tmp_path))
        return opened[-1]

    yield make
    for submitter in opened:
        await submitter.target.close()


def entries(claim: Claim) -> dict[str, dict[str, Any]]:
    """Return what a receipt carries of each token, by who signed it."""
    further: Any = claim.evidence["tokens"]
    found: list[dict[str, Any]] = [dict(claim.evidence), *further]
    by_signer = {str(one["authority"]): one for one in found}
    assert len(by_signer) == len(found)
    return {name: by_signer[signer] for name, signer in SIGNERS.items() if signer in by_signer}


def token_of(entry: dict[str, Any]) -> bytes:
    """Return the whole reply that a receipt carries."""
    return base64.b64decode(entry["token"], validate=True)


def certificates_of(reply: bytes) -> list[bytes]:
    """Return the certificates of a reply in the order in which they came, as another parser reads them."""
    signed: cms.SignedData = tsp.TimeStampResp.load(reply)["time_stamp_token"]["content"]
    return [one.dump() for one in signed["certificates"]]


def receipt_of(claim: Claim) -> AnchorReceipt:
    """Return the receipt of a claim, written and read again."""
    receipt = AnchorReceipt(
        root=MerkleRoot(claim.commitment),
        chain="TSA",
        network=TARGET,
        tx_scheme="tsa",
        tx_ref=claim.tx_ref,
        block_number=0,
        anchor_ts=claim.anchor_ts,
        observed_at=datetime.now(UTC),
        status=Status.VERIFIED,
        finality=ReceiptFinality(observed_depth=0, required_depth=0, state=Finality.FINALIZED),
        verifier="test/1",
        evidence={"aggregation": None, "rfc3161": dict(claim.evidence)},
        metadata=ReceiptMetadata(
            namespace="dao:test", batch_id="1", cadence="cold", slot="s", round="r", revision=1
        ),
    )
    return parse_receipt(receipt_document(receipt))


def offline(receipt: AnchorReceipt, *roots: bytes) -> SchemeFindings:
    """Return what is found offline under trust in some roots."""
    return find(receipt, receipt.proven_commitment(), Trust(authorities=roots))


@asynccontextmanager
async def recorded(url: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Stand in front of an authority: the address to ask, and every body that it sent."""
    bodies: list[bytes] = []

    async def forward(request: web.Request) -> web.Response:
        kind = {"Content-Type": request.headers["Content-Type"]}
        async with (
            ClientSession() as session,
            session.post(url, data=await request.read(), headers=kind) as reply,
        ):
            bodies.append(await reply.read())
            return web.Response(body=bodies[-1], content_type=reply.content_type)

    application = web.Application()
    application.router.add_post("/", forward)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/", bodies
    finally:
        await runner.cleanup()


async def test_a_quorum_of_both_makers_is_one_round_and_the_receipt_carries_both_tokens(
    makers: Makers, make_submitter: MakeSubmitter, tmp_path: Path
) -> None:
    submitter = await make_submitter(OPENSSL, SIGSTORE, quorum=2)
    watched = await submitter.anchor()
    view = await submitter.look(watched)
    assert (view.state, view.final) == (RoundState.INCLUDED, True)
    claim = await submitter.claim(watched)
    assert failed(await submitter.target.verify(claim)) == []
    found = entries(claim)
    assert set(found) == {OPENSSL, SIGSTORE}
    assert {one.read_bytes() for one in submitter.replies(watched)} == {
        token_of(one) for one in found.values()
    }
    for name, other in ((OPENSSL, SIGSTORE), (SIGSTORE, OPENSSL)):
        (tmp_path / "own.pem").write_bytes(makers.roots(name))
        (tmp_path / "other.pem").write_bytes(makers.roots(other))
        assert openssl_says(found[name], claim, tmp_path / "own.pem") == ""
        assert "certificate" in openssl_says(found[name], claim, tmp_path / "other.pem")


@pytest.mark.parametrize(("name", "other"), [(OPENSSL, SIGSTORE), (SIGSTORE, OPENSSL)])
async def test_each_alone_is_taken_under_its_own_root_and_refused_under_the_others(
    makers: Makers, make_submitter: MakeSubmitter, name: str, other: str, tmp_path: Path
) -> None:
    submitter = await make_submitter(name)
    claim = await submitter.claim(await submitter.anchor())
    assert claim.evidence["authority"] == SIGNERS[name]
    assert claim.evidence["tokens"] == []
    assert failed(await submitter.target.verify(claim)) == []
    (tmp_path / ROOTS).write_bytes(makers.roots(other))
    assert failed(await submitter.target.verify(claim)) == ["chain"]
    refusing = await make_submitter(name, pinned=(other,))
    watched = await refusing.sign()
    with pytest.raises(ValidationFailure, match="chain: leads to no pinned root"):
        await refusing.broadcast(watched)
    assert refusing.replies(watched) == []
    assert (await refusing.look(watched)).state is RoundState.MISSING


async def test_the_root_of_either_maker_proves_the_receipt_offline(
    makers: Makers, make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter(OPENSSL, SIGSTORE, quorum=2)
    claim = await submitter.claim(await submitter.anchor())
    receipt = receipt_of(claim)
    await submitter.target.close()
    makers.openssl.kill()
    makers.sigstore.kill()
    for name in (OPENSSL, SIGSTORE):
        found = offline(receipt, makers.roots(name))
        assert standing_of(found.checks) is Standing.PROVEN
        assert found.when.endswith(f"(clock of {SIGNERS[name]})")
        assert found.trust.count("CN=") == 1
    both = offline(receipt, makers.roots(OPENSSL), makers.roots(SIGSTORE))
    assert standing_of(both.checks) is Standing.PROVEN
    assert both.trust.count("CN=") == 2
    for strangers in ((), (makers.roots(SPARE),)):
        found = offline(receipt, *strangers)
        assert standing_of(found.checks) is Standing.CONSISTENT
        assert [one.name for one in found.checks if one.found is Found.OPEN] == ["trusted root"]


@pytest.mark.fault
@pytest.mark.parametrize(("killed", "left"), [(OPENSSL, SIGSTORE), (SIGSTORE, OPENSSL)])
async def test_a_quorum_waits_for_a_third_maker_when_one_is_killed(
    makers: Makers, make_submitter: MakeSubmitter, killed: str, left: str
) -> None:
    submitter = await make_submitter(OPENSSL, SIGSTORE, SPARE, quorum=2)
    watched = await submitter.sign()
    makers[killed].kill()
    with pytest.raises(NetworkFailure, match=r"^1 of 2 tokens: .*could not be reached") as caught:
        await submitter.broadcast(watched)
    assert caught.value.kind is FailureKind.NETWORK, "it is tried again"
    assert f"127.0.0.1:{makers[killed].port}" in str(caught.value)
    assert (await submitter.look(watched)).state is RoundState.MISSING
    (kept,) = submitter.replies(watched)
    first = kept.read_bytes()
    makers.spare.start()
    assert await submitter.broadcast(watched) is Verdict.ACCEPTED
    assert (await submitter.look(watched)).final
    claim = await submitter.claim(watched)
    found = entries(claim)
    assert set(found) == {left, SPARE}
    assert token_of(found[left]) == first, "what was stored is not asked for again"
    assert failed(await submitter.target.verify(claim)) == []
    for name in (left, SPARE):
        standing = standing_of(offline(receipt_of(claim), makers.roots(name)).checks)
        assert standing is Standing.PROVEN


async def test_a_reply_with_unsorted_certificates_is_taken_and_kept_as_it_was_sent(
    makers: Makers, make_submitter: MakeSubmitter
) -> None:
    async with recorded(makers.sigstore.url) as (url, bodies):
        submitter = await make_submitter(SIGSTORE, urls=[url])
        watched = await submitter.anchor()
        claim = await submitter.claim(watched)
    (sent,) = bodies
    chain = certificates_of(sent)
    assert len(chain) == 3
    assert chain != sorted(chain)
    (root,) = x509.load_pem_x509_certificates(makers.roots(SIGSTORE))
    assert chain[-1] == root.public_bytes(Encoding.DER)
    assert [one.read_bytes() for one in submitter.replies(watched)] == [sent]
    assert token_of(dict(claim.evidence)) == sent
    assert failed(await submitter.target.verify(claim)) == []

"""A round becomes a token: once, durably, whatever the authority sends, and openssl agrees."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from activities.anchoring.evidence import candidate_of
from devnet.tsa import OTHER_POLICY, POLICY, Tsa
from tests.ledgers.rfc3161.authority import (
    ROOTS,
    TARGET,
    TsaSubmitter,
    failed,
    openssl_says,
    settings_of,
)
from tests.simulators.timestamps import new_root
from vaultmesh.domain.aggregator.ledger_messages import (
    Reservation,
    RoundState,
    Verdict,
    WatchedRound,
)
from vaultmesh.domain.diagnosis import Condition
from vaultmesh.domain.failures import AuthFailure, NetworkFailure, ValidationFailure
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.targets_config import Reading, settings_for
from vaultmesh.ledgers.rfc3161.settings import TsaSettings
from vaultmesh.storage.files import LocalStore
from vaultmesh.storage.round_files import RoundFiles

MakeSubmitter = Callable[..., Awaitable[TsaSubmitter]]
SECRETS = ("hunter2", "secretpath", "user")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tsa]:
    """Return an authority that goes wrong on request."""
    with Tsa(tmp_path_factory.mktemp("tsa"), faults=True) as started:
        yield started


@pytest.fixture
def tsa(authority: Tsa) -> Tsa:
    """Return the authority, in order."""
    authority.fail("")
    return authority


@pytest_asyncio.fixture
async def make_submitter(tsa: Tsa, tmp_path: Path) -> AsyncIterator[MakeSubmitter]:
    """Return a function that opens a target with one authority."""
    opened: list[TsaSubmitter] = []

    async def make(call_seconds: float = 5.0, **settings: Any) -> TsaSubmitter:
        submitter = TsaSubmitter(
            settings_of(tsa, root=tmp_path, **settings), tmp_path, call_seconds
        )
        opened.append(submitter)
        return submitter

    yield make
    for submitter in opened:
        await submitter.target.close()


@pytest_asyncio.fixture
async def submitter(make_submitter: MakeSubmitter) -> TsaSubmitter:
    """Return a target with one authority."""
    return await make_submitter()


async def test_a_round_is_missing_then_stamped_and_final(submitter: TsaSubmitter) -> None:
    watched = await submitter.sign()
    assert (await submitter.look(watched)).state is RoundState.MISSING
    assert await submitter.broadcast(watched) is Verdict.ACCEPTED
    view = await submitter.look(watched)
    assert (view.state, view.irrevocable, view.final) == (RoundState.INCLUDED, True, True)
    assert view.tx_ref == watched.tx_refs[0]
    assert view.block is not None
    assert (view.block.number, view.depth) == (0, 3)
    assert abs(view.block.time - datetime.now(UTC)) < timedelta(seconds=30)


async def test_the_receipt_carries_what_openssl_and_we_verify(
    submitter: TsaSubmitter, tmp_path: Path
) -> None:
    watched = await submitter.anchor()
    claim = await submitter.claim(watched)
    assert claim.tx_ref.startswith("serial:")
    assert (claim.block_number, claim.evidence["tokens"]) == (0, [])
    assert openssl_says(claim.evidence, claim, tmp_path / ROOTS) == ""
    checks = await submitter.target.verify(claim)
    assert len(checks) > 10
    assert failed(checks) == []
    assert len(claim.evidence["certificates"]) == 2  # type: ignore[arg-type]


async def test_a_receipt_verifies_without_the_authority_and_without_the_round(
    submitter: TsaSubmitter, tsa: Tsa
) -> None:
    watched = await submitter.anchor()
    claim = await submitter.claim(watched)
    for file in submitter.replies(watched):
        file.unlink()
    tsa.fail("error")
    assert failed(await submitter.target.verify(claim)) == []


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ({"tx_ref": "serial:1"}, ["serial number"]),
        ({"anchor_ts": datetime(2026, 1, 1, tzinfo=UTC)}, ["timestamp"]),
        ({"commitment": bytes(32)}, ["imprint"]),
        ({"block_number": 7}, ["block"]),
    ],
)
async def test_a_receipt_that_claims_something_else_is_told_apart(
    submitter: TsaSubmitter, change: dict[str, Any], lines: list[str]
) -> None:
    claim = await submitter.claim(await submitter.anchor())
    assert failed(await submitter.target.verify(replace(claim, **change))) == lines


async def test_a_receipt_with_another_rounds_token_or_none_is_refused(
    submitter: TsaSubmitter,
) -> None:
    claim = await submitter.claim(await submitter.anchor())
    other = await submitter.claim(await submitter.anchor())
    swapped = {**claim.evidence, "token": other.evidence["token"]}
    assert {"imprint", "nonce"} <= set(
        failed(await submitter.target.verify(replace(claim, evidence=swapped)))
    )
    for bad in ("", "%%%", None, 7):
        given = {**claim.evidence, "token": bad}
        assert failed(await submitter.target.verify(replace(claim, evidence=given))) == ["token"]


async def test_a_legacy_anchor_is_verified_by_its_own_token_alone(submitter: TsaSubmitter) -> None:
    claim = await submitter.claim(await submitter.anchor())
    legacy = replace(claim, evidence={"contract": "", "token": claim.evidence["token"]})
    assert failed(await submitter.target.verify(legacy)) == []
    watched = WatchedRound(
        round_id="1761300000",
        commitment="0x" + claim.commitment.hex(),
        label="1761300000",
        reservation=Reservation(account="", fields={}),
        tx_refs=[claim.tx_ref],
        signed_at=claim.anchor_ts,
    )
    assert (await submitter.look(watched)).state is RoundState.MISSING, "no candidate is stored"


async def test_a_repeated_broadcast_asks_nobody_again(submitter: TsaSubmitter, tsa: Tsa) -> None:
    watched = await submitter.anchor()
    asked, stored = tsa.queries(), submitter.replies(watched)
    assert await submitter.broadcast(watched) is Verdict.ACCEPTED
    assert (tsa.queries(), submitter.replies(watched)) == (asked, stored)
    assert len(stored) == 1
    assert stored[0].name == "reply-0-0.tsr"


async def test_another_process_finds_what_a_killed_one_stored(
    submitter: TsaSubmitter, make_submitter: MakeSubmitter, tsa: Tsa
) -> None:
    watched = await submitter.anchor()
    tsa.fail("error")
    other = await make_submitter()
    other.candidates = submitter.candidates
    assert (await other.look(watched)).state is RoundState.INCLUDED
    assert await other.broadcast(watched) is Verdict.ACCEPTED


async def test_two_replies_to_one_request_give_one_anchor_with_the_earlier_time(
    submitter: TsaSubmitter, make_submitter: MakeSubmitter
) -> None:
    watched = await submitter.anchor()
    (first,) = submitter.replies(watched)
    kept = first.read_bytes()
    first.unlink()
    await asyncio.sleep(1.1)  # genTime has whole seconds
    assert await submitter.broadcast(watched) is Verdict.ACCEPTED
    later = (await submitter.evidence(watched)).anchor_ts
    (submitter.folder(watched) / "reply-0-1.tsr").write_bytes(kept)
    evidence = await submitter.evidence(watched)
    assert evidence.anchor_ts < later
    assert evidence.scheme["tokens"] == []


async def test_a_damaged_or_foreign_file_counts_for_nothing_and_is_asked_for_again(
    submitter: TsaSubmitter,
) -> None:
    watched, other = await submitter.anchor(), await submitter.anchor()
    (file,) = submitter.replies(watched)
    for content in (b"", b"garbage", submitter.replies(other)[0].read_bytes()):
        for one in submitter.replies(watched):
            one.write_bytes(content)
        assert (await submitter.look(watched)).state is RoundState.MISSING
        with pytest.raises(NetworkFailure, match="restore out/rounds"):
            await submitter.evidence(watched)
        assert await submitter.broadcast(watched) is Verdict.ACCEPTED
        assert (await submitter.look(watched)).state is RoundState.INCLUDED
    assert file.exists()


async def test_the_same_record_gives_the_same_bytes(submitter: TsaSubmitter) -> None:
    watched = await submitter.sign()
    first = submitter.candidates[watched.round_id]
    assert await submitter.target.sign(watched.reservation, {}, 0) == first
    again = await submitter.sign(watched.commitment.digest)
    assert submitter.candidates[again.round_id].raw != first.raw, (
        "each reservation has its own nonce"
    )


async def test_no_bid_is_ever_raised(submitter: TsaSubmitter) -> None:
    watched = await submitter.sign()
    assert (await submitter.target.bump(watched.reservation, {})).terms is None


REFUSED = {
    "refusal": (ValidationFailure, "status: rejected"),
    "foreign": (ValidationFailure, "leads to no pinned root"),
    "garbage": (ValidationFailure, "not a time-stamp reply"),
    "html": (ValidationFailure, "sent text/html"),
    "untyped": (ValidationFailure, "sent application/octet-stream"),
    "redirect": (ValidationFailure, "HTTP 302"),
    "oversized": (ValidationFailure, "more than 1048576 bytes"),
    "error": (NetworkFailure, "HTTP 500"),
    "denied": (AuthFailure, "HTTP 403"),
    "silent": (NetworkFailure, "could not be reached"),
}


@pytest.mark.parametrize("fault", REFUSED)
async def test_whatever_is_wrong_is_refused_and_the_round_goes_on_afterwards(
    submitter: TsaSubmitter, tsa: Tsa, fault: str
) -> None:
    kind, text = REFUSED[fault]
    watched = await submitter.sign()
    tsa.fail(fault)
    with pytest.raises(kind, match=text):
        await submitter.broadcast(watched)
    assert submitter.replies(watched) == []
    assert (await submitter.look(watched)).state is RoundState.MISSING
    tsa.fail("")
    assert await submitter.broadcast(watched) is Verdict.ACCEPTED


async def test_a_replayed_reply_is_refused(submitter: TsaSubmitter, tsa: Tsa) -> None:
    commitment = bytes(range(32))
    await submitter.anchor(commitment)
    again = await submitter.sign(commitment)
    for file in submitter.replies(again):
        file.unlink()
    tsa.fail("replay")
    with pytest.raises(ValidationFailure, match="nonce: not the one that was asked for"):
        await submitter.broadcast(again)


async def test_a_slow_authority_fails_in_time(make_submitter: MakeSubmitter, tsa: Tsa) -> None:
    submitter = await make_submitter(call_seconds=2.0)
    watched = await submitter.sign()
    tsa.fail("slow", seconds=20.0, times=1)
    began = time.monotonic()
    with pytest.raises(NetworkFailure, match="no answer in time"):
        await submitter.broadcast(watched)
    assert time.monotonic() - began < 15
    assert await submitter.broadcast(watched) is Verdict.ACCEPTED


async def test_a_policy_is_asked_for_and_required(make_submitter: MakeSubmitter) -> None:
    plain = await make_submitter()
    assert (await plain.evidence(await plain.anchor())).scheme["policyOID"] == POLICY
    submitter = await make_submitter(policyOID=OTHER_POLICY)
    evidence = await submitter.evidence(await submitter.anchor())
    assert evidence.scheme["policyOID"] == OTHER_POLICY
    strange = await make_submitter(policyOID="1.2.3.4.5")
    with pytest.raises(ValidationFailure, match="status: rejected"):
        await strange.anchor()


async def test_an_authority_is_not_asked_more_often_than_its_spacing(
    make_submitter: MakeSubmitter,
) -> None:
    submitter = await make_submitter(spacing="4s")
    began = time.monotonic()
    await submitter.anchor()
    assert time.monotonic() - began < 3.9, "the first question waits for nothing"
    await submitter.anchor()
    assert time.monotonic() - began >= 4.0


async def test_no_error_shows_credentials(make_submitter: MakeSubmitter, tsa: Tsa) -> None:
    url = tsa.url.replace("http://", "http://user:hunter2@") + "secretpath"
    submitter = await make_submitter(urls=[url])
    watched = await submitter.sign()
    tsa.fail("error")
    with pytest.raises(NetworkFailure) as failure:
        await submitter.broadcast(watched)
    told = f"{failure.value} {submitter.target!r} {watched.reservation} {submitter.settings}"
    assert not any(secret in told for secret in SECRETS)


async def test_nothing_is_asked_for_that_could_not_be_verified(
    make_submitter: MakeSubmitter, tmp_path: Path, tsa: Tsa
) -> None:
    submitter = await make_submitter()
    (tmp_path / ROOTS).write_text("no certificate")
    asked = tsa.queries()
    with pytest.raises(ValidationFailure, match="holds no certificates"):
        await submitter.sign()
    (tmp_path / ROOTS).unlink()
    with pytest.raises(ValidationFailure, match="neither below"):
        await submitter.sign()
    assert tsa.queries() == asked


async def test_a_reservation_of_another_form_is_refused(submitter: TsaSubmitter) -> None:
    watched = await submitter.anchor()
    for fields in ({"nonce": 1}, {**watched.reservation.fields, "request": "AAAA"}):
        strange = watched.reservation.model_copy(update={"fields": fields})
        with pytest.raises(ValidationFailure, match="no time-stamp request"):
            await submitter.target.sign(strange, {}, 0)
    other = MerkleRoot(b"\x11" * 32)
    with pytest.raises(ValidationFailure, match="another commitment"):
        await submitter.look(watched.model_copy(update={"commitment": other}))


@pytest.mark.parametrize(
    "given",
    [
        {"urls": []},
        {"urls": ["http://127.0.0.1:9"], "quorum": 2},
        {"policyOID": "tsa_policy1"},
        {"spacing": "5m"},
        {"trustBundle": ""},
        {"urls": ["ftp://127.0.0.1"]},
        {"polici": "1.2.3"},
    ],
)
def test_settings_that_mean_nothing_are_refused(given: dict[str, Any]) -> None:
    values = {"urls": ["http://127.0.0.1:9"], "trustBundle": "roots.pem", **given}
    with pytest.raises(ValueError, match="validation error"):
        TsaSettings.model_validate(values)


def test_the_spacing_is_fifteen_seconds_unless_said() -> None:
    read = TsaSettings.model_validate({"url": "http://127.0.0.1:9", "trustBundle": "roots.pem"})
    assert (read.spacing, read.quorum, read.policy) == (timedelta(seconds=15), 1, "")


def test_the_environment_overrides_the_default_section_as_in_the_original() -> None:
    document = {"rfc3161": {"default": {"url": "http://127.0.0.1:1", "trustBundle": "r.pem"}}}
    environment = {"TSA_URL": "http://127.0.0.1:2", "TSA_POLICY_OID": "1.2.3"}
    read = settings_for(document, TARGET, TsaSettings, Reading(environment=environment))
    assert [url.get_secret_value() for url in read.endpoints] == ["http://127.0.0.1:2"]
    assert read.policy == "1.2.3"
    several = {"urls": ["http://127.0.0.1:3", "http://127.0.0.1:4"], "quorum": "2"}
    document["rfc3161"]["tsa"] = several  # type: ignore[assignment]
    read = settings_for(document, TARGET, TsaSettings, Reading(environment=environment))
    assert (len(read.endpoints), read.quorum) == (2, 2)


async def test_after_a_restart_the_end_of_the_chain_is_known_before_anything_is_stamped(
    make_submitter: MakeSubmitter,
) -> None:
    submitter = await make_submitter()
    watched = await submitter.anchor()
    files = RoundFiles(LocalStore(submitter.root), TARGET)
    reservation = watched.reservation.model_dump(mode="json")
    candidate = submitter.candidates[watched.round_id]
    files.add_candidate(watched.round_id, candidate_of(candidate, reservation, 1))
    before = (await submitter.target.figures()).ends
    after = (await (await make_submitter()).target.figures()).ends
    assert after == before
    assert after["chain"] > datetime.now(UTC)


async def test_a_root_that_was_replaced_and_stays_in_the_bundle_is_warned_of_no_more(
    make_submitter: MakeSubmitter, tsa: Tsa, tmp_path: Path
) -> None:
    """The harm: the runbook keeps the former root in the bundle, and its end would call for ever."""
    submitter = await make_submitter()
    own = (await submitter.target.figures()).ends["root"]
    soon = new_root("former", ends=datetime.now(UTC) + timedelta(days=3))
    over = new_root("over", ends=datetime.now(UTC) - timedelta(days=3))
    roots = tsa.roots.read_bytes() + soon.pem + over.pem
    (tmp_path / ROOTS).write_bytes(roots)
    assert (await submitter.target.figures()).ends["root"] < own  # nobody knows yet which is used
    await submitter.anchor()
    assert (await submitter.target.figures()).ends["root"] == own
    lines = await submitter.target.diagnose("")
    (line,) = [line for line in lines if line.check == "pinned root"]
    assert line.condition is Condition.OK
    (tmp_path / ROOTS).write_bytes(over.pem)
    assert (await (await make_submitter()).target.figures()).ends["root"] < datetime.now(UTC)

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

from devnet.tsa import OTHER_POLICY, POLICY, Tsa
from tests.ledgers.rfc3161.authority import ROOTS, TARGET, TsaPen, failed, openssl_says, settings_of
from vaultmesh.domain.aggregator.ledger_messages import (
    Reservation,
    RoundState,
    Verdict,
    WatchedRound,
)
from vaultmesh.domain.failures import AuthFailure, NetworkFailure, ValidationFailure
from vaultmesh.domain.targets_config import Reading, settings_for
from vaultmesh.ledgers.rfc3161.settings import TsaSettings

MakePen = Callable[..., Awaitable[TsaPen]]
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
async def make_pen(tsa: Tsa, tmp_path: Path) -> AsyncIterator[MakePen]:
    """Return a function that opens a target with one authority."""
    opened: list[TsaPen] = []

    async def make(call_seconds: float = 5.0, **settings: Any) -> TsaPen:
        pen = TsaPen(settings_of(tsa, root=tmp_path, **settings), tmp_path, call_seconds)
        opened.append(pen)
        return pen

    yield make
    for pen in opened:
        await pen.target.close()


@pytest_asyncio.fixture
async def pen(make_pen: MakePen) -> TsaPen:
    """Return a target with one authority."""
    return await make_pen()


async def test_a_round_is_missing_then_stamped_and_final(pen: TsaPen) -> None:
    watched = await pen.sign()
    assert (await pen.look(watched)).state is RoundState.MISSING
    assert await pen.broadcast(watched) is Verdict.ACCEPTED
    view = await pen.look(watched)
    assert (view.state, view.irrevocable, view.final) == (RoundState.INCLUDED, True, True)
    assert view.tx_ref == watched.tx_refs[0]
    assert view.block is not None
    assert (view.block.number, view.depth) == (0, 3)
    assert abs(view.block.time - datetime.now(UTC)) < timedelta(seconds=30)


async def test_the_receipt_carries_what_openssl_and_we_verify(pen: TsaPen, tmp_path: Path) -> None:
    watched = await pen.anchor()
    claim = await pen.claim(watched)
    assert claim.tx_ref.startswith("serial:")
    assert (claim.block_number, claim.evidence["tokens"]) == (0, [])
    assert openssl_says(claim.evidence, claim, tmp_path / ROOTS) == ""
    checks = await pen.target.verify(claim)
    assert len(checks) > 10
    assert failed(checks) == []
    assert len(claim.evidence["certificates"]) == 2  # type: ignore[arg-type]


async def test_a_receipt_verifies_without_the_authority_and_without_the_round(
    pen: TsaPen, tsa: Tsa
) -> None:
    watched = await pen.anchor()
    claim = await pen.claim(watched)
    for file in pen.replies(watched):
        file.unlink()
    tsa.fail("error")
    assert failed(await pen.target.verify(claim)) == []


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
    pen: TsaPen, change: dict[str, Any], lines: list[str]
) -> None:
    claim = await pen.claim(await pen.anchor())
    assert failed(await pen.target.verify(replace(claim, **change))) == lines


async def test_a_receipt_with_another_rounds_token_or_none_is_refused(pen: TsaPen) -> None:
    claim = await pen.claim(await pen.anchor())
    other = await pen.claim(await pen.anchor())
    swapped = {**claim.evidence, "token": other.evidence["token"]}
    assert {"imprint", "nonce"} <= set(
        failed(await pen.target.verify(replace(claim, evidence=swapped)))
    )
    for bad in ("", "%%%", None, 7):
        given = {**claim.evidence, "token": bad}
        assert failed(await pen.target.verify(replace(claim, evidence=given))) == ["token"]


async def test_a_legacy_anchor_is_verified_by_its_own_token_alone(pen: TsaPen) -> None:
    claim = await pen.claim(await pen.anchor())
    legacy = replace(claim, evidence={"contract": "", "token": claim.evidence["token"]})
    assert failed(await pen.target.verify(legacy)) == []
    watched = WatchedRound(
        round_id="1761300000",
        commitment="0x" + claim.commitment.hex(),
        label="1761300000",
        reservation=Reservation(account="", fields={}),
        tx_refs=[claim.tx_ref],
        signed_at=claim.anchor_ts,
    )
    assert (await pen.look(watched)).state is RoundState.MISSING, "no candidate is stored"


async def test_a_repeated_broadcast_asks_nobody_again(pen: TsaPen, tsa: Tsa) -> None:
    watched = await pen.anchor()
    asked, stored = tsa.queries(), pen.replies(watched)
    assert await pen.broadcast(watched) is Verdict.ACCEPTED
    assert (tsa.queries(), pen.replies(watched)) == (asked, stored)
    assert len(stored) == 1
    assert stored[0].name == "reply-0-0.tsr"


async def test_another_process_finds_what_a_killed_one_stored(
    pen: TsaPen, make_pen: MakePen, tsa: Tsa
) -> None:
    watched = await pen.anchor()
    tsa.fail("error")
    other = await make_pen()
    other.candidates = pen.candidates
    assert (await other.look(watched)).state is RoundState.INCLUDED
    assert await other.broadcast(watched) is Verdict.ACCEPTED


async def test_two_replies_to_one_request_give_one_anchor_with_the_earlier_time(
    pen: TsaPen, make_pen: MakePen
) -> None:
    watched = await pen.anchor()
    (first,) = pen.replies(watched)
    kept = first.read_bytes()
    first.unlink()
    await asyncio.sleep(1.1)  # genTime has whole seconds
    assert await pen.broadcast(watched) is Verdict.ACCEPTED
    later = (await pen.evidence(watched)).anchor_ts
    (pen.folder(watched) / "reply-0-1.tsr").write_bytes(kept)
    evidence = await pen.evidence(watched)
    assert evidence.anchor_ts < later
    assert evidence.scheme["tokens"] == []


async def test_a_damaged_or_foreign_file_counts_for_nothing_and_is_asked_for_again(
    pen: TsaPen,
) -> None:
    watched, other = await pen.anchor(), await pen.anchor()
    (file,) = pen.replies(watched)
    for content in (b"", b"garbage", pen.replies(other)[0].read_bytes()):
        for one in pen.replies(watched):
            one.write_bytes(content)
        assert (await pen.look(watched)).state is RoundState.MISSING
        with pytest.raises(NetworkFailure, match="restore out/rounds"):
            await pen.evidence(watched)
        assert await pen.broadcast(watched) is Verdict.ACCEPTED
        assert (await pen.look(watched)).state is RoundState.INCLUDED
    assert file.exists()


async def test_the_same_record_gives_the_same_bytes(pen: TsaPen) -> None:
    watched = await pen.sign()
    first = pen.candidates[watched.round_id]
    assert pen.target.sign(watched.reservation, {}, 0) == first
    again = await pen.sign(bytes.fromhex(watched.commitment[2:]))
    assert pen.candidates[again.round_id].raw != first.raw, "each reservation has its own nonce"


async def test_no_bid_is_ever_raised(pen: TsaPen) -> None:
    watched = await pen.sign()
    assert (await pen.target.bump(watched.reservation, {})).terms is None


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
    pen: TsaPen, tsa: Tsa, fault: str
) -> None:
    kind, text = REFUSED[fault]
    watched = await pen.sign()
    tsa.fail(fault)
    with pytest.raises(kind, match=text):
        await pen.broadcast(watched)
    assert pen.replies(watched) == []
    assert (await pen.look(watched)).state is RoundState.MISSING
    tsa.fail("")
    assert await pen.broadcast(watched) is Verdict.ACCEPTED


async def test_a_replayed_reply_is_refused(pen: TsaPen, tsa: Tsa) -> None:
    commitment = bytes(range(32))
    await pen.anchor(commitment)
    again = await pen.sign(commitment)
    for file in pen.replies(again):
        file.unlink()
    tsa.fail("replay")
    with pytest.raises(ValidationFailure, match="nonce: not the one that was asked for"):
        await pen.broadcast(again)


async def test_a_slow_authority_fails_in_time(make_pen: MakePen, tsa: Tsa) -> None:
    pen = await make_pen(call_seconds=2.0)
    watched = await pen.sign()
    tsa.fail("slow", seconds=20.0, times=1)
    began = time.monotonic()
    with pytest.raises(NetworkFailure, match="no answer in time"):
        await pen.broadcast(watched)
    assert time.monotonic() - began < 15
    assert await pen.broadcast(watched) is Verdict.ACCEPTED


async def test_a_policy_is_asked_for_and_required(make_pen: MakePen) -> None:
    plain = await make_pen()
    assert (await plain.evidence(await plain.anchor())).scheme["policyOID"] == POLICY
    pen = await make_pen(policyOID=OTHER_POLICY)
    evidence = await pen.evidence(await pen.anchor())
    assert evidence.scheme["policyOID"] == OTHER_POLICY
    strange = await make_pen(policyOID="1.2.3.4.5")
    with pytest.raises(ValidationFailure, match="status: rejected"):
        await strange.anchor()


async def test_an_authority_is_not_asked_more_often_than_its_spacing(make_pen: MakePen) -> None:
    pen = await make_pen(spacing="4s")
    began = time.monotonic()
    await pen.anchor()
    assert time.monotonic() - began < 3.9, "the first question waits for nothing"
    await pen.anchor()
    assert time.monotonic() - began >= 4.0


async def test_no_error_shows_credentials(make_pen: MakePen, tsa: Tsa) -> None:
    url = tsa.url.replace("http://", "http://user:hunter2@") + "secretpath"
    pen = await make_pen(urls=[url])
    watched = await pen.sign()
    tsa.fail("error")
    with pytest.raises(NetworkFailure) as failure:
        await pen.broadcast(watched)
    told = f"{failure.value} {pen.target!r} {watched.reservation} {pen.settings}"
    assert not any(secret in told for secret in SECRETS)


async def test_nothing_is_asked_for_that_could_not_be_verified(
    make_pen: MakePen, tmp_path: Path, tsa: Tsa
) -> None:
    pen = await make_pen()
    (tmp_path / ROOTS).write_text("no certificate")
    asked = tsa.queries()
    with pytest.raises(ValidationFailure, match="holds no certificates"):
        await pen.sign()
    (tmp_path / ROOTS).unlink()
    with pytest.raises(ValidationFailure, match="neither below"):
        await pen.sign()
    assert tsa.queries() == asked


async def test_a_reservation_of_another_form_is_refused(pen: TsaPen) -> None:
    watched = await pen.anchor()
    for fields in ({"nonce": 1}, {**watched.reservation.fields, "request": "AAAA"}):
        strange = watched.reservation.model_copy(update={"fields": fields})
        with pytest.raises(ValidationFailure, match="no time-stamp request"):
            pen.target.sign(strange, {}, 0)
    other = "0x" + "11" * 32
    with pytest.raises(ValidationFailure, match="another commitment"):
        await pen.look(watched.model_copy(update={"commitment": other}))


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

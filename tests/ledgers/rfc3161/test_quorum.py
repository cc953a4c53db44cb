"""Several authorities stamp together: which of them are asked, who counts, and what the receipt keeps."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from devnet.tsa import Tsa
from tests.ledgers.rfc3161.authority import ROOTS, TsaSubmitter, failed, openssl_says, settings_of
from tests.simulators.timestamps import STAMPED_AT, Forgery, new_leaf, new_root
from vaultmesh.domain.aggregator.ledger_messages import RoundState, Verdict
from vaultmesh.domain.failures import NetworkFailure, ValidationFailure
from vaultmesh.ledgers.rfc3161.core.judge import judge
from vaultmesh.ledgers.rfc3161.core.token import build_request
from vaultmesh.ledgers.rfc3161.core.trust import read_pinned
from vaultmesh.ledgers.rfc3161.evidence import clocks_disagree
from vaultmesh.ledgers.rfc3161.replies import Kept

DEAD = "http://127.0.0.1:9"
MakeSubmitter = Callable[..., Awaitable[TsaSubmitter]]


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Tsa]]:
    """Return three authorities with a root each."""
    folder = tmp_path_factory.mktemp("authorities")
    with ExitStack() as started:
        yield [started.enter_context(Tsa(folder, name=f"tsa{n}", faults=True)) for n in range(3)]


@pytest.fixture
def three(authorities: list[Tsa]) -> list[Tsa]:
    """Return the authorities, in order."""
    for one in authorities:
        one.fail("")
    return authorities


@pytest_asyncio.fixture
async def make_submitter(three: list[Tsa], tmp_path: Path) -> AsyncIterator[MakeSubmitter]:
    """Return a function that opens a target with the three authorities."""
    opened: list[TsaSubmitter] = []

    async def make(call_seconds: float = 5.0, **settings: Any) -> TsaSubmitter:
        submitter = TsaSubmitter(
            settings_of(*three, root=tmp_path, **settings), tmp_path, call_seconds
        )
        opened.append(submitter)
        return submitter

    yield make
    for submitter in opened:
        await submitter.target.close()


def asked(three: list[Tsa]) -> list[int]:
    """Return how many queries each authority got so far."""
    return [one.queries() for one in three]


async def test_one_token_is_enough_by_default_and_only_the_first_is_asked(
    three: list[Tsa], make_submitter: MakeSubmitter
) -> None:
    submitter, before = await make_submitter(), asked(three)
    watched = await submitter.anchor()
    assert [now - then for now, then in zip(asked(three), before, strict=True)] == [1, 0, 0]
    assert (await submitter.evidence(watched)).scheme[
        "authority"
    ] == "CN=tsa0 authority,O=VaultMesh devnet"


async def test_the_next_one_is_asked_when_the_first_fails_and_the_first_rests(
    three: list[Tsa], make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter()
    three[0].fail("error")
    watched = await submitter.anchor()
    assert "tsa1" in str((await submitter.evidence(watched)).scheme["authority"])
    before = asked(three)
    await submitter.anchor()
    assert [now - then for now, then in zip(asked(three), before, strict=True)] == [0, 1, 0]


async def test_a_resting_authority_is_asked_when_nobody_else_is_left(
    three: list[Tsa], make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter()
    watched = await submitter.sign()
    for one in three:
        one.fail("error")
    with pytest.raises(NetworkFailure, match=r"HTTP 500.*; .*HTTP 500.*; .*HTTP 500"):
        await submitter.broadcast(watched)
    three[0].fail("")
    assert await submitter.broadcast(watched) is Verdict.ACCEPTED


@pytest.mark.parametrize("fault", ["foreign", "refusal", "garbage", "html", "error"])
async def test_two_of_three_stamp_though_one_is_bad(
    three: list[Tsa], make_submitter: MakeSubmitter, fault: str, tmp_path: Path
) -> None:
    submitter = await make_submitter(quorum=2)
    three[0].fail(fault)
    watched = await submitter.anchor()
    view = await submitter.look(watched)
    assert (view.state, view.final) == (RoundState.INCLUDED, True)
    claim = await submitter.claim(watched)
    (other,) = claim.evidence["tokens"]  # type: ignore[misc]
    assert isinstance(other, dict)
    names = {str(claim.evidence["authority"])[:7], str(other["authority"])[:7]}
    assert names == {"CN=tsa1", "CN=tsa2"}
    assert datetime.fromisoformat(str(other["genTime"])) >= claim.anchor_ts
    assert claim.evidence["clocksDisagree"] is False
    for entry in (claim.evidence, other):
        assert openssl_says(entry, claim, tmp_path / ROOTS) == ""
    assert failed(await submitter.target.verify(claim)) == []


async def test_two_bad_ones_of_three_are_too_many_but_the_good_token_is_kept(
    three: list[Tsa], make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter(quorum=2)
    three[0].fail("foreign")
    three[2].fail("html")
    watched = await submitter.sign()
    with pytest.raises(ValidationFailure, match=r"1 of 2 tokens: .*pinned root.*; .*text/html"):
        await submitter.broadcast(watched)
    assert len(submitter.replies(watched)) == 1
    assert (await submitter.look(watched)).state is RoundState.MISSING
    before = asked(three)[1]
    for _ in range(3):
        with pytest.raises(ValidationFailure, match="1 of 2 tokens"):
            await submitter.broadcast(watched)
    assert len(submitter.replies(watched)) == 1, "repetitions do not fill the storage"
    three[2].fail("")
    assert await submitter.broadcast(watched) is Verdict.ACCEPTED
    assert len(submitter.replies(watched)) == 2
    assert asked(three)[1] <= before + 3


async def test_one_authority_at_two_addresses_is_no_quorum(
    three: list[Tsa], make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter(quorum=2, urls=[three[0].url, three[0].url])
    with pytest.raises(ValidationFailure, match=r"1 of 2 tokens: .*different operators"):
        await submitter.anchor()


async def test_a_quorum_is_asked_at_once(three: list[Tsa], make_submitter: MakeSubmitter) -> None:
    submitter = await make_submitter(call_seconds=10.0, quorum=3)
    for one in three:
        one.fail("slow", seconds=2.0)
    began = time.monotonic()
    watched = await submitter.anchor()
    assert time.monotonic() - began < 5.8, "one after the other would take 6 s"
    assert len((await submitter.evidence(watched)).scheme["tokens"]) == 2  # type: ignore[arg-type]


async def test_a_dead_and_a_hung_authority_delay_but_do_not_prevent(
    three: list[Tsa], make_submitter: MakeSubmitter
) -> None:
    submitter = await make_submitter(call_seconds=2.0, urls=[DEAD, three[1].url, three[2].url])
    three[1].fail("slow", seconds=20.0, times=1)
    watched = await submitter.anchor()
    assert "tsa2" in str((await submitter.evidence(watched)).scheme["authority"])


async def test_a_receipt_without_its_further_tokens_is_told_apart(
    make_submitter: MakeSubmitter,
) -> None:
    submitter = await make_submitter(quorum=2)
    claim = await submitter.claim(await submitter.anchor())
    other = await submitter.claim(await submitter.anchor())
    without = replace(claim, evidence={**claim.evidence, "tokens": []})
    assert failed(await submitter.target.verify(without)) == ["quorum"]
    wrong = replace(claim, evidence={**claim.evidence, "tokens": other.evidence["tokens"]})
    assert failed(await submitter.target.verify(wrong)) == ["further tokens", "quorum"]
    twice = [{"token": claim.evidence["token"]}]
    again = replace(claim, evidence={**claim.evidence, "tokens": twice})
    assert failed(await submitter.target.verify(again)) == ["quorum"]


async def test_an_authority_that_was_unpinned_counts_no_more(
    three: list[Tsa], make_submitter: MakeSubmitter, tmp_path: Path
) -> None:
    submitter = await make_submitter()
    claim = await submitter.claim(await submitter.anchor())
    (tmp_path / ROOTS).write_bytes(three[1].roots.read_bytes())
    assert failed(await submitter.target.verify(claim)) == ["chain"]


async def test_rounds_of_many_at_once_each_get_their_own_token(
    make_submitter: MakeSubmitter,
) -> None:
    submitter = await make_submitter(quorum=2)
    rounds = await asyncio.gather(*(submitter.anchor() for _ in range(5)))
    views = await submitter.target.look(rounds)
    assert {view.state for view in views} == {RoundState.INCLUDED}
    assert len({(await submitter.evidence(one)).tx_ref for one in rounds}) == 5


@pytest.mark.parametrize(("seconds", "flagged"), [(9, False), (11, True)])
def test_clocks_that_lie_apart_are_flagged_and_the_token_is_kept(
    seconds: int, *, flagged: bool
) -> None:
    tokens = [_token(STAMPED_AT), _token(STAMPED_AT + timedelta(seconds=seconds))]
    assert clocks_disagree(tokens) is flagged


def _token(moment: datetime) -> Kept:
    root, request = new_root(), build_request(bytes(32), 1)
    reply = Forgery(new_leaf(root), gen_time=moment).reply(request)
    judged = judge(reply, bytes(32), read_pinned(root.pem), request=request)
    assert judged.token is not None
    return Kept(reply, judged.token, judged.path, judged.authority)


async def test_a_round_needs_as_many_tokens_as_when_it_was_asked_for(
    make_submitter: MakeSubmitter,
) -> None:
    submitter = await make_submitter()
    watched = await submitter.anchor()
    assert watched.reservation.fields["quorum"] == 1
    claim = replace(await submitter.claim(watched), reservation=watched.reservation.fields)
    stricter = await make_submitter(quorum=2)
    assert (await stricter.look(watched)).state is RoundState.INCLUDED
    assert failed(await stricter.target.verify(claim)) == []
    assert failed(await stricter.target.verify(replace(claim, reservation={}))) != []


async def test_a_lower_quorum_frees_a_round_that_waits_for_an_authority(
    make_submitter: MakeSubmitter,
) -> None:
    strict = await make_submitter(quorum=2)
    watched = await strict.sign()
    laxer = await make_submitter()
    await laxer.target.broadcast(
        watched.reservation, await strict.target.sign(watched.reservation, {}, 0)
    )
    assert (await strict.look(watched)).state is RoundState.MISSING
    assert (await laxer.look(watched)).state is RoundState.INCLUDED


async def test_a_round_that_was_stamped_is_not_given_up(make_submitter: MakeSubmitter) -> None:
    submitter = await make_submitter()
    watched = await submitter.sign()
    before = await submitter.target.fate(watched.reservation, watched.tx_refs)
    assert (before.shown_by, before.unused) == ("", "")
    await submitter.broadcast(watched)
    after = await submitter.target.fate(watched.reservation, watched.tx_refs)
    assert "sound tokens are stored" in after.shown_by
    with pytest.raises(ValidationFailure, match="can't be adopted"):
        await submitter.target.adoptable(watched.reservation, "0x01")

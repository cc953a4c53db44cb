"""What every target owes a round: decided once, signed purely, on the ledger exactly once, looked at honestly."""

import asyncio

import pytest

from tests.ledgers.conformance.bench import Bench
from tests.ledgers.conformance.trial import Trial
from vaultmesh.domain.aggregator.ledger_messages import RoundState, Verdict
from vaultmesh.domain.failures import AnchorError, NetworkFailure, ValidationFailure

UNSENT = {RoundState.PENDING, RoundState.MISSING}


async def test_reserving_twice_leaves_no_trace_on_the_ledger(bench: Bench, trial: Trial) -> None:
    first, _ = await trial.reserve(trial.manifest())
    before = bench.trace(first.account)
    again = [await trial.reserve(trial.manifest()) for _ in range(2)]
    assert bench.trace(first.account) == before
    assert {one.account for one, _ in again} == {first.account}
    assert len({one.model_dump_json() for one, _ in again}) == 2


async def test_probing_is_answered_alike_and_leaves_no_trace_on_the_ledger(
    bench: Bench, trial: Trial
) -> None:
    reservation, _ = await trial.reserve(trial.manifest())
    before = bench.trace(reservation.account)
    marks = {await trial.target.probe() for _ in range(3)}
    trial.texts += marks
    assert len(marks) == 1
    assert bench.trace(reservation.account) == before


async def test_a_reservation_and_its_terms_survive_being_written_down(trial: Trial) -> None:
    signed = await trial.sign()
    reservation = signed.watched.reservation
    read = type(reservation).model_validate_json(reservation.model_dump_json())
    again = await trial.target.sign(read, signed.terms, 0)
    assert again == signed.candidate


async def test_the_same_record_gives_the_same_bytes_from_any_object_at_any_time(
    bench: Bench, trial: Trial
) -> None:
    signed = await trial.sign()
    before = bench.trace(signed.watched.reservation.account)
    other = bench.open(trial.section)
    made = [
        await one.sign(signed.watched.reservation, signed.terms, 0)
        for one in (trial.target, other, other)
    ]
    assert made == [signed.candidate] * 3
    assert bench.trace(signed.watched.reservation.account) == before
    await trial.broadcast(signed)
    await trial.until_final(signed)
    late = await other.sign(signed.watched.reservation, signed.terms, 0)
    assert late == signed.candidate
    await other.close()


async def test_another_commitment_gives_other_bytes(trial: Trial) -> None:
    one, other = await trial.sign(), await trial.sign()
    assert one.candidate.raw != other.candidate.raw
    assert one.candidate.tx_ref != other.candidate.tx_ref


async def test_many_broadcasts_put_the_commitment_there_once(bench: Bench, trial: Trial) -> None:
    signed = await trial.sign()
    assert bench.count(signed.commitment) == 0
    said = [await trial.broadcast(signed) for _ in range(2)]
    other = bench.open(trial.section)
    sent = (signed.watched.reservation, signed.candidate)
    both = await asyncio.gather(trial.target.broadcast(*sent), other.broadcast(*sent))
    said += [one.verdict for one in both]
    bench.advance()
    said.append(await trial.broadcast(signed))
    await trial.until_final(signed)
    assert said == [Verdict.ACCEPTED] * 5
    assert (await trial.look(signed)).state is RoundState.INCLUDED
    assert bench.count(signed.commitment) == 1
    await other.close()


async def test_a_round_is_included_only_once_the_ledger_has_it(bench: Bench, trial: Trial) -> None:
    signed = await trial.sign()
    view = await trial.look(signed)
    assert (view.state in UNSENT, view.final, view.block) == (True, False, None)
    bench.advance()
    assert (await trial.look(signed)).state in UNSENT
    await trial.broadcast(signed)
    if bench.ADVANCES:
        view = await trial.look(signed)
        assert (view.state, view.final, view.block) == (RoundState.PENDING, False, None)
    bench.advance()
    view = await trial.look(signed)
    assert (view.state, view.tx_ref) == (RoundState.INCLUDED, signed.candidate.tx_ref)
    assert view.round_id == signed.watched.round_id
    assert view.block is not None
    assert bench.count(signed.commitment) == 1


async def test_a_round_is_final_when_depth_and_rule_hold_and_not_before(
    bench: Bench, trial: Trial
) -> None:
    signed = await trial.anchor()
    views = await trial.until_final(signed)
    for number, view in enumerate(views, 1):
        assert view.state is RoundState.INCLUDED
        assert view.final == (view.irrevocable and view.depth >= bench.DEPTH)
        assert not bench.ADVANCES or abs(view.depth - number) <= 1
    young = [view for view in views if not view.final]
    assert bool(young) is bench.ADVANCES
    if bench.ADVANCES:
        deep = await trial.look(signed, [views[-1].depth + 1])
        assert (deep.state, deep.final) == (RoundState.INCLUDED, False)


async def test_several_rounds_are_looked_at_in_order(bench: Bench, trial: Trial) -> None:
    signed = [await trial.anchor()]
    bench.advance()
    await trial.look(signed[0])
    signed.append(await trial.anchor())
    bench.advance()
    await trial.look(signed[1])
    signed.append(await trial.sign())
    views = await trial.target.look([one.watched for one in signed])
    assert [view.round_id for view in views] == [one.watched.round_id for one in signed]
    included = [view.state is RoundState.INCLUDED for view in views]
    assert included == [True, True, False]
    assert await trial.target.look([]) == []


async def test_what_the_pool_forgot_may_be_sent_again(bench: Bench, trial: Trial) -> None:
    signed = await trial.anchor()
    if bench.FORGETS:
        bench.forget()
        assert (await trial.look(signed)).state is RoundState.MISSING
    assert await trial.broadcast(signed) is Verdict.ACCEPTED
    await trial.until_final(signed)
    assert bench.count(signed.commitment) == 1


async def test_a_higher_bid_says_why_or_has_terms(trial: Trial) -> None:
    signed = await trial.anchor()
    bumped = await trial.target.bump(signed.watched.reservation, signed.terms)
    trial.texts.append(repr(bumped))
    if bumped.terms is None:
        assert bumped.message
        return
    higher = await trial.target.sign(signed.watched.reservation, bumped.terms, 1)
    assert higher.raw != signed.candidate.raw
    await trial.target.broadcast(signed.watched.reservation, higher)
    refs = [signed.candidate.tx_ref, higher.tx_ref]
    trial.bench.advance()
    watched = signed.watched.model_copy(update={"tx_refs": refs})
    (view,) = await trial.target.look([watched])
    assert (view.state, view.tx_ref in refs) == (RoundState.INCLUDED, True)
    assert trial.bench.count(signed.commitment) == 1


@pytest.mark.parametrize("fields", [{}, {"nonce": "x"}, {"request": 7, "txid": None}])
async def test_a_malformed_record_is_an_anchor_error(
    trial: Trial, fields: dict[str, object]
) -> None:
    signed = await trial.sign()
    strange = signed.watched.reservation.model_copy(update={"fields": fields})
    with pytest.raises(AnchorError) as failure:
        await trial.target.sign(strange, signed.terms, 0)
    trial.texts.append(str(failure.value))
    assert not isinstance(failure.value, NetworkFailure)


async def test_nothing_is_reserved_on_another_ledger_than_the_configured_one(
    bench: Bench, trial: Trial
) -> None:
    if bench.ELSEWHERE is None:  # an authority has no name of its own: its pinned root tells
        (bench.folder / "strange.pem").write_text("no certificate")
        strange, target = {"trustBundle": "strange.pem"}, bench.TARGET
    else:
        strange, target = dict(bench.ELSEWHERE_CHANGES), bench.ELSEWHERE
    document = {bench.SCHEME: {target.reference: trial.section | strange}}
    other = bench.open_document(document, target)
    with pytest.raises(ValidationFailure) as failure:
        await other.reserve(bytes(32), "1", last=None, highest_stored=lambda _: None)
    trial.texts += [str(failure.value), repr(other)]
    await other.close()


async def test_bytes_that_are_none_of_ours_are_refused_or_harmless(
    bench: Bench, trial: Trial
) -> None:
    signed = await trial.sign()
    reservation = signed.watched.reservation
    for raw in ("", "zz", "0x02c0", "00" * 60):
        broken = signed.candidate.model_copy(update={"raw": raw})
        try:
            await trial.target.broadcast(reservation, broken)
        except AnchorError as error:
            trial.texts.append(str(error))
    assert await trial.broadcast(signed) is Verdict.ACCEPTED
    await trial.until_final(signed)
    assert bench.count(signed.commitment) == 1

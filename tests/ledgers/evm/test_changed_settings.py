"""A round is judged by what was signed: settings that change while it is open are for new rounds."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from pydantic import JsonValue

from tests.ledgers.evm.chain import Chain, Submitter, contract_code, remembered
from tests.ledgers.evm.conftest import MakeSubmitter
from vaultmesh.domain.aggregator.ledger_messages import Reservation, RoundState, WatchedRound
from vaultmesh.domain.failures import AuthFailure
from vaultmesh.ledgers.driver import Claim

pytestmark = pytest.mark.evm

NOWHERE = "0x" + "11" * 20


async def claim_of(submitter: Submitter, signer: Submitter, watched: WatchedRound) -> Claim:
    """Return what a receipt claims that is written under one configuration for a round of another."""
    view = await submitter.look(watched)
    evidence = await submitter.target.evidence(watched, view, signer.raw_of(watched, view.tx_ref))
    return Claim(
        commitment=watched.commitment.digest,
        tx_ref=evidence.tx_ref,
        block_number=evidence.block_number,
        anchor_ts=evidence.anchor_ts,
        required_depth=2,
        evidence=evidence.scheme,
        reservation=watched.reservation.fields,
    )


async def failed_lines(submitter: Submitter, claim: Claim) -> set[str]:
    return {check.name for check in await submitter.target.verify(claim) if not check.passed}


@pytest.mark.parametrize("known", [RoundState.PENDING, RoundState.DISPLACED])
async def test_an_open_round_is_not_lost_when_the_contract_changes(
    chain: Chain, submitter: Submitter, make_submitter: MakeSubmitter, known: RoundState
) -> None:
    watched = await submitter.anchor()
    await chain.mine(6)
    other = await make_submitter(contract=await chain.deploy(contract_code()))
    view = await other.look(watched.model_copy(update={"state": known}))
    assert (view.state, view.foreign) == (RoundState.INCLUDED, False)


async def test_earlier_anchors_verify_and_are_rebuilt_after_the_contract_changed(
    chain: Chain, submitter: Submitter, make_submitter: MakeSubmitter
) -> None:
    watched = await submitter.anchor()
    await chain.mine(6)
    other = await make_submitter(contract=await chain.deploy(contract_code()))
    claim = await claim_of(other, submitter, watched)
    assert claim.evidence["contract"] == chain.contract.lower()
    assert await failed_lines(other, claim) == set()


async def test_a_receipt_without_a_round_of_ours_still_has_to_name_the_configured_contract(
    chain: Chain, submitter: Submitter, make_submitter: MakeSubmitter
) -> None:
    watched = await submitter.anchor()
    await chain.mine(6)
    other = await make_submitter(contract=await chain.deploy(contract_code()))
    claim = replace(await claim_of(other, submitter, watched), reservation={})
    assert "contract" in await failed_lines(other, claim)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"finality": "depth", "confirmations": 1}, {"finality": "finalized", "confirmations": 2}),
        ({"finality": "depth", "confirmations": 1}, {"finality": "depth", "confirmations": 500}),
    ],
    ids=["another rule", "more confirmations"],
)
async def test_a_round_becomes_final_by_the_rule_that_it_was_signed_under(
    chain: Chain,
    make_submitter: MakeSubmitter,
    before: dict[str, JsonValue],
    after: dict[str, JsonValue],
) -> None:
    first = await make_submitter(**before)
    watched = (await first.anchor()).model_copy(update={"depths": [1]})
    await chain.mine(2)
    other = await make_submitter(**after)
    view = await other.look(watched)
    assert (view.final, view.irrevocable) == (True, True)
    claim = replace(await claim_of(other, first, watched), required_depth=1)
    assert await failed_lines(other, claim) == set()


async def test_a_round_signed_under_a_tag_is_not_final_by_depth_alone(
    chain: Chain, submitter: Submitter, make_submitter: MakeSubmitter
) -> None:
    watched = (await submitter.anchor()).model_copy(update={"depths": [1]})
    await chain.mine(2)
    other = await make_submitter(finality="depth", confirmations=1)
    assert not (await other.look(watched)).final


async def test_rounds_of_several_configurations_are_looked_at_together_and_in_order(
    chain: Chain, submitter: Submitter, make_submitter: MakeSubmitter
) -> None:
    first = await submitter.anchor()
    await chain.mine()
    other = await make_submitter(contract=await chain.deploy(contract_code()))
    other.last, other.stored = submitter.last, submitter.stored
    second = await other.anchor("1761300001")
    views = await other.target.look([second, first])
    await chain.mine()
    assert [view.round_id for view in views] == [second.round_id, first.round_id]
    views = await other.target.look([second, first])
    assert [view.state for view in views] == [RoundState.INCLUDED] * 2
    contracts = [one.reservation.fields["to"] for one in (first, second)]
    assert len(set(contracts)) == 2


def stripped(reservation: Reservation, names: Sequence[str]) -> Reservation:
    fields = {key: value for key, value in reservation.fields.items() if key not in names}
    return reservation.model_copy(update={"fields": fields})


async def test_a_reservation_of_before_is_judged_by_the_configured_rule_and_its_own_contract(
    chain: Chain, submitter: Submitter, make_submitter: MakeSubmitter
) -> None:
    watched = await submitter.anchor()
    older = stripped(watched.reservation, ("finality", "confirmations", "persist"))
    watched = watched.model_copy(update={"reservation": older, "depths": [2]})
    await chain.mine(6)
    other = await make_submitter(contract=NOWHERE)
    view = await other.look(remembered(watched, await other.look(watched)))
    assert (view.state, view.final) == (RoundState.INCLUDED, True)


async def test_what_a_round_was_signed_under_is_in_its_reservation(submitter: Submitter) -> None:
    fields = (await submitter.sign()).reservation.fields
    assert {"finality", "confirmations", "persist", "chainId", "to"} <= fields.keys()
    assert (fields["finality"], fields["confirmations"]) == ("finalized", 2)
    assert fields["persist"] is False


async def test_a_changed_key_signs_nothing_on_a_reservation_of_the_former_one(
    chain: Chain, submitter: Submitter, make_submitter: MakeSubmitter
) -> None:
    watched = await submitter.anchor()
    other = await make_submitter(key="0x" + "22" * 32)
    other.candidates = submitter.candidates
    with pytest.raises(AuthFailure, match="restore the former key"):
        await other.bump(watched)
    await chain.mine()
    assert (await other.look(watched)).state is RoundState.INCLUDED

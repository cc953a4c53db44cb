"""Final receipts that lack a proof get it later, and nothing else of them changes."""

import pytest

from activities.anchoring import missing_proofs
from activities.anchoring.audit import Audit
from activities.anchoring.missing_proofs import MissingProofs
from tests.anchoring.scripted_ledger import EVM, Stage, owed, request
from vaultmesh.domain.aggregator.ledger_messages import RoundState
from vaultmesh.domain.aggregator.messages import RecordState

FIRST = "dao:first"
SOON = 1.0


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def unproven_round(stage: Stage) -> str:
    """Return a final round whose receipt says why it carries no proof."""
    stage.ledger.unprovable = "asked too often"
    round_id = stage.sign(owed("b1", request(FIRST)))
    await stage.included(round_id, request(FIRST))
    receipt = stage.receipt(FIRST)
    assert receipt.is_final
    assert receipt.lacks_proof
    assert receipt.scheme_evidence["proofMissing"] == "asked too often"
    return round_id


async def test_receipts_without_a_proof_are_found_and_are_not_stale(stage: Stage) -> None:
    round_id = await unproven_round(stage)
    audit = Audit(stage.files)
    assert audit.look() == {}
    assert audit.unproven == {EVM: {round_id}}


async def test_a_proof_that_is_there_later_is_added_and_nothing_else_changes(stage: Stage) -> None:
    round_id = await unproven_round(stage)
    before = stage.receipt(FIRST)
    stage.ledger.unprovable = ""
    await stage.record(stage.order(RecordState.CLOSED, round_id))
    after = stage.receipt(FIRST)
    assert not after.lacks_proof
    assert after.metadata == before.metadata
    assert after.finality == before.finality
    audit = Audit(stage.files)
    assert audit.look() == {}
    assert audit.unproven == {}


async def test_a_receipt_is_left_alone_while_there_is_no_proof_still(stage: Stage) -> None:
    round_id = await unproven_round(stage)
    content = stage.place(FIRST).read_bytes()
    stage.ledger.unprovable = "another reason"
    await stage.record(stage.order(RecordState.CLOSED, round_id))
    assert stage.place(FIRST).read_bytes() == content


async def test_a_proven_receipt_never_loses_its_proof(stage: Stage) -> None:
    round_id = stage.sign(owed("b1", request(FIRST)))
    await stage.included(round_id, request(FIRST))
    content = stage.place(FIRST).read_bytes()
    stage.ledger.unprovable = "asked too often"
    await stage.record(stage.order(RecordState.CLOSED, round_id))
    assert stage.place(FIRST).read_bytes() == content


async def test_each_try_comes_later_than_the_one_before_and_the_last_one_is_the_last(
    stage: Stage,
) -> None:
    round_id = await unproven_round(stage)
    clock = Clock()
    proofs = MissingProofs(stage.files, clock)
    proofs.add(EVM, [round_id])
    before = len(stage.ledger.stored_terms)
    for count, pause in enumerate(missing_proofs.PAUSES_SECONDS):
        clock.now += pause - SOON
        assert await proofs.look(stage.ledger.open) is None  # type: ignore[arg-type]
        assert len(stage.ledger.stored_terms) == before + count
        clock.now += SOON
        assert await proofs.look(stage.ledger.open) is None  # type: ignore[arg-type]
        assert len(stage.ledger.stored_terms) == before + count + 1
        proofs.add(EVM, [round_id])
    clock.now += 10 * missing_proofs.PAUSES_SECONDS[-1]
    assert await proofs.look(stage.ledger.open) is None  # type: ignore[arg-type]
    assert len(stage.ledger.stored_terms) == before + len(missing_proofs.PAUSES_SECONDS)


async def test_a_round_whose_proof_can_be_had_is_named_once(stage: Stage) -> None:
    round_id = await unproven_round(stage)
    stage.ledger.unprovable = ""
    clock = Clock()
    proofs = MissingProofs(stage.files, clock)
    proofs.add(EVM, [round_id])
    clock.now = missing_proofs.PAUSES_SECONDS[0]
    assert await proofs.look(stage.ledger.open) == (EVM, round_id)  # type: ignore[arg-type]
    clock.now *= 100
    assert await proofs.look(stage.ledger.open) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("state", [RoundState.MISSING, RoundState.PENDING])
async def test_a_ledger_that_does_not_show_the_round_costs_a_try_and_nothing_else(
    stage: Stage, state: RoundState
) -> None:
    round_id = await unproven_round(stage)
    clock = Clock()
    proofs = MissingProofs(stage.files, clock)
    proofs.add(EVM, [round_id, "ab" * 16])
    stage.ledger.state = state
    clock.now = missing_proofs.PAUSES_SECONDS[0]
    assert await proofs.look(stage.ledger.open) is None  # type: ignore[arg-type]
    assert await proofs.look(stage.ledger.open) is None  # type: ignore[arg-type]


async def test_what_an_endpoint_refuses_is_among_the_problems_of_its_target(stage: Stage) -> None:
    stage.ledger.refusals = ["http://node refuses the tag 'finalized'"]
    recovered = await stage.recover()
    assert stage.ledger.refusals[0] in recovered.problems

"""A round that is lost takes nobody's receipts with it: whoever joined it late is in the round that follows, too."""

from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities.anchoring.audit import Audit
from activities.anchoring.seal import Sealing
from tests.anchoring.scripted_ledger import (
    EVM,
    OTHER_ROOT,
    RESERVATION,
    ROOT,
    VIEW_REFS,
    Stage,
    owed,
    request,
)
from vaultmesh.domain.aggregator.messages import KnownRound, RecordState, Seal, Sealed
from vaultmesh.domain.receipts.receipt import Status
from vaultmesh.domain.rounds.manifest import Candidate

FIRST, SECOND = "dao:first", "dao:second"


def sign(stage: Stage, round_id: str) -> None:
    """Store a candidate beside a manifest."""
    document = {
        "n": 0,
        "reservation": RESERVATION.model_dump(mode="json"),
        "raw": "0x02",
        "hash": VIEW_REFS[EVM],
    }
    stage.files.rounds(EVM).add_candidate(round_id, Candidate.model_validate(document))


async def seal_again(stage: Stage, lost: str, *others: str) -> Sealed:
    """Seal the leaves of a lost round again; nobody else asks for anything."""
    sealing = Sealing(stage.files, stage.ledger)  # type: ignore[arg-type]
    known = [KnownRound(round_id=lost, candidates=1, recorded=True, lost=True)]
    known += [KnownRound(round_id=other, candidates=1) for other in others]
    order = Seal(target=EVM, requests=[], rounds=known, reseal=[lost])
    sealed: Sealed = await ActivityEnvironment().run(sealing.seal, order)
    return sealed


async def reorganised(stage: Stage, *batches: str) -> str:
    """Return a round of the first namespace that the second one joined, and whose block left the chain."""
    roots = {"b1": ROOT, "b2": OTHER_ROOT}
    leaves = [owed(batch, request(FIRST, 12), root=roots[batch]) for batch in batches]
    round_id = stage.sign(*leaves)
    await stage.included(round_id, request(FIRST, 12), request(SECOND, 12))
    reorged = stage.order(RecordState.REORGED, round_id).model_copy(update={"revision": 2})
    await stage.record(reorged)
    assert stage.receipt(SECOND).status is Status.REORGED
    return round_id


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    made = Stage(tmp_path)
    made.batch("b1")
    made.batch("b2", root=OTHER_ROOT)
    return made


async def test_who_joined_a_lost_round_gets_receipts_from_the_next_one_and_is_no_longer_reorged(
    stage: Stage,
) -> None:
    lost = await reorganised(stage, "b1", "b2")
    sealed = await seal_again(stage, lost)
    assert sealed.round is not None
    assert sealed.resealed == [lost]
    sign(stage, sealed.round.round_id)
    await stage.record(stage.order(RecordState.LOST, lost))
    stage.ledger.depth = 12
    await stage.included(sealed.round.round_id, revision=3)
    for namespace in (FIRST, SECOND):
        for batch in ("b1", "b2"):
            receipt = stage.receipt(namespace, batch)
            assert (receipt.metadata.round, receipt.is_final) == (sealed.round.round_id, True)
    assert Audit(stage.files).look() == {}


async def test_another_batch_of_the_root_that_joined_a_lost_direct_round_is_sealed_again(
    stage: Stage,
) -> None:
    stage.batch("b9", folder="out/second")
    lost = stage.sign(owed("b1", request(FIRST)))
    joining = request(SECOND, 12, batches="out/second")
    await stage.included(lost, joining)
    assert stage.receipt(SECOND, "b9").metadata.round == lost
    sealed = await seal_again(stage, lost)
    assert sealed.round is not None
    assert (sealed.resealed, sealed.round.required_depths) == ([lost], [2, 12])


async def test_a_list_of_late_joiners_that_cannot_be_read_keeps_no_lost_round_from_being_sealed_again(
    stage: Stage,
) -> None:
    lost = await reorganised(stage, "b1", "b2")
    (place,) = stage.root.glob("out/rounds/*/*/joined.json")
    place.write_text("{")
    sealed = await seal_again(stage, lost)
    assert sealed.resealed == [lost]
    assert any("joined.json" in line for line in sealed.problems)


async def test_a_receipt_whose_lost_round_was_sealed_again_without_it_is_mended_and_signalled_once(
    stage: Stage,
) -> None:
    """The harm: the final round knew nothing of it, so it was signalled to be written at every look, for ever."""
    lost = await reorganised(stage, "b1", "b2")
    other = stage.sign(
        owed("b1", request(FIRST)), owed("b2", request(FIRST), root=OTHER_ROOT), owed("b3")
    )
    await stage.record(stage.order(RecordState.LOST, lost))
    await stage.included(other, request(FIRST), revision=3)
    assert Audit(stage.files).look() == {EVM: [other]}
    await stage.record(stage.order(RecordState.CLOSED, other))
    for batch in ("b1", "b2"):
        assert stage.receipt(SECOND, batch).metadata.round == other
    assert Audit(stage.files).look() == {}

"""An aggregator without a past: what it learns of open rounds from manifests, candidates and receipts, and of none other."""

import shutil
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.anchoring.observe import differing
from activities.anchoring.recover import Recovery
from activities.anchoring.seal import Sealing
from activities.anchoring.stores import Files
from tests.anchoring.scripted_ledger import (
    BLOCK_TIME,
    EVM,
    OTHER_ROOT,
    RESERVATION,
    TSA,
    Stage,
    owed,
    request,
)
from vaultmesh.domain.aggregator.decisions import Decision, Resolved
from vaultmesh.domain.aggregator.ledger_messages import RoundState, RoundView, SignedCandidate
from vaultmesh.domain.aggregator.messages import (
    KnownRound,
    RecordState,
    Recover,
    RememberedRound,
    Seal,
)
from vaultmesh.domain.aggregator.open_round import OpenRound
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.receipts.receipt import Status
from vaultmesh.domain.rounds.manifest import Closed, RoundOutcome
from vaultmesh.ledgers.driver import StaleCaller

FIRST, SECOND = "dao:first", "dao:second"


async def reopened_round(stage: Stage, late_joiner: AnchorRequest) -> str:
    """Return a round that was final at depth 2, and opened again for a request that requires more."""
    round_id = stage.sign(owed("b1", request(FIRST)))
    await stage.included(round_id, request(FIRST))
    assert stage.files.rounds(stage.target).open_rounds() == []
    done = await stage.record(stage.order(RecordState.CLOSED, round_id, late_joiner))
    assert done.reopened == [round_id]
    return round_id


# --- rounds that opened again


async def test_a_round_that_opened_again_comes_back_with_every_depth_and_late_joiner(
    stage: Stage,
) -> None:
    round_id = await reopened_round(stage, request(SECOND, 12))
    (found,) = (await stage.recover(round_id)).rounds
    assert (found.sealed.round_id, found.sealed.required_depths) == (round_id, [2, 12])
    assert found.late_joiners == [request(SECOND, 12)]


async def test_a_final_round_that_left_the_chain_is_opened_where_its_caller_learns_of_it(
    stage: Stage,
) -> None:
    round_id = stage.sign(owed("b1", request(FIRST)))
    await stage.included(round_id, request(FIRST))
    assert (await stage.recover(left=["ff" * 16])).rounds == []
    for _ in range(2):
        (found,) = (await stage.recover(left=[round_id])).rounds
        assert (found.sealed.round_id, found.claimed_block) == (round_id, 5)
    assert stage.files.rounds(stage.target).open_rounds() == [round_id]


async def test_late_joiner_that_cannot_be_read_hold_up_receipts_and_not_what_is_signed(
    stage: Stage,
) -> None:
    round_id = await reopened_round(stage, request(SECOND, 12))
    (file,) = stage.root.glob("out/rounds/*/*/joined.json")
    content = file.read_text()
    file.write_text(content[:-20])
    (found,) = (await stage.recover(round_id)).rounds
    assert found.late_joiners == []
    with pytest.raises(ApplicationError, match=r"joined\.json: .*restore it from a backup"):
        await stage.included(round_id, revision=3)
    file.write_text(content)
    assert (await stage.included(round_id, revision=3)).receipts == 2


async def test_a_receipt_of_a_round_whose_folder_is_lost_still_says_what_is_newer(
    stage: Stage,
) -> None:
    stage.ledger.depth = 1
    lost = stage.sign(owed("b1", request(FIRST)))
    await stage.included(lost, request(FIRST), revision=41)
    shutil.rmtree(next(stage.root.glob(f"out/rounds/*/{lost}")))
    stage.files = Files(stage.root)
    stage.sign(owed("b1", request(FIRST)), owed("b2", request(FIRST), root=OTHER_ROOT))
    found = await stage.recover()
    assert found.revision == 41
    assert [one.claimed_block for one in found.rounds] == [None]


async def test_another_process_finds_a_round_again_that_it_saw_closed(stage: Stage) -> None:
    round_id = stage.sign(owed("b1", request(FIRST)))
    await stage.included(round_id, request(FIRST))
    other = Files(stage.root)
    assert (await stage.recover(files=other)).rounds == []
    await stage.record(stage.order(RecordState.CLOSED, round_id, request(SECOND, 12)))
    (found,) = (await stage.recover(round_id, files=other)).rounds
    assert found.sealed.required_depths == [2, 12]
    assert other.rounds(stage.target).open_rounds() == [round_id]


async def test_a_round_that_is_still_closed_is_not_taken_up_for_being_named(stage: Stage) -> None:
    round_id = stage.sign(owed("b1", request(FIRST)))
    await stage.included(round_id, request(FIRST))
    assert (await stage.recover(round_id)).rounds == []


async def test_the_next_revision_is_above_all_that_receipts_of_open_rounds_carry(
    stage: Stage,
) -> None:
    round_id = stage.sign(owed("b1", request(FIRST, 12)))
    await stage.included(round_id, request(FIRST, 12), revision=41)
    assert (await stage.recover()).revision == 41


@pytest.mark.parametrize("own", ["b1", "b9"], ids=["same batch", "another batch of the same root"])
async def test_a_late_joiner_with_a_folder_of_its_own_becomes_final_after_recovery(
    tmp_path: Path, own: str
) -> None:
    stage = Stage(tmp_path)
    stage.batch("b1", folder="out/first")
    stage.batch(own, folder="out/second")
    round_id = await reopened_round(stage, request(SECOND, 12, batches="out/second"))
    assert not stage.receipt(SECOND, own).is_final
    (found,) = (await stage.recover(round_id)).rounds
    assert found.sealed.required_depths == [2, 12]
    stage.ledger.depth = 12
    await stage.included(round_id, late_joiners=found.late_joiners, revision=3)
    assert stage.receipt(SECOND, own).is_final


# --- the block that receipts claim


async def test_a_rounds_claimed_block_is_that_of_a_verified_receipt(stage: Stage) -> None:
    round_id = stage.sign(owed("b1", request(FIRST, 12)))
    await stage.included(round_id, request(FIRST, 12))
    (found,) = (await stage.recover()).rounds
    assert found.claimed_block == 5


async def test_receipts_that_say_reorged_claim_no_block(stage: Stage) -> None:
    round_id = stage.sign(owed("b1", request(FIRST, 12)))
    await stage.included(round_id, request(FIRST, 12))
    order = stage.order(RecordState.REORGED, round_id).model_copy(update={"revision": 2})
    await stage.record(order)
    assert stage.receipt(FIRST).status is Status.REORGED
    (found,) = (await stage.recover()).rounds
    assert found.claimed_block is None


async def test_a_round_without_receipts_claims_no_block(stage: Stage) -> None:
    stage.sign(owed("b1", request(FIRST)))
    (found,) = (await stage.recover()).rounds
    assert found.claimed_block is None


async def test_a_ledger_without_blocks_has_none_to_claim(tmp_path: Path) -> None:
    stage = Stage(tmp_path, TSA)
    stage.ledger.block = 0
    round_id = stage.sign(owed("b1", request(FIRST, 12)))
    await stage.included(round_id, request(FIRST, 12))
    assert stage.receipt(FIRST).status is Status.VERIFIED
    (found,) = (await stage.recover()).rounds
    assert found.claimed_block is None


@pytest.mark.parametrize(("height", "is_news"), [(6, True), (5, True), (4, False)])
async def test_a_look_is_news_once_the_ledger_is_as_high_as_the_block_that_receipts_claim(
    stage: Stage, *, height: int, is_news: bool
) -> None:
    round_id = stage.sign(owed("b1", request(FIRST, 12)))
    await stage.included(round_id, request(FIRST, 12))
    (found,) = (await stage.recover()).rounds
    adopted = OpenRound.adopted(found, stage.receipt(FIRST).anchor_ts)
    row = adopted.to_observe().model_copy(update={"first_seen_block": 3})
    assert (row.state, row.claimed_block) == (RoundState.PENDING, 5)
    view = RoundView(round_id=round_id, state=RoundState.PENDING, height=height)
    assert differing([row], [view]) == ([view] if is_news else [])
    unclaimed = row.model_copy(update={"claimed_block": None})
    assert differing([unclaimed], [view]) == []


async def test_a_round_whose_only_candidate_is_gone_is_not_forgotten_by_who_signed_it(
    stage: Stage,
) -> None:
    round_id = stage.sign(owed("b1", request(FIRST)))
    (before,) = (await stage.recover()).rounds
    place = stage.root / f"out/rounds/{EVM.path}/{round_id}/candidate-0.json"
    whole = place.read_bytes()
    place.unlink()
    known = RememberedRound(
        round_id=round_id, reservation=before.reservation, candidates=before.candidates
    )
    order = Recover(target=EVM, remembered=[known])
    for _ in range(2):
        recovery = Recovery(Files(stage.root), stage.ledger)  # type: ignore[arg-type]
        assert (await ActivityEnvironment().run(recovery.recover, order)).rounds == [before]
    assert place.read_bytes() == whole
    place.unlink()
    with pytest.raises(StaleCaller, match="are gone"):
        stage.files.require_known(EVM, [KnownRound(round_id=round_id, candidates=1)])
    stage.files.rounds(EVM).close(round_id, Closed(outcome=RoundOutcome.LOST, candidates=1))
    assert (await ActivityEnvironment().run(recovery.recover, order)).rounds == []
    assert not place.exists()


# --- an older copy of the storage was put back


def remembered(stage: Stage, round_id: str, candidates: list[SignedCandidate]) -> RememberedRound:
    """Return a final round as its aggregator knows it."""
    return RememberedRound(
        round_id=round_id,
        reservation=RESERVATION,
        candidates=candidates,
        end=stage.ledger.view(round_id),
        revision=7,
    )


async def test_a_final_round_of_which_nothing_is_left_is_not_paid_for_again(stage: Stage) -> None:
    stage.batch("b2", root=OTHER_ROOT)
    round_id = stage.sign(owed("b1", request(FIRST)), owed("b2", request(FIRST), root=OTHER_ROOT))
    (before,) = (await stage.recover()).rounds
    await stage.included(round_id, request(FIRST))
    shutil.rmtree(stage.root / "out/rounds")
    shutil.rmtree(stage.root / "out/anchors")
    files, known = Files(stage.root), [KnownRound(round_id=round_id, candidates=1)]
    sealing = Sealing(files, stage.ledger).seal  # type: ignore[arg-type]
    asked = Seal(target=EVM, requests=[request(FIRST)], ended=known)
    assert (await ActivityEnvironment().run(sealing, asked)).stale
    recovery = Recovery(files, stage.ledger)  # type: ignore[arg-type]
    assert before.sealed.round_id == round_id
    order = Recover(target=EVM, remembered=[remembered(stage, round_id, before.candidates)])
    for _ in range(2):
        recovered = await ActivityEnvironment().run(recovery.recover, order)
        assert (recovered.rounds, recovered.last) == ([], RESERVATION)
        assert "manifest.json is missing" in recovered.problems[0]
    sealed = await ActivityEnvironment().run(sealing, asked)
    assert (sealed.stale, sealed.round) == (False, None)
    assert "--forget" in sealed.refused[0].reason
    document = {"decision": Decision.FORGOTTEN, "by": "ops", "decidedAt": BLOCK_TIME}
    files.rounds(EVM).resolve(round_id, Resolved.model_validate(document))
    sealed = await ActivityEnvironment().run(sealing, asked)
    assert sealed.round is not None, "the operator allowed it"


async def test_what_a_worker_knows_of_a_round_is_written_again(stage: Stage) -> None:
    stage.batch("b2", root=OTHER_ROOT)
    round_id = stage.sign(owed("b1", request(FIRST)), owed("b2", request(FIRST), root=OTHER_ROOT))
    (before,) = (await stage.recover()).rounds
    place = stage.root / f"out/rounds/{EVM.path}/{round_id}/manifest.json"
    whole = place.read_bytes()
    shutil.rmtree(place.parent)
    known = remembered(stage, round_id, before.candidates).model_copy(update={"end": None})
    order = Recover(target=EVM, remembered=[known])
    recovery = Recovery(stage.files, stage.ledger)  # type: ignore[arg-type]
    await ActivityEnvironment().run(recovery.recover, order)
    assert place.read_bytes() == whole
    again = Recovery(Files(stage.root), stage.ledger)  # type: ignore[arg-type]
    recovered = await ActivityEnvironment().run(again.recover, order)
    assert [found.sealed.round_id for found in recovered.rounds] == [round_id]
    assert recovered.problems == []


async def test_a_final_round_that_was_opened_again_is_not_closed_for_being_remembered(
    stage: Stage,
) -> None:
    round_id = stage.sign(owed("b1", request(FIRST)))
    (before,) = (await stage.recover()).rounds
    await stage.included(round_id, request(FIRST))
    stage.files.rounds(EVM).reopen(round_id)
    order = Recover(target=EVM, remembered=[remembered(stage, round_id, before.candidates)])
    recovery = Recovery(stage.files, stage.ledger)  # type: ignore[arg-type]
    recovered = await ActivityEnvironment().run(recovery.recover, order)
    assert [found.sealed.round_id for found in recovered.rounds] == [round_id]


async def test_an_open_round_that_can_not_be_read_hides_no_other(stage: Stage) -> None:
    stage.batch("b2", root=OTHER_ROOT)
    unread = stage.sign(owed("b1", request(FIRST)), owed("b2", request(FIRST), root=OTHER_ROOT))
    other = stage.sign(owed("b1", request(FIRST)))
    (stage.root / f"out/rounds/{EVM.path}/{unread}/manifest.json").unlink()
    stage.files = Files(stage.root)
    recovered = await stage.recover()
    assert [found.sealed.round_id for found in recovered.rounds] == [other]
    assert recovered.unreadable == [unread]
    asked = Seal(target=EVM, requests=[request(FIRST)])
    with pytest.raises(ApplicationError, match="nothing is signed beside it"):
        await ActivityEnvironment().run(Sealing(stage.files, stage.ledger).seal, asked)  # type: ignore[arg-type]


async def test_a_final_round_of_which_only_the_manifest_is_left_gives_its_receipts_again(
    stage: Stage,
) -> None:
    round_id = stage.sign(owed("b1", request(FIRST)))
    (before,) = (await stage.recover()).rounds
    await stage.included(round_id, request(FIRST))
    for place in (*stage.root.glob("out/rounds/*/*/c*.json"), stage.place(FIRST)):
        place.unlink()
    files, known = Files(stage.root), [KnownRound(round_id=round_id, candidates=1)]
    sealing = Sealing(files, stage.ledger).seal  # type: ignore[arg-type]
    asked = Seal(target=EVM, requests=[request(FIRST)], ended=known)
    assert (await ActivityEnvironment().run(sealing, asked)).stale
    recovery = Recovery(files, stage.ledger)  # type: ignore[arg-type]
    order = Recover(target=EVM, remembered=[remembered(stage, round_id, before.candidates)])
    assert (await ActivityEnvironment().run(recovery.recover, order)).problems == []
    sealed = await ActivityEnvironment().run(sealing, asked)
    assert sealed.round is None
    assert [joined.round_id for joined in sealed.late_joiners] == [round_id]
    stage.files = files
    await stage.record(stage.order(RecordState.CLOSED, round_id, request(FIRST)))
    assert stage.receipt(FIRST).is_final

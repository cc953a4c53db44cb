"""Evidence that can't be read is never guessed: nothing that a damaged round may hold is paid for a second time."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.anchoring.seal import Sealing
from activities.anchoring.stores import Files
from tests.anchoring.scripted_ledger import EVM, OTHER_ROOT, ROOT, Stage, owed, request
from vaultmesh.domain.aggregator.messages import KnownRound, RecordState, Seal, Sealed
from vaultmesh.domain.batches.batch import Batch, batch_document
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.manifest import Closed, RoundOutcome
from vaultmesh.process.metrics import Metrics

FIRST, SECOND = "dao:first", "dao:second"
HOURS = 3_600
NEW_ROOT = MerkleRoot(b"\4" * 32)


def batch(stage: Stage, batch_id: str, root: MerkleRoot, age: float = 10 * HOURS) -> None:
    """Write a shared batch that was sealed so many seconds ago."""
    made = Batch(batch_id, root, (root,), created_at=int(time.time() - age))
    place = stage.root / f"out/batches/{batch_id}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(batch_document(made))


def folder(stage: Stage, round_id: str) -> Path:
    (found,) = stage.root.glob(f"out/rounds/*/{round_id}")
    return found


async def final_round(stage: Stage, *, age: float = 5 * HOURS) -> str:
    """Return a tree of two batches that was signed so long ago, final, with the receipts of one namespace."""
    stage.ledger.aggregation = "auto"  # type: ignore[attr-defined]
    batch(stage, "b1", ROOT)
    batch(stage, "b2", OTHER_ROOT)
    leaves = owed("b1", request(FIRST)), owed("b2", request(FIRST), root=OTHER_ROOT)
    round_id = stage.sign(*leaves)
    await stage.included(round_id, request(FIRST))
    signed = time.time() - age
    os.utime(folder(stage, round_id) / "candidate-0.json", (signed, signed))
    return round_id


async def seal(stage: Stage, *requests: AnchorRequest, fresh: bool = True) -> Sealed:
    """Seal as a new process does, or as the one that knew the rounds before."""
    if fresh:
        stage.files = Files(stage.root)
    sealing = Sealing(stage.files, stage.ledger)  # type: ignore[arg-type]
    order = Seal(target=EVM, requests=list(requests))
    return await ActivityEnvironment().run(sealing.seal, order)


def truncate(manifest: Path) -> None:
    manifest.write_bytes(manifest.read_bytes()[:-40])


def lose_receipts(stage: Stage, batch_id: str = "*") -> None:
    for place in stage.root.glob(f"out/anchors/*/{batch_id}/*.json"):
        place.unlink()


DAMAGE = {"truncated": truncate, "missing": Path.unlink}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture(params=DAMAGE)
def harm(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    return DAMAGE[request.param]  # type: ignore[return-value]


@pytest.mark.parametrize("fresh", [True, False], ids=["new process", "same process"])
async def test_batches_of_a_damaged_round_are_not_paid_again_when_receipts_are_lost_too(
    stage: Stage, harm: Callable[[Path], None], *, fresh: bool
) -> None:
    round_id = await final_round(stage)
    stage.files = Files(stage.root)
    assert stage.files.damaged(EVM).look() == []
    harm(folder(stage, round_id) / "manifest.json")
    lose_receipts(stage)
    sealed = await seal(stage, request(FIRST), request(SECOND), fresh=fresh)
    assert sealed.round is None
    assert {one.request for one in sealed.refused} == {request(FIRST).id, request(SECOND).id}
    assert all(round_id in one.reason for one in sealed.refused)
    assert sealed.covered == []


async def test_a_damaged_round_is_told_with_the_mend(
    stage: Stage, harm: Callable[[Path], None]
) -> None:
    round_id = await final_round(stage)
    harm(folder(stage, round_id) / "manifest.json")
    lose_receipts(stage)
    sealed = await seal(stage, request(FIRST))
    (problem,) = sealed.problems
    assert f"{round_id}/manifest.json" in problem
    assert "restore it from a backup" in problem
    assert f"starter.py resolve {EVM} --forget {round_id}" in sealed.refused[0].reason
    assert (await stage.recover()).problems == [problem]


async def test_what_was_sealed_after_a_damaged_round_goes_on(
    stage: Stage, harm: Callable[[Path], None]
) -> None:
    round_id = await final_round(stage)
    harm(folder(stage, round_id) / "manifest.json")
    lose_receipts(stage)
    batch(stage, "b9", NEW_ROOT, age=60)
    sealed = await seal(stage, request(FIRST))
    assert sealed.round is not None
    leaves = stage.files.rounds(EVM).read_manifest(sealed.round.round_id).leaves
    assert [one.batch_id for one in leaves] == ["b9"]
    assert sealed.refused == []
    assert len(sealed.problems) == 1


async def test_a_batch_that_claims_to_come_from_the_future_may_be_in_a_damaged_round(
    stage: Stage,
) -> None:
    round_id = await final_round(stage)
    truncate(folder(stage, round_id) / "manifest.json")
    lose_receipts(stage)
    shutil.rmtree(stage.root / "out/batches")
    batch(stage, "b9", NEW_ROOT, age=-1_000 * HOURS)
    assert (await seal(stage, request(FIRST))).round is None


async def test_a_round_whose_receipts_name_every_leaf_is_known_all_the_same(
    stage: Stage, harm: Callable[[Path], None]
) -> None:
    round_id = await final_round(stage)
    manifest = stage.files.rounds(EVM).read_manifest(round_id)
    harm(folder(stage, round_id) / "manifest.json")
    batch(stage, "b9", NEW_ROOT)
    sealed = await seal(stage, request(SECOND))
    assert sealed.round is not None, "older batches that are not in it are not held back"
    assert sealed.rebuild is not None
    assert sealed.rebuild.round_id == round_id
    assert stage.files.rounds(EVM).read_manifest(round_id) == manifest
    (problem,) = sealed.problems
    assert "known from elsewhere" in problem
    stage.files = Files(stage.root)
    await stage.record(stage.order(RecordState.CLOSED, round_id, request(SECOND)))
    assert stage.receipt(SECOND, "b1").proven_commitment() == manifest.commitment


async def test_what_a_process_has_read_before_the_damage_stays_known_to_it(
    stage: Stage, harm: Callable[[Path], None]
) -> None:
    round_id = await final_round(stage)
    stage.files.rounds(EVM).read_manifest(round_id)
    harm(folder(stage, round_id) / "manifest.json")
    lose_receipts(stage)
    batch(stage, "b9", NEW_ROOT)
    sealed = await seal(stage, request(FIRST), fresh=False)
    assert sealed.round is not None, "older batches that are not in it are not held back"
    assert sealed.rebuild is not None
    assert sealed.rebuild.round_id == round_id


async def test_a_leaf_that_no_receipt_names_is_held_back(
    stage: Stage, harm: Callable[[Path], None]
) -> None:
    round_id = await final_round(stage)
    harm(folder(stage, round_id) / "manifest.json")
    lose_receipts(stage, "b2")
    for asking in (request(FIRST), request(SECOND)):
        sealed = await seal(stage, asking)
        assert sealed.round is None
        assert "may be in round" in sealed.refused[0].reason


async def test_a_direct_commitment_is_rebuilt_without_its_manifest(
    stage: Stage, harm: Callable[[Path], None]
) -> None:
    stage.ledger.aggregation = "auto"  # type: ignore[attr-defined]
    batch(stage, "b1", ROOT)
    round_id = stage.sign(owed("b1", request(FIRST)))
    await stage.included(round_id, request(FIRST))
    harm(folder(stage, round_id) / "manifest.json")
    lose_receipts(stage)
    sealed = await seal(stage, request(FIRST))
    assert (sealed.round, [one.round_id for one in sealed.late_joiners]) == (None, [round_id])
    stage.files = Files(stage.root)
    await stage.record(stage.order(RecordState.CLOSED, round_id, request(FIRST)))
    assert stage.receipt(FIRST).is_final


async def test_a_batch_whose_receipt_names_a_round_that_is_gone_is_not_paid_again(
    stage: Stage,
) -> None:
    round_id = await final_round(stage)
    shutil.rmtree(folder(stage, round_id))
    sealed = await seal(stage, request(SECOND))
    assert sealed.round is None
    assert f"anchored in round {round_id}" in sealed.refused[0].reason


async def test_all_goes_on_once_the_manifest_is_restored(
    stage: Stage, harm: Callable[[Path], None]
) -> None:
    round_id = await final_round(stage)
    manifest = folder(stage, round_id) / "manifest.json"
    content = manifest.read_bytes()
    harm(manifest)
    lose_receipts(stage)
    assert (await seal(stage, request(FIRST))).refused
    manifest.write_bytes(content)
    sealed = await seal(stage, request(FIRST), fresh=False)
    assert (sealed.refused, sealed.problems) == ([], [])
    assert [one.round_id for one in sealed.late_joiners] == [round_id]


async def test_an_open_round_whose_receipts_name_every_leaf_is_recovered(
    stage: Stage, harm: Callable[[Path], None]
) -> None:
    stage.ledger.depth = 1
    leaves = owed("b1", request(FIRST)), owed("b2", request(FIRST), root=OTHER_ROOT)
    round_id = stage.sign(*leaves)
    batch(stage, "b1", ROOT)
    batch(stage, "b2", OTHER_ROOT)
    await stage.included(round_id, request(FIRST))
    harm(folder(stage, round_id) / "manifest.json")
    stage.files = Files(stage.root)
    recovered = await stage.recover()
    assert [one.sealed.round_id for one in recovered.rounds] == [round_id]
    assert recovered.problems


async def test_an_open_round_that_nothing_names_stops_signing(
    stage: Stage, harm: Callable[[Path], None]
) -> None:
    stage.ledger.aggregation = "auto"  # type: ignore[attr-defined]
    round_id = stage.sign(owed("b1", request(FIRST)), owed("b2", request(FIRST), root=OTHER_ROOT))
    harm(folder(stage, round_id) / "manifest.json")
    batch(stage, "b9", NEW_ROOT, age=60)
    with pytest.raises(ApplicationError, match="nothing is signed beside it"):
        await seal(stage, request(FIRST))


async def test_a_lost_round_that_cannot_be_read_holds_nothing_back(stage: Stage) -> None:
    stage.ledger.aggregation = "auto"  # type: ignore[attr-defined]
    batch(stage, "b1", ROOT)
    round_id = stage.sign(owed("b1", request(FIRST)), owed("b2", request(FIRST), root=OTHER_ROOT))
    stage.files.rounds(EVM).close(round_id, Closed(outcome=RoundOutcome.LOST))
    truncate(folder(stage, round_id) / "manifest.json")
    sealed = await seal(stage, request(FIRST))
    assert sealed.round is not None
    assert sealed.problems == []


async def test_leaves_of_a_lost_round_are_not_sealed_beside_a_later_round_that_may_hold_them(
    stage: Stage,
) -> None:
    stage.ledger.aggregation = "auto"  # type: ignore[attr-defined]
    lost = stage.sign(owed("b7", request(FIRST)), owed("b8", request(FIRST), root=OTHER_ROOT))
    earlier = time.time() - 20 * HOURS
    os.utime(folder(stage, lost) / "candidate-0.json", (earlier, earlier))
    batch(stage, "b3", NEW_ROOT)
    batch(stage, "b4", MerkleRoot(b"\5" * 32))
    later = stage.sign(
        owed("b3", request(FIRST), root=NEW_ROOT),
        owed("b4", request(FIRST), root=MerkleRoot(b"\5" * 32)),
    )
    await stage.included(later, request(FIRST))
    truncate(folder(stage, later) / "manifest.json")
    lose_receipts(stage)
    stage.files = Files(stage.root)
    sealing = Sealing(stage.files, stage.ledger)  # type: ignore[arg-type]
    known = [KnownRound(round_id=lost, candidates=1)]
    order = Seal(target=EVM, requests=[], rounds=known, reseal=[lost])
    sealed = await ActivityEnvironment().run(sealing.seal, order)
    assert (sealed.round, sealed.resealed) == (None, [])


async def test_unreadable_rounds_are_counted_in_a_metric(stage: Stage) -> None:
    round_id = await final_round(stage)
    truncate(folder(stage, round_id) / "manifest.json")
    metrics = Metrics()
    files = Files(stage.root, metrics.found_unreadable)
    files.damaged(EVM).look()
    assert f'scheduler_unreadable_rounds{{target="{EVM}"}} 1\n' in metrics.page().decode()


@pytest.mark.parametrize(
    ("name", "harm", "fresh"),
    [
        ("candidate-0.json", truncate, True),
        ("candidate-0.json", truncate, False),
        ("candidate-0.json", Path.unlink, False),
        ("closed.json", truncate, False),
    ],
)
async def test_a_final_round_that_could_not_be_sent_again_is_told_and_holds_no_other_batch_back(
    stage: Stage, name: str, harm: Callable[[Path], None], *, fresh: bool
) -> None:
    round_id = await final_round(stage)
    place = folder(stage, round_id) / name
    whole = place.read_bytes()
    stage.files = Files(stage.root)
    stage.files.rounds(EVM).open_rounds()
    harm(place)
    batch(stage, "b9", NEW_ROOT)
    sealed = await seal(stage, request(FIRST), fresh=fresh)
    assert len(sealed.problems) == 1
    assert round_id in sealed.problems[0]
    assert sealed.round is not None
    place.write_bytes(whole)
    assert stage.files.damaged(EVM).look() == []

"""Receipts compared with the ends of their rounds: what a ghost wrote over a newer receipt does not stay."""

import json
from typing import Any

import pytest

from activities.anchoring.audit import Audit
from tests.anchoring.scripted_ledger import EVM, OTHER_ROOT, TSA, Stage, owed, request
from vaultmesh.domain.aggregator.messages import RecordState

FIRST = "dao:first"


async def final_round(stage: Stage, batch_id: str = "b1") -> str:
    round_id = stage.sign(owed(batch_id, request(FIRST)))
    await stage.included(round_id, request(FIRST))
    assert stage.files.rounds(stage.target).closed(round_id) is not None
    return round_id


def haunt(stage: Stage, batch_id: str = "b1", **changes: Any) -> None:
    """Write what a ghost writes: an earlier receipt, past every lock."""
    place = stage.place(FIRST, batch_id)
    place.write_text(json.dumps({**json.loads(place.read_text()), **changes}))


OBSERVED = {"observedDepth": 1, "requiredDepth": 2, "state": "observed"}
REORGED = {"observedDepth": 0, "requiredDepth": 2, "state": "reorged"}


async def test_receipts_that_say_how_their_rounds_ended_are_left_alone(stage: Stage) -> None:
    await final_round(stage)
    assert Audit(stage.files).look() == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"finality": OBSERVED},
        {"finality": REORGED, "status": "reorged"},
        {"blockNumber": 3},
        {"txRef": "0x" + "77" * 32, "txHash": "0x" + "77" * 32},
    ],
)
async def test_a_stale_receipt_of_a_closed_round_is_found_and_written_again(
    stage: Stage, changes: dict[str, Any]
) -> None:
    round_id = await final_round(stage)
    right = stage.receipt(FIRST)
    haunt(stage, **changes)
    assert Audit(stage.files).look() == {EVM: [round_id]}
    await stage.record(stage.order(RecordState.CLOSED, round_id))
    mended = stage.receipt(FIRST)
    assert (mended.tx_ref, mended.block_number) == (right.tx_ref, right.block_number)
    assert mended.is_final
    assert Audit(stage.files).look() == {}


async def test_a_receipt_of_an_open_round_is_the_aggregators_to_write(stage: Stage) -> None:
    round_id = await final_round(stage)
    stage.files.rounds(stage.target).reopen(round_id)
    haunt(stage, finality=OBSERVED)
    assert Audit(stage.files).look() == {}


async def test_a_receipt_of_a_lost_round_is_written_again_once_another_round_is_final(
    stage: Stage,
) -> None:
    lost = stage.sign(owed("b1", request(FIRST)))
    await stage.record(stage.order(RecordState.LOST, lost))
    assert Audit(stage.files).look() == {}
    other = stage.sign(owed("b1", request(FIRST)), owed("b2", request(FIRST), root=OTHER_ROOT))
    await stage.included(other, request(FIRST))
    metadata = json.loads(stage.place(FIRST).read_text())["metadata"]
    haunt(
        stage,
        metadata={**metadata, "round": lost},
        finality=REORGED,
        status="reorged",
        evidence={"aggregation": None, "evm": {}},
    )
    assert Audit(stage.files).look() == {EVM: [other]}
    await stage.record(stage.order(RecordState.CLOSED, other))
    assert stage.receipt(FIRST).metadata.round == other
    assert Audit(stage.files).look() == {}


async def test_receipts_that_cannot_be_compared_hide_no_others(stage: Stage) -> None:
    round_id = await final_round(stage)
    haunt(stage, finality=OBSERVED)
    for name, text in (("b0", "{"), ("b2", "no receipt")):
        place = stage.place(FIRST, name)
        place.parent.mkdir(parents=True)
        place.write_text(text)
    (stage.root / "out/anchors/dao_second").mkdir()
    assert Audit(stage.files).look() == {EVM: [round_id]}


async def test_every_receipt_has_its_turn_however_few_are_compared_at_once(stage: Stage) -> None:
    round_id = await final_round(stage)
    for number in range(5):
        place = stage.place(FIRST, f"b{number + 2}")
        place.parent.mkdir(parents=True)
        place.write_bytes(stage.place(FIRST).read_bytes())
    haunt(stage, finality=OBSERVED)
    audit = Audit(stage.files)
    looks = [audit.look(2) for _ in range(3)]
    assert {EVM: [round_id]} in looks


async def test_a_time_stamp_whose_receipt_names_the_token_is_not_stale(tmp_path: Any) -> None:
    """The harm: the end of its round names the request, so every time stamp was written again at every look, for ever."""
    stage = Stage(tmp_path, TSA)
    stage.ledger.block = 0
    await final_round(stage)
    assert Audit(stage.files).look() == {}

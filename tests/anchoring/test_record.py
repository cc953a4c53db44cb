"""A round's receipts: written from what the ledger shows now, given back when that changed, never twice when final."""

import asyncio
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError

from tests.anchoring.scripted_ledger import EVM, OTHER_ROOT, ROOT, TSA, Stage, owed, request
from tests.workflows.stage import until
from vaultmesh.domain.aggregator.ledger_messages import RoundState
from vaultmesh.domain.aggregator.messages import RecordState
from vaultmesh.domain.messages import OutcomeStatus
from vaultmesh.domain.paths import EVENT_RECEIPTS_FOLDER, REMEMBRANCER_DATABASE
from vaultmesh.domain.receipts.receipt import Finality
from vaultmesh.domain.roots import MerkleRoot
from vaultmesh.domain.rounds.manifest import RoundOutcome
from vaultmesh.storage import folder_lock, remembrancer
from vaultmesh.storage.folder_lock import locked

FIRST, SECOND = "dao:first", "dao:second"


async def closed_round(stage: Stage, batch_id: str = "b1", root: MerkleRoot = ROOT) -> str:
    """Return a final round that the first namespace asked for at depth 2."""
    round_id = stage.sign(owed(batch_id, request(FIRST), root=root))
    await stage.included(round_id, request(FIRST))
    assert stage.files.rounds(stage.target).open_rounds() == []
    stage.replies.outcomes.clear()
    return round_id


# --- what was stored at inclusion


async def test_what_a_receipt_carries_is_told_when_it_is_completed(stage: Stage) -> None:
    round_id = stage.sign(owed("b1", request(FIRST, 3)))
    stage.ledger.depth = 1
    await stage.included(round_id, request(FIRST, 3))
    assert stage.ledger.stored_terms == [{}]
    stage.ledger.depth = 3
    await stage.included(round_id, request(FIRST, 3))
    assert stage.ledger.stored_terms == [{}, stage.receipt(FIRST).scheme_evidence]
    assert stage.receipt(FIRST).is_final


async def test_after_a_recovery_only_receipts_that_differ_are_written(stage: Stage) -> None:
    """The harm: each recovery wrote every receipt of every open round anew, all for the same words."""
    both = request(FIRST, 12), request(SECOND, 12)
    round_id = stage.sign(owed("b1", *both))
    await stage.included(round_id, *both)
    before = stage.place(FIRST).read_bytes(), stage.place(FIRST).stat().st_ino
    stage.place(SECOND).unlink()
    done = await stage.included(round_id, revision=7, only_differing=True)
    assert done.receipts == 2
    assert (stage.place(FIRST).read_bytes(), stage.place(FIRST).stat().st_ino) == before
    assert stage.receipt(SECOND).metadata.revision == 7


# --- what the ledger shows at a later try


async def test_receipts_follow_the_transaction_into_the_block_that_replaced_its_own(
    stage: Stage,
) -> None:
    round_id = stage.sign(owed("b1", request(FIRST)))
    order = stage.order(RecordState.INCLUDED, round_id, request(FIRST))
    stage.ledger.block = 6
    with pytest.raises(ApplicationError) as first:
        await stage.record(order)
    assert (first.value.type, first.value.non_retryable) == ("network", True)
    assert not stage.place(FIRST).exists()
    assert (await stage.record(order, attempt=2)).receipts == 1
    assert stage.receipt(FIRST).block_number == 6
    assert [(who, outcome.block) for who, outcome in stage.replies.outcomes] == [(FIRST, 6)]


async def test_a_node_that_lags_at_a_later_try_leaves_no_final_round_with_receipts_that_are_not(
    stage: Stage,
) -> None:
    round_id = stage.sign(owed("b1", request(FIRST)))
    order = stage.order(RecordState.INCLUDED, round_id, request(FIRST))
    stage.ledger.depth = 1
    await stage.record(order, attempt=2)
    assert stage.files.rounds(stage.target).closed(round_id) is not None
    assert stage.receipt(FIRST).is_final


async def test_a_round_is_not_closed_for_the_finality_of_a_block_that_was_replaced(
    stage: Stage,
) -> None:
    round_id = stage.sign(owed("b1", request(FIRST)))
    order = stage.order(RecordState.INCLUDED, round_id, request(FIRST))
    assert order.view is not None
    assert order.view.final
    stage.ledger.block = 6
    await stage.record(order, attempt=2)
    assert stage.files.rounds(stage.target).closed(round_id) is None
    assert stage.files.rounds(stage.target).open_rounds() == [round_id]


async def test_a_later_try_at_the_same_block_closes_the_round(stage: Stage) -> None:
    round_id = stage.sign(owed("b1", request(FIRST)))
    order = stage.order(RecordState.INCLUDED, round_id, request(FIRST))
    await stage.record(order, attempt=2)
    assert stage.files.rounds(stage.target).open_rounds() == []


@pytest.mark.parametrize("state", [RoundState.PENDING, RoundState.MISSING, RoundState.DISPLACED])
async def test_an_order_for_a_round_in_no_block_any_more_is_given_back_at_once(
    stage: Stage, state: RoundState
) -> None:
    round_id = stage.sign(owed("b1", request(FIRST)))
    order = stage.order(RecordState.INCLUDED, round_id, request(FIRST))
    stage.ledger.state = state
    with pytest.raises(ApplicationError, match=str(state)) as given_back:
        await stage.record(order, attempt=2)
    assert (given_back.value.type, given_back.value.non_retryable) == ("network", True)
    assert not stage.place(FIRST).exists()
    assert (stage.replies.outcomes, stage.replies.failures) == ([], [])
    assert stage.files.rounds(stage.target).closed(round_id) is None


# --- a folder that can't be written


def block_the_folder(stage: Stage, namespace: str) -> None:
    """Put a file where a namespace's receipts belong; root may write everywhere else."""
    folder = stage.place(namespace).parents[1]
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("no folder")


async def test_an_order_with_a_stuck_folder_is_given_back_at_once_and_shown(stage: Stage) -> None:
    both = request(FIRST), request(SECOND)
    order = stage.order(RecordState.INCLUDED, stage.sign(owed("b1", *both)), *both)
    block_the_folder(stage, SECOND)
    with pytest.raises(ApplicationError, match="could not write") as failed:
        await stage.record(order)
    assert (failed.value.type, failed.value.non_retryable) == ("network", True)
    assert stage.replies.failures == [(SECOND, 1)]


async def test_a_stuck_folder_holds_up_only_its_own_namespace_and_the_rounds_end(
    stage: Stage,
) -> None:
    both = request(FIRST), request(SECOND)
    round_id = stage.sign(owed("b1", *both))
    block_the_folder(stage, SECOND)
    written: set[bytes] = set()
    for tries in range(3):
        order = stage.order(RecordState.INCLUDED, round_id, *both)
        with pytest.raises(ApplicationError):
            await stage.record(order.model_copy(update={"tries": tries}))
        written.add(stage.place(FIRST).read_bytes())
    assert len(written) == 1
    assert {(who, outcome.status) for who, outcome in stage.replies.outcomes} == {
        (FIRST, OutcomeStatus.ANCHORED)
    }
    assert len(stage.replies.outcomes) == 3
    assert stage.files.rounds(stage.target).closed(round_id) is None


async def test_a_folder_in_a_receipts_place_holds_up_neither_its_namespace_nor_others(
    stage: Stage,
) -> None:
    both = request(FIRST), request(SECOND)
    round_id = stage.sign(owed("b1", *both))
    stage.place(SECOND).mkdir(parents=True)
    order = stage.order(RecordState.INCLUDED, round_id, *both)
    with pytest.raises(ApplicationError, match="it is no file; take it away"):
        await stage.record(order)
    assert {who for who, _ in stage.replies.outcomes} == {FIRST, SECOND}
    assert stage.receipt(FIRST).is_final
    assert stage.files.rounds(stage.target).closed(round_id) is None
    stage.place(SECOND).rmdir()
    await stage.record(order, attempt=2)
    assert stage.receipt(SECOND).is_final
    assert stage.files.rounds(stage.target).closed(round_id) is not None


async def test_a_stuck_requests_failures_count_on_over_orders(stage: Stage) -> None:
    order = stage.order(
        RecordState.INCLUDED, stage.sign(owed("b1", request(SECOND))), request(SECOND)
    )
    block_the_folder(stage, SECOND)
    with pytest.raises(ApplicationError) as failed:
        await stage.record(order.model_copy(update={"tries": 5}))
    assert stage.replies.failures == [(SECOND, 6)]
    assert failed.value.non_retryable


async def test_a_folder_that_was_mended_lets_the_round_end(stage: Stage) -> None:
    both = request(FIRST), request(SECOND)
    order = stage.order(RecordState.INCLUDED, stage.sign(owed("b1", *both)), *both)
    block_the_folder(stage, SECOND)
    with pytest.raises(ApplicationError):
        await stage.record(order)
    stage.place(SECOND).parents[1].unlink()
    assert (await stage.record(order, attempt=2)).receipts == 2
    assert stage.files.rounds(stage.target).open_rounds() == []


# --- a Remembrancer that can't be written


@pytest.fixture
def locked_remembrancer(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> Iterator[sqlite3.Connection]:
    """Hold the Remembrancer as another program does that reads it for long."""
    monkeypatch.setattr(remembrancer, "BUSY_SECONDS", 0.1)
    place = stage.root / REMEMBRANCER_DATABASE
    place.parent.mkdir(parents=True)
    with closing(sqlite3.connect(place, isolation_level=None)) as other:
        other.execute("CREATE TABLE held (n)")
        other.execute("BEGIN EXCLUSIVE")
        yield other


async def test_a_locked_remembrancer_holds_up_no_answer_and_its_rows_follow(
    stage: Stage, locked_remembrancer: sqlite3.Connection
) -> None:
    round_id = stage.sign(owed("b1", request(FIRST)))
    order = stage.order(RecordState.INCLUDED, round_id, request(FIRST))
    with pytest.raises(ApplicationError, match=r"could not append to .*remembrancer"):
        await stage.record(order)
    assert [who for who, _ in stage.replies.outcomes] == [FIRST]
    assert stage.receipt(FIRST).is_final
    assert stage.files.rounds(stage.target).closed(round_id) is None
    locked_remembrancer.execute("ROLLBACK")
    await stage.record(order, attempt=2)
    (row,) = locked_remembrancer.execute("SELECT id FROM memories")
    assert row == (f"anchor:{stage.target}:{FIRST}:b1",)
    assert stage.files.rounds(stage.target).closed(round_id) is not None


async def test_a_corrupt_remembrancer_holds_up_no_answer(stage: Stage) -> None:
    place = stage.root / REMEMBRANCER_DATABASE
    place.parent.mkdir(parents=True)
    place.write_bytes(b"no database" * 100)
    order = stage.order(
        RecordState.INCLUDED, stage.sign(owed("b1", request(FIRST))), request(FIRST)
    )
    with pytest.raises(ApplicationError, match=r"could not append to .*remembrancer"):
        await stage.record(order)
    assert [who for who, _ in stage.replies.outcomes] == [FIRST]


# --- event receipts that can't be written


def put_event(stage: Stage, event_id: str, batch_id: str = "b1", root: MerkleRoot = ROOT) -> Path:
    """Write the receipt of an event that a sealed batch holds."""
    place = stage.root / EVENT_RECEIPTS_FOLDER / f"{event_id}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "eventHash": root.batch_form,
        "batchRoot": root.batch_form,
        "path": [],
        "anchor": {"chain": "vm:internal", "tx": f"batch:{batch_id}", "block": 0, "ts": 0},
        "verifier": "vmr1",
        "integrity": f"vmr1-{batch_id}-{event_id}",
    }
    place.write_text(json.dumps(document))
    return place


def chain_at(place: Path) -> str:
    """Return where an event receipt says that its batch is anchored."""
    return str(json.loads(place.read_text())["anchor"]["chain"])


@pytest.fixture
def locked_events(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    """Hold the lock of the event receipts' folder until the stack is closed."""
    monkeypatch.setattr(folder_lock, "PATIENCE_SECONDS", 0.3)
    folder = put_event(stage, "e1").parent
    with ExitStack() as held:
        held.enter_context(locked(folder))
        yield held


async def test_a_locked_folder_of_event_receipts_holds_up_no_answer_and_they_follow(
    stage: Stage, locked_events: ExitStack
) -> None:
    round_id = stage.sign(owed("b1", request(FIRST)))
    order = stage.order(RecordState.INCLUDED, round_id, request(FIRST))
    with pytest.raises(ApplicationError, match=r"out/receipts is locked by process"):
        await stage.record(order)
    assert [who for who, _ in stage.replies.outcomes] == [FIRST]
    assert stage.receipt(FIRST).is_final
    with closing(sqlite3.connect(stage.root / REMEMBRANCER_DATABASE)) as database:
        assert database.execute("SELECT count(*) FROM memories").fetchone() == (1,)
    assert stage.files.rounds(stage.target).closed(round_id) is None
    locked_events.close()
    await stage.record(order, attempt=2)
    assert chain_at(stage.root / "out/receipts/e1.json") == str(EVM)
    assert stage.files.rounds(stage.target).closed(round_id) is not None


async def test_a_storage_that_hangs_below_the_event_receipts_holds_up_no_answer(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, receipts = threading.Event(), stage.files.receipts
    monkeypatch.setattr(receipts, "derive_event_receipts", lambda *_: hangs.wait(30))
    round_id = stage.sign(owed("b1", request(FIRST)))
    recording = asyncio.create_task(stage.included(round_id, request(FIRST)))
    await until(lambda: bool(stage.replies.outcomes))
    assert not recording.done()
    hangs.set()
    await recording


async def test_a_locked_folder_of_event_receipts_lets_every_receipt_say_that_its_block_left(
    stage: Stage, locked_events: ExitStack
) -> None:
    del locked_events
    both = request(FIRST), request(SECOND)
    round_id = stage.sign(owed("b1", *both))
    with pytest.raises(ApplicationError, match="locked by"):
        await stage.included(round_id, *both)
    order = stage.order(RecordState.REORGED, round_id).model_copy(update={"revision": 3})
    await stage.record(order)
    states = {stage.receipt(namespace).finality.state for namespace in (FIRST, SECOND)}
    assert states == {Finality.REORGED}


async def test_a_receipt_that_cannot_be_written_keeps_no_other_from_saying_that_its_block_left(
    stage: Stage,
) -> None:
    both = request(FIRST), request(SECOND)
    round_id = stage.sign(owed("b1", *both))
    await stage.included(round_id, *both)
    stage.place(FIRST).unlink()
    stage.place(FIRST).mkdir()
    order = stage.order(RecordState.REORGED, round_id).model_copy(update={"revision": 3})
    with pytest.raises(ApplicationError, match="it is no file; take it away"):
        await stage.record(order)
    assert stage.receipt(SECOND).finality.state is Finality.REORGED


async def test_a_folder_in_an_event_receipts_place_holds_up_no_other_event_of_its_batch(
    stage: Stage,
) -> None:
    blocked, other = put_event(stage, "e1"), put_event(stage, "e2")
    blocked.unlink()
    blocked.mkdir()
    await stage.included(stage.sign(owed("b1", request(FIRST))), request(FIRST))
    assert [who for who, _ in stage.replies.outcomes] == [FIRST]
    assert chain_at(other) == str(EVM)


async def test_a_locked_round_folder_holds_up_no_answer_to_who_joined(stage: Stage) -> None:
    round_id = stage.sign(owed("b1", request(FIRST)))
    folder = stage.root / "out/rounds" / EVM.path / round_id
    with pytest.MonkeyPatch.context() as patch, locked(folder):
        patch.setattr(folder_lock, "PATIENCE_SECONDS", 0.3)
        with pytest.raises(ApplicationError, match="is locked by process"):
            await stage.included(round_id, request(SECOND))
    assert [who for who, _ in stage.replies.outcomes] == [SECOND]
    assert stage.files.rounds(stage.target).closed(round_id) is None


# --- a closed round


async def test_a_closed_round_opens_again_for_a_namespace_that_requires_more_blocks(
    stage: Stage,
) -> None:
    round_id = await closed_round(stage)
    asked = request(SECOND, 12)
    done = await stage.record(stage.order(RecordState.CLOSED, round_id, asked))
    assert (done.receipts, done.reopened) == (2, [round_id])
    finality = stage.receipt(SECOND).finality
    assert (finality.state, finality.required_depth) == (Finality.OBSERVED, 12)
    assert [(who, outcome.finality) for who, outcome in stage.replies.outcomes] == [
        (SECOND, "observed")
    ]
    assert stage.files.rounds(stage.target).open_rounds() == [round_id]


async def test_a_round_that_opened_again_is_told_of_though_another_folder_is_stuck(
    stage: Stage,
) -> None:
    round_id = await closed_round(stage)
    block_the_folder(stage, "dao:third")
    order = stage.order(RecordState.CLOSED, round_id, request(SECOND, 12), request("dao:third"))
    for attempt in (1, 2):  # the worker may die before the first answer is kept
        assert (await stage.record(order, attempt=attempt)).reopened == [round_id]
    assert {who for who, _ in stage.replies.outcomes} == {SECOND}
    assert {who for who, _ in stage.replies.failures} == {"dao:third"}


async def test_a_closed_round_stays_closed_for_who_requires_no_more_than_there_is(
    stage: Stage,
) -> None:
    round_id = await closed_round(stage)
    done = await stage.record(stage.order(RecordState.CLOSED, round_id, request(SECOND, 3)))
    assert (done.receipts, done.reopened) == (2, [])
    assert stage.receipt(SECOND).is_final
    assert stage.files.rounds(stage.target).open_rounds() == []


async def test_every_closed_round_that_the_same_request_misses_opens_again(stage: Stage) -> None:
    stage.batch("b2", root=OTHER_ROOT)
    rounds = [await closed_round(stage), await closed_round(stage, "b2", OTHER_ROOT)]
    done = await stage.record(stage.order(RecordState.CLOSED, rounds[0], request(SECOND, 12)))
    assert done.reopened == rounds
    assert stage.receipt(SECOND, "b2").finality.required_depth == 12
    assert stage.files.rounds(stage.target).open_rounds() == sorted(rounds)


async def test_a_round_that_opened_again_is_closed_once_its_late_joiner_is_final_though_no_order_names_it(
    stage: Stage,
) -> None:
    round_id = await closed_round(stage)
    await stage.record(stage.order(RecordState.CLOSED, round_id, request(SECOND, 12)))
    stage.ledger.depth = 12
    done = await stage.included(round_id, revision=3)
    assert done.receipts == 2
    assert stage.receipt(FIRST).is_final
    assert stage.receipt(SECOND).is_final
    closed = stage.files.rounds(stage.target).closed(round_id)
    assert closed is not None
    assert closed.outcome is RoundOutcome.FINAL
    assert stage.files.rounds(stage.target).open_rounds() == []


async def test_evidence_is_asked_for_as_deep_as_every_late_joiner_requires(stage: Stage) -> None:
    round_id = await closed_round(stage)
    await stage.record(stage.order(RecordState.CLOSED, round_id, request(SECOND, 12)))
    assert stage.files.rounds(stage.target).watched(round_id).depths == [2, 12]


async def test_a_reorg_of_a_round_that_opened_again_reaches_its_late_joiner(stage: Stage) -> None:
    round_id = await closed_round(stage)
    await stage.record(stage.order(RecordState.CLOSED, round_id, request(SECOND, 12)))
    order = stage.order(RecordState.REORGED, round_id).model_copy(update={"revision": 3})
    assert (await stage.record(order)).receipts == 2
    assert stage.receipt(SECOND).finality.state is Finality.REORGED


async def test_a_final_receipt_is_not_written_anew_for_another_namespaces_sake(
    stage: Stage,
) -> None:
    round_id = await closed_round(stage)
    before = stage.place(FIRST).read_bytes(), stage.place(FIRST).stat().st_ino
    stage.ledger.depth = 9
    order = stage.order(RecordState.CLOSED, round_id, request(SECOND, 12))
    await stage.record(order)
    await stage.record(order.model_copy(update={"revision": 3}))
    assert (stage.place(FIRST).read_bytes(), stage.place(FIRST).stat().st_ino) == before


async def test_a_receipt_that_is_gone_is_written_as_it_was_but_for_when_and_how_deep_it_was_seen(
    stage: Stage,
) -> None:
    round_id = await closed_round(stage)
    before = stage.receipt(FIRST)
    stage.place(FIRST).unlink()
    stage.ledger.depth = 9
    order = stage.order(RecordState.CLOSED, round_id, request(FIRST))
    done = await stage.record(order.model_copy(update={"revision": 7}))
    after = stage.receipt(FIRST)
    assert (done.receipts, done.reopened) == (1, [])
    assert after.finality.observed_depth == 9
    assert after.observed_at > before.observed_at
    seen = {"observed_at": before.observed_at, "finality": before.finality}
    assert after.model_copy(update=seen) == before


async def test_a_closed_rounds_receipts_are_not_rebuilt_from_a_transaction_in_no_block(
    stage: Stage,
) -> None:
    round_id = await closed_round(stage)
    stage.place(FIRST).unlink()
    stage.ledger.state = RoundState.MISSING
    with pytest.raises(ApplicationError, match="was closed as final") as failed:
        await stage.record(stage.order(RecordState.CLOSED, round_id, request(FIRST)))
    assert failed.value.non_retryable
    assert not stage.place(FIRST).exists()


async def test_who_waits_is_told_why_an_included_round_gets_no_receipts(stage: Stage) -> None:
    both = request(FIRST), request(SECOND)
    order = stage.order(RecordState.INCLUDED, stage.sign(owed("b1", *both)), *both)
    stage.ledger.block = 6  # what was seen in block 5 can't be shown any more
    with pytest.raises(ApplicationError, match="looking again"):
        await stage.record(order)
    assert sorted(stage.replies.failures) == [(FIRST, 1), (SECOND, 1)]


async def test_a_closed_round_whose_tokens_are_gone_asks_for_new_ones_and_changes_no_final_receipt(
    tmp_path: Path,
) -> None:
    """An older copy was put back: only the round's folder had the tokens."""
    stage = Stage(tmp_path, TSA)
    stage.batch("b1")
    stage.ledger.block = 0
    round_id = stage.sign(owed("b1", request(FIRST)))
    await stage.included(round_id, request(FIRST))
    before = stage.place(FIRST).read_bytes()
    stage.ledger.state = RoundState.MISSING
    done = await stage.record(stage.order(RecordState.CLOSED, round_id, request(SECOND)))
    assert done.reopened == [round_id]
    assert stage.files.rounds(TSA).open_rounds() == [round_id]
    stage.ledger.state = RoundState.INCLUDED
    await stage.included(round_id, request(SECOND), late_joiners=[request(SECOND)], revision=9)
    assert stage.place(FIRST).read_bytes() == before
    assert stage.receipt(SECOND).is_final
    assert stage.files.rounds(TSA).open_rounds() == []

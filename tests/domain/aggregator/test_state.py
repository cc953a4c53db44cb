"""A pen's state: what waits, what is open, and which reservation is the highest."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.aggregator.ledger_messages import (
    BlockRef,
    Reservation,
    RoundState,
    RoundView,
    SignedCandidate,
)
from vaultmesh.domain.aggregator.messages import RecordState, SealedRound
from vaultmesh.domain.aggregator.state import (
    MOST_REMEMBERED_FAILURES,
    MOST_WAITING,
    PenInput,
    PenRound,
    PenState,
)
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.target import Target

NOW = datetime(2026, 1, 15, 10, tzinfo=UTC)
TARGET = Target.parse("eip155:1")
STATES = st.sampled_from(RoundState)
MOVES = st.lists(
    st.tuples(st.sampled_from(["enqueue", "fail", "end"]), st.integers(0, 3), st.integers(0, 4)),
    max_size=30,
)


def request(number: int = 0, failures: int = 0) -> AnchorRequest:
    """Return a request by its number."""
    return AnchorRequest(namespace="dao:x", cadence="fast", slot=str(number), failures=failures)


def open_round(state: RoundState = RoundState.PENDING, **fields: object) -> PenRound:
    """Return a round of two candidates that was sent, unless something else is said."""
    sealed = SealedRound(
        round_id="ab" * 16,
        commitment="0x" + "11" * 32,
        label="1",
        leaves=2,
        required_depths=[3],
        candidates=1,
    )
    round_ = PenRound(
        sealed=sealed,
        reservation=Reservation(account="0xa", sequence=7, fields={}),
        candidates=[SignedCandidate(n=n, tx_ref=f"0x{n}", raw="0x") for n in (1, 2)],
        since=NOW,
        signed_at=NOW,
        state=state,
        sent=True,
        open_depths=[3],
    )
    return round_.model_copy(update=fields)


def in_block(state: RoundState = RoundState.INCLUDED) -> PenRound:
    """Return a round that was seen in a block."""
    block = BlockRef(number=79, hash="0xb", time=NOW)
    view = RoundView(
        round_id="ab" * 16, state=RoundState.INCLUDED, tx_ref="0x1", block=block, depth=2
    )
    return open_round(state, view=view)


# --- requests


@given(MOVES)
def test_a_requests_failures_never_shrink_until_it_is_answered(
    moves: list[tuple[str, int, int]],
) -> None:
    pen = PenState()
    highest: dict[int, int] = {}
    for move, number, failures in moves:
        one = request(number, failures)
        if move == "end":
            pen.ended(one.id)
            highest.pop(number, None)
            assert one.id not in pen.queue
        elif move == "fail":
            known = max(pen.failures.get(one.id, 0), failures)
            assert pen.failed(one).failures == known + 1
            highest[number] = known + 1
        else:
            assert pen.enqueue(one)
            assert pen.queue[one.id].failures == max(highest.get(number, 0), failures)
    assert pen.failures == {request(number).id: count for number, count in highest.items()}


def test_asking_twice_changes_nothing() -> None:
    once, twice = PenState(), PenState()
    assert once.enqueue(request())
    assert twice.enqueue(request())
    assert twice.enqueue(request())
    assert once == twice


def test_a_request_that_waits_for_a_round_does_not_queue_for_another() -> None:
    pen = PenState(rounds=[open_round(waiting=[request(1)], riders=[request(2)])])
    assert pen.enqueue(request(1))
    assert pen.queue == {}
    assert pen.enqueue(request(2))
    assert list(pen.queue) == [request(2).id]


def test_a_full_queue_takes_only_what_it_knows() -> None:
    pen = PenState()
    assert all(pen.enqueue(request(number)) for number in range(MOST_WAITING))
    assert not pen.enqueue(request(MOST_WAITING))
    assert pen.enqueue(request(0, failures=5))
    assert len(pen.queue) == MOST_WAITING
    assert pen.queue[request(0).id].failures == 5
    pen.ended(request(0).id)
    assert pen.enqueue(request(MOST_WAITING))


def test_failures_are_counted_also_where_no_more_are_remembered() -> None:
    pen = PenState(failures={str(number): 1 for number in range(MOST_REMEMBERED_FAILURES)})
    assert pen.failed(request(1, failures=4)).failures == 5
    assert len(pen.failures) == MOST_REMEMBERED_FAILURES


# --- reservations


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_the_highest_reservation_of_an_account_stays(sequences: list[int]) -> None:
    pen = PenState()
    for sequence in sequences:
        pen.reserved(Reservation(account="0xa", sequence=sequence, fields={"n": str(sequence)}))
    assert pen.last is not None
    assert pen.last.sequence == max(sequences)


def test_another_account_starts_at_its_own_count() -> None:
    pen = PenState(last=Reservation(account="0xa", sequence=40, fields={}))
    pen.reserved(Reservation(account="0xb", sequence=0, fields={}))
    assert pen.last is not None
    assert (pen.last.account, pen.last.sequence) == ("0xb", 0)


def test_where_there_is_no_order_the_newest_reservation_counts() -> None:
    pen = PenState()
    for outpoint in ("a:0", "b:1"):
        pen.reserved(Reservation(account="wallet", fields={"input": outpoint}))
    assert pen.last is not None
    assert pen.last.fields == {"input": "b:1"}


# --- rounds


@given(st.lists(STATES, max_size=5))
def test_every_round_holds_up_new_ones_or_is_included_or_lost(states: list[RoundState]) -> None:
    pen = PenState(rounds=[open_round(state) for state in states])
    settled = [one for one in states if one in (RoundState.INCLUDED, RoundState.LOST)]
    assert [one.state for one in pen.unincluded()] == [one for one in states if one not in settled]
    assert len(pen.lost()) == states.count(RoundState.LOST)


@pytest.mark.parametrize(
    ("round_", "watched"),
    [
        (open_round(), True),
        (open_round(sent=False), False),
        (open_round(RoundState.DISPLACED), True),
        (open_round(RoundState.LOST), False),
        (open_round(RoundState.INCLUDED), True),
        (open_round(RoundState.INCLUDED, open_depths=[]), False),
        (open_round(RoundState.MISSING, open_depths=[]), True),
    ],
)
def test_the_ledger_is_looked_at_from_the_first_broadcast_to_finality(
    round_: PenRound, *, watched: bool
) -> None:
    assert round_.is_watched is watched


def test_a_lost_round_is_owed_again_once_its_end_is_written() -> None:
    ended = open_round(RoundState.LOST)
    assert PenState(rounds=[open_round(), ended]).owes_again()
    writing = ended.model_copy(update={"wanted": RecordState.LOST})
    assert not PenState(rounds=[open_round(), writing]).owes_again()
    assert not PenState(rounds=[open_round()]).owes_again()


def test_an_observer_is_told_of_a_block_only_while_the_round_is_in_one() -> None:
    watched = in_block().watch()
    assert (watched.tx_ref, watched.block and watched.block.number) == ("0x1", 79)
    gone = in_block(RoundState.PENDING).watch()
    assert (gone.tx_ref, gone.block) == ("", None)
    assert gone.tx_refs == ["0x1", "0x2"]


def test_what_is_shown_of_a_round_that_left_its_block_is_no_block_and_no_depth() -> None:
    (shown,) = PenState(rounds=[in_block()]).view(TARGET, "run").rounds
    assert (shown.tx_ref, shown.block, shown.depth, shown.final) == ("0x1", 79, 2, False)
    (gone,) = PenState(rounds=[in_block(RoundState.MISSING)]).view(TARGET, "run").rounds
    assert (gone.tx_ref, gone.block, gone.depth) == ("0x2", None, 0)


def test_candidates_of_lost_reservations_count_as_well() -> None:
    assert open_round().known().candidates == 3


def test_a_round_is_found_by_its_id_alone() -> None:
    pen = PenState(rounds=[open_round()])
    assert pen.find("ab" * 16) is pen.rounds[0]
    assert pen.find("cd" * 16) is None


def test_the_next_run_reads_the_state_as_it_was() -> None:
    pen = PenState(rounds=[in_block(), open_round(RoundState.STUCK, waiting=[request(3)])])
    pen.enqueue(request(1, failures=2))
    pen.failed(request(2))
    pen.reserved(Reservation(account="0xa", sequence=7, fields={"to": "0xc"}))
    carried = PenInput(target=TARGET, carried=pen)
    assert PenInput.model_validate_json(carried.model_dump_json()) == carried

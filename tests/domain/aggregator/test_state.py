"""An aggregator's state: what waits, what is open, and which reservation is the highest."""

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
    AggregatorInput,
    AggregatorState,
    OpenRound,
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


def open_round(state: RoundState = RoundState.PENDING, **fields: object) -> OpenRound:
    """Return a round of two candidates that was sent, unless something else is said."""
    sealed = SealedRound(
        round_id="ab" * 16,
        commitment="0x" + "11" * 32,
        label="1",
        leaves=2,
        required_depths=[3],
        candidates=1,
    )
    round_ = OpenRound(
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


def in_block(state: RoundState = RoundState.INCLUDED) -> OpenRound:
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
    aggregator = AggregatorState()
    highest: dict[int, int] = {}
    for move, number, failures in moves:
        one = request(number, failures)
        if move == "end":
            aggregator.ended(one.id)
            highest.pop(number, None)
            assert one.id not in aggregator.queue
        elif move == "fail":
            known = max(aggregator.failures.get(one.id, 0), failures)
            assert aggregator.failed(one).failures == known + 1
            highest[number] = known + 1
        else:
            assert aggregator.enqueue(one)
            assert aggregator.queue[one.id].failures == max(highest.get(number, 0), failures)
    assert aggregator.failures == {request(number).id: count for number, count in highest.items()}


def test_asking_twice_changes_nothing() -> None:
    once, twice = AggregatorState(), AggregatorState()
    assert once.enqueue(request())
    assert twice.enqueue(request())
    assert twice.enqueue(request())
    assert once == twice


def test_a_request_that_waits_for_a_round_does_not_queue_for_another() -> None:
    aggregator = AggregatorState(
        rounds=[open_round(waiting=[request(1)], late_joiners=[request(2)])]
    )
    assert aggregator.enqueue(request(1))
    assert aggregator.queue == {}
    assert aggregator.enqueue(request(2))
    assert list(aggregator.queue) == [request(2).id]


def test_a_full_queue_takes_only_what_it_knows() -> None:
    aggregator = AggregatorState()
    assert all(aggregator.enqueue(request(number)) for number in range(MOST_WAITING))
    assert not aggregator.enqueue(request(MOST_WAITING))
    assert aggregator.enqueue(request(0, failures=5))
    assert len(aggregator.queue) == MOST_WAITING
    assert aggregator.queue[request(0).id].failures == 5
    aggregator.ended(request(0).id)
    assert aggregator.enqueue(request(MOST_WAITING))


def test_failures_are_counted_also_where_no_more_are_remembered() -> None:
    aggregator = AggregatorState(
        failures={str(number): 1 for number in range(MOST_REMEMBERED_FAILURES)}
    )
    assert aggregator.failed(request(1, failures=4)).failures == 5
    assert len(aggregator.failures) == MOST_REMEMBERED_FAILURES


# --- reservations


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_the_highest_reservation_of_an_account_stays(sequences: list[int]) -> None:
    aggregator = AggregatorState()
    for sequence in sequences:
        aggregator.reserved(
            Reservation(account="0xa", sequence=sequence, fields={"n": str(sequence)})
        )
    assert aggregator.last is not None
    assert aggregator.last.sequence == max(sequences)


def test_another_account_starts_at_its_own_count() -> None:
    aggregator = AggregatorState(last=Reservation(account="0xa", sequence=40, fields={}))
    aggregator.reserved(Reservation(account="0xb", sequence=0, fields={}))
    assert aggregator.last is not None
    assert (aggregator.last.account, aggregator.last.sequence) == ("0xb", 0)


def test_where_there_is_no_order_the_newest_reservation_counts() -> None:
    aggregator = AggregatorState()
    for outpoint in ("a:0", "b:1"):
        aggregator.reserved(Reservation(account="wallet", fields={"input": outpoint}))
    assert aggregator.last is not None
    assert aggregator.last.fields == {"input": "b:1"}


# --- rounds


@given(st.lists(STATES, max_size=5))
def test_every_round_holds_up_new_ones_or_is_included_or_lost(states: list[RoundState]) -> None:
    aggregator = AggregatorState(rounds=[open_round(state) for state in states])
    settled = [one for one in states if one in (RoundState.INCLUDED, RoundState.LOST)]
    assert [one.state for one in aggregator.unincluded()] == [
        one for one in states if one not in settled
    ]
    assert len(aggregator.lost()) == states.count(RoundState.LOST)


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
    round_: OpenRound, *, watched: bool
) -> None:
    assert round_.is_watched is watched


def test_a_lost_round_is_owed_again_once_its_end_is_written() -> None:
    ended = open_round(RoundState.LOST)
    assert AggregatorState(rounds=[open_round(), ended]).owes_again()
    writing = ended.model_copy(update={"wanted": RecordState.LOST})
    assert not AggregatorState(rounds=[open_round(), writing]).owes_again()
    assert not AggregatorState(rounds=[open_round()]).owes_again()


def test_an_observer_is_told_of_a_block_only_while_the_round_is_in_one() -> None:
    watched = in_block().watch()
    assert (watched.tx_ref, watched.block and watched.block.number) == ("0x1", 79)
    gone = in_block(RoundState.PENDING).watch()
    assert (gone.tx_ref, gone.block) == ("", None)
    assert gone.tx_refs == ["0x1", "0x2"]


def test_what_is_shown_of_a_round_that_left_its_block_is_no_block_and_no_depth() -> None:
    (shown,) = AggregatorState(rounds=[in_block()]).view(TARGET, "run").rounds
    assert (shown.tx_ref, shown.block, shown.depth, shown.final) == ("0x1", 79, 2, False)
    (gone,) = AggregatorState(rounds=[in_block(RoundState.MISSING)]).view(TARGET, "run").rounds
    assert (gone.tx_ref, gone.block, gone.depth) == ("0x2", None, 0)


def test_candidates_of_lost_reservations_count_as_well() -> None:
    assert open_round().known().candidates == 3


def test_a_round_is_found_by_its_id_alone() -> None:
    aggregator = AggregatorState(rounds=[open_round()])
    assert aggregator.find("ab" * 16) is aggregator.rounds[0]
    assert aggregator.find("cd" * 16) is None


def test_the_next_run_reads_the_state_as_it_was() -> None:
    aggregator = AggregatorState(
        rounds=[in_block(), open_round(RoundState.STUCK, waiting=[request(3)])]
    )
    aggregator.enqueue(request(1, failures=2))
    aggregator.failed(request(2))
    aggregator.reserved(Reservation(account="0xa", sequence=7, fields={"to": "0xc"}))
    carried = AggregatorInput(target=TARGET, carried=aggregator)
    assert AggregatorInput.model_validate_json(carried.model_dump_json()) == carried

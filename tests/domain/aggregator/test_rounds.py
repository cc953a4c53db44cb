"""A target's open rounds together: which hold up others, which is sent next, what is known of the storage."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from tests.domain.aggregator.examples import (
    NOW,
    ROUND,
    TARGET,
    in_block,
    included,
    numbered,
    open_round,
    request,
    seen,
)
from vaultmesh.domain.aggregator import orders
from vaultmesh.domain.aggregator.ledger_messages import AggregatorSettings, Reservation, RoundState
from vaultmesh.domain.aggregator.messages import RecordState, Recover, Recovered, RecoveredRound
from vaultmesh.domain.aggregator.open_round import FILL_PAUSE, OpenRound
from vaultmesh.domain.aggregator.orders import MOST_ROUNDS
from vaultmesh.domain.aggregator.rounds import GAP_PATIENCE, MOST_ENDED, OpenRounds
from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.names import REOPENED, REWRITE

STATES = st.sampled_from(RoundState)
FILL_AFTER = timedelta(seconds=AggregatorSettings().gap_fill_seconds)


def beyond_gap() -> OpenRounds:
    """Return two rounds above four free sequences."""
    rounds = OpenRounds(open=[numbered(9), numbered(7)])
    rounds.see(rounds.open[1], seen(RoundState.PENDING, gap=4), NOW)
    return rounds


# --- reservations


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_the_highest_reservation_of_an_account_stays(sequences: list[int]) -> None:
    rounds = OpenRounds()
    for sequence in sequences:
        rounds.reserved(Reservation(account="0xa", sequence=sequence, fields={"n": str(sequence)}))
    assert rounds.last is not None
    assert rounds.last.sequence == max(sequences)


def test_another_account_starts_at_its_own_count() -> None:
    rounds = OpenRounds(last=Reservation(account="0xa", sequence=40, fields={}))
    rounds.reserved(Reservation(account="0xb", sequence=0, fields={}))
    assert rounds.last is not None
    assert (rounds.last.account, rounds.last.sequence) == ("0xb", 0)


def test_where_there_is_no_order_the_newest_reservation_counts() -> None:
    rounds = OpenRounds()
    for outpoint in ("a:0", "b:1"):
        rounds.reserved(Reservation(account="wallet", fields={"input": outpoint}))
    assert rounds.last is not None
    assert rounds.last.fields == {"input": "b:1"}


# --- which rounds


@given(st.lists(STATES, max_size=5))
def test_every_round_holds_up_new_ones_or_is_included_or_lost(states: list[RoundState]) -> None:
    rounds = OpenRounds(open=[open_round(state) for state in states])
    settled = [state for state in states if state in (RoundState.INCLUDED, RoundState.LOST)]
    assert [row.state for row in rounds.unincluded()] == [
        state for state in states if state not in settled
    ]
    assert len(rounds.owed_again()) == states.count(RoundState.LOST)


def test_a_lost_round_is_owed_again_unless_its_end_is_being_recorded() -> None:
    lost = open_round(RoundState.LOST)
    assert OpenRounds(open=[open_round(), lost]).owed_again() == [lost]
    ending = lost.model_copy(update={"wanted": RecordState.LOST})
    assert not OpenRounds(open=[open_round(), ending]).owed_again()
    assert not OpenRounds(open=[open_round()]).owed_again()


def test_a_round_is_found_by_its_id_alone() -> None:
    rounds = OpenRounds(open=[open_round()])
    assert rounds.find(ROUND) is rounds.open[0]
    assert rounds.find("cd" * 16) is None


def test_a_request_is_held_by_the_round_that_it_waits_for_until_it_is_let_go() -> None:
    rounds = OpenRounds(open=[open_round(waiting=[request(1)], late_joiners=[request(2)])])
    assert rounds.holds(request(1).id)
    assert not rounds.holds(request(2).id)
    rounds.let_go(request(1).id)
    assert rounds.waiting() == []


def test_a_signed_round_takes_the_place_of_the_lost_one_and_ends_those_whose_leaves_it_holds() -> (
    None
):
    lost, other = numbered(1, state=RoundState.LOST), numbered(2, state=RoundState.LOST)
    again = numbered(3).model_copy(update={"sealed": lost.sealed})
    rounds = OpenRounds(open=[lost, other], last=lost.reservation)
    rounds.add(again, [lost.round_id, other.round_id])
    assert rounds.open == [other, again]
    assert (again.wanted, other.wanted) == (None, RecordState.LOST)
    assert rounds.last == again.reservation


def test_only_lost_rounds_are_ended_by_a_seal() -> None:
    rounds = OpenRounds(open=[numbered(1), numbered(2, state=RoundState.LOST)])
    rounds.close_lost([row.round_id for row in rounds.open])
    assert [row.wanted for row in rounds.open] == [None, RecordState.LOST]
    rounds.forget(rounds.open[1])
    assert [row.reservation.sequence for row in rounds.open] == [1]


# --- what is known of the storage


def test_recovery_replaces_the_rounds_and_keeps_what_came_up_meanwhile() -> None:
    rounds = OpenRounds(open=[open_round(waiting=[request(1)])], revision=9)
    rounds.reopen(["a"])
    rounds.left_the_chain(["b", "b"])
    order = Recover(target=TARGET, reopened=rounds.reopened, left=rounds.left)
    rounds.reopen(["c"])
    rounds.left_the_chain(["b", "d"])
    other = numbered(3)
    stored = RecoveredRound(
        sealed=other.sealed, reservation=other.reservation, candidates=other.candidates
    )
    answer = Recovered(rounds=[stored], last=other.reservation, revision=4, problems=["x"])
    assert rounds.adopt(answer, order, NOW) == [request(1)]
    assert [row.round_id for row in rounds.open] == [other.round_id]
    assert (rounds.reopened, rounds.left) == (["c"], ["d"])
    assert (rounds.last, rounds.problems) == (other.reservation, ["x"])
    assert rounds.recovered
    assert rounds.next_revision() == 10


# --- what is sent


def test_rounds_are_sent_in_order_and_only_the_lowest_is_bumped() -> None:
    rounds = OpenRounds(open=[numbered(9), numbered(8), numbered(7)])
    assert [row.reservation.sequence for row in rounds.unincluded()] == [7, 8, 9]
    rounds.open[0].bid_higher()
    assert not rounds.bump_due()
    rounds.open[2].bid_higher()
    assert rounds.bump_due()


def test_a_round_is_sent_when_its_backoff_ends() -> None:
    later = NOW + timedelta(seconds=5)
    rounds = OpenRounds(open=[numbered(1, needs_broadcast=False), numbered(2, not_before=later)])
    assert not rounds.broadcast_due(NOW)
    assert rounds.next_broadcast(NOW) == later
    assert rounds.broadcast_due(later)
    assert rounds.next_broadcast(later) is None


def test_what_lies_below_a_missing_place_is_sent_again() -> None:
    rounds = OpenRounds(open=[numbered(number, needs_broadcast=False) for number in (1, 2, 3)])
    rounds.send_below(rounds.open[1])
    assert [row.needs_broadcast for row in rounds.open] == [True, False, False]


# --- a gap below them


def test_a_round_beyond_a_gap_is_not_bumped() -> None:
    rounds = beyond_gap()
    assert rounds.beyond_gap() is rounds.open[1]
    rounds.open[1].bid_higher()
    assert not rounds.bump_due()


def test_a_gap_that_lasts_is_taken_by_new_rounds_and_then_filled() -> None:
    rounds = beyond_gap()
    assert not rounds.may_take_free(NOW)
    assert rounds.may_take_free(NOW + GAP_PATIENCE)
    assert not rounds.fill_due(NOW + GAP_PATIENCE)
    assert rounds.fill_due(NOW + FILL_AFTER)
    assert rounds.gap_instants() == [NOW + GAP_PATIENCE, NOW + FILL_AFTER]


def test_a_gap_that_is_being_filled_is_filled_on_and_taken_by_no_round() -> None:
    rounds = beyond_gap()
    rounds.open[1].filling(NOW)
    assert not rounds.may_take_free(NOW + GAP_PATIENCE)
    assert not rounds.fill_due(NOW)
    assert rounds.fill_due(NOW + FILL_PAUSE)
    assert NOW + FILL_PAUSE in rounds.gap_instants()


def test_an_order_to_fill_a_gap_at_once_ends_with_the_gap() -> None:
    rounds = beyond_gap()
    rounds.fill_at_once()
    assert rounds.fill_due(NOW)
    rounds.see(rounds.open[1], seen(RoundState.PENDING, gap=2), NOW)
    assert rounds.fill_due(NOW)
    rounds.see(rounds.open[1], seen(RoundState.PENDING), NOW)
    assert not rounds.fill_gap_now
    assert (rounds.beyond_gap(), rounds.gap_instants()) == (None, [])
    assert not rounds.may_take_free(NOW + GAP_PATIENCE)


# --- what the storage must have


def test_signed_rounds_are_numbered_and_one_that_is_signed_again_keeps_its_number() -> None:
    rounds = OpenRounds(number=6)
    first = numbered(7)
    fresh = rounds.numbered(first.sealed)
    assert fresh.number == 7
    rounds.add(first.model_copy(update={"sealed": fresh}), [])
    assert (rounds.number, rounds.numbered(fresh).number) == (7, 7)
    rounds.adopt(Recovered(number=3), Recover(target=TARGET), NOW)
    assert rounds.number == 7, "an older copy forgets no number"


def test_an_older_copy_forgets_neither_the_highest_reservation_nor_late_joiners() -> None:
    row = numbered(7)
    row.join([request()])
    rounds = OpenRounds(open=[row], last=row.reservation)
    older = numbered(3).reservation
    stored = RecoveredRound(
        sealed=row.sealed, reservation=row.reservation, candidates=row.candidates
    )
    rounds.adopt(Recovered(rounds=[stored], last=older), Recover(target=TARGET), NOW)
    assert rounds.last == row.reservation
    assert rounds.open[0].late_joiners == [request()]
    assert request().required_depth in rounds.open[0].open_depths
    another = older.model_copy(update={"account": "another"})
    rounds.adopt(Recovered(last=another), Recover(target=TARGET), NOW)
    assert rounds.last == another


def test_so_many_final_rounds_are_remembered_with_their_bytes() -> None:
    rounds = OpenRounds(revision=3)
    for number in range(MOST_ENDED + 2):
        final = numbered(number, state=RoundState.INCLUDED, view=included(final=True))
        rounds.forget(final.model_copy(update={"open_depths": []}))
    assert len(rounds.ended) == MOST_ENDED
    newest = rounds.ended[-1]
    assert (newest.reservation.sequence, newest.revision) == (MOST_ENDED + 1, 3)
    assert rounds.known_ended()[-1].candidates == 3, "over all its reservations"
    rounds.forget(numbered(20, state=RoundState.LOST))
    lost = rounds.ended[-1]
    assert (lost.lost, lost.end, lost.is_ended) == (True, None, True), "its number is not missed"


def test_a_round_that_is_open_again_is_no_final_one() -> None:
    final = numbered(7, state=RoundState.INCLUDED, view=included(final=True), open_depths=[])
    rounds = OpenRounds()
    rounds.forget(final)
    recovered = RecoveredRound(
        sealed=final.sealed, reservation=final.reservation, candidates=final.candidates
    )
    rounds.adopt(Recovered(rounds=[recovered]), Recover(target=TARGET), NOW)
    assert rounds.ended == []


def test_a_round_that_can_not_be_read_is_driven_on_with_the_bytes_that_are_known() -> None:
    row = numbered(7)
    row.join([request()])
    rounds = OpenRounds(open=[row, numbered(6)])
    waiting = rounds.adopt(Recovered(unreadable=[row.round_id]), Recover(target=TARGET), NOW)
    assert waiting == [request()]
    assert [kept.round_id for kept in rounds.open] == [row.round_id]
    assert rounds.waiting() == []


def adopted(*rows: OpenRound, claimed_block: int | None = None) -> list[OpenRound]:
    """Return the rounds as a recovery leaves them that finds them as they are known."""
    rounds = OpenRounds(open=list(rows))
    stored = [
        RecoveredRound(
            sealed=row.sealed,
            reservation=row.reservation,
            candidates=row.candidates,
            claimed_block=claimed_block,
        )
        for row in rows
    ]
    rounds.adopt(Recovered(rounds=stored), Recover(target=TARGET), NOW)
    return rounds.open


def test_a_recovery_keeps_in_mind_what_was_in_a_block_and_recorded() -> None:
    recorded = in_block().model_copy(update={"recorded": True})
    (again,) = adopted(*adopted(recorded))
    assert (again.state, again.is_in_block, again.was_recorded) == (RoundState.PENDING, True, True)
    again.see(included(depth=2), NOW)
    assert (again.is_in_block, again.wanted) == (True, RecordState.INCLUDED)
    again.record(RecordState.INCLUDED, again.view, ())
    assert not again.was_recorded


def test_a_receipt_that_names_a_block_says_at_an_aggregators_start_that_the_round_was_in_it() -> (
    None
):
    (row,) = adopted(open_round(), claimed_block=79)
    assert (row.is_in_block, row.was_recorded) == (True, False)


@pytest.mark.parametrize(
    "changes",
    [{"recorded": False}, {"wanted": RecordState.REORGED}, {"state": RoundState.MISSING}],
    ids=str,
)
def test_receipts_that_may_say_something_else_are_all_written_after_a_recovery(
    changes: dict[str, object],
) -> None:
    (row,) = adopted(in_block().model_copy(update={"recorded": True, **changes}))
    assert not row.was_recorded


def test_a_round_that_left_its_block_after_a_recovery_is_news_again_and_recorded_in_full() -> None:
    (row,) = adopted(in_block().model_copy(update={"recorded": True}), claimed_block=79)
    row.see(seen(RoundState.MISSING), NOW)
    assert (row.is_in_block, row.was_recorded, row.wanted) == (False, False, RecordState.REORGED)


def test_what_is_carried_of_rounds_that_are_named_by_others_stays_small() -> None:
    """The harm: a list beyond 2 MB could be given to no step any more, and the target stood still for good."""
    rounds = OpenRounds()
    for start in range(0, 3 * MOST_ROUNDS, MOST_ROUNDS):
        names = [f"{number:032x}" for number in range(start, start + MOST_ROUNDS)]
        rounds.reopen(names)
        rounds.left_the_chain(names)
    assert len(rounds.reopened) == len(rounds.left) == MOST_ROUNDS


@pytest.mark.parametrize("signal", [REOPENED, REWRITE])
def test_a_signal_that_names_more_rounds_than_fit_is_rejected_and_says_how_many_do(
    signal: str,
) -> None:
    names: list[JsonValue] = [f"{number:032x}" for number in range(MOST_ROUNDS + 1)]
    with pytest.raises(InvalidValue, match=f"{MOST_ROUNDS} round ids at the most, not 501"):
        orders.read(signal, [names])
    assert orders.read(signal, [names[1:]])

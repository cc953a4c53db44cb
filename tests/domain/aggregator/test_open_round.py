"""One round: what broadcasts, looks and receipts change of it, in whatever order they come."""

from datetime import timedelta

import pytest

from tests.domain.aggregator.examples import (
    NOW,
    candidate,
    in_block,
    included,
    open_round,
    request,
    seen,
)
from vaultmesh.domain.aggregator.ledger_messages import RoundState, Verdict
from vaultmesh.domain.aggregator.messages import RecordState
from vaultmesh.domain.aggregator.open_round import QUICK_BIDS, OpenRound
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import AnchorRequest, Backoff

BACKOFF = Backoff()
LATER = NOW + timedelta(minutes=1)


def asking(depth: int, *, slot: str = "1", batches: str = "") -> AnchorRequest:
    """Return a request of the same namespace for a depth."""
    return AnchorRequest(
        namespace="dao:x", cadence="fast", slot=slot, required_depth=depth, batches=batches
    )


# --- who waits


def test_a_namespace_joins_once_with_the_largest_depth_that_it_asked_for() -> None:
    row = open_round()
    row.join([asking(3), asking(12, slot="2"), asking(6, slot="3")])
    assert row.late_joiners == [asking(12)]


def test_a_namespace_joins_once_for_each_folder() -> None:
    row = open_round()
    row.join([asking(2), asking(2, batches="out/own"), asking(2, batches="out/own", slot="2")])
    assert row.late_joiners == [asking(2), asking(2, batches="out/own")]


def test_everyone_who_joins_waits_and_keeps_its_own_depth_open() -> None:
    asked = [asking(6), asking(12, slot="2"), asking(6, slot="3")]
    row = open_round()
    row.join(asked)
    assert row.waiting == asked
    assert row.open_depths == [3, 6, 12]


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (open_round(), None),
        (in_block(), RecordState.INCLUDED),
        (open_round(RoundState.MISSING, wanted=RecordState.REORGED), RecordState.REORGED),
    ],
)
def test_who_joins_an_included_round_has_its_receipts_written(
    row: OpenRound, wanted: RecordState | None
) -> None:
    row.join([request(1)])
    assert row.wanted is wanted


def test_who_waits_for_a_lost_round_is_given_back_once() -> None:
    row = open_round(waiting=[request(1), request(2)])
    assert row.let_all_go() == [request(1), request(2)]
    assert row.let_all_go() == []


# --- submission


def test_an_accepted_round_is_pending_and_not_sent_again() -> None:
    row = open_round(RoundState.MISSING, refused=2)
    row.broadcasted(Verdict.ACCEPTED, BACKOFF, NOW)
    assert (row.state, row.needs_broadcast, row.refused) == (RoundState.PENDING, False, 0)
    assert row.not_before == NOW + BACKOFF.delay(1, FailureKind.NETWORK)


def test_at_the_fee_cap_an_accepted_round_still_owes_a_bid() -> None:
    row = open_round(RoundState.STUCK, bump_due=True)
    row.broadcasted(Verdict.ACCEPTED, BACKOFF, NOW)
    assert (row.state, row.bump_due) == (RoundState.STUCK, True)


@pytest.mark.parametrize("verdict", [Verdict.ACCEPTED, Verdict.CONSUMED])
@pytest.mark.parametrize("state", [RoundState.INCLUDED, RoundState.LOST])
def test_an_answer_that_a_look_overtook_changes_no_fate(
    verdict: Verdict, state: RoundState
) -> None:
    row = open_round(state)
    row.broadcasted(verdict, BACKOFF, NOW)
    assert row.state is state


def test_a_used_reservation_is_left_to_the_next_look() -> None:
    row = open_round(RoundState.MISSING)
    row.broadcasted(Verdict.CONSUMED, BACKOFF, NOW)
    assert (row.state, row.needs_broadcast) == (RoundState.PENDING, False)


def test_a_bid_below_the_nodes_price_asks_for_a_higher_one() -> None:
    row = open_round()
    row.broadcasted(Verdict.FEE_TOO_LOW, BACKOFF, NOW)
    assert (row.bump_due, row.needs_broadcast, row.refused) == (True, True, 1)


def test_a_round_beyond_a_gap_is_sent_again() -> None:
    row = open_round()
    row.broadcasted(Verdict.GAP, BACKOFF, NOW)
    assert row.needs_broadcast
    assert not row.is_ready(NOW)
    row.keep_alive()
    assert row.is_ready(NOW)


@pytest.mark.parametrize("refused", range(QUICK_BIDS + 2))
def test_a_higher_bid_is_sent_at_once_unless_several_in_a_row_were_too_low(refused: int) -> None:
    row = open_round(RoundState.STUCK, refused=refused, bump_due=True, first_seen_block=7)
    row.signed(candidate(3), BACKOFF, LATER)
    assert row.candidates[-1] == candidate(3)
    assert (row.state, row.bump_due, row.first_seen_block) == (RoundState.PENDING, False, None)
    assert row.signed_at == LATER
    slow = refused - QUICK_BIDS + 1
    assert row.not_before == (
        LATER + BACKOFF.delay(slow, FailureKind.NETWORK) if slow > 0 else None
    )


# --- observation


@pytest.mark.parametrize(
    ("row", "observed"),
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
    row: OpenRound, *, observed: bool
) -> None:
    assert row.is_observed is observed


def test_an_unsent_round_is_observed_from_the_moment_it_is_sent() -> None:
    row = open_round(sent=False)
    row.sending()
    assert row.is_observed


def test_an_included_round_is_sent_no_more_and_its_reached_depths_are_closed() -> None:
    row = open_round(bump_due=True, broadcasts=4, not_before=NOW, open_depths=[3, 6])
    row.see(included(depth=3), NOW)
    assert (row.needs_broadcast, row.bump_due, row.broadcasts, row.not_before) == (
        False,
        False,
        0,
        None,
    )
    assert (row.open_depths, row.wanted) == ([6], RecordState.INCLUDED)


@pytest.mark.parametrize("state", [RoundState.MISSING, RoundState.PENDING, RoundState.DISPLACED])
def test_a_round_that_left_its_block_has_receipts_that_say_so_and_counts_blocks_anew(
    state: RoundState,
) -> None:
    row = in_block()
    assert row.is_refuted_by(seen(state))
    row.see(seen(state), NOW)
    assert (row.state, row.wanted, row.first_seen_block) == (state, RecordState.REORGED, 90)
    assert row.needs_broadcast


def test_a_claimed_block_is_refuted_only_by_a_ledger_that_has_reached_it() -> None:
    row = open_round(claimed_block=79)
    assert not row.is_refuted_by(seen(RoundState.PENDING, height=78))
    row.see(seen(RoundState.PENDING, height=78), NOW)
    assert (row.claimed_block, row.wanted) == (79, None)
    row.see(seen(RoundState.PENDING, height=79), NOW)
    assert (row.claimed_block, row.wanted) == (None, RecordState.REORGED)


def test_a_stuck_round_wants_a_higher_bid_and_a_missing_one_its_bytes() -> None:
    stuck, missing = open_round(needs_broadcast=False), open_round(needs_broadcast=False)
    stuck.see(seen(RoundState.STUCK), NOW)
    missing.see(seen(RoundState.MISSING), NOW)
    assert (stuck.bump_due, stuck.needs_broadcast) == (True, False)
    assert (missing.bump_due, missing.needs_broadcast) == (False, True)


def test_what_a_look_found_out_is_kept_until_a_look_says_otherwise() -> None:
    row = open_round()
    row.see(seen(RoundState.PENDING, notes={"a": 1}, undecided="nobody shows it"), NOW)
    row.see(seen(RoundState.PENDING), NOW)
    assert (row.notes, row.undecided) == ({"a": 1}, "")


def test_a_gap_is_as_old_as_its_number_of_free_sequences() -> None:
    row = open_round()
    row.see(seen(RoundState.PENDING, gap=4), NOW)
    row.filling(NOW)
    row.see(seen(RoundState.PENDING, gap=4), LATER)
    assert (row.gap_since, row.fills) == (NOW, 1)
    row.see(seen(RoundState.PENDING, gap=2), LATER)
    assert (row.gap_since, row.fills) == (LATER, 1)
    row.see(seen(RoundState.PENDING), LATER)
    assert (row.gap_since, row.fills, row.fill_not_before) == (None, 0, None)


# --- receipts


def test_a_final_round_is_over_once_its_receipts_have_told_everybody() -> None:
    row = open_round(waiting=[request(1)])
    row.see(included(depth=3, final=True), NOW)
    assert not row.is_over
    row.record(RecordState.INCLUDED, row.view, {request(1).id})
    assert (row.wanted, row.waiting, row.recorded) == (None, [], True)
    assert row.is_over


def test_who_joins_while_receipts_are_written_is_in_the_next_ones() -> None:
    row = open_round(waiting=[request(1)])
    row.see(included(depth=3, final=True), NOW)
    row.join([request(2)])
    row.record(RecordState.INCLUDED, row.view, {request(1).id})
    assert (row.wanted, row.waiting) == (RecordState.INCLUDED, [request(2)])
    assert not row.is_over


def test_what_a_look_shows_while_receipts_are_written_is_in_the_next_ones() -> None:
    row = open_round()
    row.see(included(), NOW)
    recorded = row.view
    row.see(included(depth=3, final=True), NOW)
    row.record(RecordState.INCLUDED, recorded, set())
    assert row.wanted is RecordState.INCLUDED
    row.record(RecordState.INCLUDED, row.view, set())
    assert row.is_over


def test_receipts_that_could_not_be_written_are_a_problem_until_they_are() -> None:
    row = open_round()
    row.see(included(depth=3, final=True), NOW)
    row.record_failed("the disk is full")
    row.record_failed("the disk is still full")
    assert row.record_tries == 2
    assert "the disk is still full" in row.problem
    row.record(RecordState.INCLUDED, row.view, set())
    assert (row.record_tries, row.problem) == (0, "")


def test_newer_receipts_leave_nothing_to_write() -> None:
    row = open_round(wanted=RecordState.REORGED, record_tries=1, record_failure="no storage")
    row.record_overtaken()
    assert (row.wanted, row.record_tries, row.problem) == (None, 0, "")


def test_a_final_round_without_receipts_is_observed_on() -> None:
    row = open_round()
    row.see(included(depth=3, final=True), NOW)
    assert not row.is_observed
    row.observe_again()
    assert row.is_observed


# --- what others are shown of it


def test_an_observer_is_told_of_a_block_only_while_the_round_is_in_one() -> None:
    inside = in_block().to_observe()
    assert (inside.tx_ref, inside.block and inside.block.number) == ("0x1", 79)
    gone = in_block(RoundState.PENDING).to_observe()
    assert (gone.tx_ref, gone.block) == ("", None)
    assert gone.tx_refs == ["0x1", "0x2"]


def test_what_is_shown_of_a_round_that_left_its_block_is_no_block_and_no_depth() -> None:
    inside, gone = in_block().status(), in_block(RoundState.MISSING).status()
    assert (inside.tx_ref, inside.block, inside.depth, inside.final) == ("0x1", 79, 2, False)
    assert (gone.tx_ref, gone.block, gone.depth) == ("0x2", None, 0)


def test_candidates_of_lost_reservations_count_as_well() -> None:
    assert open_round().known().candidates == 3

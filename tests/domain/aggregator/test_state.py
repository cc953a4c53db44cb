"""What an aggregator carries into its next run, and what of it fits."""

import pytest

from tests.domain.aggregator.examples import NOW, TARGET, in_block, numbered, open_round, request
from vaultmesh.domain.aggregator.ledger_messages import Reservation, RoundState
from vaultmesh.domain.aggregator.rounds import OpenRounds
from vaultmesh.domain.aggregator.state import MOST_CARRIED_BYTES, AggregatorInput, AggregatorState
from vaultmesh.domain.aggregator.waiting import MOST_WAITING
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import AnchorRequest, Backoff

ROUNDS, JOINED = 14, 1_000


def crowded(name: str, rounds: int = ROUNDS, joined: int = JOINED) -> AggregatorState:
    """Return a recovered aggregator with many rounds, each with many late joiners whose names end in `name`."""
    rows = [numbered(number) for number in range(rounds)]
    for number, row in enumerate(rows):
        row.join(
            [
                AnchorRequest(namespace=f"{number:02}-{late:04}-{name}", cadence="fast", slot="1")
                for late in range(joined)
            ]
        )
    return AggregatorState(rounds=OpenRounds(open=rows, recovered=True, revision=9))


def test_the_next_run_reads_the_state_as_it_was() -> None:
    state = AggregatorState()
    state.rounds.add(in_block(), [])
    state.rounds.add(numbered(8, state=RoundState.STUCK, waiting=[request(3)]), [])
    state.waiting.enqueue(request(1, failures=2))
    state.waiting.failed(request(2))
    state.rounds.reserved(Reservation(account="0xa", sequence=9, fields={"to": "0xc"}))
    state.pace.failed(FailureKind.NETWORK, "no node", Backoff(), NOW)
    state.pace.pause("a storm", NOW)
    state.rejected("pause", "7 is no reason", NOW)
    carried = AggregatorInput(target=TARGET, carried=state)
    assert AggregatorInput.model_validate_json(carried.model_dump_json()) == carried


def test_operators_see_every_part() -> None:
    state = AggregatorState(rounds=OpenRounds(open=[open_round()], problems=["a file is torn"]))
    state.waiting.enqueue(request())
    state.rounds.open[0].record_failed("the disk is full")
    state.pace.failed(FailureKind.AUTH, "no funds", Backoff(), NOW)
    state.rejected("pause", "7 is no reason", NOW)
    view = state.view(TARGET, "run")
    assert (view.waiting, view.failures, len(view.rounds)) == (1, 1, 1)
    assert view.held == state.pace.blocked
    assert view.last_rejected is not None
    assert view.problems[0] == "a file is torn"
    assert "the disk is full" in view.problems[1]


def test_requests_that_come_back_by_themselves_are_left_before_any_round() -> None:
    state = crowded("x", rounds=1, joined=1)
    state.waiting.failed_with_target(
        AnchorRequest(namespace=f"{number:04}-{'x' * 400}", cadence="fast", slot="1")
        for number in range(MOST_WAITING)
    )
    carried = state.carried()
    assert len(carried.model_dump_json()) <= MOST_CARRIED_BYTES < len(state.model_dump_json())
    assert (carried.rounds, carried.waiting.away) == (state.rounds, {})


def test_a_small_state_is_carried_as_it_is() -> None:
    state = crowded("x", rounds=1, joined=1)
    assert state.carried() is state


def test_too_many_rounds_to_carry_are_left_to_recovery_and_their_waiting_requests_queue() -> None:
    state = crowded("x" * 90)
    before = state.model_copy(deep=True)
    carried = state.carried()
    assert (carried.rounds.open, carried.rounds.recovered, carried.rounds.revision) == (
        [],
        False,
        9,
    )
    waiting = [asked.id for asked in state.rounds.waiting()]
    assert list(carried.waiting.queue) == waiting[:MOST_WAITING]
    assert state == before


def test_every_waiting_request_queues_with_its_failures_while_there_is_room() -> None:
    state = crowded("x" * 90)
    for row in state.rounds.open:
        row.let_go({asked.id for asked in row.waiting[100:]})
    first = state.rounds.open[0].waiting[0]
    state.waiting.failed(first)
    carried = state.carried()
    assert carried.rounds.open == []
    assert len(carried.waiting.queue) == ROUNDS * 100
    assert carried.waiting.queue[first.id].failures == 1
    assert carried.waiting.failures == {first.id: 1}


@pytest.mark.parametrize(
    "name", ["x" * 90, "x" * 193, "ü" * 96, "語" * 64], ids=["usual", "longest", "ü", "語"]
)
def test_what_is_carried_is_within_what_a_server_takes_whatever_the_names(name: str) -> None:
    carried = crowded(name).carried().model_dump_json().encode()
    assert len(carried) <= MOST_CARRIED_BYTES


def test_what_fits_is_decided_in_bytes() -> None:
    """A name may hold characters of several bytes; a server counts those."""
    state = crowded("語" * 65, rounds=1, joined=3_000)
    assert len(state.model_dump_json()) < MOST_CARRIED_BYTES < len(state.model_dump_json().encode())
    assert len(state.carried().model_dump_json().encode()) <= MOST_CARRIED_BYTES

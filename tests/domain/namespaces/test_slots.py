"""The book of a clock: every due slot gets exactly one outcome."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.messages import AnchorOutcome, OutcomeStatus
from vaultmesh.domain.namespaces.cadence import slots_due
from vaultmesh.domain.namespaces.slots import Clock
from vaultmesh.domain.namespaces.state import CadenceConfig, ClockInput, Configuration
from vaultmesh.domain.target import Target

START = datetime(2026, 1, 15, 10, 0, 1, tzinfo=UTC)
PERIOD = timedelta(seconds=89)
TARGET = Target.parse("eip155:1")
ENDINGS = st.sampled_from([*OutcomeStatus])
MOVES = st.lists(
    st.tuples(st.sampled_from(["wake", "finish", "pause", "resume"]), st.integers(0, 400), ENDINGS),
    max_size=40,
)


def clock_of() -> Clock:
    configuration = Configuration(
        namespace="dao:x", cadences={"fast": CadenceConfig(target=TARGET, every="89s")}
    )
    return Clock(ClockInput(configuration=configuration), START)


@given(MOVES)
def test_every_due_slot_ends_in_exactly_one_outcome(
    moves: list[tuple[str, int, OutcomeStatus]],
) -> None:
    clock, now = clock_of(), START
    book = clock.book("fast")
    for move, seconds, ending in moves:
        now += timedelta(seconds=seconds)
        if move == "pause":
            clock.pause("fast", "", now)
        elif move == "resume":
            clock.resume("fast")
        elif move == "finish":
            clock.finish("fast", AnchorOutcome(status=ending), now)
        else:
            due = clock.take_due("fast", now)
            if due.slots:
                clock.begin("fast", str(int(due.last.timestamp())), now, is_slot=True)
    open_slots = int(book.in_flight is not None)
    assert sum(book.outcomes.values()) + open_slots == slots_due(START, book.served, PERIOD)


def test_slots_missed_while_nothing_ran_become_one() -> None:
    clock = clock_of()
    due = clock.take_due("fast", START + timedelta(days=7))
    assert due.slots == 1
    assert clock.book("fast").outcomes == {"coalesced": slots_due(START, due.last, PERIOD) - 1}


def test_forced_requests_of_one_second_are_told_apart() -> None:
    clock = clock_of()
    first, second = (clock.forced_slot("fast", START) for _ in range(2))
    assert (int(first[1:]), int(second[1:]) - int(first[1:])) == (int(START.timestamp()), 1)
    assert (
        clock.forced_slot("fast", START + timedelta(minutes=1)) == f"f{int(START.timestamp()) + 60}"
    )

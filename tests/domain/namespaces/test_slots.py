"""The schedule of a namespace: every due slot gets exactly one outcome."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.messages import AnchorOutcome, OutcomeStatus
from vaultmesh.domain.namespaces.cadence import slots_due
from vaultmesh.domain.namespaces.slots import NamespaceSchedule
from vaultmesh.domain.namespaces.state import CadenceConfig, Configuration, NamespaceInput
from vaultmesh.domain.target import Target

START = datetime(2026, 1, 15, 10, 0, 1, tzinfo=UTC)
PERIOD = timedelta(seconds=89)
TARGET = Target.parse("eip155:1")
ENDINGS = st.sampled_from([*OutcomeStatus])
MOVES = st.lists(
    st.tuples(st.sampled_from(["wake", "finish", "pause", "resume"]), st.integers(0, 400), ENDINGS),
    max_size=40,
)


def schedule_of() -> NamespaceSchedule:
    configuration = Configuration(
        namespace="dao:x", cadences={"fast": CadenceConfig(target=TARGET, every="89s")}
    )
    return NamespaceSchedule(NamespaceInput(configuration=configuration), START)


@given(MOVES)
def test_every_due_slot_ends_in_exactly_one_outcome(
    moves: list[tuple[str, int, OutcomeStatus]],
) -> None:
    schedule, now = schedule_of(), START
    cadence = schedule.cadence("fast")
    for move, seconds, ending in moves:
        now += timedelta(seconds=seconds)
        if move == "pause":
            schedule.pause("fast", "", now)
        elif move == "resume":
            schedule.resume("fast")
        elif move == "finish":
            schedule.finish("fast", AnchorOutcome(status=ending), now)
        else:
            due = schedule.take_due("fast", now)
            if due.slots:
                schedule.begin("fast", str(int(due.last.timestamp())), now, is_slot=True)
    open_slots = int(cadence.in_flight is not None)
    assert sum(cadence.outcomes.values()) + open_slots == slots_due(START, cadence.served, PERIOD)


def test_slots_missed_while_nothing_ran_become_one() -> None:
    schedule = schedule_of()
    due = schedule.take_due("fast", START + timedelta(days=7))
    assert due.slots == 1
    assert schedule.cadence("fast").outcomes == {
        "coalesced": slots_due(START, due.last, PERIOD) - 1
    }


def test_forced_requests_of_one_second_are_told_apart() -> None:
    schedule = schedule_of()
    first, second = (schedule.forced_slot("fast", START) for _ in range(2))
    assert (int(first[1:]), int(second[1:]) - int(first[1:])) == (int(START.timestamp()), 1)
    assert (
        schedule.forced_slot("fast", START + timedelta(minutes=1))
        == f"f{int(START.timestamp()) + 60}"
    )


def test_the_newest_change_of_cadences_is_kept_with_its_memo() -> None:
    schedule = schedule_of()
    cadences = {"fast": CadenceConfig(target=TARGET, every="2m")}
    schedule.set_cadences(cadences, START, "calmer")
    change = schedule.state.last_change
    assert change is not None
    assert (change.at, change.cadences, change.memo) == (START, ["fast"], "calmer")

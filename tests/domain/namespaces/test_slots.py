"""The schedule of a namespace: every due slot gets exactly one outcome."""

from datetime import UTC, datetime, timedelta

import pytest
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
            schedule.resume("fast", now)
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


@pytest.mark.parametrize(
    ("target", "blocks", "shown"),
    [
        ("eip155:1", (30, 20), 30),
        ("eip155:1", (20, 30), 30),
        ("eip155:2", (30, 20), 20),  # another chain counts otherwise
    ],
)
def test_a_later_answer_never_moves_the_last_anchor_back(
    target: str, blocks: tuple[int, int], shown: int
) -> None:
    schedule = schedule_of()
    for block, named in zip(blocks, ("eip155:1", target), strict=True):
        cadences = {"fast": CadenceConfig(target=Target.parse(named), every="89s")}
        schedule.set_cadences(cadences, START)
        schedule.begin("fast", f"f{block}", START, is_slot=False)
        outcome = AnchorOutcome(status=OutcomeStatus.ANCHORED, block=block, at=START)
        schedule.finish("fast", outcome, START)
    anchor = schedule.cadence("fast").last_anchor
    assert anchor is not None
    assert anchor.block == shown


@pytest.mark.parametrize("status", [OutcomeStatus.NOTHING_OWED, OutcomeStatus.ANCHORED])
def test_how_fresh_a_cadence_is_goes_by_its_request_and_by_no_clock_at_the_answer(
    status: OutcomeStatus,
) -> None:
    asked, fresh = START + timedelta(hours=1), set()
    for late in (timedelta(0), timedelta(hours=5)):
        schedule = schedule_of()
        schedule.begin("fast", "f1", asked, is_slot=False)
        schedule.finish("fast", AnchorOutcome(status=status), asked + late)
        fresh.add(schedule.cadence("fast").fresh_at)
    assert fresh == {asked}


def test_of_two_time_stamps_the_later_one_is_the_last_anchor() -> None:
    schedule = schedule_of()
    for seconds in (60, 30):
        at = START + timedelta(seconds=seconds)
        schedule.begin("fast", f"f{seconds}", START, is_slot=False)
        schedule.finish("fast", AnchorOutcome(status=OutcomeStatus.ANCHORED, at=at), START)
    anchor = schedule.cadence("fast").last_anchor
    assert anchor is not None
    assert anchor.at == START + timedelta(seconds=60)

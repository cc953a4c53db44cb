"""What a namespace is told and carries on: periods, counts, failures, and a state that a next run reads as it was."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.errors import LONGEST_MESSAGE, InvalidValue
from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.messages import AnchorRequest
from vaultmesh.domain.namespaces.slots import NamespaceSchedule
from vaultmesh.domain.namespaces.state import (
    CadenceConfig,
    CadenceState,
    Configuration,
    NamespaceInput,
    ScheduleState,
    failure_note,
)
from vaultmesh.domain.status import SlotOutcome
from vaultmesh.domain.target import Target

NOW = datetime(2026, 1, 15, 10, tzinfo=UTC)
EVM, TSA = Target.parse("eip155:1"), Target.parse("rfc3161:tsa")
COUNTS = st.lists(st.tuples(st.sampled_from(SlotOutcome), st.integers(-5, 5)), max_size=20)


def configuration(**every: str) -> Configuration:
    """Return a configuration with these periods."""
    cadences = {label: CadenceConfig(target=EVM, every=period) for label, period in every.items()}
    return Configuration(namespace="dao:x", cadences=cadences)


def test_a_period_may_be_a_multiple_of_another_wherever_that_stands() -> None:
    told = configuration(cold="2*strong", fast="89s", strong="34*fast")
    assert told.periods() == {
        "cold": timedelta(seconds=2 * 34 * 89),
        "fast": timedelta(seconds=89),
        "strong": timedelta(seconds=34 * 89),
    }


def test_a_phase_is_none_unless_it_is_written() -> None:
    told = configuration(fast="89s")
    moved = told.cadences["fast"].model_copy(update={"phase": "5s"})
    assert told.phases() == {"fast": timedelta(0)}
    assert told.model_copy(update={"cadences": {"fast": moved}}).phases() == {
        "fast": timedelta(seconds=5)
    }


@pytest.mark.parametrize("every", ["2*fast", "2*absent", "0s", "often"])
def test_periods_that_lead_nowhere_are_refused(every: str) -> None:
    with pytest.raises(InvalidValue):
        configuration(fast=every).periods()


@given(COUNTS)
def test_counts_only_grow_and_an_outcome_that_never_happened_is_not_listed(
    counts: list[tuple[SlotOutcome, int]],
) -> None:
    cadence = CadenceState(served=NOW)
    for outcome, slots in counts:
        before = dict(cadence.outcomes)
        cadence.count(outcome, slots)
        assert all(cadence.outcomes[known] >= number for known, number in before.items())
    for outcome in SlotOutcome:
        expected = sum(slots for known, slots in counts if known is outcome and slots > 0)
        assert cadence.outcomes.get(outcome, 0) == expected
        assert (outcome in cadence.outcomes) is (expected > 0)


@given(st.text(max_size=2 * LONGEST_MESSAGE), st.integers(1, 100), st.integers(0, 10_000))
def test_a_failure_is_told_for_its_request_with_the_instant_of_the_next_try(
    message: str, failures: int, seconds: int
) -> None:
    request = AnchorRequest(namespace="dao:x", cadence="fast", slot="1768471200", failures=failures)
    delay = timedelta(seconds=seconds)
    note = failure_note(request, failures, FailureKind.NETWORK, message, at=NOW, delay=delay)
    assert (note.cadence, note.slot, note.failures) == ("fast", "1768471200", failures)
    assert note.next_retry - note.at == delay
    assert note.message == message[:LONGEST_MESSAGE]


def test_the_next_run_goes_on_with_all_that_this_one_knew() -> None:
    schedule = NamespaceSchedule(
        NamespaceInput(configuration=configuration(fast="89s", strong="34*fast")), NOW
    )
    later = NOW + timedelta(hours=1, milliseconds=1)
    due = schedule.take_due("fast", later)
    flight = schedule.begin("fast", str(int(due.last.timestamp())), later, is_slot=True)
    schedule.note_failure(
        failure_note(flight.request, 3, FailureKind.AUTH, "no funds", at=later, delay=timedelta(9))
    )
    schedule.pause("strong", "fees", NOW)
    schedule.reject("pause", "means nothing", NOW)
    schedule.set_cadences(
        schedule.configuration.cadences | {"cold": CadenceConfig(target=TSA, every="1d")}, later
    )
    given_on = NamespaceInput(configuration=schedule.configuration, carried=schedule.state)
    read = NamespaceInput.model_validate_json(given_on.model_dump_json())
    assert read == given_on
    following = NamespaceSchedule(read, later + timedelta(seconds=1))
    assert following.state == schedule.state
    assert {label: following.next_due(label) for label in following.periods} == {
        label: schedule.next_due(label) for label in schedule.periods
    }


def test_a_run_leaves_what_it_was_given_as_it_was() -> None:
    given_on = NamespaceInput(configuration=configuration(fast="89s"), carried=ScheduleState())
    schedule = NamespaceSchedule(given_on, NOW)
    schedule.pause("fast", "", NOW)
    assert given_on.carried == ScheduleState()


def test_what_is_not_stated_is_taken_from_the_running_namespace() -> None:
    running = configuration(fast="89s").model_copy(
        update={"anchor_timeout_seconds": 15.0, "continue_after_events": 9}
    )
    stated = configuration(fast="2m").model_copy(
        update={"keeps": ["anchor_timeout_seconds", "cadences", "nonsense"]}
    )
    merged = stated.over(running)
    assert (merged.anchor_timeout_seconds, merged.continue_after_events) == (15.0, 4_000)
    assert (merged.cadences, merged.keeps) == (stated.cadences, [])
    assert running.over(stated) == running

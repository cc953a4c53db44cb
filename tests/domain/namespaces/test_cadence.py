"""Periods and slots: what is refused, and the rules that hold for every cadence."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.namespaces.cadence import (
    EPOCH,
    last_slot,
    next_slot,
    parse_duration,
    resolve_periods,
    slots_due,
)

PERIODS = st.integers(1, 10 * 365 * 86_400).map(lambda seconds: timedelta(seconds=seconds))
PHASES = st.integers(0, 30 * 86_400).map(lambda seconds: timedelta(seconds=seconds))
INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is added by `timezones`


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("89s", 89), ("2m", 120), ("12h", 43_200), ("1d", 86_400), ("1w", 604_800), ("0s", 0)],
)
def test_a_duration_is_digits_and_a_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["89S", "89", "s", "", " 89s", "89s\n", "-1s", "1.5s", "89 s", "1y"]
)
def test_another_form_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_duration(text)


def test_more_than_ten_years_is_refused() -> None:
    with pytest.raises(InvalidValue, match="out of range"):
        parse_duration("999999999d")


@pytest.mark.parametrize(
    ("every", "words"),
    [
        ({"fast": "2*fast"}, "circle: fast -> fast"),
        ({"fast": "2*cold", "cold": "3*fast"}, "circle"),
        ({"fast": "89s", "strong": "34*slow"}, "names no cadence; there are: fast, strong"),
        ({"fast": "0s"}, "out of range"),
        ({"fast": "89s", "strong": "0*fast"}, "out of range"),
        ({"fast": "1d", "strong": "999999*fast"}, "out of range"),
        ({"fast": "often"}, "is not"),
    ],
)
def test_a_period_that_means_nothing_is_refused(every: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        resolve_periods(every)


@given(seconds=st.integers(1, 1_000), first=st.integers(1, 100), second=st.integers(1, 100))
def test_multiples_follow_the_cadence_they_are_of(seconds: int, first: int, second: int) -> None:
    periods = resolve_periods(
        {"cold": f"{second}*strong", "strong": f"{first}*fast", "fast": f"{seconds}s"}
    )
    assert periods["strong"] == first * periods["fast"]
    assert periods["cold"] == second * periods["strong"]


@given(served=INSTANTS, every=PERIODS, phase=PHASES)
def test_the_next_slot_is_the_first_one_after_the_last_served(
    served: datetime, every: timedelta, phase: timedelta
) -> None:
    slot = next_slot(served, every, phase=phase)
    assert served < slot <= served + every
    assert (slot - EPOCH - phase) % every == timedelta(0)


@given(served=INSTANTS, every=PERIODS)
def test_a_served_slot_does_not_come_again(served: datetime, every: timedelta) -> None:
    slot = next_slot(served, every)
    assert next_slot(slot, every) == slot + every
    assert slots_due(slot, slot, every) == 0


@given(instants=st.tuples(INSTANTS, INSTANTS, INSTANTS), every=PERIODS, phase=PHASES)
def test_slots_counted_in_two_steps_are_those_counted_in_one(
    instants: tuple[datetime, datetime, datetime], every: timedelta, phase: timedelta
) -> None:
    first, second, third = sorted(instants)
    steps = slots_due(first, second, every, phase=phase) + slots_due(
        second, third, every, phase=phase
    )
    assert steps == slots_due(first, third, every, phase=phase)


@given(served=INSTANTS, now=INSTANTS, every=PERIODS, phase=PHASES)
def test_a_slot_is_due_exactly_if_the_next_one_is_not_in_the_future(
    served: datetime, now: datetime, every: timedelta, phase: timedelta
) -> None:
    due = slots_due(served, now, every, phase=phase)
    assert (due > 0) == (next_slot(served, every, phase=phase) <= now)
    if due:
        first = next_slot(served, every, phase=phase)
        assert first + (due - 1) * every == last_slot(now, every, phase=phase)


@given(now=INSTANTS, every=PERIODS, phase=PHASES)
def test_the_last_slot_is_not_after_now_and_the_next_one_is(
    now: datetime, every: timedelta, phase: timedelta
) -> None:
    last = last_slot(now, every, phase=phase)
    assert last <= now < last + every == next_slot(now, every, phase=phase)


def test_a_clock_that_went_back_owes_nothing() -> None:
    now = datetime(2026, 1, 15, 10, tzinfo=UTC)
    assert slots_due(now, now - timedelta(hours=1), timedelta(seconds=89)) == 0

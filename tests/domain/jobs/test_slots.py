"""Every slot of a job ends once, as run, missed or skipped, whatever the clock and the workers do."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultmesh.domain.jobs.cron import Cron, read_cron
from vaultmesh.domain.jobs.slots import (
    Passed,
    SlotOutcome,
    next_due,
    skip_passed,
    start_anew,
    take_due,
)

MINUTE = read_cron("* * * * *")
SECOND = read_cron("* * * * * *")
HOURLY = read_cron("0 * * * *")
WINDOW = timedelta(seconds=60)


def at(text: str) -> datetime:
    """Return an instant of one day."""
    return datetime.fromisoformat(f"2026-01-15T{text}+00:00")


def test_a_slot_ends_as_run_missed_or_skipped() -> None:
    assert [str(outcome) for outcome in SlotOutcome] == ["run", "missed", "skipped"]


def test_a_slot_that_is_due_runs() -> None:
    now = at("10:00:00.030")
    assert take_due(HOURLY, at("09:30:00"), now, WINDOW) == Passed(
        after=at("10:00:00"), slot=at("10:00:00")
    )


def test_nothing_is_due_before_its_time() -> None:
    assert take_due(HOURLY, at("09:30:00"), at("09:59:59.999"), WINDOW) == Passed(
        after=at("09:30:00")
    )
    assert next_due(HOURLY, at("09:30:00")) == at("10:00:00")


@pytest.mark.parametrize(("late", "is_run"), [("10:01:00", True), ("10:01:00.001", False)])
def test_a_slot_is_caught_up_within_its_window_and_missed_beyond(late: str, is_run: bool) -> None:
    passed = take_due(HOURLY, at("09:30:00"), at(late), WINDOW)
    assert (passed.slot is not None) == is_run
    assert passed.missed == (not is_run)
    assert passed.after == at("10:00:00")


def test_of_many_slots_that_passed_only_the_newest_runs() -> None:
    passed = take_due(MINUTE, at("10:00:00"), at("10:30:10"), WINDOW)
    assert passed == Passed(after=at("10:30:00"), slot=at("10:30:00"), missed=29)


def test_a_week_without_workers_is_one_run_and_a_count() -> None:
    week = timedelta(days=7)
    passed = take_due(SECOND, at("10:00:00") - week, at("10:00:00.5"), WINDOW)
    assert passed == Passed(after=at("10:00:00"), slot=at("10:00:00"), missed=604_799)


def test_a_slot_that_no_worker_took_is_missed_and_not_run_later() -> None:
    passed = take_due(MINUTE, at("10:00:00"), at("10:02:01"), WINDOW).with_missed_slot()
    assert passed == Passed(after=at("10:02:00"), missed=2)
    assert Passed(after=at("10:00:00")).with_missed_slot() == Passed(after=at("10:00:00"))


def test_slots_that_pass_during_a_run_are_skipped_and_not_caught_up() -> None:
    passed = skip_passed(MINUTE, at("10:00:00"), at("10:05:30"))
    assert passed == Passed(after=at("10:05:00"), skipped=5)
    assert take_due(MINUTE, passed.after, at("10:05:30"), WINDOW).slot is None


def test_a_slot_at_the_very_end_of_a_run_is_skipped() -> None:
    assert skip_passed(MINUTE, at("10:00:00"), at("10:01:00")).skipped == 1


def test_a_job_that_is_enabled_again_does_not_fire_in_a_heap() -> None:
    passed = start_anew(MINUTE, at("08:00:00"), at("10:00:30"), WINDOW, is_armed=False)
    assert passed == Passed(after=at("10:00:30"))
    assert next_due(MINUTE, passed.after) == at("10:01:00")


def test_a_job_that_is_enabled_at_its_slot_waits_for_the_next() -> None:
    passed = start_anew(MINUTE, at("08:00:00"), at("10:00:00"), WINDOW, is_armed=False)
    assert next_due(MINUTE, passed.after) == at("10:01:00")


def test_a_new_expression_loses_no_slot_that_was_due_under_the_old() -> None:
    passed = start_anew(HOURLY, at("09:30:00"), at("10:00:00.2"), WINDOW, is_armed=True)
    assert passed == Passed(after=at("10:00:00.2"), slot=at("10:00:00"))


def test_a_new_expression_doubles_no_slot() -> None:
    now = at("10:00:00")
    passed = start_anew(HOURLY, at("09:30:00"), now, WINDOW, is_armed=True)
    assert passed.slot == now
    assert take_due(MINUTE, passed.after, now, WINDOW).slot is None


def test_a_clock_that_goes_back_repeats_no_slot() -> None:
    served = take_due(MINUTE, at("10:00:00"), at("10:05:00"), WINDOW)
    again = take_due(MINUTE, served.after, at("10:01:00"), WINDOW)
    assert again == Passed(after=at("10:05:00"))
    assert skip_passed(MINUTE, served.after, at("10:01:00")) == Passed(after=at("10:05:00"))


def test_a_job_without_times_has_nothing_due_and_sleeps_for_ever() -> None:
    never = read_cron("0 0 31 2 *")
    assert next_due(never, at("10:00:00")) is None
    assert take_due(never, at("10:00:00"), at("23:00:00"), WINDOW) == Passed(after=at("10:00:00"))


@dataclass
class Life:
    """A job's life, as its workflow leads it, with what it was told to do written down."""

    cron: Cron
    after: datetime
    window: timedelta
    run: list[datetime] = field(default_factory=list)
    missed: int = 0
    skipped: int = 0

    def take(self, passed: Passed) -> bool:
        """Write down what became of slots; returns whether one runs."""
        self.after = passed.after
        self.missed += passed.missed
        self.skipped += passed.skipped
        if passed.slot is not None:
            self.run.append(passed.slot)
        return passed.slot is not None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["wait", "wait", "no worker", "paused", "clock back"]),
        st.integers(0, 7_200),
        st.integers(0, 900),
    ),
    max_size=25,
)
CRONS = st.sampled_from(
    ["* * * * *", "*/7 * * * * *", "0 * * * *", "30 */5 * * * *", "0 9 * * 1", "59 59 23 31 12 *"]
)


@settings(max_examples=150)
@given(CRONS, st.integers(1, 600), STEPS)
def test_every_slot_ends_once_and_the_outcomes_sum_up(
    text: str, window: int, steps: list[tuple[str, int, int]]
) -> None:
    begin = now = latest = datetime(2025, 12, 31, 22, 11, 5, 250_000, tzinfo=UTC)
    life = Life(read_cron(text), begin, timedelta(seconds=window))
    for step, pause, length in steps:
        now += timedelta(seconds=-length if step == "clock back" else pause)
        if step == "paused":
            life.take(skip_passed(life.cron, life.after, now))
        else:
            passed = take_due(life.cron, life.after, now, life.window)
            if step == "no worker":
                passed = passed.with_missed_slot()
            if life.take(passed):
                assert timedelta(0) <= now - life.run[-1] <= life.window
                now += timedelta(seconds=length)
                life.take(skip_passed(life.cron, life.after, now))
        latest = max(latest, now)
    life.take(skip_passed(life.cron, life.after, latest))

    slots = slots_by_looking(life.cron, begin, latest)
    assert len(life.run) + life.missed + life.skipped == len(slots)
    assert life.run == sorted(set(life.run))
    assert set(life.run) <= slots


def slots_by_looking(cron: Cron, begin: datetime, end: datetime) -> set[datetime]:
    """Return the slots of a stretch of time, one by one."""
    slots, slot = set(), cron.next_after(begin)
    while slot is not None and slot <= end:
        slots.add(slot)
        slot = cron.next_after(slot)
    return slots

"""Every slot of a job ends once, as run, missed or skipped, whatever the clock and the workers do."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultmesh.domain.jobs.cron import Cron, read_cron
from vaultmesh.domain.jobs.slots import (
    JobState,
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
BEGIN = datetime(2025, 12, 31, 22, 11, 5, 250_000, tzinfo=UTC)


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
    passed = start_anew(MINUTE, at("08:00:00"), at("10:00:30"), WINDOW, JobState.DISABLED)
    assert passed == Passed(after=at("10:00:30"))
    assert next_due(MINUTE, passed.after) == at("10:01:00")


def test_a_job_that_is_enabled_at_its_slot_waits_for_the_next() -> None:
    passed = start_anew(MINUTE, at("08:00:00"), at("10:00:00"), WINDOW, JobState.DISABLED)
    assert next_due(MINUTE, passed.after) == at("10:01:00")


def test_a_new_expression_loses_no_slot_that_was_due_under_the_old() -> None:
    passed = start_anew(HOURLY, at("09:30:00"), at("10:00:00.2"), WINDOW, JobState.WAITING)
    assert passed == Passed(after=at("10:00:00.2"), slot=at("10:00:00"))


def test_a_new_expression_doubles_no_slot() -> None:
    now = at("10:00:00")
    passed = start_anew(HOURLY, at("09:30:00"), now, WINDOW, JobState.WAITING)
    assert passed.slot == now
    assert take_due(MINUTE, passed.after, now, WINDOW).slot is None


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.PAUSED])
def test_a_new_expression_starts_no_second_run_beside_one_that_is_under_way(
    state: JobState,
) -> None:
    now = at("10:02:00.5")
    passed = start_anew(MINUTE, at("10:00:00"), now, WINDOW, state)
    assert passed == Passed(after=now, skipped=2)


def test_a_clock_that_goes_back_repeats_no_slot() -> None:
    served = take_due(MINUTE, at("10:00:00"), at("10:05:00"), WINDOW)
    again = take_due(MINUTE, served.after, at("10:01:00"), WINDOW)
    assert again == Passed(after=at("10:05:00"))
    assert skip_passed(MINUTE, served.after, at("10:01:00")) == Passed(after=at("10:05:00"))


def test_a_job_without_times_has_nothing_due_and_sleeps_for_ever() -> None:
    never = read_cron("0 0 31 2 *")
    assert next_due(never, at("10:00:00")) is None
    assert take_due(never, at("10:00:00"), at("23:00:00"), WINDOW) == Passed(after=at("10:00:00"))


def slots_by_looking(cron: Cron, begin: datetime, end: datetime) -> list[datetime]:
    """Return the slots of a stretch of time, one by one."""
    slots, slot = [], cron.next_after(begin)
    while slot is not None and slot <= end:
        slots.append(slot)
        slot = cron.next_after(slot)
    return slots


@dataclass
class Life:
    """A job's life, as its workflow leads it; what becomes of its slots is written down."""

    cron: Cron
    window: timedelta
    now: datetime
    after: datetime
    run: list[datetime] = field(default_factory=list)
    missed: int = 0
    skipped: int = 0
    begun: datetime = BEGIN
    """Since when the expression holds."""
    slots: list[datetime] = field(default_factory=list)
    """Those of the expressions that held before."""

    def take(self, passed: Passed, *, is_taken: bool = True, seconds: int = 0) -> None:
        """Do what is to be done now; a run takes a while."""
        assert passed.after >= self.after
        passed = passed if is_taken else passed.with_missed_slot()
        self.after = passed.after
        self.missed += passed.missed
        self.skipped += passed.skipped
        if passed.slot is not None:
            assert timedelta(0) <= self.now - passed.slot <= self.window
            self.run.append(passed.slot)
            self.now += timedelta(seconds=seconds)
            self.take(skip_passed(self.cron, self.after, self.now))

    def change(self, cron: Cron, state: JobState) -> None:
        """Get another expression; a slot that was due runs at once."""
        passed = start_anew(self.cron, self.after, self.now, self.window, state)
        if state is not JobState.DISABLED:
            self.slots += slots_by_looking(self.cron, self.begun, passed.after)
        self.cron, self.begun = cron, passed.after
        self.take(passed)


CRONS = ["* * * * *", "*/7 * * * * *", "0 * * * *", "30 */5 * * * *", "0 9 * * 1", "59 59 23 31 12 *"]  # fmt: skip
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["wait", "wait", "no worker", "pause", "clock back", "change", "disable"]),
        st.integers(0, 7_200),
        st.integers(0, 900),
        st.sampled_from(CRONS),
    ),
    max_size=25,
)


@settings(max_examples=200)
@given(st.sampled_from(CRONS), st.integers(1, 600), STEPS)
def test_every_slot_ends_once_and_the_outcomes_sum_up(
    text: str, window: int, steps: list[tuple[str, int, int, str]]
) -> None:
    life = Life(read_cron(text), timedelta(seconds=window), BEGIN, BEGIN)
    for step, pause, seconds, another in steps:
        life.now += timedelta(seconds=-seconds if step == "clock back" else pause)
        match step:
            case "pause":
                life.take(skip_passed(life.cron, life.after, life.now))
            case "change":
                life.change(read_cron(another), JobState.WAITING)
            case "disable":
                life.change(life.cron, JobState.WAITING)
                life.now += timedelta(seconds=seconds)
                life.change(life.cron, JobState.DISABLED)
            case _:
                passed = take_due(life.cron, life.after, life.now, life.window)
                life.take(passed, is_taken=step != "no worker", seconds=seconds)
    end = max(life.now, life.after)
    life.take(skip_passed(life.cron, life.after, end))

    slots = life.slots + slots_by_looking(life.cron, life.begun, end)
    assert len(life.run) + life.missed + life.skipped == len(slots)
    assert life.run == sorted(set(life.run))
    assert set(life.run) <= set(slots)

"""Stale and overdue: by the cadence's own period, of one cadence alone, and never before it is true."""

from datetime import UTC, datetime, timedelta

import pytest

from vaultmesh.domain.failures import FailureKind
from vaultmesh.domain.freshness import (
    OVERDUE_AFTER,
    SHORTEST_STALE,
    STALE_PERIODS,
    Status,
    cadence_status,
    in_words,
    is_worth_telling,
    overall,
    overdue,
    stale_at,
    waits_for_worker,
)
from vaultmesh.domain.status import (
    CadenceView,
    FailureView,
    InFlightView,
    NamespaceState,
    NamespaceView,
    PausedView,
    read_at,
)

NOW = datetime(2026, 1, 15, 10, tzinfo=UTC)
PERIODS = [
    timedelta(seconds=seconds) for seconds in (1, 2, 89, 199, 200, 3_026, 86_400, 316_224_000)
]


@pytest.mark.parametrize("period", PERIODS)
def test_a_cadence_whose_looks_all_end_well_is_never_called_stale(period: timedelta) -> None:
    fresh, looks = NOW, 1
    for looks in range(1, 1_200):
        now = NOW + looks * period
        assert now <= stale_at(fresh, period), f"{looks} looks"
        if is_worth_telling(fresh, period, now):
            fresh = now
        if now - NOW > 10 * max(period, SHORTEST_STALE):
            break
    assert looks > 1


@pytest.mark.parametrize("period", PERIODS)
def test_a_daily_cadence_is_not_stale_after_an_hour_nor_any_before_three_of_its_periods(
    period: timedelta,
) -> None:
    """What ended well and was not told lies before `is_worth_telling`, so no claim comes too early."""
    told = NOW
    untold = told + period
    while not is_worth_telling(told, period, untold + period):
        untold += period
    least = max(STALE_PERIODS * period, SHORTEST_STALE)
    newest = told if is_worth_telling(told, period, untold) else untold
    assert stale_at(told, period) - newest >= least


def test_an_idle_slot_is_told_rarely_for_it_costs_an_event() -> None:
    for period, most in ((2, 2 * 3_600 / 300), (600, 7_200 / 1_200 + 1)):
        fresh, told = NOW, 0
        for slot in range(1, 7_200 // period + 1):
            now = NOW + timedelta(seconds=slot * period)
            if is_worth_telling(fresh, timedelta(seconds=period), now):
                fresh, told = now, told + 1
        assert 0 < told <= most


@pytest.mark.parametrize(
    ("backs_off", "paused", "late", "status"),
    [
        (False, False, -1, Status.OK),
        (False, False, 0, Status.OK),
        (False, False, 1, Status.STALE),
        (False, True, 1, Status.PAUSED),
        (True, True, 1, Status.BACKING_OFF),
        (False, False, None, Status.OK),
    ],
)
def test_a_cadence_has_one_status(
    *, backs_off: bool, paused: bool, late: int | None, status: Status
) -> None:
    stale = None if late is None else NOW - timedelta(seconds=late)
    assert cadence_status(backs_off=backs_off, paused=paused, stale_from=stale, now=NOW) is status


def test_a_namespace_is_no_better_than_its_worst_cadence_and_paused_only_as_a_whole() -> None:
    ok, paused, stale, failing = Status.OK, Status.PAUSED, Status.STALE, Status.BACKING_OFF
    assert overall([]) is ok
    assert overall([ok, paused]) is ok
    assert overall([paused, paused]) is paused
    assert overall([ok, paused, stale]) is stale
    assert overall([paused, failing, stale]) is failing


def test_a_slot_is_overdue_only_after_a_busy_worker_had_its_time() -> None:
    assert overdue(None, NOW) is None
    assert overdue(NOW + timedelta(hours=1), NOW) is None
    assert overdue(NOW - OVERDUE_AFTER, NOW) is None
    assert overdue(NOW - timedelta(minutes=4), NOW) == timedelta(minutes=4)


def test_ages_are_told_in_whole_units_that_are_not_rounded_up() -> None:
    ages = (-3, 0, 119, 120, 7_199, 7_200, 172_799, 172_800)
    words = [in_words(timedelta(seconds=age)) for age in ages]
    assert words == ["0 s", "0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"]
    assert waits_for_worker(NOW - timedelta(minutes=4), NOW) == (
        "due 4 min ago, at 2026-01-15T09:56:00Z: no worker takes its tasks"
    )


def _cadence(**fields: object) -> CadenceView:
    return CadenceView(
        target="eip155:1", every="89s", next_due=NOW + timedelta(seconds=5)
    ).model_copy(update=fields)


def _states(view: NamespaceView) -> dict[str, NamespaceState | None]:
    return {label: cadence.state for label, cadence in read_at(view, NOW).cadences.items()}


def test_one_failing_stale_overdue_or_paused_cadence_marks_itself_alone() -> None:
    failure = FailureView(kind=FailureKind.NETWORK, message="no node")
    flight = InFlightView(slot="1", since=NOW, failures=2, last_failure=failure)
    view = NamespaceView(
        namespace="dao:x",
        state=NamespaceState.BACKING_OFF,
        paused={"rests": PausedView(since=NOW)},
        cadences={
            "fine": _cadence(stale_at=NOW + timedelta(hours=1)),
            "fails": _cadence(in_flight=flight),
            "rests": _cadence(),
            "old": _cadence(stale_at=NOW - timedelta(seconds=1)),
            "late": _cadence(next_due=NOW - timedelta(minutes=4)),
        },
    )
    assert _states(view) == {
        "fine": NamespaceState.RUNNING,
        "fails": NamespaceState.BACKING_OFF,
        "rests": NamespaceState.PAUSED,
        "old": NamespaceState.STALE,
        "late": NamespaceState.OVERDUE,
    }
    shown = read_at(view, NOW).cadences
    assert [cadence.overdue_seconds for cadence in shown.values()] == [None] * 4 + [240]

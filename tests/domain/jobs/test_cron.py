"""Cron expressions mean what they mean to node-cron 3.0.3, and their times are those that a slow search finds."""

import json
import os
import time as clock
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.jobs.cron import LONGEST_EXPRESSION, Cron, read_cron

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "cron" / "node_cron.json"
ROWS = json.loads(VECTORS.read_text(encoding="utf-8"))
LIMITS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2110, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is added by `timezones`


def utc(text: str) -> datetime:
    """Return an instant as tests write it."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def numbers(ranges: str) -> set[int]:
    """Return the numbers that a row of the vectors lists as ranges."""
    bounds = [list(map(int, part.split("-"))) for part in ranges.split(",")]
    return {number for bound in bounds for number in range(bound[0], bound[-1] + 1)}


def sets(cron: Cron) -> list[set[int]]:
    """Return the numbers of each field."""
    fields = (cron.seconds, cron.minutes, cron.hours, cron.days, cron.months, cron.weekdays)
    return [set(field) for field in fields]


# --- what is taken and refused -------------------------------------------------------------------------------------


def test_an_expression_means_what_it_means_to_node_cron() -> None:
    other = {}
    for text, theirs in (row for row in ROWS if row[1]):
        *others, weekdays = map(numbers, theirs)
        if sets(read_cron(text)) != [*others, weekdays - {7}]:
            other[text] = theirs
    assert other == {}


def refusal(text: str) -> str:
    """Return in what words an expression is refused."""
    with pytest.raises(InvalidValue) as refused:
        read_cron(text)
    return str(refused.value)


def test_what_node_cron_refuses_is_refused_at_the_field_that_it_names() -> None:
    refusals = {
        text: (field, refusal(text)) for text, _, field in (row for row in ROWS if not row[1])
    }
    assert {
        text: words
        for text, (field, words) in refusals.items()
        if field and f" is a invalid expression for {field}: " not in words
    } == {}


def test_the_vectors_hold_hundreds_of_both_kinds() -> None:
    taken = sum(1 for row in ROWS if row[1])
    assert taken > 250
    assert len(ROWS) - taken > 250


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("61 * * * *", "61 is a invalid expression for minute: 61 is out of range - use 0 to 59"),
        ("* * 0 * *", "0 is a invalid expression for day of month: 0 is out of range - use 1 to 31"),
        ("0 0 ? * 1", "? is a invalid expression for day of month: '?' begins with no number - write *"),
        (
            "5/20 * * * *",
            "5/20 is a invalid expression for minute: no value before the / is divisible by 20; steps count from 0 - write 5,25,45",
        ),
        (
            "5-7/20 * * * *",
            "5-7/20 is a invalid expression for minute: no value before the / is divisible by 20; steps count from 0 - list the values that you mean",
        ),
        (
            "57/2 * * * *",
            "57/2 is a invalid expression for minute: no value before the / is divisible by 2; steps count from 0 - write 57,59",
        ),
        ("*/0 * * * *", "*/0 is a invalid expression for minute: a step of 0 keeps nothing - use 1 or more"),
        ("*/x * * * *", "*/x is a invalid expression for minute: 'x' is no step - write a number after /"),
        (
            "* * L * *",
            "L is a invalid expression for day of month: 'L' begins with no number - the last day and the nearest working day can't be written; write numbers, ranges, lists, * or */n",
        ),
        (
            "* * * * xyz",
            "xyz is a invalid expression for week day: 'xyz' begins with no number - write numbers, names such as mon, ranges, lists, * or */n",
        ),
        ("@daily", "'@daily' is no cron expression: names with @ are not known here - write 0 0 * * *"),
        (
            "TZ=UTC 0 9 * * *",
            "TZ=UTC is a invalid expression for second: times are in UTC - remove the time zone, and write the hour in UTC",
        ),
        (
            "CRON_TZ=x 9 * * *",
            "CRON_TZ=x is a invalid expression for minute: times are in UTC - remove the time zone, and write the hour in UTC",
        ),
        (
            "0 9 * *",
            "'0 9 * *' is no cron expression: it has 4 fields - write five fields, minute hour day-of-month month day-of-week, or six with seconds first, such as 0 3 * * *",
        ),
    ],
)  # fmt: skip
def test_a_refusal_says_what_is_wrong_where_and_how_to_mend_it(text: str, message: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        read_cron(text)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "text",
    [
        "0-99999999999 * * * *",
        "0,99999999999999999999/3 * * * *",
        "1-999," * 200 + "1 * * * *",
        "9" * 900 + " * * * *",
        "* * * * * *" + " *" * 500,
    ],
)
def test_a_hostile_expression_is_refused_before_it_takes_memory_or_time(text: str) -> None:
    began = clock.process_time()
    with pytest.raises(InvalidValue) as refused:
        read_cron(text)
    assert clock.process_time() - began < 1
    assert len(str(refused.value)) < 500


def test_the_longest_expression_that_is_read_is_quick() -> None:
    text = ("1-59," * 190)[:-1] + " * * * *"
    assert len(text) <= LONGEST_EXPRESSION
    assert read_cron(text).minutes == tuple(range(1, 60))


def test_numbers_up_to_999_may_stand_before_a_step_as_in_node_cron() -> None:
    assert read_cron("0-999/1000 * * * *").minutes == (0,)
    assert read_cron("0,999/1000 * * * *").minutes == (0,)
    assert "above 999" in refusal("0-1000/2000 * * * *")
    assert "above 999" in refusal("0,1000/2000 * * * *")


def test_an_expression_of_a_thousand_characters_is_read_and_no_longer_one() -> None:
    text = " " + "0," * 495 + "0 * * * *"
    assert len(text) == 1_000
    assert read_cron(text).minutes == (0,)
    assert "use at most 1000" in refusal(f" {text}")


def test_the_expression_is_kept_as_it_was_written() -> None:
    assert read_cron(" 0   9 * * MON ").text == " 0   9 * * MON "


def test_a_message_shows_no_control_characters() -> None:
    with pytest.raises(InvalidValue) as refused:
        read_cron("\x1b[2J 9 * * *")
    assert "\x1b" not in str(refused.value)


@settings(max_examples=500)
@given(st.text(alphabet="0123456789*/-, ?#@.xXeLWjanmonsu7\t\n+_", max_size=30))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    try:
        cron = read_cron(text)
    except InvalidValue as refused:
        assert str(refused)
        return
    for values, (least, most) in zip(sets(cron), LIMITS, strict=True):
        assert all(least <= value <= most for value in values)


# --- times ---------------------------------------------------------------------------------------------------------


def matches(instant: datetime, fields: list[set[int]]) -> bool:
    """Whether a second matches every field: the rule itself, with nothing clever."""
    values = (instant.second, instant.minute, instant.hour, instant.day, instant.month)
    weekday = int(instant.strftime("%w"))
    return all(value in field for value, field in zip((*values, weekday), fields, strict=True))


def lists(least: int, most: int) -> st.SearchStrategy[str]:
    """Return one field's text: `*`, a list, a range or a step that keeps something."""
    value = st.integers(least, most)
    several = st.lists(value, min_size=1, max_size=4).map(lambda values: ",".join(map(str, values)))
    spans = st.tuples(value, value).map(lambda pair: f"{pair[0]}-{pair[1]}")
    steps = st.integers(1, max(1, most // 2)).map(lambda step: f"*/{step}")
    return st.one_of(st.just("*"), several, spans, steps)


@st.composite
def expressions(draw: st.DrawFn, *, fields: int) -> str:
    """Return an expression of five or six fields."""
    return " ".join(draw(lists(*limits)) for limits in LIMITS[6 - fields :])


def expected(cron: Cron, after: datetime, step: timedelta, most: int) -> list[datetime]:
    """Return the times among the next steps, by looking at each."""
    begin = after.replace(microsecond=0)
    steps = (begin + number * step for number in range(1, most + 1))
    fields = sets(cron)
    return [instant for instant in steps if matches(instant, fields)]


def check(cron: Cron, after: datetime, until: datetime, times: list[datetime]) -> None:
    """Check every answer about a stretch of time against the times that it really has."""
    assert cron.count(after, until) == len(times)
    upcoming = cron.upcoming(after, min(len(times), 50) + 1)
    assert [time for time in upcoming if time <= until] == times[:51]
    last = cron.last_until(until)
    assert last == times[-1] if times else last is None or last <= after


@settings(max_examples=60)
@given(expressions(fields=5), INSTANTS)
def test_times_are_those_that_looking_at_every_minute_of_a_week_finds(
    text: str, instant: datetime
) -> None:
    cron, after = read_cron(text), instant.replace(second=0, microsecond=0)
    minutes = 7 * 24 * 60
    times = expected(cron, after, timedelta(minutes=1), minutes)
    check(cron, after, after + timedelta(minutes=minutes), times)


@settings(max_examples=60)
@given(expressions(fields=6), INSTANTS)
def test_times_are_those_that_looking_at_every_second_of_two_hours_finds(
    text: str, after: datetime
) -> None:
    cron = read_cron(text)
    times = expected(cron, after, timedelta(seconds=1), 7_200)
    check(cron, after, after.replace(microsecond=0) + timedelta(hours=2), times)


@settings(max_examples=40)
@given(st.tuples(*(lists(*limits) for limits in LIMITS[3:])), INSTANTS)
def test_days_are_those_that_looking_at_every_day_of_forty_years_finds(
    fields: tuple[str, str, str], instant: datetime
) -> None:
    cron = read_cron(f"0 0 {' '.join(fields)}")
    after = instant.replace(hour=0, minute=0, second=0, microsecond=0)
    days = 40 * 366
    times = expected(cron, after, timedelta(days=1), days)
    assert cron.fires_ever == bool(times)
    check(cron, after, after + timedelta(days=days), times)


@given(expressions(fields=6), INSTANTS)
def test_next_and_last_are_each_others_mirror(text: str, instant: datetime) -> None:
    cron = read_cron(text)
    following = cron.next_after(instant)
    assert (following is not None) == cron.fires_ever
    if following is None:
        assert cron.last_until(instant) is None
        return
    assert following > instant
    assert following.tzinfo is UTC
    assert cron.last_until(following) == following
    assert cron.count(instant, following) == 1
    before = cron.last_until(following - timedelta(microseconds=1))
    assert before is None or (before <= instant and cron.next_after(before) == following)


@pytest.mark.parametrize(
    ("text", "after", "following"),
    [
        ("0 9 * * 1", "2026-11-28 19:00:00", "2026-11-30 09:00:00"),
        ("* * * * *", "2026-12-31 23:59:00", "2027-01-01 00:00:00"),
        ("* * * * *", "2026-12-31 23:59:00.000001", "2027-01-01 00:00:00"),
        ("* * * * *", "2026-12-31 23:58:59.999999", "2026-12-31 23:59:00"),
        ("* * * * * *", "2026-12-31 23:59:59.5", "2027-01-01 00:00:00"),
        ("0 0 29 2 *", "2026-01-01", "2028-02-29"),
        ("0 0 29 2 *", "2096-02-29", "2104-02-29"),  # 2100 is no leap year
        ("0 0 29 2 *", "1996-02-29", "2000-02-29"),  # 2000 is one
        ("0 0 29 2 1", "2088-03-01", "2112-02-29"),
        ("0 0 31 * *", "2026-01-31", "2026-03-31"),
        ("0 0 13 * 5", "2026-03-14", "2026-11-13"),  # Friday AND the 13th
        ("0 0 1-7 * 1", "2026-11-28", "2026-12-07"),  # the first Monday
        ("47 2 22 2,7,15,31 * *", "2011-02-16 02:28:31", "2011-03-02 22:02:47"),
        ("59 59 23 31 12 *", "2026-12-31 23:59:58", "2026-12-31 23:59:59"),
        ("59 59 23 31 12 *", "2026-12-31 23:59:59", "2027-12-31 23:59:59"),
        ("0 0 */2 * *", "2026-01-30", "2026-02-02"),
        ("0 0 31 12 *", "8999-12-31", "9000-12-31"),
    ],
)
def test_the_next_time(text: str, after: str, following: str) -> None:
    assert read_cron(text).next_after(utc(after)) == utc(following)


@pytest.mark.parametrize("text", ["0 0 31 2 *", "0 0 30-31 feb *", "0 0 31 4,6,9,11 *"])
def test_a_date_that_never_comes_has_no_time_and_takes_none_to_say_so(text: str) -> None:
    cron, began = read_cron(text), clock.process_time()
    for _ in range(1_000):
        assert cron.next_after(utc("2026-01-01")) is None
        assert cron.last_until(utc("2026-01-01")) is None
    assert cron.count(utc("1970-01-01"), utc("2026-01-01")) == 0
    assert cron.upcoming(utc("2026-01-01"), 5) == []
    assert clock.process_time() - began < 5


def test_no_date_keeps_its_workflow_for_long() -> None:
    cron, began = read_cron("0 0 29 2 1"), clock.process_time()
    for year in range(1980, 2080):
        assert cron.next_after(datetime(year, 3, 1, tzinfo=UTC)) is not None
    assert clock.process_time() - began < 5


def test_there_are_times_up_to_the_year_9000_and_since_1970() -> None:
    cron = read_cron("0 0 1 1 *")
    assert cron.next_after(utc("8999-06-01")) == utc("9000-01-01")
    assert cron.next_after(utc("9000-06-01")) is None
    assert cron.next_after(datetime.max.replace(tzinfo=UTC)) is None
    assert cron.last_until(utc("1970-01-01")) == utc("1970-01-01")
    assert cron.last_until(utc("1969-12-31")) is None
    assert read_cron("0 0 * * *").last_until(utc("1969-12-31 12:00:00")) is None


def test_a_week_of_every_second_is_counted_at_once() -> None:
    cron, began = read_cron("* * * * * *"), clock.process_time()
    assert cron.count(utc("2026-01-01"), utc("2026-01-08")) == 604_800
    assert cron.count(utc("1996-01-01"), utc("2026-01-01")) == (30 * 365 + 8) * 86_400
    assert clock.process_time() - began < 2


def test_a_stretch_that_ends_before_it_begins_has_no_times() -> None:
    assert read_cron("* * * * *").count(utc("2026-01-02"), utc("2026-01-01")) == 0


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize(
    "day", ["2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-04-05"]
)
def test_summer_time_neither_leaves_out_nor_doubles_a_run(zone: str, day: str) -> None:
    cron, local = read_cron("30 * * * *"), ZoneInfo(zone)
    after = utc(day).astimezone(local)
    times = cron.upcoming(after, 48)
    assert times == [utc(day) + timedelta(minutes=30, hours=hour) for hour in range(48)]
    assert cron.count(after, times[-1].astimezone(local)) == 48
    assert cron.last_until(times[7].astimezone(local)) == times[7]


def test_a_host_in_another_zone_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cron = read_cron("0 3 * * *")
    expected_time = cron.next_after(utc("2026-03-28 12:00:00"))
    monkeypatch.setitem(os.environ, "TZ", "Pacific/Kiritimati")
    clock.tzset()
    try:
        assert cron.next_after(utc("2026-03-28 12:00:00")) == expected_time
    finally:
        monkeypatch.undo()
        clock.tzset()


def test_an_instant_of_another_offset_is_the_same_instant() -> None:
    far_east = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=12)))
    assert read_cron("0 0 * * *").last_until(far_east) == utc("2026-01-01")


def test_an_instant_without_a_zone_is_never_taken_for_the_hosts() -> None:
    with pytest.raises(TypeError):
        read_cron("0 0 * * *").next_after(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the fault

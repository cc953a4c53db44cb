"""Reads cron expressions and computes their times, as node-cron 3.0.3 does (ADR 50).

1. Five fields `minute hour day-of-month month day-of-week`, or six with seconds first; later fields are ignored.
2. All fields must match: day of month AND day of week.
3. A step keeps the values that are divisible by it, counted from 0: `*/2` as day of month is 2, 4 … 30.
4. Fields are rewritten as text, step by step, as in node-cron. So `5*` is 50-59, and only the first `*` and `7` count.
5. Times are in UTC, whole seconds; summer time and the host's zone change nothing (S2).
"""

import re
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import islice

from vaultmesh.domain.errors import InvalidValue, described
from vaultmesh.domain.instants import is_tellable
from vaultmesh.domain.namespaces.cadence import EPOCH

LONGEST_EXPRESSION = 1_000
"""Characters: every minute, second and day written out takes 500."""
LARGEST_NUMBER = 999
"""No field goes beyond 59; a range to a larger number would only take memory."""

_FEWEST_FIELDS, _MOST_FIELDS = 5, 6
_MOST_KEPT = 1_000
"""Expressions; each takes some 2 kB."""
_LONGEST_QUOTE = 60
_MONTHS_A_YEAR = 12
_DAYS_OF_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SECOND = timedelta(seconds=1)
_FORM = (
    "write five fields, minute hour day-of-month month day-of-week, or six with seconds first, "
    "such as 0 3 * * *"
)
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september",
           "october", "november", "december")  # fmt: skip
_WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")

_SPACE = r"[\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]"
"""What JavaScript takes for white space; Python's own class differs in six characters."""
_SPACES = re.compile(f"{_SPACE}{{2,}}")
_AROUND = re.compile(rf"\A{_SPACE}+|{_SPACE}+\Z")
_RANGES = re.compile(r"[0-9]+(?:-[0-9]+)+")
_STEP = re.compile(r"([^\n\r\u2028\u2029]+)/([A-Za-z0-9_]+)")
_NUMBER = re.compile(rf"{_SPACE}*([+-]?)(?:0[xX]([0-9a-fA-F]*)|([0-9]+))")
_DECIMAL = re.compile(rf"{_SPACE}*([+-]?)()([0-9]+)")
_STEP_NUMBER = re.compile(
    r"[0-9]+(?:[eE][0-9]+)?|0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|Infinity"
)
"""What JavaScript's `Number` takes for a number, of letters and digits alone."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of an expression."""

    name: str
    least: int
    most: int
    star: str
    """The range that `*` stands for."""
    names: tuple[str, ...] = ()
    first: int = 0
    """The number of the first name."""


_FIELDS = (
    _Field("second", 0, 59, "0-59"),
    _Field("minute", 0, 59, "0-59"),
    _Field("hour", 0, 23, "0-23"),
    _Field("day of month", 1, 31, "1-31"),
    _Field("month", 1, 12, "1-12", _MONTHS, 1),
    _Field("week day", 0, 7, "0-6", _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression and its times; the numbers of each field rise, and Sunday is 0."""

    text: str
    """The expression as it was written."""
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]

    @property
    def fires_ever(self) -> bool:
        """Whether it has any time: `0 0 31 2 *` has none, and `0 0 29 2 1` has some."""
        dates = any(self.days[0] <= _DAYS_OF_MONTHS[month - 1] for month in self.months)
        return dates and bool(self.weekdays)

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first time after an instant; None if there is none up to the year 9000."""
        moment = _whole_second(instant)
        for day in self._days_from(moment.date()):
            rank = self._rank(moment) if day == moment.date() else 0
            if rank < self._times_a_day:
                time = self._time(day, rank)
                return time if is_tellable(time) else None
        return None

    def last_until(self, instant: datetime) -> datetime | None:
        """Return the last time that is not after an instant; None if there is none since 1970."""
        moment = _whole_second(instant)
        for day in self._days_back(moment.date()):
            rank = self._rank(moment) if day == moment.date() else self._times_a_day
            if rank > 0:
                return self._time(day, rank - 1)
        return None

    def count(self, after: datetime, until: datetime) -> int:
        """Return how many times lie after `after` and not after `until`; whole days are counted as such."""
        begin, end = _whole_second(after), _whole_second(until)
        if end <= begin:
            return 0
        days = self._days_between(begin.date(), end.date())
        return days * self._times_a_day + self._passed(end) - self._passed(begin)

    def upcoming(self, after: datetime, most: int) -> list[datetime]:
        """Return the next times after an instant, at most so many."""
        return list(islice(self._times_after(after), most))

    # --- times of a day ----------------------------------------------------------------------------------------

    @property
    def _times_an_hour(self) -> int:
        return len(self.minutes) * len(self.seconds)

    @property
    def _times_a_day(self) -> int:
        return len(self.hours) * self._times_an_hour

    def _rank(self, moment: datetime) -> int:
        """Return how many times of a day are not after a moment's time of day."""
        rank = bisect_left(self.hours, moment.hour) * self._times_an_hour
        if moment.hour in self.hours:
            rank += bisect_left(self.minutes, moment.minute) * len(self.seconds)
            if moment.minute in self.minutes:
                rank += bisect_right(self.seconds, moment.second)
        return rank

    def _time(self, day: date, rank: int) -> datetime:
        """Return the time of a day before which there are `rank` others."""
        hour, rest = divmod(rank, self._times_an_hour)
        minute, second = divmod(rest, len(self.seconds))
        return datetime(
            day.year, day.month, day.day,
            self.hours[hour], self.minutes[minute], self.seconds[second], tzinfo=UTC,
        )  # fmt: skip

    def _passed(self, moment: datetime) -> int:
        """Return how many times of a moment's own day are not after it."""
        day = moment.date()
        return self._rank(moment) if day in self._days_of(day.year, day.month) else 0

    def _times_after(self, instant: datetime) -> Iterator[datetime]:
        time = self.next_after(instant)
        while time is not None:
            yield time
            time = self.next_after(time)

    # --- days --------------------------------------------------------------------------------------------------

    def _days_of(self, year: int, month: int) -> list[date]:
        """Return the days of a month that match."""
        if month not in self.months:
            return []
        before, length = monthrange(year, month)
        return [
            date(year, month, day)
            for day in self.days
            if day <= length and (before + day) % 7 in self.weekdays
        ]

    def _days_from(self, first: date) -> Iterator[date]:
        """Return the days that match from a day on. Each date meets each weekday within 40 years."""
        if self.fires_ever:
            for month in range(_month(first), _month(date.max) + 1):
                yield from (day for day in self._days_of(*_year_and_month(month)) if day >= first)

    def _days_back(self, last: date) -> Iterator[date]:
        """Return the days that match up to a day and since 1970, latest first."""
        if self.fires_ever:
            for month in range(_month(last), _month(EPOCH) - 1, -1):
                days = self._days_of(*_year_and_month(month))
                yield from (day for day in reversed(days) if day <= last)

    def _days_between(self, first: date, end: date) -> int:
        """Return how many days match from `first` on and before `end`."""
        months = range(_month(first), _month(end) + 1)
        return sum(
            first <= day < end for month in months for day in self._days_of(*_year_and_month(month))
        )


@lru_cache(maxsize=_MOST_KEPT)
def read_cron(text: str) -> Cron:
    """Read a cron expression. Those that were read last are kept: a list of jobs reads each of them again.

    Raises:
        InvalidValue: says which field cannot be read, why, and what to write.
    """
    parts = _parts(text)
    values = [
        tuple(sorted(_numbers(field, written)))
        for field, written in zip(_FIELDS, parts[:_MOST_FIELDS], strict=True)
    ]
    for written in parts[_MOST_FIELDS:]:
        _check_ignored(written)
    seconds, minutes, hours, days, months, weekdays = values
    # A 7 that is still there after names and ranges means no day: Sunday is 0.
    weekdays = tuple(day for day in weekdays if day != _FIELDS[-1].most)
    return Cron(text, seconds, minutes, hours, days, months, weekdays)


def _parts(text: str) -> list[str]:
    """Return what is written in each field of an expression, with seconds first."""
    if len(text) > LONGEST_EXPRESSION:
        message = f"the cron expression has {len(text)} characters - use at most {LONGEST_EXPRESSION}, with ranges and steps"
        raise InvalidValue(message)
    parts = _AROUND.sub("", _SPACES.sub(" ", text)).split(" ")
    if (macro := parts[0].lower()).startswith("@"):
        mend = f"write {_MACROS[macro]}" if macro in _MACROS else _FORM
        message = (
            f"{described(text)} is no cron expression: names with @ are not known here - {mend}"
        )
        raise InvalidValue(message)
    if len(parts) < _FEWEST_FIELDS:
        count = len(parts) if parts != [""] else "no"
        message = f"{described(text)} is no cron expression: it has {count} field{'' if count == 1 else 's'} - {_FORM}"
        raise InvalidValue(message)
    if parts[0].upper().startswith(("TZ=", "CRON_TZ=")):
        field = _FIELDS[1 if len(parts) == _FEWEST_FIELDS else 0]
        why = "times are in UTC - remove the time zone, and write the hour in UTC"
        raise _refusal(field.name, parts[0], why)
    return ["0", *parts] if len(parts) == _FEWEST_FIELDS else parts


def _rewritten(field: _Field, written: str) -> str:
    """Return a field with numbers in place of names, and lists in place of `*` and ranges."""
    text = written.replace("7", "0", 1) if field.names is _WEEKDAYS else written
    for names in (field.names, tuple(name[:3] for name in field.names)):
        for number, name in enumerate(names, field.first):
            text = re.sub(name, str(number), text, flags=re.IGNORECASE | re.ASCII)
    return _RANGES.sub(
        lambda match: _listed(field, written, match[0]), text.replace("*", field.star, 1)
    )


def _listed(field: _Field, written: str, text: str) -> str:
    """Return a range as a list; of `1-3-2`, the second range goes on from the last number of the first."""
    numbers: list[int] = []
    for bound in map(int, text.split("-")):
        if bound > LARGEST_NUMBER:
            raise _refusal(field.name, written, _out_of_range(field, bound))
        begin = numbers.pop() if numbers else bound
        numbers.extend(range(min(begin, bound), max(begin, bound) + 1))
    return ",".join(map(str, numbers))


def _numbers(field: _Field, written: str) -> set[int]:
    """Return the numbers that a field stands for."""
    text = _rewritten(field, written)
    step = _STEP.fullmatch(text)
    if step:
        numbers = _divisible(field, written, step[1].split(","), step[2])
    else:
        numbers = [_value(field, written, part) for part in text.split(",")]
    for number in numbers:
        if not field.least <= number <= field.most:
            raise _refusal(field.name, written, _out_of_range(field, number))
    return set(numbers)


def _value(field: _Field, written: str, part: str) -> int:
    number = _leading_integer(part, _NUMBER)
    if number is None:
        raise _refusal(field.name, written, _no_number(field, part))
    return number


def _divisible(field: _Field, written: str, parts: Sequence[str], step: str) -> list[int]:
    """Return the numbers that a step keeps; what is no number is left out."""
    leading = [_leading_integer(part, _DECIMAL) for part in parts]
    numbers = [number for number in leading if number is not None]
    if (largest := max(numbers, default=0)) > LARGEST_NUMBER:
        raise _refusal(field.name, written, _out_of_range(field, largest))
    divisor = _step_number(field.name, written, step)
    kept = [number for number in numbers if divisor and number % divisor == 0]
    if not kept:
        raise _refusal(field.name, written, _nothing_kept(field, numbers, divisor))
    return kept


def _step_number(name: str, written: str, step: str) -> int | None:
    """Return what values are divided by: of `1e3` it is 1, and of `Infinity` nothing."""
    if not _STEP_NUMBER.fullmatch(step):
        raise _refusal(name, written, f"{described(step)} is no step - write a number after /")
    return _leading_integer(step, _DECIMAL)


def _check_ignored(written: str) -> None:
    """Refuse what node-cron refuses also in a field that it ignores: a step that is no number."""
    step = _STEP.fullmatch(written)
    if step:
        _step_number("a field after the sixth", written, step[2])


def _leading_integer(text: str, form: re.Pattern[str]) -> int | None:
    """Return the integer that a text begins with: `1.5` is 1; None if it begins with none."""
    match = form.match(text)
    if match is None:
        return None
    sign, hexadecimal, digits = match.groups()
    number = int(digits) if digits else int(hexadecimal, 16) if hexadecimal else None
    return -number if number and sign == "-" else number


# --- what is wrong -------------------------------------------------------------------------------------------------


def _refusal(name: str, written: str, why: str) -> InvalidValue:
    """Return the refusal of a field. It begins as node-cron's does, since clients know those words."""
    quote = written if written.isprintable() else repr(written)
    if len(quote) > _LONGEST_QUOTE:
        quote = quote[:_LONGEST_QUOTE] + "…"
    return InvalidValue(f"{quote} is a invalid expression for {name}: {why}")


def _out_of_range(field: _Field, number: int) -> str:
    value = number if number <= LARGEST_NUMBER else f"a number above {LARGEST_NUMBER}"
    return f"{value} is out of range - use {field.least} to {field.most}"


def _no_number(field: _Field, part: str) -> str:
    names = f", names such as {field.names[1][:3]}" if field.names else ""
    mend = f"write numbers{names}, ranges, lists, * or */n"
    if part == "?":
        mend = "write *"
    elif part.upper().endswith(("L", "W")) and field.name == "day of month":
        mend = f"the last day and the nearest working day can't be written; {mend}"
    return f"{described(part)} begins with no number - {mend}"


def _nothing_kept(field: _Field, numbers: Sequence[int], divisor: int | None) -> str:
    if not divisor:
        return "a step of 0 keeps nothing - use 1 or more"
    why = f"no value before the / is divisible by {divisor}; steps count from 0"
    if len(numbers) != 1 or not field.least <= numbers[0] <= field.most:
        return f"{why} - list the values that you mean"
    values = range(numbers[0], field.most + 1, divisor)
    return f"{why} - write {','.join(map(str, values))}"


# --- the calendar --------------------------------------------------------------------------------------------------


def _whole_second(instant: datetime) -> datetime:
    """Return an aware instant in UTC without its fraction; one without a zone is a fault of the caller's."""
    return EPOCH + (instant - EPOCH) // _SECOND * _SECOND


def _month(day: date) -> int:
    """Return the number of a month, so that months can be counted."""
    return day.year * _MONTHS_A_YEAR + day.month - 1


def _year_and_month(month: int) -> tuple[int, int]:
    year, index = divmod(month, _MONTHS_A_YEAR)
    return year, index + 1

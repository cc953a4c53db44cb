"""Says a cron expression in words: `every 5 minutes`, `at 09:00 on Monday`, `at 00:00 on day 1 of the month`.

1. The words follow from the numbers of the fields, never from the text: what they say is what runs.
2. What has no short words is listed field by field, so nothing is left out.
3. Times are UTC, as those of the expression.
"""

from collections.abc import Sequence
from itertools import product

from vaultmesh.domain.jobs.cron import Cron

NEVER = "never: no date matches"
_MINUTES, _HOURS, _DAYS, _MONTHS, _WEEKDAYS = 60, 24, 31, 12, 7
_MOST_TIMES = 6
"""Times of a day that are listed one by one."""
_FEW_IN_A_RUN = 2
"""So many neighbours are listed; more are a range."""
_MONTH_NAMES = ("January", "February", "March", "April", "May", "June", "July", "August", "September",
                "October", "November", "December")  # fmt: skip
_DAY_NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


def in_words(cron: Cron) -> str:
    """Return what an expression means, in one line."""
    if not cron.fires_ever:
        return NEVER
    rhythm = _rhythm(cron)
    days = _days(cron)
    if rhythm:
        return f"{rhythm}{_hours_of(cron)}{days}"
    return f"{_times(cron)}{days or ' every day'}"


def _rhythm(cron: Cron) -> str:
    """Return what repeats within hours or through the day, such as `every 5 minutes`; empty for times of a day."""
    seconds, minutes = _step(cron.seconds, _MINUTES), _step(cron.minutes, _MINUTES)
    if seconds and minutes == 1:
        return _every(seconds, "second")
    if cron.seconds != (0,) or (len(cron.hours) == 1 and not minutes):
        return ""
    if minutes:
        return _every(minutes, "minute")
    hours = _step(cron.hours, _HOURS)
    if hours and len(cron.minutes) == 1:
        minute = cron.minutes[0]
        return _every(hours, "hour") + (f" at minute {minute}" if minute else "")
    return ""


def _hours_of(cron: Cron) -> str:
    """Return within which hours a rhythm goes on; empty where it says that itself."""
    if len(cron.hours) == _HOURS or len(cron.minutes) == 1:
        return ""
    first, last = cron.hours[0], cron.hours[-1]
    if last - first + 1 == len(cron.hours):
        return f" from {first:02}:00 to {last:02}:59"
    return f" in hours {_listed(cron.hours)}"


def _times(cron: Cron) -> str:
    """Return the times of a day."""
    if len(cron.hours) * len(cron.minutes) * len(cron.seconds) <= _MOST_TIMES:
        return f"at {_joined(list(_clock_times(cron)))}"
    seconds = "" if cron.seconds == (0,) else f"second {_listed(cron.seconds)} of "
    hours = "every hour" if len(cron.hours) == _HOURS else f"hour {_listed(cron.hours)}"
    minutes = "every minute" if len(cron.minutes) == _MINUTES else f"minute {_listed(cron.minutes)}"
    return f"at {seconds}{minutes} of {hours}"


def _clock_times(cron: Cron) -> list[str]:
    with_seconds = cron.seconds != (0,)
    return [
        f"{hour:02}:{minute:02}" + (f":{second:02}" if with_seconds else "")
        for hour, minute, second in product(cron.hours, cron.minutes, cron.seconds)
    ]


def _days(cron: Cron) -> str:
    """Return on which days, with a space before it; empty for every day."""
    dates = len(cron.days) < _DAYS
    weekdays = len(cron.weekdays) < _WEEKDAYS
    months = len(cron.months) < _MONTHS
    text = ""
    if dates:
        text = f" on day {_listed(cron.days)}" + ("" if months else " of the month")
    if weekdays:
        names = _named(cron.weekdays, _DAY_NAMES)
        text += f" if it is {names}" if dates else f" on {names}"
    if months:
        text += (
            f" {'of' if dates and not weekdays else 'in'} {_named(cron.months, _MONTH_NAMES, 1)}"
        )
    return text


def _step(numbers: Sequence[int], size: int) -> int:
    """Return the even step by which numbers go through a whole field from 0 on; 0 if there is none."""
    step = size // len(numbers)
    is_even = step < size and size % step == 0
    return step if is_even and tuple(numbers) == tuple(range(0, size, step)) else 0


def _every(step: int, unit: str) -> str:
    return f"every {unit}" if step == 1 else f"every {step} {unit}s"


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first and last of each run of neighbours."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _listed(numbers: Sequence[int]) -> str:
    parts: list[str] = []
    for first, last in _runs(numbers):
        if last - first < _FEW_IN_A_RUN:
            parts += map(str, range(first, last + 1))
        else:
            parts.append(f"{first}–{last}")
    return _joined(parts)


def _named(numbers: Sequence[int], names: Sequence[str], first_number: int = 0) -> str:
    parts: list[str] = []
    for first, last in _runs(numbers):
        if last - first < _FEW_IN_A_RUN:
            parts += [names[number - first_number] for number in range(first, last + 1)]
        else:
            parts.append(f"{names[first - first_number]} to {names[last - first_number]}")
    return _joined(parts)


def _joined(parts: Sequence[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"

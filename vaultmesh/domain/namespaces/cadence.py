"""Computes periods and slots.

1. `every` is `<n>s|m|h|d|w` or `<n>*<other cadence>`; units and names are lower case.
2. A slot is a multiple of the period since the Unix epoch, plus the phase; slots do not drift with the work.
3. Changing one cadence re-derives every cadence that is a multiple of it in the same step (S3).
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from vaultmesh.domain.errors import InvalidValue

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
LONGEST_PERIOD = timedelta(days=3_660)
"""Ten years: a longer period is a slip, and timers above it overflow."""

_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")
_MULTIPLE = re.compile(r"([0-9]{1,9})\*([A-Za-z0-9_-]+)")


def parse_duration(text: str, *, least: timedelta = timedelta(0)) -> timedelta:
    """Return the duration `<n>s|m|h|d|w`.

    Raises:
        InvalidValue: another form, below `least` or above ten years.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        message = f"{text!r} is not a duration; write digits and one of s, m, h, d, w (lower case), such as 89s"
        raise InvalidValue(message)
    seconds = int(match[1]) * UNITS[match[2]]
    if seconds > LONGEST_PERIOD.total_seconds() or seconds < least.total_seconds():
        message = f"{text!r} is out of range; use {int(least.total_seconds())}s to 3660d"
        raise InvalidValue(message)
    return timedelta(seconds=seconds)


def resolve_periods(every: Mapping[str, str]) -> dict[str, timedelta]:
    """Return the period of each cadence, given `every` by cadence name.

    Raises:
        InvalidValue: malformed, zero, above ten years, a multiple of an unknown cadence, or a cycle.
    """
    return {cadence: _resolve(cadence, every, ()) for cadence in every}


def _resolve(cadence: str, every: Mapping[str, str], above: tuple[str, ...]) -> timedelta:
    text = every[cadence]
    multiple = _MULTIPLE.fullmatch(text)
    if multiple is None:
        if "*" in text or not _DURATION.fullmatch(text):
            message = (
                f"every {text!r} of cadence {cadence!r} is not <n>s|m|h|d|w or <n>*<other cadence>"
            )
            raise InvalidValue(message)
        return parse_duration(text, least=timedelta(seconds=1))
    factor, other = int(multiple[1]), multiple[2]
    chain = (*above, cadence)
    if other in chain:
        message = f"every {text!r} of cadence {cadence!r} goes in a circle: {' -> '.join((*chain, other))}"
        raise InvalidValue(message)
    if other not in every:
        known = ", ".join(sorted(every))
        message = f"every {text!r} of cadence {cadence!r} names no cadence; there are: {known}"
        raise InvalidValue(message)
    seconds = factor * _resolve(other, every, chain).total_seconds()
    if not 1 <= seconds <= LONGEST_PERIOD.total_seconds():
        message = f"every {text!r} of cadence {cadence!r} is out of range; use 1s to 3660d"
        raise InvalidValue(message)
    return timedelta(seconds=seconds)


def next_slot(served: datetime, every: timedelta, *, phase: timedelta = timedelta(0)) -> datetime:
    """Return the first slot after `served`: a multiple of `every` since the epoch, plus `phase`."""
    periods = (served - EPOCH - phase) // every + 1
    return EPOCH + phase + periods * every


def slots_due(
    served: datetime, now: datetime, every: timedelta, *, phase: timedelta = timedelta(0)
) -> int:
    """Return how many slots lie after `served` and not after `now`."""
    return max(0, (now - EPOCH - phase) // every - (served - EPOCH - phase) // every)


def last_slot(now: datetime, every: timedelta, *, phase: timedelta = timedelta(0)) -> datetime:
    """Return the last slot that is not after `now`."""
    return EPOCH + phase + (now - EPOCH - phase) // every * every

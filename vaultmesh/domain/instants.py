"""Defines instants: how they are read and written, and which ones can be told at all.

1. Everything is in UTC. Receipts and proofs write what a ledger says, with all its digits; views write whole seconds.
2. An instant from outside is refused where a later step could not show it: before 1970, or near the end of year 9999,
   where the way to another time zone overflows.
"""

import re
from datetime import UTC, datetime, timedelta

from vaultmesh.domain.errors import InvalidValue

LATEST_SECOND = 253_402_300_799
"""Unix seconds at the end of the year 9999: the last that a `datetime` holds."""
_EARLIEST_YEAR, _LATEST_YEAR = 1970, 9_000
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


def of_seconds(seconds: float) -> datetime:
    """Return the instant of Unix seconds.

    Raises:
        InvalidValue: before 1970 or after the year 9999, or not a number.
    """
    if not 0 <= seconds <= LATEST_SECOND:
        message = f"{seconds} is no time in Unix seconds"
        raise InvalidValue(message)
    return datetime.fromtimestamp(seconds, UTC)


def is_tellable(instant: datetime) -> bool:
    """Whether an instant's year can be shown in any time zone."""
    return _EARLIEST_YEAR <= instant.year <= _LATEST_YEAR


def read_time(value: object) -> datetime:
    """Read a time of RFC 3339 in UTC, or take an aware one.

    Raises:
        InvalidValue: another form, or another time zone.
    """
    if isinstance(value, datetime) and value.utcoffset() == timedelta(0):
        return value.astimezone(UTC)
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value)
        except ValueError as error:
            message = f"{value!r} is no time: {error}"
            raise InvalidValue(message) from error
    message = f"{value!r} is not a time in UTC, such as 2026-01-15T10:00:00Z"
    raise InvalidValue(message)


def write_time(value: datetime) -> str:
    """Return a time as RFC 3339 in UTC, with as many digits as it needs."""
    text = value.astimezone(UTC).replace(tzinfo=None).isoformat()
    return f"{text.rstrip('0') if '.' in text else text}Z"


def write_seconds(instant: datetime) -> str:
    """Return an instant as RFC 3339 in UTC with whole seconds, `2026-01-15T10:00:00Z`."""
    return write_time(instant.replace(microsecond=0))

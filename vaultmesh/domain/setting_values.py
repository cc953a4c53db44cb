"""Reads single settings: durations, counts, amounts, switches, URLs.

Text is read as well as what YAML typed already, since a variable is always replaced by text.
No message holds the value: it may be secret.
"""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.namespaces.cadence import LONGEST_PERIOD, parse_duration

_MILLISECONDS = re.compile(r"([0-9]{1,9})ms")
_LONG = re.compile(r"[0-9]+(ms|[smhdw])")
_WHOLE = re.compile(r"[0-9]{1,18}")
_NOT_IN_URLS = re.compile(r"[\x00-\x20\x7f]")
_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,18})?")


def parse_fine_duration(text: str, *, least: timedelta = timedelta(0)) -> timedelta:
    """Return the duration `<n>ms|s|m|h|d|w`.

    Raises:
        InvalidValue: another form, or out of range.
    """
    match = _MILLISECONDS.fullmatch(text)
    if match is None:
        return parse_duration(text, least=least)
    duration = timedelta(milliseconds=int(match[1]))
    if duration < least:
        message = f"is too short; use at least {least.total_seconds():g}s"
        raise InvalidValue(message)
    return duration


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_fine_duration(value)
    except InvalidValue:
        if _LONG.fullmatch(value):
            message = f"is too long - use at most {LONGEST_PERIOD.days}d"
            raise InvalidValue(message) from None
        message = "is not a duration - write digits and one of ms, s, m, h, d, w, such as 250ms"
        raise InvalidValue(message) from None


def between(least: timedelta, most: timedelta) -> AfterValidator:
    """Return what refuses a duration that is out of range."""

    def check(duration: timedelta) -> timedelta:
        if duration < least:
            message = f"is too short - use at least {_written(least)}"
            raise InvalidValue(message)
        if duration > most:
            message = f"is too long - use at most {_written(most)}"
            raise InvalidValue(message)
        return duration

    return AfterValidator(check)


def _written(duration: timedelta) -> str:
    milliseconds = duration // timedelta(milliseconds=1)
    return f"{milliseconds // 1_000}s" if milliseconds % 1_000 == 0 else f"{milliseconds}ms"


def _whole(value: object) -> object:
    """Read digits: what a variable is replaced by is always text."""
    if not isinstance(value, str):
        return value
    if not _WHOLE.fullmatch(value):
        message = "is not a whole number - write digits"
        raise InvalidValue(message)
    return int(value)


def _amount(value: object) -> object:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _AMOUNT.fullmatch(text):
        message = "is not an amount - write a decimal number such as 1.5"
        raise InvalidValue(message)
    return Decimal(text)


def _flag(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value not in ("true", "false"):
        message = "is neither true nor false - write one of them, in lower case"
        raise InvalidValue(message)
    return value == "true"


def _check_url(url: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(url.get_secret_value())
        host = parts.hostname or ""
        sound = parts.scheme in ("http", "https") and bool(host.encode("idna")) and parts.port != 0
        sound = sound and not _NOT_IN_URLS.search(url.get_secret_value().strip())
    except ValueError:
        sound = False
    if not sound:
        message = "is not a URL we can use - write http:// or https:// with a host"
        raise InvalidValue(message)
    return url


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=0)]
Amount = Annotated[Decimal, BeforeValidator(_amount)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Url = Annotated[SecretStr, AfterValidator(_check_url)]
"""Secret, since it may hold a user and a password or an access key."""

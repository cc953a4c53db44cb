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
from vaultmesh.domain.namespaces.cadence import parse_duration

_MILLISECONDS = re.compile(r"([0-9]{1,9})ms")
_WHOLE = re.compile(r"[0-9]{1,18}")
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
        message = "is not a duration - write digits and one of ms, s, m, h, d, w, such as 250ms"
        raise InvalidValue(message) from None


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
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
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

"""Reads the single values of maintenance.yaml: cron expressions, shares, numbers, names of tables and folders.

No message holds the value: it may be secret.
"""

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.jobs.cron import read_cron
from vaultmesh.domain.maintenance.sql_names import Name
from vaultmesh.domain.namespaces.config import check_name
from vaultmesh.domain.setting_values import Duration, between

ALL = "all"
"""In place of a list of tables or indexes: every one of the database's users."""
SHORTEST_DEADLINE = timedelta(seconds=1)
LONGEST_DEADLINE = timedelta(days=1)
LONGEST_PART = 255
"""Bytes of a folder's name."""

_RATIO = re.compile(r"0|1|[01]?\.[0-9]{1,6}")
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")
_STATUS = re.compile(r"[1-5](xx|[0-9]{2})")


def _cron(text: str) -> str:
    if not read_cron(text).fires_ever:
        message = "never fires: no date matches - correct day and month, or write enabled: false"
        raise InvalidValue(message)
    return text


def _ratio(value: object) -> object:
    if isinstance(value, int | str) and not isinstance(value, bool):
        if not _RATIO.fullmatch(str(value)):
            message = "is no share - write a number from 0 to 1, such as 0.2"
            raise InvalidValue(message)
        return float(value)
    return value


def _number(value: object) -> object:
    if isinstance(value, int | str) and not isinstance(value, bool):
        if not _NUMBER.fullmatch(str(value)):
            message = "is not a number - write a number such as 1000 or 0.5"
            raise InvalidValue(message)
        return float(value)
    return value


def _status(value: object) -> object:
    text = str(value)
    if isinstance(value, int | str) and _STATUS.fullmatch(text):
        return text
    message = "is no status - write one such as 200, or a family such as 2xx"
    raise InvalidValue(message)


def _names(value: object) -> object:
    if value == ALL:
        return ALL
    if not isinstance(value, list) or not value:
        message = f"is no list of names - write {ALL}, or a list such as [public.orders]"
        raise InvalidValue(message)
    return tuple(value)


def check_database(url: SecretStr) -> SecretStr:
    """Return the URL of a database of PostgreSQL.

    Raises:
        InvalidValue: it is none.
    """
    if not re.match(r"postgres(ql)?://.", url.get_secret_value()):
        message = "is no URL of PostgreSQL - write postgresql://user:password@host:5432/database"
        raise InvalidValue(message)
    return url


def _folder(text: str) -> str:
    if text.startswith("~"):
        message = "begins with ~, which nothing replaces here - write the whole path, or ${HOME}"
        raise InvalidValue(message)
    if any(len(part.encode()) > LONGEST_PART for part in text.split("/")):
        message = (
            f"has a part that is longer than {LONGEST_PART} bytes, as no folder is - correct it"
        )
        raise InvalidValue(message)
    return text


Cron = Annotated[str, AfterValidator(_cron)]
Ratio = Annotated[float, BeforeValidator(_ratio), Field(ge=0, le=1)]
Number = Annotated[float, BeforeValidator(_number)]
Status = Annotated[str, BeforeValidator(_status)]
Names = Annotated[Literal["all"] | tuple[Name, ...], BeforeValidator(_names)]
Namespace = Annotated[str, AfterValidator(check_name)]
FolderName = Annotated[str, Field(min_length=1), AfterValidator(_folder)]
Deadline = Annotated[Duration, between(SHORTEST_DEADLINE, LONGEST_DEADLINE)]
Wait = Annotated[Duration, between(timedelta(milliseconds=1), LONGEST_DEADLINE)]

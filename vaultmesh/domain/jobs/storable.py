"""Brings what a handler answered into a form that every database takes: an end that can't be written would be lost."""

from math import isfinite
from uuid import UUID

from pydantic import JsonValue

LARGEST_INTEGER = 2_147_483_647
"""What a column of 32 bits holds, which others may have made."""
LONGEST_ERROR = 10_000
"""Characters of an error that are kept."""
_LARGEST_JSON_INTEGER = 2**63 - 1
_REPLACEMENT = "\ufffd"


def storable_text(text: str) -> str:
    """Return a text without NUL and half characters."""
    return text.replace("\x00", _REPLACEMENT).encode(errors="replace").decode()


def storable(value: JsonValue) -> JsonValue:
    """Return a JSON value that a table holds: what it can't hold is replaced, numbers that are not finite by null."""
    match value:
        case dict():
            return {storable_text(key): storable(entry) for key, entry in value.items()}
        case list():
            return [storable(entry) for entry in value]
        case str():
            return storable_text(value)
        case float() if not isfinite(value):
            return None
        case int() if abs(value) > _LARGEST_JSON_INTEGER:
            return str(value)
        case _:
            return value


def storable_count(count: int | None) -> int:
    """Return a count that a column holds; none is 0, as the table's default is."""
    return max(-LARGEST_INTEGER, min(count or 0, LARGEST_INTEGER))


def storable_uuid(text: str) -> str | None:
    """Return an id in the form that PostgreSQL gives back; None for a text that is none."""
    try:
        return str(UUID(text))
    except ValueError:
        return None

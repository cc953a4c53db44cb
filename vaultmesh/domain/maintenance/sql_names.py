"""Reads names of tables as people write them, and writes names and values as SQL.

1. A name is `name` or `schema.name`, each part as in SQL: plain, or in double quotes, in which `""` is one quote.
2. A plain part with capital letters is refused: PostgreSQL would read it in small letters, which its author may not mean.
3. What is longer than 63 bytes is refused: PostgreSQL would cut it off in silence.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator
from typing_extensions import override

from vaultmesh.domain.errors import InvalidValue, described

LONGEST_NAME = 63
"""Bytes of an identifier of PostgreSQL."""
BACKSLASH = "\\"
_PART = re.compile(r'"((?:[^"]|"")+)"|([^".\s]+)')
_PLAIN = re.compile(r"[^\W\d][\w$]*")
_MOST_PARTS = 2


@dataclass(frozen=True, slots=True, order=True)
class SqlName:
    """A table, view or index as it is named; an empty schema leaves it to the connection's search path."""

    schema: str
    name: str

    @property
    def sql(self) -> str:
        """The name in double quotes, safe in any statement."""
        return (
            quoted(self.name) if not self.schema else f"{quoted(self.schema)}.{quoted(self.name)}"
        )

    @override
    def __str__(self) -> str:
        """Return the name as people write it: quotes only where they are needed."""
        return ".".join(_as_written(part) for part in (self.schema, self.name) if part)


def quoted(name: str) -> str:
    """Return an identifier in double quotes.

    Raises:
        InvalidValue: it has a character that no identifier has.
    """
    if "\0" in name:
        message = "a name holds a zero byte - remove it"
        raise InvalidValue(message)
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as a constant of SQL, whatever the server takes backslashes for."""
    escaped = text.replace("\0", "").replace("'", "''").replace(BACKSLASH, 2 * BACKSLASH)
    return f"{'E' if escaped.count(BACKSLASH) else ''}'{escaped}'"


def instant_literal(instant: datetime) -> str:
    """Return an aware instant as a constant of type `timestamptz`."""
    return f"'{instant.isoformat(sep=' ')}'::timestamptz"


def read_sql_name(text: str) -> SqlName:
    """Read the name of a table, view or index.

    Raises:
        InvalidValue: it is none, or PostgreSQL would read another one.
    """
    return _read(
        text,
        "is no name of a table - write schema.name, with double quotes around a part that is no plain word",
    )


def _read(text: str, malformed: str) -> SqlName:
    parts: list[str] = []
    place = 0
    while match := _PART.match(text, place):
        parts.append(_part(text, match, malformed))
        place = match.end()
        if place == len(text):
            break
        if text[place:] == "." or text[place] != ".":
            raise _refused(text, malformed)
        place += 1
    if place != len(text) or not 1 <= len(parts) <= _MOST_PARTS or "\0" in text:
        raise _refused(text, malformed)
    return SqlName("", parts[0]) if len(parts) == 1 else SqlName(parts[0], parts[1])


def read_column(text: str) -> str:
    """Return the name of a column, which is written like a table's, without a schema.

    Raises:
        InvalidValue: it is none, or PostgreSQL would read another one.
    """
    name = _read(
        text, "is no name of a column - write it alone, in double quotes if it is no plain word"
    )
    if name.schema:
        message = f"{described(text)} is no column - write its name alone"
        raise InvalidValue(message)
    return name.name


def _part(text: str, match: re.Match[str], malformed: str) -> str:
    in_quotes, plain = match.groups()
    part: str = in_quotes.replace('""', '"') if in_quotes else plain
    if plain and not _PLAIN.fullmatch(plain):
        raise _refused(text, malformed)
    if plain and plain != plain.lower():
        message = f"{described(text)} has capital letters outside of quotes - write '\"{plain}\"' if the name has them, else {plain.lower()}"
        raise InvalidValue(message)
    if len(part.encode()) > LONGEST_NAME:
        message = f"{described(text)} is longer than {LONGEST_NAME} bytes - PostgreSQL has no such names; correct it"
        raise InvalidValue(message)
    return part


def _refused(text: str, why: str) -> InvalidValue:
    return InvalidValue(f"{described(text)} {why}")


def _as_written(part: str) -> str:
    plain = _PLAIN.fullmatch(part) and part == part.lower()
    return part if plain else quoted(part)


def _text(value: object) -> str:
    if not isinstance(value, str):
        message = "is no name - write one name, in single quotes if it looks like a number or has double quotes"
        raise InvalidValue(message)
    return value


def _name(value: object) -> object:
    return value if isinstance(value, SqlName) else read_sql_name(_text(value))


def _column(value: object) -> object:
    return read_column(_text(value))


Name = Annotated[SqlName, BeforeValidator(_name)]
Column = Annotated[str, BeforeValidator(_column)]

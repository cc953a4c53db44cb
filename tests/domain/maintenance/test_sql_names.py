"""A name from a file is one name for PostgreSQL, or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.errors import InvalidValue
from vaultmesh.domain.maintenance.sql_names import (
    SqlName,
    literal,
    quoted,
    read_column,
    read_sql_name,
)

NAMES = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=15
)


@given(schema=NAMES, name=NAMES)
def test_a_name_is_read_as_it_is_written(schema: str, name: str) -> None:
    whole = SqlName(schema, name)
    assert read_sql_name(whole.sql) == whole
    assert read_sql_name(str(whole)) == whole


@given(text=st.text(max_size=40))
def test_nothing_else_is_read(text: str) -> None:
    try:
        name = read_sql_name(text)
    except InvalidValue:
        return
    assert read_sql_name(name.sql) == name
    assert name.sql.count('"') % 2 == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a.",
        ".a",
        "a.b.c",
        'a"b',
        '"a',
        'a"',
        "a b",
        "a; drop table b",
        "a--",
        "a'b",
        "1a",
        "Users",
        "x" * 64,
        '"' + "ä" * 32 + '"',
        "a\0",
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        read_sql_name(text)


def test_a_column_has_no_schema() -> None:
    assert read_column('"Killed At"') == "Killed At"
    with pytest.raises(InvalidValue, match="no column"):
        read_column("a.b")


def test_quotes_in_values_and_names_are_doubled() -> None:
    assert quoted('a"; drop') == '"a""; drop"'
    assert literal("it's") == "'it''s'"
    assert literal("a\\'b") == "E'a\\\\''b'"

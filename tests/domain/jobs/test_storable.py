"""What a handler answers is brought into a form that every table takes, and nothing else is changed."""

import json

from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.jobs.storable import LARGEST_INTEGER, storable, storable_count

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
SCALARS = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | TEXTS
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | NUMBERS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20
)


@given(VALUES)
def test_what_a_table_takes_stays_as_it_is(value: object) -> None:
    assert storable(value) == value  # type: ignore[arg-type]


@given(st.text(), st.floats(), st.integers())
def test_anything_else_becomes_what_a_table_takes(text: str, number: float, count: int) -> None:
    value = storable({text: [text, number, count]})
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    assert b"\x00" not in written.encode()
    assert "\\u0000" not in written


@given(st.none() | st.integers())
def test_a_count_fits_a_column_of_32_bits(count: int | None) -> None:
    kept = storable_count(count)
    assert abs(kept) <= LARGEST_INTEGER
    assert kept == count or count is None or abs(count) > LARGEST_INTEGER

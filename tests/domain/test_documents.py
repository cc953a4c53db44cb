"""Canonical JSON (M6)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.documents import canonical_json
from vaultmesh.domain.errors import InvalidValue

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def test_keys_are_sorted_and_nothing_is_padded() -> None:
    assert (
        canonical_json({"b": 1, "a": ["é", None, True]}) == '{"a":["é",null,true],"b":1}'.encode()
    )


@given(st.dictionaries(TEXTS, TEXTS))
def test_the_order_of_keys_does_not_matter(document: dict[str, str]) -> None:
    backwards = dict(reversed(document.items()))
    assert canonical_json(dict(document)) == canonical_json(dict(backwards))
    assert json.loads(canonical_json(dict(document))) == document


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60, "\ud800"])
def test_what_has_no_canonical_form_is_refused(value: float | str) -> None:
    with pytest.raises(InvalidValue, match="no canonical form"):
        canonical_json({"value": value})

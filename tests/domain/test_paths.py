"""How names become parts of paths."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultmesh.domain.paths import path_form

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("dao:vaultmesh", "dao_vaultmesh"),
        ("1761300000", "1761300000"),
        ("a_b", "a~5fb"),
        ("A", "~41"),
        ("..", "~2e~2e"),
        (".x.y.", "~2ex.y~2e"),
        ("a/b", "a~2fb"),
        ("é", "~c3~a9"),
        ("~", "~7e"),
    ],
)
def test_path_form_by_example(name: str, form: str) -> None:
    assert path_form(name) == form


@given(NAMES, NAMES)
def test_two_names_never_share_a_form(one: str, other: str) -> None:
    assert (path_form(one) == path_form(other)) == (one == other)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400))
def test_a_form_is_always_a_safe_file_name(name: str) -> None:
    form = path_form(name)
    assert re.fullmatch(r"[a-z0-9._~-]*", form)
    assert len(form) <= 150
    assert form.strip(".") == form


def test_a_long_name_is_cut_and_keeps_a_hash() -> None:
    assert path_form("a" * 150) == "a" * 150
    assert re.fullmatch(r"a{100}~[0-9a-f]{32}", path_form("a" * 151))
    assert path_form("a" * 151) != path_form("a" * 152)

"""What is wrong with a value is said in our own words, whatever pydantic calls it."""

import re
from typing import get_args

import pytest
from pydantic_core.core_schema import ErrorType

from vaultmesh.domain.complaints import complaint, did_you_mean, unknown_key

FOREIGN = re.compile(
    r"[Ii]nput should|Extra input|Field required|type=|pydantic|Value error|valid (dictionary|string|integer)"
)
"""Words by which a sentence of pydantic is known."""


class Anything(dict[str, object]):
    """A context that holds whatever is asked for."""

    def __missing__(self, key: str) -> str:
        return "7"


@pytest.mark.parametrize("kind", get_args(ErrorType))
def test_every_error_of_pydantic_has_words_of_ours(kind: str) -> None:
    limits = dict.fromkeys(
        ("min_length", "max_length", "gt", "ge", "lt", "le", "multiple_of", "expected"), "7"
    )
    sentence = "Input should be something that an operator never heard of"
    if kind == "value_error":
        sentence = "Value error, is not a name - write one"
    words = complaint(kind, limits, sentence)
    assert not FOREIGN.search(words)
    assert " - " in words
    assert "{" not in words


def test_a_choice_is_listed_plainly() -> None:
    words = complaint("enum", {"expected": "'auto', 'always' or 'off'"}, "")
    assert words.endswith("use one of: auto, always, off")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("confirmation", "confirmations"),
        ("rpcURL", "rpcUrl"),
        ("RPCURL", "rpcUrl"),
        ("keyfile", "keyFile"),
        ("gas", ""),
        ("", ""),
        ("x" * 10_000, ""),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(name: str, meant: str) -> None:
    known = ("confirmations", "rpcUrl", "keyFile")
    assert did_you_mean(name, known) == (f"did you mean {meant!r}?" if meant else "")


def test_an_unknown_key_lists_what_is_known() -> None:
    assert unknown_key("gas", ("window", "quorum")) == (
        "unknown key - remove it, or use one of: quorum, window"
    )
    assert unknown_key("windw", ("window", "quorum")) == (
        "unknown key - did you mean 'window'? Else remove it, or use one of: quorum, window"
    )
    assert unknown_key("gas", ()) == "unknown key - remove it"

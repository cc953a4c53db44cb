"""Says in our own words what pydantic finds wrong with a value, and which name was probably meant.

No message holds the value itself: it may be secret.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

_ALIKE = 0.6
"""How alike two names must be, from 0 to 1: `confirmation` and `confirmations` are, `gas` and `quorum` are not."""

_TEXT = "is not a text - write a text; in quotes if it looks like a number"
_WHOLE = "is not a whole number - write a whole number without quotes"
_DIGITS = "is not a whole number - write digits alone"
_NUMBER = "is not a number - write a number without quotes"
_FLAG = "is neither true nor false - write true or false without quotes"
_GROUP = "does not hold keys and values - write keys and values below it"
_LIST = "is not a list - write a list"
_CHOICE = "is not a word that is known here - use one of: {expected}"
_INSTANT = "is not an instant - write one such as 2026-01-15T10:00:00Z"
_DURATION = "is not a duration - write digits and one of ms, s, m, h, d, w, such as 250ms"
_AMOUNT = "is not an amount - write a decimal number such as 1.5"
_JSON = "is not JSON - check its quotes, commas and brackets"
_EMPTY = "is empty - write a text"
_OTHER = "has another form than it needs - write it as its documentation shows"

_WORDS: Mapping[str, str] = {
    "missing": "is missing - add it",
    "string_too_short": "is too short - write at least {min_length} characters",
    "string_too_long": "is too long - write at most {max_length} characters",
    "too_short": "has too few entries - write at least {min_length}",
    "too_long": "has too many entries - write at most {max_length}",
    "greater_than": "is too small - use more than {gt}",
    "greater_than_equal": "is too small - use at least {ge}",
    "less_than": "is too large - use less than {lt}",
    "less_than_equal": "is too large - use at most {le}",
    "multiple_of": "is not a multiple of {multiple_of} - use one",
    "enum": _CHOICE,
    "literal_error": _CHOICE,
    "int_parsing": _DIGITS,
    "int_from_float": _DIGITS,
    "finite_number": _NUMBER,
    "timezone_aware": f"has no time zone: {_INSTANT}",
    "none_required": "has to stay empty - remove it",
    "invalid_key": "has a key that is not a text - write a text",
}
_FAMILIES: Mapping[str, str] = {
    "string_": _TEXT,
    "int_": _WHOLE,
    "float_": _NUMBER,
    "bool_": _FLAG,
    "model_": _GROUP,
    "dict_": _GROUP,
    "mapping_": _GROUP,
    "dataclass_": _GROUP,
    "list_": _LIST,
    "tuple_": _LIST,
    "set_": _LIST,
    "frozen_set_": _LIST,
    "iterable_": _LIST,
    "date": _INSTANT,
    "time_delta_": _DURATION,
    "decimal_": _AMOUNT,
    "json_": _JSON,
}
"""By how the name of pydantic's error begins."""


def complaint(kind: str, context: Mapping[str, object], sentence: str) -> str:
    """Return what is wrong with a value and how to mend it.

    Args:
        kind: pydantic's name of the error.
        context: what belongs to it, such as a limit.
        sentence: what pydantic says; used only where it passes on a sentence of ours.
    """
    if kind == "value_error":
        return _lower_first(sentence.removeprefix("Value error, "))
    family = next((words for start, words in _FAMILIES.items() if kind.startswith(start)), _OTHER)
    words = _EMPTY if _is_empty(kind, context) else _WORDS.get(kind, family)
    return words.format_map({**context, "expected": _listed(context.get("expected"))})


def _is_empty(kind: str, context: Mapping[str, object]) -> bool:
    """Whether a text has no character at all, where one would do."""
    return kind == "string_too_short" and context.get("min_length") == 1


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Return the refusal of a key, with the one that was probably meant."""
    names = sorted(known)
    if not names:
        return "unknown key - remove it"
    meant = did_you_mean(key, names)
    mend = f"{meant} Else remove it," if meant else "remove it,"
    return f"unknown key - {mend} or use one of: {', '.join(names)}"


def did_you_mean(name: str, known: Iterable[str], *, alike: float = _ALIKE) -> str:
    """Return `did you mean 'x'?`, or nothing if no known name is like this one."""
    by_small_letters = {word.lower(): word for word in known}
    meant = get_close_matches(name[:100].lower(), by_small_letters, n=1, cutoff=alike)
    return f"did you mean {by_small_letters[meant[0]]!r}?" if meant else ""


def _listed(expected: object) -> str:
    """Return a choice as we write it: pydantic says `'auto', 'always' or 'off'`."""
    return str(expected).replace(" or ", ", ").replace("'", "")


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() else text

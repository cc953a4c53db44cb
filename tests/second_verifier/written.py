"""Writes JSON that no ordinary writer writes: keys that stand twice, and numbers as they are."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_KEY, _VALUE = json.JSONEncoder().encode, json.JSONEncoder(ensure_ascii=False).encode
"""Made once: hundreds of values are written for each of thousands of proofs."""


@dataclass(frozen=True)
class Raw:
    """A piece of text that stands where a value belongs."""

    text: str


@dataclass(frozen=True)
class Members:
    """An object by its members, in order; a key may stand twice."""

    pairs: Sequence[tuple[str, Any]]


def written(value: object) -> str:
    """Return a value's text on one line."""
    if isinstance(value, str):
        return _VALUE(value)
    if isinstance(value, dict):
        return _object(value.items())
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, Raw):
        return value.text
    return _object(value.pairs) if isinstance(value, Members) else _VALUE(value)


def _object(pairs: Iterable[tuple[str, Any]]) -> str:
    return f"{{{','.join([f'{_KEY(key)}:{written(item)}' for key, item in pairs])}}}"

"""Writes JSON that no ordinary writer writes: keys that stand twice, and numbers as they are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


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
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return written(Members(tuple(value.items())))
    if isinstance(value, Members):
        members = ",".join(f"{json.dumps(key)}:{written(item)}" for key, item in value.pairs)
        return f"{{{members}}}"
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    return json.dumps(value, ensure_ascii=False)

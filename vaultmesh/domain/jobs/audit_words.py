"""Says the details of a line of audit in words."""

import json

from pydantic import JsonValue


def detail_words(detail: JsonValue) -> list[str]:
    """Return what a line says beside its action, a text for each thing: a change as `from → to`."""
    if not isinstance(detail, dict):
        return [] if detail is None else [_text(detail)]
    return [f"{key.replace('_', ' ')}: {_change(value)}" for key, value in detail.items()]


def _change(value: JsonValue) -> str:
    if isinstance(value, dict) and set(value) == {"was", "is"}:
        if value["was"] is None:
            return _text(value["is"])
        return f"{_text(value['was'])} → {_text(value['is'])}"
    return _text(value)


def _text(value: JsonValue) -> str:
    match value:
        case None:
            return "–"
        case True | False:
            return "yes" if value else "no"
        case str():
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)

"""Reads what a handler answered, and decides how its run ended.

1. A run is completed by a 2xx answer with a JSON object whose `success` is true or left out; anything else is failed, with
   one line that says why.
2. An answer is foreign: whatever it holds, reading it raises nothing, and what is kept of it fits into the tables.
3. A count that is no whole number from 0 to 2,147,483,647 is treated as if it had been left out.
4. JSON is read as JavaScript reads it where the standard leaves it open: UTF-8 whatever the header says, broken characters
   replaced, the last of two equal keys; but what is nested too deeply is no answer.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

from pydantic import JsonValue
from pydantic_core import from_json

from vaultmesh.domain.jobs.run import (
    NO_ERROR_GIVEN,
    RunStatus,
    handler_error,
    http_failure,
    not_an_object,
    not_json,
)
from vaultmesh.domain.messages import Wire

LARGEST_COUNT = 2**31 - 1
"""What a column of type integer holds in PostgreSQL."""
_FIRST_OK, _FIRST_REDIRECT = 200, 300
_UNKNOWN = "\ufffd"
_ESCAPE = re.compile(
    r"\\(?:u(?P<pair>[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|u(?P<half>[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""One escape of a JSON string, so that `\\\\ud800` is not taken for half a character."""

Redact = Callable[[str], str]
"""Returns a text without what is secret."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler sent back, as it came."""

    status: int
    reason: str = ""
    """The words after the status."""
    content_type: str = ""
    """The header, with its parameters."""
    content_encoding: str = ""
    """The header; we ask for none."""
    body: bytes = b""

    @property
    def is_ok(self) -> bool:
        """Whether the status is 2xx: only then the body counts."""
        return _FIRST_OK <= self.status < _FIRST_REDIRECT

    @property
    def kind(self) -> str:
        """What the body says that it is, for a message."""
        kind = self.content_type.partition(";")[0].strip()
        return f"{kind} as {self.content_encoding}" if self.content_encoding else kind


class RunEnd(Wire):
    """How a run ended, in values that every table of ours holds."""

    status: RunStatus
    error: str | None = None
    """One line: why it failed, or what the handler remarked on a run that it completed."""
    items_processed: int | None = None
    """None: the handler did not say."""
    items_succeeded: int | None = None
    items_failed: int | None = None
    metadata: dict[str, JsonValue] | None = None

    @property
    def is_completed(self) -> bool:
        """Whether the handler succeeded."""
        return self.status is RunStatus.COMPLETED

    @property
    def result(self) -> dict[str, JsonValue]:
        """What a trigger answers; counts that the handler left out are left out."""
        counts = {
            "itemsProcessed": self.items_processed,
            "itemsSucceeded": self.items_succeeded,
            "itemsFailed": self.items_failed,
        }
        return {
            "success": self.is_completed,
            **{key: count for key, count in counts.items() if count is not None},
            "error": self.error,
            "metadata": self.metadata or {},
        }


def failed(error: str) -> RunEnd:
    """Return the end of a run that got no result from its handler."""
    return RunEnd(
        status=RunStatus.FAILED, error=error, items_processed=0, items_succeeded=0, items_failed=0
    )


def read_answer(answer: Answer, redact: Redact) -> RunEnd:
    """Return how a run ended whose handler answered; `redact` is applied to every text that is kept.

    It takes up to some tens of milliseconds for an answer of the largest size.
    """
    if not answer.is_ok:
        return failed(http_failure(answer.status, redact(answer.reason)))
    size = len(answer.body)
    try:
        value: JsonValue = from_json(_decoded(answer), allow_inf_nan=False)
    except ValueError:
        return failed(redact(not_json(answer.kind, size)))
    if not isinstance(value, dict):
        return failed(redact(not_an_object(answer.kind, size)))
    return _end_of(value, redact)


def _end_of(result: dict[str, JsonValue], redact: Redact) -> RunEnd:
    succeeded = result.get("success", True) is True
    error, metadata = result.get("error"), result.get("metadata")
    line = handler_error(redact(error)) if isinstance(error, str) else ""
    return RunEnd(
        status=RunStatus.COMPLETED if succeeded else RunStatus.FAILED,
        error=line or (None if succeeded else NO_ERROR_GIVEN),
        items_processed=_count(result.get("itemsProcessed")),
        items_succeeded=_count(result.get("itemsSucceeded")),
        items_failed=_count(result.get("itemsFailed")),
        metadata=_kept(metadata, redact) if isinstance(metadata, dict) else None,
    )


def _decoded(answer: Answer) -> str:
    if answer.content_encoding:
        message = "compressed, which was not asked for"
        raise ValueError(message)
    text = answer.body.decode("utf-8-sig", errors="replace")
    return _ESCAPE.sub(_whole_character, text) if "\\u" in text else text


def _whole_character(escape: re.Match[str]) -> str:
    return _UNKNOWN if escape["half"] else escape[0]


def _count(value: JsonValue) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= LARGEST_COUNT and value == int(value) else None


def _kept(metadata: dict[str, JsonValue], redact: Redact) -> dict[str, JsonValue]:
    """Return a handler's metadata with what no table holds replaced; its texts are looked through one by one only if one is secret."""
    text = json.dumps(metadata, ensure_ascii=False)
    secret = redact(text) != text
    return _Keeper(redact if secret else None).object(metadata)


@dataclass(frozen=True, slots=True)
class _Keeper:
    redact: Redact | None

    def object(self, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        return {self.text(key): self.value(entry) for key, entry in value.items()}

    def value(self, value: JsonValue) -> JsonValue:
        match value:
            case str():
                return self.text(value)
            case dict():
                return self.object(value)
            case list():
                return [self.value(entry) for entry in value]
            case float() if not isfinite(value):
                return None
            case _:
                return value

    def text(self, text: str) -> str:
        whole = text.replace("\x00", _UNKNOWN)
        return self.redact(whole) if self.redact else whole

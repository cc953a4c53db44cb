"""Defines a run of a job: its id, its states, who asked for it, and in which words it fails.

1. One id is the run's execution id, its row, its activity, and what the handler gets as header and body.
2. A run is `running` until it is `completed` or `failed`; there is nothing else.
3. A run whose fate is unknown is failed, and its text says so; only its true end replaces that.
"""

import uuid
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus

from vaultmesh.domain.errors import LONGEST_MESSAGE, in_one_line
from vaultmesh.domain.namespaces.cadence import EPOCH

_RUNS = uuid.UUID("5b0c6a0e-3f0d-5d0c-9b52-6b1f3c0f7a11")
"""Keeps our ids apart from those that others make of the same names; never changed."""
_OUR_VERSION = "5"
"""Of the UUIDs of scheduled runs, as their texts say it; another scheduler makes random ones."""
_LENGTH, _VERSION_AT = 36, 14
_SECOND = timedelta(seconds=1)
_KILOBYTE = 1_000
_LONGEST_NAME = 60
"""Characters of a foreign content type or reason that are shown."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
LARGEST_ANSWER = 1_000_000
"""Bytes of a handler's answer; a result says in a few hundred what was done."""

FATE_UNKNOWN = "its fate is unknown"
"""Ends the text of every run that may have been done or not."""
NO_WORKER = "not called: no worker with role jobs"
WORKER_DIED = f"the worker died while the call was under way; {FATE_UNKNOWN}"
TASK_LEFT = f"the worker died while the task was under way; {FATE_UNKNOWN}"
CANCELLED = f"cancelled while the call was under way; {FATE_UNKNOWN}"
CONNECTION_BROKE = f"the connection broke after the request was sent; {FATE_UNKNOWN}"
NOT_HTTP = f"the answer is not HTTP; {FATE_UNKNOWN}"
ANSWER_TOO_LARGE = f"the answer is larger than {LARGEST_ANSWER // _KILOBYTE**2} MB"
NO_ERROR_GIVEN = "the handler did not succeed, and did not say why"


class RunStatus(StrEnum):
    """State of a run, in the words of the table and of the admin page."""

    RUNNING = "running"
    """Its row is open: the call is under way, or about to be."""
    COMPLETED = "completed"
    """The handler answered with success."""
    FAILED = "failed"
    """It was not called, did not succeed, or nobody knows."""


class TriggeredBy(StrEnum):
    """What started a run."""

    SCHEDULER = "scheduler"
    """A slot of its cron expression."""
    MANUAL = "manual"
    """Somebody who asked for it."""
    ADMIN = "admin"
    """Only in rows of others: some handlers refuse this word, so it is never sent."""


def run_id(job: str, slot: datetime) -> uuid.UUID:
    """Return the id of a scheduled run: always the same for a job and a slot, so that a slot is called once."""
    return uuid.uuid5(_RUNS, f"{(slot - EPOCH) // _SECOND} {job}")


def is_of_our_slot(run: str) -> bool:
    """Whether the id of a scheduled run is one that we make."""
    return len(run) == _LENGTH and run[_VERSION_AT] == _OUR_VERSION


def not_called(why: str) -> str:
    """Return the text of a run whose request was never sent."""
    return f"not called: {why}"


def no_answer(timeout: timedelta) -> str:
    """Return the text of a run whose handler did not answer in time."""
    return f"no answer within {timeout.total_seconds():g} s; the job may go on"


def not_json(content_type: str, size: int) -> str:
    """Return the text of a run whose handler answered with something else than JSON, of `size` bytes."""
    return f"the answer is not JSON ({_kind_and_size(content_type, size)})"


def not_an_object(content_type: str, size: int) -> str:
    """Return the text of a run whose handler answered with JSON that holds no result, of `size` bytes."""
    return f"the answer is not a JSON object ({_kind_and_size(content_type, size)})"


def http_failure(status: int, reason: str) -> str:
    """Return the text of a run whose handler answered with a status of failure; a missing reason is looked up."""
    words = handler_error(reason, _LONGEST_NAME) or _phrase(status)
    note = " (redirects are not followed)" if status in _REDIRECTS else ""
    return f"HTTP {status}: {words}{note}"


def handler_error(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """Return a handler's own words as one line; they never pass for our words about an unknown fate."""
    line = in_one_line(text, longest)
    return f"{line}." if line.endswith(FATE_UNKNOWN) else line


def is_fate_unknown(error: str | None) -> bool:
    """Whether a failed run may yet turn out to have ended otherwise."""
    return error is not None and error.endswith(FATE_UNKNOWN)


def _kind_and_size(content_type: str, size: int) -> str:
    amount = f"{size} bytes" if size < _KILOBYTE else f"{size // _KILOBYTE} kB"
    return f"{in_one_line(content_type, _LONGEST_NAME) or 'no content type'}, {amount}"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "a status without a name"

"""Defines the events that are logged: their names, sentences, levels and fields, in one table.

1. `log_event` alone writes them: a line has the event's word in `event`, its sentence in `msg`, and fields from its row.
2. An event is logged where the fact is done, once: workflows log nothing in a replay, nor again when a task of theirs is
   asked for again (`workflows.lines`), and an activity that finds the thing done already is silent.
3. A field that says nothing (None, or an empty text) is left out.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MARK = "mark"
"""The attribute of a record by which its line is known again; it is in no line."""


class LogEvent(StrEnum):
    """A fact that is logged, by the word in its lines' field `event`."""

    SEALED = "sealed"
    JOINED = "joined"
    SIGNED = "signed"
    BROADCAST = "broadcast"
    BUMPED = "bumped"
    FILLED = "filled"
    INCLUDED = "included"
    FINAL = "final"
    REORGANISED = "reorganised"
    REOPENED = "reopened"
    LOST = "lost"
    RESOLVED = "resolved"
    STEP_FAILED = "step_failed"
    HELD = "held"
    FREED = "freed"
    SUCCESS = "success"
    ENDED = "ended"
    FAILED = "failed"
    AT_RISK = "at_risk"
    MISSED = "missed"
    PAUSED = "paused"
    RESUMED = "resumed"
    FORCED = "forced"
    RECONFIGURED = "reconfigured"
    REJECTED = "rejected"
    STARTING = "starting"
    STOPPED = "stopped"
    LOADED = "loaded"
    RELOADED = "reloaded"
    REFUSED = "refused"
    JOB_STARTED = "job_started"
    JOB_ENDED = "job_ended"
    TASK_STARTED = "task_started"
    STEP_ENDED = "step_ended"
    TASK_ENDED = "task_ended"
    ASKED = "asked"


@dataclass(frozen=True, slots=True)
class Row:
    """What a line about an event says."""

    msg: str
    level: int
    """Python's number of it; of events with several, that of the usual one."""
    fields: tuple[str, ...]
    means: str
    """When it is logged, for the documents."""


_DEBUG, _INFO, _WARN, _ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR
_REQUEST = ("ns", "label", "slot", "target")
_ROUND = ("target", "round")

LOG_EVENTS: Mapping[LogEvent, Row] = {
    LogEvent.SEALED: Row(
        "batch sealed into a round",
        _INFO,
        (*_REQUEST, "batch", "root", "round"),
        "a round's manifest is written; a line for each batch and each request that it serves",
    ),
    LogEvent.JOINED: Row(
        "request joined a round",
        _INFO,
        (*_REQUEST, "round"),
        "a cadence came due whose batches are in a round already; it waits for that one",
    ),
    LogEvent.SIGNED: Row(
        "round signed",
        _INFO,
        (*_ROUND, "tx", "candidate", "sequence"),
        "the first signed bytes of a reservation are stored, before they are sent; `sequence` is the nonce, if there is one",
    ),
    LogEvent.BROADCAST: Row(
        "round broadcast",
        _INFO,
        (*_ROUND, "tx"),
        "the ledger took the bytes; not again when a node forgot them and they are sent once more",
    ),
    LogEvent.BUMPED: Row(
        "higher bid signed",
        _INFO,
        (*_ROUND, "tx", "candidate", "sequence"),
        "a further transaction for the same reservation is stored, with a higher bid",
    ),
    LogEvent.FILLED: Row(
        "gap filled",
        _WARN,
        (*_ROUND, "tx", "sequence"),
        "a transaction to ourselves is signed for a free nonce below the round's",
    ),
    LogEvent.INCLUDED: Row(
        "round included",
        _INFO,
        (*_ROUND, "tx", "block"),
        "a look at the ledger found it in a block, or its time stamp is there",
    ),
    LogEvent.FINAL: Row(
        "round final",
        _INFO,
        (*_ROUND, "tx", "block", "depth"),
        "every receipt says `finalized`, and the round is closed",
    ),
    LogEvent.REORGANISED: Row(
        "round left the chain",
        _WARN,
        (*_ROUND, "tx", "block"),
        "its block is no longer the ledger's; the same bytes go out again",
    ),
    LogEvent.REOPENED: Row(
        "final round opened again",
        _WARN,
        _ROUND,
        "a closed round's block left the chain, or its evidence is gone",
    ),
    LogEvent.LOST: Row(
        "round lost",
        _WARN,
        (*_ROUND, "kind", "err"),
        "its reservation was used up without its commitment, for good; its batches are sealed again",
    ),
    LogEvent.RESOLVED: Row(
        "operator decided about a round",
        _WARN,
        (*_ROUND, "decision", "by", "file"),
        "`resolve` wrote a decision",
    ),
    LogEvent.STEP_FAILED: Row(
        "step failed",
        _WARN,
        (*_ROUND, "kind", "err", "backoff", "retry_in"),
        "a step of the target failed; `round` is the lowest one that waits to be included",
    ),
    LogEvent.HELD: Row(
        "target held",
        _WARN,
        (*_ROUND, "kind", "err"),
        "the target needs an operator; again only when the kind of failure changes",
    ),
    LogEvent.FREED: Row("target freed", _INFO, _ROUND, "what held the target is mended"),
    LogEvent.SUCCESS: Row(
        "anchor success",
        _INFO,
        (*_REQUEST, "batch", "batches", "tx", "round"),
        "a cadence's request is answered with its receipts: `batch` is the first one, `batches` their number",
    ),
    LogEvent.ENDED: Row(
        "anchor ended",
        _INFO,
        _REQUEST,
        "a request that waited is answered without a receipt: nothing was owed any more, or it was taken back",
    ),
    LogEvent.FAILED: Row(
        "anchor failed",
        _ERROR,
        (*_REQUEST, "kind", "err", "backoff", "retry_in"),
        "an attempt of a request failed; `retry_in` is in seconds",
    ),
    LogEvent.AT_RISK: Row(
        "deadline at risk",
        _WARN,
        ("ns", "label", "target", "batch", "cause", "detail", "promise"),
        "a batch will miss the cadence's `deadline`",
    ),
    LogEvent.MISSED: Row(
        "deadline missed",
        _ERROR,
        ("ns", "label", "target", "batch", "cause", "detail", "promise"),
        "a batch missed it",
    ),
    LogEvent.PAUSED: Row(
        "pause began",
        _INFO,
        ("ns", "label", "target", "job", "reason"),
        "a cadence, a target, or a job by signal was paused; a target also by itself after two losses in a row",
    ),
    LogEvent.RESUMED: Row("pause ended", _INFO, ("ns", "label", "target", "job"), "it was resumed"),
    LogEvent.FORCED: Row(
        "anchor forced",
        _INFO,
        ("ns", "label", "reason"),
        "an operator had a cadence anchor at once",
    ),
    LogEvent.RECONFIGURED: Row(
        "namespace configured anew",
        _INFO,
        ("ns", "cfgHash", "cadences", "undone"),
        "a namespace took up another configuration: `cfgHash` of a file, else the `cadences` that `set_cadence` changed",
    ),
    LogEvent.REJECTED: Row(
        "signal rejected",
        _WARN,
        ("ns", "target", "job", "signal", "err"),
        "a message meant nothing, or nothing now",
    ),
    LogEvent.STARTING: Row("scheduler starting", _INFO, ("roles", "root"), "a worker begins"),
    LogEvent.STOPPED: Row("scheduler stopped", _INFO, (), "a worker has ended as it was told"),
    LogEvent.LOADED: Row(
        "namespaces config loaded",
        _INFO,
        ("file", "cfgHash", "namespaces"),
        "namespaces.yaml is in use for the first time in this process",
    ),
    LogEvent.RELOADED: Row(
        "configuration reloaded",
        _INFO,
        ("file", "cfgHash", "namespaces"),
        "a changed namespaces.yaml or anchors.yaml is in use",
    ),
    LogEvent.REFUSED: Row(
        "configuration file refused",
        _ERROR,
        ("file", "err"),
        "a changed file is wrong; what it said before stays in use",
    ),
    LogEvent.JOB_STARTED: Row(
        "job execution started",
        _INFO,
        ("job", "execution", "triggered_by", "slot"),
        "a job's call is made, or a maintenance task of a worker runs; `execution` is the run's id",
    ),
    LogEvent.JOB_ENDED: Row(
        "job execution ended",
        _INFO,
        ("job", "execution", "triggered_by", "slot", "status", "milliseconds", "items", "error"),
        "such a run ended; one that failed is a warning",
    ),
    LogEvent.TASK_STARTED: Row(
        "maintenance task began",
        _INFO,
        ("task", "run"),
        "`maintenance run` begins a task",
    ),
    LogEvent.STEP_ENDED: Row(
        "maintenance step ended",
        _INFO,
        ("task", "subject", "outcome", "detail", "rows", "seconds", "statements"),
        "a part of it ended; debug where nothing was to be done, warning for a lock, error for a failure",
    ),
    LogEvent.TASK_ENDED: Row(
        "maintenance task ended",
        _INFO,
        ("task", "run", "outcome", "detail", "seconds"),
        "the task ended; an error unless it ended well",
    ),
    LogEvent.ASKED: Row(
        "endpoint asked",
        _DEBUG,
        ("host", "method", "milliseconds", "result"),
        "one request to an endpoint: a status, an error's number or why there was no answer; never a path, query, header or body",
    ),
}


def log_event(
    logger: logging.Logger | logging.LoggerAdapter[Any],
    event: LogEvent,
    level: int | None = None,
    /,
    **fields: object,
) -> None:
    """Log an event at its level, or at another one, with those of its fields that say something."""
    row = LOG_EVENTS[event]
    said = {name: value for name, value in fields.items() if value is not None and value != ""}
    extra = {"event": event.value, **said}
    logger.log(row.level if level is None else level, row.msg, extra=extra)

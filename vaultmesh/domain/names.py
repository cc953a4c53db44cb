"""The place where every name that others rely on is spelled: ids, queues, messages, attributes, paths."""

import hashlib

SCHEDULER_QUEUE = "scheduler"
"""Task queue of workflows and `anchor`: needs no keys."""
ANCHORS_QUEUE = "anchors"
"""Task queue of everything the pen does: needs keys and the outside ledgers."""
JOBS_QUEUE = "jobs"
"""Task queue of HTTP jobs and database maintenance."""

NAMESPACE_WORKFLOW = "NamespaceWorkflow"
AGGREGATOR_WORKFLOW = "AggregatorWorkflow"

PAUSE, RESUME, FORCE_ANCHOR, SET_CADENCE = "pause", "resume", "force_anchor", "set_cadence"
CONFIGURE, STOP = "configure", "stop"
NOTE_FAILURE = "note_failure"
"""Signal to a namespace from whoever failed its request: count, kind, message, next retry."""
ENQUEUE, WITHDRAW, BUMP_FEE = "enqueue", "withdraw", "bump_fee"
RELEASE = "release"
"""Signal to an aggregator: requests wait for it no longer, not even for a signed round."""
REOPENED = "reopened"
STATUS = "status"
RESOLVE = "resolve"
"""Update of an aggregator: an operator decides about a round."""

ATTRIBUTE_NAMESPACE, ATTRIBUTE_STATUS, ATTRIBUTE_TARGET = (
    "VmshNamespace",
    "VmshStatus",
    "VmshTarget",
)
MEMO_STATUS = "status"
"""Memo key of a namespace's workflow: what metrics and health read without a query."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789.-")
_LONGEST_PATH_FORM = 150
_KEPT_OF_A_LONG_ONE = 100


def namespace_workflow_id(namespace: str) -> str:
    """Return the workflow id of a namespace's clock."""
    return f"namespace:{namespace}"


def aggregator_workflow_id(target: str) -> str:
    """Return the workflow id of a target's pen."""
    return f"aggregator:{target}"


def path_form(name: str) -> str:
    """Return the file or folder name of a namespace, batch id, event id or target reference.

    `a-z 0-9 . -` stay, `:` becomes `_`, every other byte of the UTF-8 becomes `~` and two hex digits; so does a leading
    or final dot. Above 150 bytes: the first 100, `~`, and 32 hex digits of the SHA-256 of the whole form. A file's name
    need not be UTF-8: what Python makes of such bytes counts as the bytes.
    """
    data = name.encode(errors="surrogateescape")
    last = len(data) - 1
    pieces: list[str] = []
    for position, byte in enumerate(data):
        edge_dot = byte == ord(".") and position in (0, last)
        if byte == ord(":"):
            pieces.append("_")
        elif byte in _PLAIN and not edge_dot:
            pieces.append(chr(byte))
        else:
            pieces.append(f"~{byte:02x}")
    form = "".join(pieces)
    if len(form) <= _LONGEST_PATH_FORM:
        return form
    return f"{form[:_KEPT_OF_A_LONG_ONE]}~{hashlib.sha256(data).hexdigest()[:32]}"

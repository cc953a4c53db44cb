"""Spells every path below VMSH_ROOT, and how names become parts of one."""

import hashlib

CONFIG_FOLDER = "vmsh/config"
NAMESPACES_FILE = "namespaces.yaml"
ANCHORS_FILE = "anchors.yaml"
MAINTENANCE_FILE = "maintenance.yaml"

EVENTS_FOLDER = "out/events"
PENDING_FOLDER = "out/provisional"
"""Events that wait to be sealed."""
SEALING_FOLDER = "out/.sealing"
"""Notes of sealing under way."""
BATCHES_FOLDER = "out/batches"
"""Where a namespace's batches lie unless its configuration says otherwise."""
EVENT_RECEIPTS_FOLDER = "out/receipts"
ANCHOR_RECEIPTS_FOLDER = "out/anchors"
ROUNDS_FOLDER = "out/rounds"
"""What was signed, stored before it was sent."""
STOPPED_FOLDER = "out/decisions/stopped"
"""Namespaces that an operator stopped although the configuration names them."""
ROOT_ID = "out/root-id"
"""Marker by which workers see that they share a root."""
REMEMBRANCER_DATABASE = "ops/data/remembrancer.db"
JOBS_DATABASE = "ops/data/jobs.db"
"""Of HTTP cron jobs, where no PostgreSQL is named."""

AUDIT_HEAD = "ops/data/audit-head.json"
"""The end of the audit's chain as it was lately: what is cut off later shows."""
DEPLOYMENTS_FOLDER = "ops/receipts/deploy"
"""Records of deployments; each is sealed."""

LOCKED_RUNS_FOLDER = "ops/data/locked-runs"
"""How many runs of a maintenance task in a row met a lock."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789.-")
_LONGEST_PATH_FORM = 150
_KEPT_OF_A_LONG_ONE = 100


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

"""The place where it is decided whether a worker is healthy, degraded or unhealthy, and ready.

Unhealthy is only a worker that does not talk to Temporal: an outage upstream degrades, and restarts no pods.
"""

from collections.abc import Mapping

from pydantic import JsonValue

from vaultmesh.domain.status import BACKING_OFF_ABOVE, STALE_AFTER_SECONDS, NamespaceMemo
from vaultmesh.runtime.metrics import HIGHEST_LEVEL
from vaultmesh.runtime.visibility import Snapshot

SILENT_AFTER_SECONDS = 60.0
"""Without an answer of Temporal for this long, a worker is unhealthy."""

HEALTHY, DEGRADED, UNHEALTHY = "healthy", "degraded", "unhealthy"


def namespace_health(memo: NamespaceMemo, now: float) -> dict[str, JsonValue]:
    """Return one namespace's entry."""
    last = {
        label: cadence.last_anchor
        for label, cadence in memo.cadences.items()
        if cadence.last_anchor is not None
    }
    backoff = max((cadence.failures for cadence in memo.cadences.values()), default=0)
    newest = max(last.values(), default=None)
    if backoff > BACKING_OFF_ABOVE:
        status = "backing_off"
    elif newest is None or now - newest > STALE_AFTER_SECONDS:
        status = "stale"
    else:
        status = "ok"
    return {"lastAnchor": dict(last), "backoff": min(backoff, HIGHEST_LEVEL), "status": status}


def health(snapshot: Snapshot, *, started: float, now: float) -> dict[str, JsonValue]:
    """Return the health document; `started` and `now` in Unix seconds."""
    namespaces: Mapping[str, dict[str, JsonValue]] = {
        name: namespace_health(memo, now) for name, memo in sorted(snapshot.namespaces.items())
    }
    if is_silent(snapshot, now):
        status = UNHEALTHY
    elif any(entry["status"] != "ok" for entry in namespaces.values()):
        status = DEGRADED
    else:
        status = HEALTHY
    return {
        "status": status,
        "uptime": round(now - started, 3),
        "lastTick": int(snapshot.taken_at * 1000),
        "namespaces": dict(namespaces),
    }


def is_silent(snapshot: Snapshot, now: float) -> bool:
    """Whether Temporal has not answered for too long, or never."""
    return now - snapshot.taken_at > SILENT_AFTER_SECONDS

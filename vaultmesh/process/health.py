"""Decides whether a worker is healthy, degraded or unhealthy, and ready.

1. Unhealthy is only a worker that does not talk to Temporal: an outage upstream degrades, and restarts no pods.
2. A workflow that can't go on, and a configured namespace without one, degrade too.
"""

from collections.abc import Mapping

from pydantic import JsonValue

from vaultmesh.domain.names import (
    AGGREGATOR_WORKFLOW,
    NAMESPACE_WORKFLOW,
    aggregator_workflow_id,
    namespace_workflow_id,
)
from vaultmesh.domain.status import BACKING_OFF_ABOVE, STALE_AFTER_SECONDS, NamespaceMemo
from vaultmesh.process.counts import NamespaceCounts
from vaultmesh.process.metrics import HIGHEST_LEVEL
from vaultmesh.process.visibility import Snapshot

SILENT_AFTER_SECONDS = 60.0
"""Without an answer of Temporal for this long, a worker is unhealthy."""

HEALTHY, DEGRADED, UNHEALTHY = "healthy", "degraded", "unhealthy"
FAILING, MISSING = "failing", "missing"
_NAMESPACE_PREFIX = namespace_workflow_id("")
_TARGET_PREFIX = aggregator_workflow_id("")


def namespace_health(memo: NamespaceMemo, now: float) -> dict[str, JsonValue]:
    """Return one namespace's entry, by its memo; `now` in Unix seconds."""
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


def health(
    snapshot: Snapshot,
    *,
    started: float,
    now: float,
    counts: Mapping[str, NamespaceCounts] | None = None,
) -> dict[str, JsonValue]:
    """Return the health document; `started` and `now` in Unix seconds.

    Targets are named only while their aggregator is failing.
    """
    namespaces = {
        name: _entry(name, snapshot, now, (counts or {}).get(name))
        for name in sorted(_namespaces(snapshot))
    }
    targets: dict[str, JsonValue] = {
        run.workflow_id.removeprefix(_TARGET_PREFIX): {"status": FAILING, "cause": run.cause}
        for run in snapshot.failing.values()
        if run.workflow_type == AGGREGATOR_WORKFLOW
    }
    if is_silent(snapshot, now):
        status = UNHEALTHY
    elif targets or any(entry["status"] != "ok" for entry in namespaces.values()):
        status = DEGRADED
    else:
        status = HEALTHY
    return {
        "status": status,
        "uptime": round(now - started, 3),
        "lastTick": int(snapshot.taken_at * 1000),
        "namespaces": dict(namespaces),
        **({"targets": targets} if targets else {}),
    }


def _namespaces(snapshot: Snapshot) -> set[str]:
    """Return every namespace that the document names: a failing one need not have a memo yet."""
    failing = {
        run.workflow_id.removeprefix(_NAMESPACE_PREFIX)
        for run in snapshot.failing.values()
        if run.workflow_type == NAMESPACE_WORKFLOW
    }
    return {*snapshot.namespaces, *failing, *snapshot.missing}


def _entry(
    name: str, snapshot: Snapshot, now: float, counts: NamespaceCounts | None
) -> dict[str, JsonValue]:
    memo = snapshot.namespaces.get(name, NamespaceMemo(namespace=name))
    entry = namespace_health(memo, now)
    failing = snapshot.failing.get(namespace_workflow_id(name))
    if failing is not None:
        entry |= {"status": FAILING, "cause": failing.cause}
    elif name in snapshot.missing:
        entry["status"] = MISSING
    if counts is not None:
        entry["unanchored"] = dict(counts.unanchored)
        if counts.problems:
            entry["problems"] = list(counts.problems)
    return entry


def is_silent(snapshot: Snapshot, now: float) -> bool:
    """Whether Temporal has not answered for too long, or never."""
    return now - snapshot.taken_at > SILENT_AFTER_SECONDS

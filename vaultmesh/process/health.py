"""Decides whether a worker is healthy, degraded or unhealthy, and ready.

1. Unhealthy is only a worker that does not talk to Temporal: an outage upstream degrades, and restarts no pods.
2. Whatever else is not as it should be degrades, and is named: failing, missing, overdue, backing off, stale, paused,
   held, unreachable, unreadable.
3. So do a file that is refused, a storage that hangs, a namespace that differs from its file, and an error that nobody
   foresaw; a namespace that an operator stopped does not.
4. All of it comes from the last visibility list, what was asked after it, and what the worker met: health asks nobody.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from pydantic import JsonValue

from vaultmesh.domain.freshness import Status, cadence_status, overall, waits_for_worker
from vaultmesh.domain.instants import of_seconds, write_seconds
from vaultmesh.domain.names import (
    AGGREGATOR_WORKFLOW,
    JOB_WORKFLOW,
    NAMESPACE_WORKFLOW,
    aggregator_workflow_id,
    namespace_workflow_id,
)
from vaultmesh.domain.status import (
    BACKING_OFF_ABOVE,
    CadenceMemo,
    NamespaceMemo,
    NamespaceState,
    TargetMemo,
    TargetState,
    past_unknown,
)
from vaultmesh.process.cadence_metrics import HIGHEST_LEVEL
from vaultmesh.process.counts import NamespaceCounts
from vaultmesh.process.desired import DesiredState
from vaultmesh.process.failing import one_line
from vaultmesh.process.visibility import Snapshot

SILENT_AFTER_SECONDS = 60.0
"""Without an answer of Temporal for this long, a worker is unhealthy."""

HEALTHY, DEGRADED, UNHEALTHY = "healthy", "degraded", "unhealthy"
FAILING, MISSING, OVERDUE = (
    NamespaceState.FAILING.value,
    NamespaceState.MISSING.value,
    NamespaceState.OVERDUE.value,
)
STOPPED, DRAINING = NamespaceState.STOPPED.value, NamespaceState.DRAINING.value
UNREACHABLE = "unreachable"
"""Of a target: its ledger does not answer this worker."""
UNREADABLE = "unreadable"
"""Of a target: signed rounds of it can't be read, or are gone."""
_LISTED = (
    MISSING,
    FAILING,
    OVERDUE,
    TargetState.HELD.value,
    Status.PAUSED.value,
    UNREACHABLE,
    UNREADABLE,
)
"""States whose bearers are listed by name."""
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
    statuses = {
        label: _cadence(cadence, paused=label in memo.paused, now=of_seconds(now))
        for label, cadence in memo.cadences.items()
    }
    by_cadence: dict[str, JsonValue] = {label: status.value for label, status in statuses.items()}
    return {
        "lastAnchor": dict(last),
        "backoff": min(backoff, HIGHEST_LEVEL),
        "status": overall(statuses.values()).value,
        **({"cadences": by_cadence} if by_cadence else {}),
    }


def _cadence(cadence: CadenceMemo, *, paused: bool, now: datetime) -> Status:
    return cadence_status(
        backs_off=cadence.failures > BACKING_OFF_ABOVE,
        paused=paused,
        stale_from=None if cadence.stale_at is None else of_seconds(cadence.stale_at),
        now=now,
    )


def health(
    snapshot: Snapshot,
    *,
    started: float,
    now: float,
    counts: Mapping[str, NamespaceCounts] | None = None,
    desired: DesiredState | None = None,
    errors: Mapping[str, str] | None = None,
    unreachable: Mapping[str, str] | None = None,
    unreadable: Mapping[str, int] | None = None,
) -> dict[str, JsonValue]:
    """Return the health document; `started` and `now` in Unix seconds.

    `errors` are those of this worker's tasks, `unreachable` says why targets do not answer, and `unreadable` how many of
    their signed rounds can't be read. Targets and tasks are named only while something is wrong with them.
    """
    wanted, counted = desired or DesiredState(), counts or {}
    names = sorted(_namespaces(snapshot))
    namespaces = {name: _entry(name, snapshot, now, counted.get(name)) for name in names}
    _add_stopped(namespaces, wanted, snapshot)
    is_as_desired = _add_desired(namespaces, wanted)
    targets, jobs = _targets(snapshot, now, unreachable or {}, unreadable or {}), _jobs(snapshot)
    is_well = is_as_desired and all(map(_is_well, namespaces.values()))
    status = HEALTHY if is_well and not (targets or jobs or errors) else DEGRADED
    return {
        "status": UNHEALTHY if is_silent(snapshot, now) else status,
        "uptime": round(now - started, 3),
        "lastTick": int(snapshot.taken_at * 1000),
        "namespaces": dict(namespaces),
        **({"targets": dict(targets)} if targets else {}),
        **({"jobs": dict(jobs)} if jobs else {}),
        **({"refused": dict(wanted.refused)} if wanted.refused else {}),
        **({"errors": dict(errors)} if errors else {}),
        **({"storage": wanted.storage} if wanted.storage else {}),
        **_listed(namespaces, targets, jobs),
    }


def _listed(
    namespaces: Mapping[str, Mapping[str, JsonValue]],
    targets: Mapping[str, Mapping[str, JsonValue]],
    jobs: Mapping[str, Mapping[str, JsonValue]],
) -> dict[str, JsonValue]:
    """Return by state who is in it, in words; states that nobody is in are left out."""
    listed: dict[str, list[JsonValue]] = {state: [] for state in _LISTED}
    for name, entry in namespaces.items():
        status, cadences = entry["status"], entry.get("cadences")
        if status in listed:
            listed[str(status)].append(name)
        if status != Status.PAUSED and isinstance(cadences, Mapping):
            paused = (label for label, each in cadences.items() if each == Status.PAUSED)
            listed[Status.PAUSED].extend(f"{name} {label}" for label in paused)
    for target, entry in targets.items():
        listed[str(entry["status"])].append(f"target {target}")
    listed[FAILING].extend(jobs)
    return {state: names for state, names in listed.items() if names}


def _add_stopped(
    namespaces: dict[str, dict[str, JsonValue]], desired: DesiredState, snapshot: Snapshot
) -> None:
    """Show which namespaces an operator stopped, and which of them run still: that they are stale matters no more."""
    for name, why in desired.stopped.items():
        entry = namespaces.setdefault(name, {"lastAnchor": {}, "backoff": 0})
        if namespace_workflow_id(name) not in snapshot.running:
            entry |= {"status": STOPPED, "cause": why}
        elif entry.get("status") in (FAILING, OVERDUE):
            entry["cause"] = f"{entry['cause']}; {why}, and ends once it goes on"
        else:
            problem = desired.problems.get(name)
            entry |= {"status": DRAINING, "cause": f"{why}; {problem}" if problem else why}


def _add_desired(namespaces: dict[str, dict[str, JsonValue]], desired: DesiredState) -> bool:
    """Add to the entries what differs from the files; tells whether everything is as they say."""
    for name, how in desired.drift.items():
        if name in namespaces and namespaces[name]["status"] != MISSING:
            namespaces[name]["drift"] = how
    for name, problem in desired.problems.items():
        if name in namespaces:
            namespaces[name].setdefault("cause", problem)
    return not (desired.drift or desired.problems or desired.refused or desired.storage)


def _is_well(entry: Mapping[str, JsonValue]) -> bool:
    return entry["status"] in (Status.OK, STOPPED, DRAINING)


def _namespaces(snapshot: Snapshot) -> set[str]:
    """Return every namespace that the document names: a failing one need not have a memo yet."""
    failing = (
        run.workflow_id
        for run in snapshot.failing.values()
        if run.workflow_type == NAMESPACE_WORKFLOW
    )
    without_memo = _named((*failing, *snapshot.waiting), _NAMESPACE_PREFIX)
    return {*snapshot.namespaces, *without_memo, *snapshot.missing}


def _named(workflow_ids: Iterable[str], prefix: str) -> set[str]:
    return {name.removeprefix(prefix) for name in workflow_ids if name.startswith(prefix)}


def _entry(
    name: str, snapshot: Snapshot, now: float, counts: NamespaceCounts | None
) -> dict[str, JsonValue]:
    memo = snapshot.namespaces.get(name, NamespaceMemo(namespace=name))
    entry = namespace_health(memo, now)
    workflow_id = namespace_workflow_id(name)
    failing = snapshot.failing.get(workflow_id)
    if failing is not None:
        entry |= {"status": FAILING, "cause": failing.cause}
    elif name in snapshot.missing:
        entry["status"] = MISSING
    elif workflow_id in snapshot.waiting:
        entry |= _overdue(snapshot.waiting[workflow_id], now)
    elif memo.stopping:
        entry["status"] = DRAINING
    if memo.unknown_since is not None:
        entry["unknown"] = past_unknown(memo.unknown_since)
    if counts is not None:
        entry["unanchored"] = dict(counts.unanchored)
        if counts.problems:
            entry["problems"] = list(counts.problems)
    return entry


def _overdue(since: datetime, now: float) -> dict[str, JsonValue]:
    age = of_seconds(now) - since
    return {
        "status": OVERDUE,
        "cause": waits_for_worker(since, of_seconds(now)),
        "overdue_seconds": int(age.total_seconds()),
    }


def _targets(
    snapshot: Snapshot,
    now: float,
    unreachable: Mapping[str, str],
    unreadable: Mapping[str, int],
) -> dict[str, dict[str, JsonValue]]:
    """Return what is wrong with targets, the worst of each."""
    wrong: dict[str, dict[str, JsonValue]] = {
        target: {"status": UNREADABLE, "cause": _unreadable(rounds)}
        for target, rounds in unreadable.items()
        if rounds
    }
    wrong |= {
        target: {"status": UNREACHABLE, "cause": one_line(why)}
        for target, why in unreachable.items()
    }
    wrong |= {target: _rests(memo) for target, memo in snapshot.targets.items() if memo.rests}
    for workflow_id, since in snapshot.waiting.items():
        if workflow_id.startswith(_TARGET_PREFIX):
            wrong[workflow_id.removeprefix(_TARGET_PREFIX)] = _overdue(since, now)
    for run in snapshot.failing.values():
        if run.workflow_type == AGGREGATOR_WORKFLOW:
            target = run.workflow_id.removeprefix(_TARGET_PREFIX)
            wrong[target] = {"status": FAILING, "cause": run.cause}
    return dict(sorted(wrong.items()))


def _jobs(snapshot: Snapshot) -> dict[str, dict[str, JsonValue]]:
    """Return which jobs and maintenance tasks can't go on, as `job:mail` and `maintenance:vacuum`."""
    return {
        run.workflow_id: {"status": FAILING, "cause": run.cause}
        for run in sorted(snapshot.failing.values(), key=lambda run: run.workflow_id)
        if run.workflow_type == JOB_WORKFLOW
    }


def _unreadable(rounds: int) -> str:
    """Say that signed rounds are not as they were written."""
    return f"signed rounds can't be read, or are gone: {rounds}; status names them, and says what to do"


def _rests(memo: TargetMemo) -> dict[str, JsonValue]:
    if memo.held is not None:
        cause = f"{memo.held.kind}: {memo.held.message}"
        return {
            "status": TargetState.HELD.value,
            "cause": cause,
            "since": write_seconds(memo.held.since),
        }
    reason, since = (memo.paused.reason, memo.paused.since) if memo.paused else ("", None)
    entry: dict[str, JsonValue] = {"status": Status.PAUSED.value, "cause": reason}
    return entry | ({"since": write_seconds(since)} if since else {})


def is_silent(snapshot: Snapshot, now: float) -> bool:
    """Whether Temporal has not answered for too long, or never."""
    return now - snapshot.taken_at > SILENT_AFTER_SECONDS
